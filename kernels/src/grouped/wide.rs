//! Products with codes with AVX512-VNNI: the 16 outputs of a panel are one register, in which VPDPBUSD multiplies four unsigned numbers
//! of each with four values of a row.

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
/// The CPU has AVX512 F, BW and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn panel(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, .. } = panel.layout else { unreachable!("floats are plain") };
    // SAFETY: by the contract.
    unsafe {
        match (codes, codes.table()) {
            (Codes::Signed, _) => tiles(panel, rows, range, totals, Plain::<8>),
            (Codes::Unsigned, _) => tiles(panel, rows, range, totals, Plain::<0>),
            (_, None) => tiles(panel, rows, range, totals, Eight),
            // 128 more than they are, as bits.
            (_, Some(table)) => tiles(panel, rows, range, totals, Table(table.map(|number| number ^ i8::MIN))),
        }
    }
}

/// How codes become numbers.
trait Numbers: Copy {
    /// What each number is more than it stands for.
    const OFFSET: i32;
    /// Codes of a quad and of the one that is so far from it come together; and from there to the next of such pairs.
    const APART: usize;
    const NEXT: usize;

    /// Both quads of a pair.
    ///
    /// # Safety
    /// The CPU has the instructions; there is such a pair of codes.
    unsafe fn pair(self, codes: *const u8, pair: usize) -> [__m512i; 2];
}

/// Rows by eights: their sums and totals fill half of the registers.
///
/// # Safety
/// As [`panel`]; the panel has its codes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tiles<N: Numbers>(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]], numbers: N) {
    assert!(range.end <= rows.count() && totals.len() >= range.len(), "grouped: rows and totals that are there");
    assert!(rows.blocks() <= panel.groups, "grouped: rows as deep as the panel");
    let (mut row, mut totals) = (range.start, totals);
    while row < range.end {
        let count = 1 << (range.end - row).min(8).ilog2();
        let (own, rest) = totals.split_at_mut(count);
        // SAFETY: by the contract; the rows are there, and totals for them.
        unsafe {
            match count {
                8 => tile::<8, 1, N>(panel, rows, row, own, numbers),
                4 => tile::<4, 2, N>(panel, rows, row, own, numbers),
                2 => tile::<2, 2, N>(panel, rows, row, own, numbers),
                _ => tile::<1, 2, N>(panel, rows, row, own, numbers),
            }
        }
        (row, totals) = (row + count, rest);
    }
}

/// Of few rows each has `CHAINS` sums, which take turns: one alone would wait for each of its additions.
///
/// # Safety
/// As [`tiles`]; rows `first..first + R` are there, as many groups of the panel as they have, and a total for each of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const R: usize, const CHAINS: usize, N: Numbers>(
    panel: &Panel<'_>,
    rows: &QuantizedRows,
    first: usize,
    totals: &mut [[f32; PANEL]],
    numbers: N,
) {
    let Layout::Grouped { scales, minima, .. } = panel.layout else { unreachable!("floats are plain") };
    let (group, bytes, mut walk) = (rows.block(), panel.bytes.as_ptr(), panel.walk());
    let width = rows.blocks() * group;
    let mut x = [rows.values().as_ptr(); R];
    let mut total = [_mm512_setzero_ps(); R];
    // SAFETY: by the contract: the rows are there, and the panel has what the walk passes.
    unsafe {
        for row in 0..R {
            x[row] = x[row].add((first + row) * width);
            total[row] = _mm512_loadu_ps(totals[row].as_ptr());
        }
        for index in 0..rows.blocks() {
            let at = walk.next();
            let of = index * rows.count() + first;
            let mut sums = [[_mm512_setzero_si512(); CHAINS]; R];
            for row in 0..R {
                sums[row][0] = _mm512_set1_epi32(rows.sum_and_scale(of + row).0 * -N::OFFSET);
            }
            for pair in 0..group / 8 {
                let both = numbers.pair(bytes.add(at.codes), pair);
                for four in 0..2 {
                    for row in 0..R {
                        let values = x[row].add(4 * (pair * N::NEXT + four * N::APART)).cast::<i32>().read_unaligned();
                        let sum = &mut sums[row][four % CHAINS];
                        *sum = _mm512_dpbusd_epi32(*sum, both[four], _mm512_set1_epi32(values));
                    }
                }
            }
            let scale = sixteen(scales, bytes.add(at.scales), bytes.add(at.factors));
            for row in 0..R {
                let sum = if CHAINS == 1 { sums[row][0] } else { _mm512_add_epi32(sums[row][0], sums[row][CHAINS - 1]) };
                let row_scale = _mm512_set1_ps(rows.sum_and_scale(of + row).1);
                total[row] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, row_scale), total[row]);
            }
            if minima {
                let minimum = sixteen(scales, bytes.add(at.minima), bytes.add(at.minimum_factors));
                for row in 0..R {
                    let (row_sum, row_scale) = rows.sum_and_scale(of + row);
                    let minimum = _mm512_mul_ps(minimum, _mm512_set1_ps(row_scale));
                    total[row] = _mm512_fnmadd_ps(_mm512_set1_ps(row_sum as f32), minimum, total[row]);
                }
            }
            for x in &mut x {
                *x = x.add(group);
            }
        }
        for row in 0..R {
            _mm512_storeu_ps(totals[row].as_mut_ptr(), total[row]);
        }
    }
}

/// Scales or minima of the outputs.
///
/// # Safety
/// There are 16 of them, and factors if these are products.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sixteen(scales: Scales, values: *const u8, factors: *const u8) -> __m512 {
    // SAFETY: by the contract.
    unsafe {
        if scales == Scales::Singles {
            return _mm512_loadu_ps(values.cast());
        }
        let halves = _mm512_cvtph_ps(_mm256_loadu_si256(values.cast()));
        if scales == Scales::Halves {
            return halves;
        }
        _mm512_mul_ps(halves, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(factors.cast()))))
    }
}

/// Codes of a quad and 16 outputs, and more in their upper halves.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(codes: *const u8, index: usize) -> __m512i {
    // SAFETY: by the contract.
    unsafe { _mm512_loadu_si512(codes.add(4 * PANEL * index).cast()) }
}

/// 64 codes of 4 bits of a quad, and as many of the fourth one after it.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn unpack(codes: *const u8, pair: usize) -> [__m512i; 2] {
    // SAFETY: by the contract.
    let codes = unsafe { load(codes, pair) };
    let low = _mm512_set1_epi8(15);
    [_mm512_and_si512(codes, low), _mm512_and_si512(_mm512_srli_epi32::<4>(codes), low)]
}

/// Codes of 4 bits that are numbers, `OFFSET` more than they stand for.
#[derive(Clone, Copy)]
struct Plain<const OFFSET: i32>;

impl<const OFFSET: i32> Numbers for Plain<OFFSET> {
    const OFFSET: i32 = OFFSET;
    const APART: usize = 4;
    const NEXT: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn pair(self, codes: *const u8, pair: usize) -> [__m512i; 2] {
        // SAFETY: by the contract.
        unsafe { unpack(codes, pair) }
    }
}

/// Codes of 4 bits that are places in a table.
#[derive(Clone, Copy)]
struct Table([i8; 16]);

impl Numbers for Table {
    const OFFSET: i32 = 128;
    const APART: usize = 4;
    const NEXT: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn pair(self, codes: *const u8, pair: usize) -> [__m512i; 2] {
        // SAFETY: by the contract; 16 bytes.
        let (both, table) = unsafe { (unpack(codes, pair), _mm_loadu_si128(self.0.as_ptr().cast())) };
        let table = _mm512_broadcast_i32x4(table);
        [_mm512_shuffle_epi8(table, both[0]), _mm512_shuffle_epi8(table, both[1])]
    }
}

/// Codes of 8 bits.
#[derive(Clone, Copy)]
struct Eight;

impl Numbers for Eight {
    const OFFSET: i32 = 128;
    const APART: usize = 1;
    const NEXT: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn pair(self, codes: *const u8, pair: usize) -> [__m512i; 2] {
        let offset = _mm512_set1_epi8(i8::MIN);
        // SAFETY: by the contract.
        unsafe { [_mm512_xor_si512(load(codes, 2 * pair), offset), _mm512_xor_si512(load(codes, 2 * pair + 1), offset)] }
    }
}
