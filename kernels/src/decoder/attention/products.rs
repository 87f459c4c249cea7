//! The products of attention: queries with a page's keys, weights with its values. Generic over the vectors of an instruction set.

#[cfg(target_arch = "x86_64")]
use super::avx2::Fma;
#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::partial::{Partial, Weigh};
use super::scalar::Scalar;
use crate::InstructionSet;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Kind;
use crate::decoder::kv::{LANES, PAGE};
use crate::half;

/// `out[row] = sum over depth of rows * weights`, or that added to `out[row] * factors[row]`.
///
/// Each sum is one chain over the depth, from the first to the last, that starts from 0.
pub(super) struct Product<'a, E> {
    /// `[depth / PAGE][count][PAGE]`.
    pub(super) rows: &'a [f32],
    /// Elements from one part of the depth to the next.
    pub(super) block: usize,
    /// Of the rows.
    pub(super) count: usize,
    pub(super) depth: usize,
    /// `[depth][columns]`.
    pub(super) weights: &'a [E],
    /// A multiple of the lanes.
    pub(super) columns: usize,
    /// Empty, or one for each row.
    pub(super) factors: &'a [f32],
    /// `[count][columns]`.
    pub(super) out: &'a mut [f32],
}

impl<E: Element> Product<'_, E> {
    /// Computes it with the kernel of `set`.
    ///
    /// # Panics
    /// If there is nothing to compute, or a slice is too short.
    pub(super) fn run(self, set: InstructionSet) {
        let Product { rows, block, count, depth, weights, columns, factors, ref out } = self;
        assert!(count > 0 && depth > 0 && columns.is_multiple_of(LANES), "attention: no product {count} x {depth} x {columns}");
        let last = (depth - 1) / PAGE * block + (count - 1) * PAGE + (depth - 1) % PAGE;
        assert!(depth <= PAGE || block >= count * PAGE, "attention: parts of the depth overlap");
        assert!(last < rows.len() && depth * columns <= weights.len(), "attention: an operand is too short");
        assert!(count * columns <= out.len() && (factors.is_empty() || count <= factors.len()), "attention: the target is too short");
        with_kernel(set, self);
    }
}

impl<E: Element> Visit for Product<'_, E> {
    fn visit<K: Kernel>(mut self) {
        // SAFETY: `run` has checked the slices, and the CPU has the instructions.
        unsafe { K::multiply(&mut self) };
    }
}

/// What keys and values are held as.
pub(super) trait Element: Copy + Sync {
    /// Elements as `f32`.
    fn widen(set: InstructionSet, values: &[Self], out: &mut Vec<f32>);

    /// # Safety
    /// The CPU has the vector's instructions, and at `from` are as many elements as it has lanes.
    unsafe fn load<V: Vector>(from: *const Self) -> V;
}

impl Element for u16 {
    fn widen(set: InstructionSet, values: &[u16], out: &mut Vec<f32>) {
        out.resize(values.len(), 0.0);
        half::widen(set, values, out);
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u16) -> V {
        // SAFETY: by the contract.
        unsafe { V::load_halves(from) }
    }
}

impl Element for f32 {
    fn widen(_: InstructionSet, values: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(values);
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        // SAFETY: by the contract.
        unsafe { V::load(from) }
    }
}

/// [`LANES`] floats. Its functions are `#[inline(always)]`, to be compiled with the instructions of who calls them.
///
/// # Safety
/// To call any of them, the CPU has the instructions; pointers point at a vector.
pub(super) trait Vector: Copy {
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_halves(from: *const u16) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `a * b + self`.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    /// The larger one of each lane; if one is NaN, `other`'s.
    unsafe fn larger(self, other: Self) -> Self;
}

/// The loops of one instruction set.
pub(super) trait Kernel {
    /// # Safety
    /// The CPU has the instructions; the product's slices are long enough, as [`Product::run`] checks.
    unsafe fn multiply<E: Element>(product: &mut Product<'_, E>);

    /// See [`Partial::weigh`].
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn weigh(partial: &mut Partial, page: Weigh<'_>);
}

/// What is done with the loops of an instruction set.
pub(super) trait Visit {
    fn visit<K: Kernel>(self);
}

/// Calls `visitor` with the loops for `set`: the CPU has their instructions, those of the set or what was just detected.
pub(super) fn with_kernel(set: InstructionSet, visitor: impl Visit) {
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(_) if is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") => visitor.visit::<Fma>(),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(_) => visitor.visit::<Neon>(),
        _ => visitor.visit::<Scalar>(),
    }
}

/// See [`Kernel::multiply`]. Tiles have about as many sums as an instruction set has registers for: enough that none waits.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, E: Element>(product: &mut Product<'_, E>) {
    let mut row = 0;
    while row < product.count {
        // SAFETY: the product has these rows.
        row += unsafe {
            match product.count - row {
                1 => columns::<V, E, 1, 4>(product, row),
                2 => columns::<V, E, 2, 4>(product, row),
                3 => columns::<V, E, 3, 4>(product, row),
                4 => columns::<V, E, 4, 2>(product, row),
                5 => columns::<V, E, 5, 2>(product, row),
                // Not 6 and then 1 or 2, which would wait and widen the weights again.
                7 => columns::<V, E, 7, 1>(product, row),
                8 => columns::<V, E, 8, 1>(product, row),
                _ => columns::<V, E, 6, 2>(product, row),
            }
        };
    }
}

/// `R` rows with all columns, `N` vectors of them at once: how many rows.
///
/// # Safety
/// As [`multiply`]; the product has the rows.
#[inline(always)]
unsafe fn columns<V: Vector, E: Element, const R: usize, const N: usize>(product: &mut Product<'_, E>, row: usize) -> usize {
    let vectors = product.columns / LANES;
    let mut vector = 0;
    // SAFETY: by the contract; these columns are within the product's.
    unsafe {
        while vector + N <= vectors {
            tile::<V, E, R, N>(product, row, vector * LANES);
            vector += N;
        }
        while vector < vectors {
            tile::<V, E, R, 1>(product, row, vector * LANES);
            vector += 1;
        }
    }
    R
}

/// `R` rows with `N` vectors of columns.
///
/// # Safety
/// As [`multiply`]; the product has the rows and columns.
#[inline(always)]
unsafe fn tile<V: Vector, E: Element, const R: usize, const N: usize>(product: &mut Product<'_, E>, row: usize, column: usize) {
    // SAFETY: all pointers are to rows and columns of the product, whose slices hold them.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        let mut weights = product.weights.as_ptr().add(column);
        let mut block = product.rows.as_ptr().add(row * PAGE);
        let mut left = product.depth;
        while left > 0 {
            let depth = if left < PAGE { left } else { PAGE };
            for index in 0..depth {
                let values = block.add(index);
                let mut vectors = [V::splat(0.0); N];
                for (n, vector) in vectors.iter_mut().enumerate() {
                    *vector = E::load(weights.add(n * LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let value = V::splat(*values.add(r * PAGE));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = sum.add_product(value, vector);
                    }
                }
                weights = weights.wrapping_add(product.columns);
            }
            left -= depth;
            block = block.wrapping_add(product.block);
        }
        for (r, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                let out = product.out.as_mut_ptr().add((row + r) * product.columns + column + n * LANES);
                if product.factors.is_empty() {
                    sum.store(out);
                } else {
                    sum.add_product(V::load(out), V::splat(*product.factors.as_ptr().add(row + r))).store(out);
                }
            }
        }
    }
}
