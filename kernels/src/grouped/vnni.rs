//! Products with codes with VPDPBUSD of AVX-VNNI: four to a lane, those of unsigned numbers with the rows. What is not products is that of `avx2`.

#![expect(clippy::needless_range_loop, reason = "numbers of registers, in several arrays at once")]

use super::PANEL;
use super::avx2::{Dot, load, quad, spread, tiles, unpack};
use super::layout::Layout;
use super::panel::Panel;
use crate::int4::QuantizedRows;
use crate::linear::vnni::add_products;
use std::arch::x86_64::*;
use std::ops::Range;

/// As [`super::scalar::panel`].
///
/// # Safety
/// The CPU has AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn panel(panel: &Panel<'_>, rows: &QuantizedRows, range: Range<usize>, totals: &mut [[f32; PANEL]]) {
    let Layout::Grouped { codes, .. } = panel.layout else { unreachable!("floats are plain") };
    // SAFETY: by the contract.
    unsafe {
        match codes.table() {
            None => tiles(panel, rows, range, totals, Eight),
            // 128 more than they are, as bits.
            Some(table) => tiles(panel, rows, range, totals, Four(table.map(|number| number ^ i8::MIN))),
        }
    }
}

/// Codes of 4 bits, all as places in a table.
#[derive(Clone, Copy)]
struct Four([i8; 16]);

impl Dot for Four {
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: *const u8, _: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let table = spread(&self.0);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for pair in 0..4 {
            for half in 0..2 {
                // SAFETY: by the contract; a group has four pairs.
                let both = unsafe { unpack(codes, pair, half) };
                for (four, codes) in both.into_iter().enumerate() {
                    let numbers = _mm256_shuffle_epi8(table, codes);
                    for row in 0..R {
                        // SAFETY: by the contract.
                        unsafe { sums[row][half] = add_products(sums[row][half], numbers, quad(x[row], pair + 4 * four)) };
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
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums<const R: usize>(self, codes: *const u8, pairs: usize, x: &[*const i8; R]) -> [[__m256i; 2]; R] {
        let offset = _mm256_set1_epi8(i8::MIN);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for index in 0..2 * pairs {
            for half in 0..2 {
                // SAFETY: by the contract.
                let numbers = _mm256_xor_si256(unsafe { load(codes, index, half) }, offset);
                for row in 0..R {
                    // SAFETY: by the contract.
                    unsafe { sums[row][half] = add_products(sums[row][half], numbers, quad(x[row], index)) };
                }
            }
        }
        sums
    }
}
