//! Products with codes on NEON: four outputs a register, SMLAL or SDOT on quads. An input of the inner loops is two quads of the codes
//! and of the rows, half a group apart: so far apart are codes of 4 bits that share a byte.

#![expect(clippy::needless_range_loop, reason = "numbers of registers, in several arrays at once")]

use super::PANEL;
use super::layout::{Codes, Layout, Scales};
use super::panel::Panel;
use crate::int4::QuantizedRows;
use crate::linear::dot::sdot;
use std::arch::aarch64::*;
use std::ops::Range;

/// As [`super::scalar::panel`], with SMLAL (Cortex-A53, A72).
///
/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn widening(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, .. } = panel.layout else { unreachable!("floats are plain") };
    let table = table(codes);
    // SAFETY: by the contract.
    unsafe {
        match codes {
            Codes::Signed => tiles(panel, rows, range, totals, Short(Four::<8, false>(table))),
            Codes::Unsigned => tiles(panel, rows, range, totals, Short(Four::<0, false>(table))),
            Codes::Mxfp4 => tiles(panel, rows, range, totals, Short(Four::<0, true>(table))),
            Codes::Iq4 => tiles(panel, rows, range, totals, Long(Four::<0, true>(table))),
            Codes::Eight => tiles(panel, rows, range, totals, Long(Eight)),
        }
    }
}

/// The same with SDOT (Cortex-A55, A76).
///
/// # Safety
/// The CPU has NEON and SDOT.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dot(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, .. } = panel.layout else { unreachable!("floats are plain") };
    let table = table(codes);
    // SAFETY: by the contract.
    unsafe {
        match codes {
            Codes::Signed => tiles(panel, rows, range, totals, Sdot(Four::<8, false>(table))),
            Codes::Unsigned => tiles(panel, rows, range, totals, Sdot(Four::<0, false>(table))),
            Codes::Iq4 | Codes::Mxfp4 => tiles(panel, rows, range, totals, Sdot(Four::<0, true>(table))),
            Codes::Eight => tiles(panel, rows, range, totals, Sdot(Eight)),
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn table(codes: Codes) -> int8x16_t {
    let table = codes.table().unwrap_or_default();
    // SAFETY: 16 bytes.
    unsafe { vld1q_s8(table.as_ptr()) }
}

/// How codes become numbers.
trait Numbers: Copy {
    /// What each number is more than it stands for.
    const OFFSET: i32;

    /// Those of quad `pair` of four outputs, and of quad `pair + pairs`.
    ///
    /// # Safety
    /// The CPU has NEON; there are so many quads, the outputs' first one beginning at `codes`.
    unsafe fn two(self, codes: *const u8, pair: usize, pairs: usize) -> [int8x16_t; 2];
}

/// Codes of 4 bits: in a table if `TABLE`, else the numbers from 0 to 15. The latter have their offset taken off sums, once for a
/// row, not from each weight.
#[derive(Clone, Copy)]
struct Four<const OFFSET: i32, const TABLE: bool>(int8x16_t);

impl<const OFFSET: i32, const TABLE: bool> Numbers for Four<OFFSET, TABLE> {
    const OFFSET: i32 = OFFSET;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn two(self, codes: *const u8, pair: usize, _: usize) -> [int8x16_t; 2] {
        // SAFETY: by the contract.
        let codes = unsafe { vld1q_u8(codes.add(4 * PANEL * pair)) };
        let (low, high) = (vandq_u8(codes, vdupq_n_u8(15)), vshrq_n_u8::<4>(codes));
        if TABLE { [vqtbl1q_s8(self.0, low), vqtbl1q_s8(self.0, high)] } else { [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)] }
    }
}

/// Codes of 8 bits.
#[derive(Clone, Copy)]
struct Eight;

impl Numbers for Eight {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn two(self, codes: *const u8, pair: usize, pairs: usize) -> [int8x16_t; 2] {
        let codes = codes.cast::<i8>();
        // SAFETY: by the contract.
        unsafe { [vld1q_s8(codes.add(4 * PANEL * pair)), vld1q_s8(codes.add(4 * PANEL * (pair + pairs)))] }
    }
}

/// How the codes of a group are multiplied.
trait Dot: Copy {
    /// As [`Numbers::OFFSET`].
    const OFFSET: i32;

    /// `start` and exact sums of the products of a group's codes of `4 * N` outputs with the rows at `x`, of `pairs` times two quads.
    ///
    /// # Safety
    /// The CPU has the instructions; there are so many quads of codes, and at each `x` of values.
    unsafe fn sums<const R: usize, const N: usize>(
        self,
        codes: *const u8,
        pairs: usize,
        x: &[*const i8; R],
        start: &[int32x4_t; R],
    ) -> [[int32x4_t; N]; R];
}

/// # Safety
/// The CPU has NEON and what `dot` wants; the panel has its codes.
#[inline(always)]
unsafe fn tiles<D: Dot>(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]], dot: D) {
    assert!(range.end <= rows.count() && totals.len() >= range.len(), "grouped: rows and totals that are there");
    assert!(rows.blocks() <= panel.groups, "grouped: rows as deep as the panel");
    let (mut row, mut totals) = (range.start, totals);
    while row < range.end {
        let count = 1 << (range.end - row).min(4).ilog2();
        let (own, rest) = totals.split_at_mut(count);
        // SAFETY: by the contract; the rows are there, and totals for them. Sums of four rows fill the registers with eight outputs.
        unsafe {
            match count {
                4 => {
                    // One call, which the compiler puts in place with all that it calls.
                    for output in [0, 8] {
                        tile::<4, 2, D>(panel, rows, row, own, output, dot);
                    }
                }
                2 => tile::<2, 4, D>(panel, rows, row, own, 0, dot),
                _ => tile::<1, 4, D>(panel, rows, row, own, 0, dot),
            }
        }
        (row, totals) = (row + count, rest);
    }
}

/// `4 * N` outputs from `output` on.
///
/// # Safety
/// As [`tiles`]; the outputs are in the panel, rows `first..first + R` are there, as many groups of the panel as they have, and a total
/// for each of them.
#[inline(always)]
unsafe fn tile<const R: usize, const N: usize, D: Dot>(
    panel: &Panel<'_>,
    rows: &QuantizedRows,
    first: usize,
    totals: &mut [[f32; PANEL]],
    output: usize,
    dot: D,
) {
    let Layout::Grouped { scales, minima, .. } = panel.layout else { unreachable!("floats are plain") };
    let (group, bytes, mut walk) = (rows.block(), panel.bytes.as_ptr(), panel.walk());
    let width = rows.blocks() * group;
    let mut x = [rows.values().as_ptr(); R];
    // SAFETY: by the contract: the rows are there, and the panel has what the walk passes.
    unsafe {
        let mut total = [[vdupq_n_f32(0.0); N]; R];
        for row in 0..R {
            x[row] = x[row].add((first + row) * width);
            for four in 0..N {
                total[row][four] = vld1q_f32(totals[row].as_ptr().add(output + 4 * four));
            }
        }
        for index in 0..rows.blocks() {
            let at = walk.next();
            let (mut start, mut row_sum, mut row_scale) = ([vdupq_n_s32(0); R], [0; R], [0.0; R]);
            for row in 0..R {
                (row_sum[row], row_scale[row]) = rows.sum_and_scale(index * rows.count() + first + row);
                start[row] = vdupq_n_s32(-D::OFFSET * row_sum[row]);
            }
            let sums: [[int32x4_t; N]; R] = dot.sums(bytes.add(at.codes + 4 * output), group / 8, &x, &start);
            for four in 0..N {
                let scale = quartet(scales, bytes.add(at.scales), bytes.add(at.factors), output + 4 * four);
                for row in 0..R {
                    let sum = vcvtq_f32_s32(sums[row][four]);
                    total[row][four] = vfmaq_f32(total[row][four], sum, vmulq_n_f32(scale, row_scale[row]));
                }
            }
            if minima {
                for four in 0..N {
                    let minimum = quartet(scales, bytes.add(at.minima), bytes.add(at.minimum_factors), output + 4 * four);
                    for row in 0..R {
                        let row_sum = vdupq_n_f32(row_sum[row] as f32);
                        total[row][four] = vfmsq_f32(total[row][four], row_sum, vmulq_n_f32(minimum, row_scale[row]));
                    }
                }
            }
            for x in &mut x {
                *x = x.add(group);
            }
        }
        for row in 0..R {
            for four in 0..N {
                vst1q_f32(totals[row].as_mut_ptr().add(output + 4 * four), total[row][four]);
            }
        }
    }
}

/// Scales or minima of four outputs.
///
/// # Safety
/// There are 16 of them, and factors if these are products.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quartet(scales: Scales, values: *const u8, factors: *const u8, output: usize) -> float32x4_t {
    // SAFETY: by the contract.
    unsafe {
        if scales == Scales::Singles {
            return vreinterpretq_f32_u8(vld1q_u8(values.add(4 * output)));
        }
        let halves = vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(values.add(2 * output))));
        if scales == Scales::Halves {
            return halves;
        }
        let factors = vcreate_s8(factors.add(output).cast::<u32>().read_unaligned().into());
        vmulq_f32(halves, vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(factors)))))
    }
}

/// A quad of a row, four times.
///
/// # Safety
/// It is there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quad(x: *const i8, index: usize) -> int8x16_t {
    // SAFETY: by the contract.
    vreinterpretq_s8_s32(vdupq_n_s32(unsafe { x.add(4 * index).cast::<i32>().read_unaligned() }))
}

/// With SMLAL, numbers up to 15 in size: the products of a group's eight quads fit 16 bits (15 * 127 * 8 = 15,240), and so do sums of
/// two of these.
#[derive(Clone, Copy)]
struct Short<S>(S);

impl<S: Numbers> Dot for Short<S> {
    const OFFSET: i32 = S::OFFSET;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sums<const R: usize, const N: usize>(
        self,
        codes: *const u8,
        pairs: usize,
        x: &[*const i8; R],
        start: &[int32x4_t; R],
    ) -> [[int32x4_t; N]; R] {
        let mut short = [[[vdupq_n_s16(0); 2]; N]; R];
        for pair in 0..pairs {
            // SAFETY: by the contract.
            unsafe {
                let mut numbers = [[vdupq_n_s8(0); 2]; N];
                for four in 0..N {
                    numbers[four] = self.0.two(codes.add(16 * four), pair, pairs);
                }
                for row in 0..R {
                    for (half, at) in [pair, pair + pairs].into_iter().enumerate() {
                        let x = quad(x[row], at);
                        for four in 0..N {
                            let [low, high] = short[row][four];
                            let numbers = numbers[four][half];
                            short[row][four] = [vmlal_s8(low, vget_low_s8(numbers), vget_low_s8(x)), vmlal_high_s8(high, numbers, x)];
                        }
                    }
                }
            }
        }
        let mut sums = [[vdupq_n_s32(0); N]; R];
        for row in 0..R {
            for four in 0..N {
                let [low, high] = short[row][four];
                sums[row][four] = vpadalq_s16(start[row], vpaddq_s16(low, high));
            }
        }
        sums
    }
}

/// With SMULL and SMLAL, any numbers: two products fit 16 bits (128 * 127 * 2 = 32,512).
#[derive(Clone, Copy)]
struct Long<S>(S);

impl<S: Numbers> Dot for Long<S> {
    const OFFSET: i32 = S::OFFSET;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sums<const R: usize, const N: usize>(
        self,
        codes: *const u8,
        pairs: usize,
        x: &[*const i8; R],
        start: &[int32x4_t; R],
    ) -> [[int32x4_t; N]; R] {
        // Two lanes for each output: of outputs 0 and 1, of 2 and 3.
        let mut partial = [[[vdupq_n_s32(0); 2]; N]; R];
        for pair in 0..pairs {
            // SAFETY: by the contract.
            unsafe {
                let mut numbers = [[vdupq_n_s8(0); 2]; N];
                for four in 0..N {
                    numbers[four] = self.0.two(codes.add(16 * four), pair, pairs);
                }
                for row in 0..R {
                    let [a, b] = [quad(x[row], pair), quad(x[row], pair + pairs)];
                    for four in 0..N {
                        let ([first, second], [low, high]) = (numbers[four], partial[row][four]);
                        let low_products = vmull_s8(vget_low_s8(first), vget_low_s8(a));
                        let low_products = vmlal_s8(low_products, vget_low_s8(second), vget_low_s8(b));
                        let high_products = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                        partial[row][four] = [vpadalq_s16(low, low_products), vpadalq_s16(high, high_products)];
                    }
                }
            }
        }
        let mut sums = [[vdupq_n_s32(0); N]; R];
        for row in 0..R {
            for four in 0..N {
                let [low, high] = partial[row][four];
                sums[row][four] = vaddq_s32(start[row], vpaddq_s32(low, high));
            }
        }
        sums
    }
}

/// With SDOT, any numbers.
#[derive(Clone, Copy)]
struct Sdot<S>(S);

impl<S: Numbers> Dot for Sdot<S> {
    const OFFSET: i32 = S::OFFSET;

    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn sums<const R: usize, const N: usize>(
        self,
        codes: *const u8,
        pairs: usize,
        x: &[*const i8; R],
        start: &[int32x4_t; R],
    ) -> [[int32x4_t; N]; R] {
        let mut sums = [[vdupq_n_s32(0); N]; R];
        for row in 0..R {
            sums[row] = [start[row]; N];
        }
        let mut values = [[vdupq_n_s8(0); 2]; R];
        // SAFETY: by the contract: a group has 16 values or 32.
        unsafe {
            if pairs == 4 {
                for row in 0..R {
                    values[row] = [vld1q_s8(x[row]), vld1q_s8(x[row].add(16))];
                }
                self.pair::<0, 0, R, N>(&mut sums, codes, 0, pairs, &values);
                self.pair::<1, 1, R, N>(&mut sums, codes, 1, pairs, &values);
                self.pair::<2, 2, R, N>(&mut sums, codes, 2, pairs, &values);
                self.pair::<3, 3, R, N>(&mut sums, codes, 3, pairs, &values);
            } else {
                for row in 0..R {
                    values[row] = [vld1q_s8(x[row]); 2];
                }
                self.pair::<0, 2, R, N>(&mut sums, codes, 0, pairs, &values);
                self.pair::<1, 3, R, N>(&mut sums, codes, 1, pairs, &values);
            }
        }
        sums
    }
}

impl<S: Numbers> Sdot<S> {
    /// Adds the products of two quads: quad `A` of a row's first 16 values, and `B` of the second.
    ///
    /// # Safety
    /// As [`Numbers::two`]; the CPU has SDOT.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn pair<const A: usize, const B: usize, const R: usize, const N: usize>(
        self,
        sums: &mut [[int32x4_t; N]; R],
        codes: *const u8,
        pair: usize,
        pairs: usize,
        values: &[[int8x16_t; 2]; R],
    ) {
        for four in 0..N {
            // SAFETY: by the contract.
            let [first, second] = unsafe { self.0.two(codes.add(16 * four), pair, pairs) };
            for row in 0..R {
                sums[row][four] = sdot::<A>(sums[row][four], first, values[row][0]);
                sums[row][four] = sdot::<B>(sums[row][four], second, values[row][1]);
            }
        }
    }
}
