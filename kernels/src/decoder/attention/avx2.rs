//! The vectors with AVX2, FMA and F16C.

use super::partial::{Partial, Weigh};
use super::products::{Element, Kernel, Product, Vector, multiply};
use std::arch::x86_64::*;

pub(super) struct Fma;

impl Kernel for Fma {
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn multiply<E: Element>(product: &mut Product<'_, E>) {
        // SAFETY: by the contract.
        unsafe { multiply::<__m256, E>(product) };
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn weigh(partial: &mut Partial, page: Weigh<'_>) {
        // SAFETY: by the contract.
        unsafe { partial.weigh_with::<__m256, true>(page) };
    }
}

impl Vector for __m256 {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the contract of the trait, here and below.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self) };
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(self, other) }
    }
}
