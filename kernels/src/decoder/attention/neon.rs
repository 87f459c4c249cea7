//! The vectors with NEON: two registers each.

use super::partial::{Partial, Weigh};
use super::products::{Element, Kernel, Product, Vector, multiply};
use std::arch::aarch64::*;

pub(super) struct Neon;

impl Kernel for Neon {
    #[target_feature(enable = "neon")]
    unsafe fn multiply<E: Element>(product: &mut Product<'_, E>) {
        // SAFETY: by the contract.
        unsafe { multiply::<Pair, E>(product) };
    }

    #[target_feature(enable = "neon")]
    unsafe fn weigh(partial: &mut Partial, page: Weigh<'_>) {
        // SAFETY: by the contract.
        unsafe { partial.weigh_with::<Pair, true>(page) };
    }
}

#[derive(Clone, Copy)]
struct Pair(float32x4_t, float32x4_t);

impl Vector for Pair {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the contract of the trait, here and below.
        let value = unsafe { vdupq_n_f32(value) };
        Pair(value, value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Pair(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let halves = vreinterpretq_f16_u16(vld1q_u16(from));
            Pair(vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
        }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see above.
        unsafe { Pair(vfmaq_f32(self.0, a.0, b.0), vfmaq_f32(self.1, a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Pair(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let is_larger = [vcgtq_f32(self.0, other.0), vcgtq_f32(self.1, other.1)];
            Pair(vbslq_f32(is_larger[0], self.0, other.0), vbslq_f32(is_larger[1], self.1, other.1))
        }
    }
}
