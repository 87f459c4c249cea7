//! The vectors in portable code: the reference.

use super::partial::{Partial, Weigh};
use super::products::{Element, Kernel, Product, Vector, multiply};
use crate::decoder::kv::LANES;
use crate::half::to_f32;
use crate::loops::PLAIN_FUSED;

pub(super) struct Scalar;

impl Kernel for Scalar {
    unsafe fn multiply<E: Element>(product: &mut Product<'_, E>) {
        // SAFETY: by the contract.
        unsafe { multiply::<[f32; LANES], E>(product) };
    }

    unsafe fn weigh(partial: &mut Partial, page: Weigh<'_>) {
        // SAFETY: by the contract.
        unsafe { partial.weigh_with::<[f32; LANES], PLAIN_FUSED>(page) };
    }
}

impl Vector for [f32; LANES] {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the contract; floats are aligned.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> Self {
        // SAFETY: as above.
        unsafe { from.cast::<[u16; LANES]>().read() }.map(to_f32)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<Self>().write(self) };
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        let mut sum = self;
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
        sum
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }

    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }
}
