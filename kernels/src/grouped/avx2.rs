//! Products with codes on AVX2: eight outputs a register, VPMADDUBSW on quads. Loops, not closures of intrinsics, which the compiler
//! would leave calls.

#![expect(clippy::needless_range_loop, reason = "numbers of registers, in several arrays at once")]

use super::PANEL;
use super::layout::{Codes, Layout, Scales};
use super::panel::Panel;
use crate::int4::QuantizedRows;
use std::arch::x86_64::*;
use std::ops::Range;

/// As [`super::scalar::panel`].
///
/// # Safety
/// The CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn panel(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, .. } = panel.layout else { unreachable!("floats are plain") };
    let table = codes.table().unwrap_or_default();
    // SAFETY: by the contract.
    unsafe {
        match codes {
            Codes::Signed => tiles(panel, rows, range, totals, Short::<8, false>(table)),
            Codes::Unsigned => tiles(panel, rows, range, totals, Short::<0, false>(table)),
            Codes::Mxfp4 => tiles(panel, rows, range, totals, Short::<16, true>(table.map(|number| number + 16))),
            Codes::Iq4 => tiles(panel, rows, range, totals, Table(table)),
            Codes::Eight => tiles(panel, rows, range, totals, Eight),
        }
    }
}

/// How the codes of a group are multiplied.
pub(super) trait Dot: Copy {
    /// What each number is more than it stands for.
    const OFFSET: i32;

    /// Exact sums of the products of a group's codes with the rows at `x`, of `pairs` times two quads: for each row those of outputs
    /// 0 to 7 and 8 to 15.
    ///
    /// # Safety
    /// The CPU has the instructions; there are so many quads of codes, and at each `x` of values.
    unsafe fn sums<const R: usize>(self, codes: *const u8, pairs: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R];
}

/// Rows by fours: their sums and the weights of two quads fit the registers.
///
/// # Safety
/// The CPU has AVX2, FMA, F16C and what `dot` wants; the panel has its codes.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tiles<D: Dot>(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]], dot: D) {
    assert!(range.end <= rows.count() && totals.len() >= range.len(), "grouped: rows and totals that are there");
    assert!(rows.blocks() <= panel.groups, "grouped: rows as deep as the panel");
    let (mut row, mut totals) = (range.start, totals);
    while row < range.end {
        let count = 1 << (range.end - row).min(4).ilog2();
        let (own, rest) = totals.split_at_mut(count);
        // SAFETY: by the contract; the rows are there, and totals for them.
        unsafe {
            match count {
                4 => tile::<4, D>(panel, rows, row, own, dot),
                2 => tile::<2, D>(panel, rows, row, own, dot),
                _ => tile::<1, D>(panel, rows, row, own, dot),
            }
        }
        (row, totals) = (row + count, rest);
    }
}

/// # Safety
/// As [`tiles`]; rows `first..first + R` are there, as many groups of the panel as they have, and a total for each of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const R: usize, D: Dot>(panel: &Panel<'_>, rows: &QuantizedRows, first: usize, totals: &mut [[f32; PANEL]], dot: D) {
    let Layout::Grouped { scales, minima, .. } = panel.layout else { unreachable!("floats are plain") };
    let (group, bytes, mut walk) = (rows.block(), panel.bytes.as_ptr(), panel.walk());
    let width = rows.blocks() * group;
    let mut x = [rows.values().as_ptr(); R];
    let mut total = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: by the contract: the rows are there, and the panel has what the walk passes.
    unsafe {
        for row in 0..R {
            x[row] = x[row].add((first + row) * width);
            for half in 0..2 {
                total[row][half] = _mm256_loadu_ps(totals[row].as_ptr().add(8 * half));
            }
        }
        for index in 0..rows.blocks() {
            let at = walk.next();
            let sums = dot.sums(bytes.add(at.codes), group / 8, &x);
            let mut scale = [_mm256_setzero_ps(); 2];
            for half in 0..2 {
                scale[half] = eight(scales, bytes.add(at.scales), bytes.add(at.factors), half);
            }
            for row in 0..R {
                let (row_sum, row_scale) = rows.sum_and_scale(index * rows.count() + first + row);
                let offset = _mm256_mullo_epi32(_mm256_set1_epi32(row_sum), _mm256_set1_epi32(D::OFFSET));
                let row_scale = _mm256_set1_ps(row_scale);
                for half in 0..2 {
                    let sum = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[row][half], offset));
                    total[row][half] = _mm256_fmadd_ps(sum, _mm256_mul_ps(scale[half], row_scale), total[row][half]);
                }
            }
            if minima {
                let mut minimum = [_mm256_setzero_ps(); 2];
                for half in 0..2 {
                    minimum[half] = eight(scales, bytes.add(at.minima), bytes.add(at.minimum_factors), half);
                }
                for row in 0..R {
                    let (row_sum, row_scale) = rows.sum_and_scale(index * rows.count() + first + row);
                    let (row_sum, row_scale) = (_mm256_cvtepi32_ps(_mm256_set1_epi32(row_sum)), _mm256_set1_ps(row_scale));
                    for half in 0..2 {
                        total[row][half] = _mm256_fnmadd_ps(row_sum, _mm256_mul_ps(minimum[half], row_scale), total[row][half]);
                    }
                }
            }
            for x in &mut x {
                *x = x.add(group);
            }
        }
        for row in 0..R {
            for half in 0..2 {
                _mm256_storeu_ps(totals[row].as_mut_ptr().add(8 * half), total[row][half]);
            }
        }
    }
}

/// Scales or minima of eight outputs.
///
/// # Safety
/// There are 16 of them, and factors if these are products.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn eight(scales: Scales, values: *const u8, factors: *const u8, half: usize) -> __m256 {
    // SAFETY: by the contract.
    unsafe {
        if scales == Scales::Singles {
            return _mm256_loadu_ps(values.add(32 * half).cast());
        }
        let halves = _mm256_cvtph_ps(_mm_loadu_si128(values.add(16 * half).cast()));
        if scales == Scales::Halves {
            return halves;
        }
        let factors = _mm256_cvtepi8_epi32(_mm_loadl_epi64(factors.add(8 * half).cast()));
        _mm256_mul_ps(halves, _mm256_cvtepi32_ps(factors))
    }
}

/// A quad of a row in every lane.
///
/// # Safety
/// There are four bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn quad(x: *const i8, index: usize) -> __m256i {
    // SAFETY: by the contract.
    _mm256_set1_epi32(unsafe { x.add(4 * index).cast::<i32>().read_unaligned() })
}

/// 32 codes of 8 bits, of a quad and eight outputs.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load(codes: *const u8, quad: usize, half: usize) -> __m256i {
    // SAFETY: by the contract.
    unsafe { _mm256_loadu_si256(codes.add(64 * quad + 32 * half).cast()) }
}

/// 32 codes of 4 bits of a quad, and as many of the fourth one after it.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn unpack(codes: *const u8, quad: usize, half: usize) -> [__m256i; 2] {
    // SAFETY: by the contract.
    let codes = unsafe { load(codes, quad, half) };
    let low = _mm256_set1_epi8(15);
    [_mm256_and_si256(codes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low)]
}

/// The numbers of a table, in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn spread(table: &[i8; 16]) -> __m256i {
    // SAFETY: 16 bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// Codes of 4 bits whose numbers, `OFFSET` added, are small: without a table up to 15, so that eight quads' sums of two products fit
/// 16 bits (15 * 127 * 2 * 8 = 30,480); with one up to 28, so that those of four do.
#[derive(Clone, Copy)]
struct Short<const OFFSET: i32, const TABLE: bool>([i8; 16]);

impl<const OFFSET: i32, const TABLE: bool> Dot for Short<OFFSET, TABLE> {
    const OFFSET: i32 = OFFSET;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: *const u8, _: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let (table, ones) = (spread(&self.0), _mm256_set1_epi16(1));
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        let parts = if TABLE { 2 } else { 1 };
        for part in 0..parts {
            let mut short = [[_mm256_setzero_si256(); 2]; R];
            for pair in 4 / parts * part..4 / parts * (part + 1) {
                // SAFETY: by the contract; a group has four pairs.
                unsafe {
                    let mut both = [unpack(codes, pair, 0), unpack(codes, pair, 1)];
                    if TABLE {
                        for numbers in both.as_flattened_mut() {
                            *numbers = _mm256_shuffle_epi8(table, *numbers);
                        }
                    }
                    for row in 0..R {
                        let (a, b) = (quad(x[row], pair), quad(x[row], pair + 4));
                        for half in 0..2 {
                            short[row][half] = _mm256_add_epi16(short[row][half], _mm256_maddubs_epi16(both[half][0], a));
                            short[row][half] = _mm256_add_epi16(short[row][half], _mm256_maddubs_epi16(both[half][1], b));
                        }
                    }
                }
            }
            for row in 0..R {
                for half in 0..2 {
                    sums[row][half] = _mm256_add_epi32(sums[row][half], _mm256_madd_epi16(short[row][half], ones));
                }
            }
        }
        sums
    }
}

/// Adds the products of numbers from -128 to 127 with a quad: the numbers' sizes times the quad with their signs, for two such
/// products fit 16 bits (128 * 127 * 2 = 32,512).
#[inline]
#[target_feature(enable = "avx2")]
fn add_signed(sum: __m256i, sizes: __m256i, numbers: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(x, numbers));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Codes of 4 bits that are places in a table.
#[derive(Clone, Copy)]
struct Table([i8; 16]);

impl Dot for Table {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: *const u8, _: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let table = spread(&self.0);
        let sizes = _mm256_abs_epi8(table);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for pair in 0..4 {
            for half in 0..2 {
                // SAFETY: as for `Short`.
                let both = unsafe { unpack(codes, pair, half) };
                for (four, codes) in both.into_iter().enumerate() {
                    let (sizes, numbers) = (_mm256_shuffle_epi8(sizes, codes), _mm256_shuffle_epi8(table, codes));
                    for row in 0..R {
                        // SAFETY: by the contract.
                        let x = unsafe { quad(x[row], pair + 4 * four) };
                        sums[row][half] = add_signed(sums[row][half], sizes, numbers, x);
                    }
                }
            }
        }
        sums
    }
}

/// Codes of 8 bits.
#[derive(Clone, Copy)]
struct Eight;

impl Dot for Eight {
    const OFFSET: i32 = 0;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: *const u8, pairs: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for index in 0..2 * pairs {
            for half in 0..2 {
                // SAFETY: by the contract.
                let numbers = unsafe { load(codes, index, half) };
                let sizes = _mm256_abs_epi8(numbers);
                for row in 0..R {
                    // SAFETY: by the contract.
                    let x = unsafe { quad(x[row], index) };
                    sums[row][half] = add_signed(sums[row][half], sizes, numbers, x);
                }
            }
        }
        sums
    }
}
