//! The products with VPDPBUSD, on 256 bits: four to a lane, those of unsigned activations with weights, added up exactly. What is
//! not products is that of `avx2`. `cross/vnni` tests the encoding of AVX512-VNNI on an emulated CPU.

use super::avx2::{Arithmetic, COLUMNS, ROWS, STEP, tiles};
use super::{Block, Finish, Kernel, Panel};
use std::arch::{asm, x86_64::*};
use std::array;

/// Encoded as AVX512-VNNI has the instruction if `EVEX`, else as AVX-VNNI: a CPU may have only one.
pub(super) struct Vnni<const EVEX: bool>;

impl<const EVEX: bool> Kernel for Vnni<EVEX> {
    type Value = u8;
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const STEP: usize = STEP;
    const RUN: usize = 4;

    #[target_feature(enable = "avx2")]
    unsafe fn panel<F: Finish>(block: &Block<'_, u8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { tiles::<Vnni<EVEX>, F>(block, panel, finish, out, stride) };
    }
}

impl<const EVEX: bool> Arithmetic for Vnni<EVEX> {
    const WAITS: bool = true;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn products<const QUAD: usize, const R: usize, const HALVES: usize>(
        sums: &mut [[__m256i; 2]; R],
        value: *const u8,
        weight: *const i8,
    ) {
        let weights: [__m256i; 2] = [0, HALVES - 1].map(|half| {
            // SAFETY: by the contract.
            unsafe { _mm256_loadu_si256(weight.add(QUAD * 4 * COLUMNS + 32 * half).cast()) }
        });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: by the contract.
            let four = unsafe { _mm256_set1_epi32(value.add(row * STEP + QUAD * 4).cast::<i32>().read_unaligned()) };
            for half in 0..HALVES {
                // SAFETY: by the contract.
                sums[half] = unsafe { add_products::<EVEX>(sums[half], four, weights[half]) };
            }
        }
    }
}

/// Adds the products of eight times four unsigned values with as many weights. As assembly, for there to be one code for both
/// encodings.
///
/// # Safety
/// The CPU has the instruction.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn add_products<const EVEX: bool>(mut sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
    // SAFETY: registers only; the instruction is there by the contract.
    unsafe {
        if EVEX {
            asm!(
                "{{evex}} vpdpbusd {sums}, {values}, {weights}",
                sums = inout(ymm_reg) sums, values = in(ymm_reg) values, weights = in(ymm_reg) weights,
                options(pure, nomem, nostack, preserves_flags),
            );
        } else {
            asm!(
                "{{vex}} vpdpbusd {sums}, {values}, {weights}",
                sums = inout(ymm_reg) sums, values = in(ymm_reg) values, weights = in(ymm_reg) weights,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
    sums
}

/// Whether the instruction as AVX-VNNI encodes it adds up the largest products exactly. No emulator at hand has that encoding, which
/// is all that it differs in: so a CPU shows it once, before it is used.
///
/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn is_exact() -> bool {
    let (values, weights): ([u8; 32], [i8; 32]) =
        (array::from_fn(|at| [255, 0, 254, 255, 128][at % 5]), array::from_fn(|at| [-128, 127, -127, 1, -128, 127, -1][at % 7]));
    let start: [i32; 8] = [0, i32::MAX, i32::MIN, -1, 1, 1 << 20, -(1 << 20), 12345];
    let mut found = [0i32; 8];
    // SAFETY: by the contract; arrays of 32 bytes.
    unsafe {
        let [values, weights, start] = [values.as_ptr().cast(), weights.as_ptr().cast(), start.as_ptr().cast()];
        let [values, weights, start] = [values, weights, start].map(|vector| _mm256_loadu_si256(vector));
        _mm256_storeu_si256(found.as_mut_ptr().cast(), add_products::<false>(start, values, weights));
    }
    found
        == array::from_fn(|lane| {
            (4 * lane..4 * lane + 4).fold(start[lane], |sum, at| sum.wrapping_add(i32::from(values[at]) * i32::from(weights[at])))
        })
}
