//! The products with VPDPBUSD of AVX-VNNI, on 256 bits: four to a lane, those of unsigned activations with weights, added up exactly.
//! What is not products is that of `avx2`.

use super::avx2::{Arithmetic, COLUMNS, ROWS, STEP, tiles};
use super::{Block, Finish, Kernel, Panel};
use std::arch::{asm, x86_64::*};
use std::array;

pub(super) struct Vnni;

impl Kernel for Vnni {
    type Value = u8;
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const STEP: usize = STEP;
    const RUN: usize = 4;

    #[target_feature(enable = "avx2")]
    unsafe fn panel<F: Finish>(block: &Block<'_, u8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { tiles::<Vnni, F>(block, panel, finish, out, stride) };
    }
}

impl Arithmetic for Vnni {
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
                sums[half] = unsafe { add_products(sums[half], four, weights[half]) };
            }
        }
    }
}

/// Adds the products of eight times four unsigned values with as many weights.
///
/// # Safety
/// The CPU has the instruction.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn add_products(mut sums: __m256i, values: __m256i, weights: __m256i) -> __m256i {
    // As assembly: the instruction's own target feature would keep this from being inlined where AVX2 alone is enabled.
    // SAFETY: registers only; the instruction is there by the contract.
    unsafe {
        asm!(
            "{{vex}} vpdpbusd {sums}, {values}, {weights}",
            sums = inout(ymm_reg) sums, values = in(ymm_reg) values, weights = in(ymm_reg) weights,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Whether the instruction adds up the largest products exactly. No emulator at hand has it: so a CPU shows it once, before it is
/// used.
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
        _mm256_storeu_si256(found.as_mut_ptr().cast(), add_products(start, values, weights));
    }
    found
        == array::from_fn(|lane| {
            (4 * lane..4 * lane + 4).fold(start[lane], |sum, at| sum.wrapping_add(i32::from(values[at]) * i32::from(weights[at])))
        })
}
