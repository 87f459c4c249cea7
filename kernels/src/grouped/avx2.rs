//! Products with codes on AVX2: eight outputs a register, VPMADDUBSW on quads.

use super::PANEL;
use super::layout::{Codes, Layout, Scales};
use super::panel::Panel;
use crate::int4::QuantizedRows;
use std::arch::x86_64::*;
use std::array;
use std::ops::Range;

/// Rows of a tile: their sums and half of the weights of a quad fit the registers.
const ROWS: usize = 4;

/// As [`super::scalar::panel`].
///
/// # Safety
/// The CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn panel(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    assert!(range.end <= rows.count() && totals.len() >= range.len(), "grouped: rows and totals that are there");
    let mut first = range.start;
    for totals in totals[..range.len()].chunks_mut(ROWS) {
        // SAFETY: the CPU has the instructions; the rows are there.
        unsafe {
            match totals.len() {
                1 => tile::<1>(panel, rows, first, totals),
                2 => tile::<2>(panel, rows, first, totals),
                3 => tile::<3>(panel, rows, first, totals),
                _ => tile::<ROWS>(panel, rows, first, totals),
            }
        }
        first += totals.len();
    }
}

/// # Safety
/// The CPU has AVX2, FMA and F16C; rows `first..first + R` are there, and so many totals.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const R: usize>(panel: &Panel<'_>, rows: &QuantizedRows, first: usize, totals: &mut [[f32; PANEL]]) {
    // SAFETY: by the contract.
    unsafe {
        match panel.layout {
            Layout::Grouped { codes: Codes::Signed, scales, .. } => groups::<R, _>(panel, rows, first, totals, scales, Small { offset: 8 }),
            Layout::Grouped { codes: Codes::Unsigned, scales, .. } => groups::<R, _>(panel, rows, first, totals, scales, Small { offset: 0 }),
            Layout::Grouped { codes: Codes::Eight, scales, .. } => groups::<R, _>(panel, rows, first, totals, scales, Eight),
            Layout::Grouped { codes, scales, .. } => {
                groups::<R, _>(panel, rows, first, totals, scales, Table(codes.table().expect("4 bits have a table")));
            }
            Layout::Plain(_) => unreachable!("floats are plain"),
        }
    }
}

/// How the codes of a group are multiplied.
trait Dot: Copy {
    /// What each number is more than it stands for.
    fn offset(self) -> i32 {
        0
    }

    /// Exact sums of the products of a group's codes with the rows at `x`: for each row those of outputs 0 to 7 and 8 to 15.
    ///
    /// # Safety
    /// The CPU has AVX2; at each `x` are as many values as the group has.
    unsafe fn sums<const R: usize>(self, codes: &[u8], x: &[*const i8; R]) -> [[__m256i; 2]; R];
}

/// A quad of a row in every lane.
///
/// # Safety
/// There are four bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn quad(x: *const i8, index: usize) -> __m256i {
    // SAFETY: by the contract.
    _mm256_set1_epi32(unsafe { x.add(4 * index).cast::<i32>().read_unaligned() })
}

/// 32 codes of eight outputs.
///
/// # Safety
/// There are 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(codes: &[u8], at: usize) -> __m256i {
    debug_assert!(at + 32 <= codes.len());
    // SAFETY: by the contract.
    unsafe { _mm256_loadu_si256(codes.as_ptr().add(at).cast()) }
}

/// Codes of 4 bits that are numbers from 0 to 15: eight sums of four products, two in a lane, fit 16 bits (15 * 127 * 2 * 8 = 30,480).
#[derive(Clone, Copy)]
struct Small {
    offset: i32,
}

impl Dot for Small {
    fn offset(self) -> i32 {
        self.offset
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: &[u8], x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let low = _mm256_set1_epi8(15);
        let mut short = [[_mm256_setzero_si256(); 2]; R];
        for pair in 0..4 {
            // SAFETY: a group of 32 has four pairs of quads in 256 bytes; the rows have eight quads.
            unsafe {
                let both = [load(codes, 64 * pair), load(codes, 64 * pair + 32)];
                let first = both.map(|codes| _mm256_and_si256(codes, low));
                let second = both.map(|codes| _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low));
                for (short, x) in short.iter_mut().zip(x) {
                    let (a, b) = (quad(*x, pair), quad(*x, pair + 4));
                    for half in 0..2 {
                        short[half] = _mm256_add_epi16(short[half], _mm256_maddubs_epi16(first[half], a));
                        short[half] = _mm256_add_epi16(short[half], _mm256_maddubs_epi16(second[half], b));
                    }
                }
            }
        }
        let ones = _mm256_set1_epi16(1);
        short.map(|halves| halves.map(|short| _mm256_madd_epi16(short, ones)))
    }
}

/// Adds the products of numbers from -128 to 127 with a quad: the numbers' sizes times the quad with their signs, for two such
/// products fit 16 bits (128 * 127 * 2 = 32,512).
#[inline]
#[target_feature(enable = "avx2")]
fn add_signed(sum: __m256i, numbers: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(numbers), _mm256_sign_epi8(x, numbers));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Codes of 4 bits that are places in a table.
#[derive(Clone, Copy)]
struct Table([i8; 16]);

impl Dot for Table {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: &[u8], x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let low = _mm256_set1_epi8(15);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        // SAFETY: as for `Small`; the table has 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(self.0.as_ptr().cast()));
            for pair in 0..4 {
                for half in 0..2 {
                    let codes = load(codes, 64 * pair + 32 * half);
                    let first = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, low));
                    let second = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(codes), low));
                    for (sums, x) in sums.iter_mut().zip(x) {
                        sums[half] = add_signed(sums[half], first, quad(*x, pair));
                        sums[half] = add_signed(sums[half], second, quad(*x, pair + 4));
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
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: &[u8], x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for index in 0..codes.len() / 64 {
            // SAFETY: there are so many quads of codes and of the rows.
            unsafe {
                for half in 0..2 {
                    let numbers = load(codes, 64 * index + 32 * half);
                    for (sums, x) in sums.iter_mut().zip(x) {
                        sums[half] = add_signed(sums[half], numbers, quad(*x, index));
                    }
                }
            }
        }
        sums
    }
}

/// # Safety
/// As [`tile`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn groups<const R: usize, D: Dot>(
    panel: &Panel<'_>,
    rows: &QuantizedRows,
    first: usize,
    totals: &mut [[f32; PANEL]],
    scales: Scales,
    dot: D,
) {
    let group = rows.block();
    let width = rows.blocks() * group;
    // SAFETY: the rows are there, of `blocks` groups each, and so many groups of the panel are visited at most; a total is 16 floats.
    unsafe {
        let mut x: [*const i8; R] = array::from_fn(|row| rows.values().as_ptr().add((first + row) * width));
        let mut total: [[__m256; 2]; R] = array::from_fn(|row| array::from_fn(|half| _mm256_loadu_ps(totals[row].as_ptr().add(8 * half))));
        for (index, values) in panel.groups().take(rows.blocks()).enumerate() {
            let sums = dot.sums(values.codes, &x);
            for half in 0..2 {
                let scale = eight(scales, values.scales, values.factors, half);
                let minimum = (!values.minima.is_empty()).then(|| eight(scales, values.minima, values.minimum_factors, half));
                for row in 0..R {
                    let (row_sum, row_scale) = rows.sum_and_scale(index * rows.count() + first + row);
                    let sum = _mm256_sub_epi32(sums[row][half], _mm256_set1_epi32(dot.offset() * row_sum));
                    let row_scale = _mm256_set1_ps(row_scale);
                    total[row][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, row_scale), total[row][half]);
                    if let Some(minimum) = minimum {
                        let row_sum = _mm256_set1_ps(row_sum as f32);
                        total[row][half] = _mm256_fnmadd_ps(row_sum, _mm256_mul_ps(minimum, row_scale), total[row][half]);
                    }
                }
            }
            for x in &mut x {
                *x = x.add(group);
            }
        }
        for (totals, total) in totals.iter_mut().zip(total) {
            for (half, total) in total.into_iter().enumerate() {
                _mm256_storeu_ps(totals.as_mut_ptr().add(8 * half), total);
            }
        }
    }
}

/// Scales or minima of eight outputs.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn eight(scales: Scales, values: &[u8], factors: &[u8], half: usize) -> __m256 {
    let halves = || {
        let halves: &[u8; 16] = values[16 * half..][..16].try_into().expect("16 bytes");
        // SAFETY: there are 16 bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
    };
    match scales {
        Scales::Halves => halves(),
        Scales::Products => {
            let factors: &[u8; 8] = factors[8 * half..][..8].try_into().expect("8 bytes");
            // SAFETY: there are 8 bytes.
            let factors = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(factors.as_ptr().cast()) });
            _mm256_mul_ps(halves(), _mm256_cvtepi32_ps(factors))
        }
        Scales::Singles => {
            let singles: &[u8; 32] = values[32 * half..][..32].try_into().expect("32 bytes");
            // SAFETY: there are 32 bytes.
            unsafe { _mm256_loadu_ps(singles.as_ptr().cast()) }
        }
    }
}
