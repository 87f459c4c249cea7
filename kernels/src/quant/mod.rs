//! Quantization: floats to and from the 8-bit grid of ONNX QuantizeLinear and DequantizeLinear, of one grid.
//! Knows grids and slices; shapes are the caller's.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod scalar;

use crate::InstructionSet;
use crate::cpu::Kind;

/// Integers that floats are quantized to, `q` standing for `(q - zero_point) * scale`.
///
/// ONNX demands a positive scale. Any other is computed with as IEEE 754 says, and never panics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    scale: f32,
    zero_point: i32,
    lowest: i32,
    highest: i32,
}

impl Grid {
    /// The grid of 8-bit integers, unsigned or signed as the zero point is.
    pub fn new<Q: Quantized>(scale: f32, zero_point: Q) -> Grid {
        Grid { scale, zero_point: zero_point.into(), lowest: Q::LOWEST, highest: Q::HIGHEST }
    }

    /// The grid that covers `lowest..=highest` and 0 with the 256 integers of `Q`: ONNX DynamicQuantizeLinear for `u8`, and the same
    /// less 128 for `i8`. Where both are 0 the scale is 1, as in onnxruntime.
    pub fn covering<Q: Quantized>(extent: (f32, f32)) -> Grid {
        Grid::covering_with(Q::LOWEST, Q::HIGHEST, extent)
    }

    /// The same with the integers of `i8` up to `highest`, which is above -128: for activations that are to take fewer bits.
    pub fn covering_up_to(highest: i8, extent: (f32, f32)) -> Grid {
        Grid::covering_with(i8::LOWEST, i32::from(highest).max(i8::LOWEST + 1), extent)
    }

    fn covering_with(least: i32, greatest: i32, (lowest, highest): (f32, f32)) -> Grid {
        let (lowest, highest, steps) = (lowest.min(0.0), highest.max(0.0), (greatest - least) as f32);
        let scale = if lowest == highest { 1.0 } else { (highest - lowest) / steps };
        let zero_point = (-lowest / scale).clamp(0.0, steps).round_ties_even() as i32;
        Grid { scale, zero_point: zero_point + least, lowest: least, highest: greatest }
    }

    /// The grid of the integers `lowest..=highest`, for [`fake_quantize`] with other widths: 16 bits, 4 bits.
    ///
    /// # Panics
    /// If the zero point is not in the range, or the range is wider than 2^17.
    pub fn with_range(scale: f32, zero_point: i32, lowest: i32, highest: i32) -> Grid {
        assert!((lowest..=highest).contains(&zero_point), "zero point {zero_point} is not within {lowest} to {highest}");
        assert!(i64::from(highest) - i64::from(lowest) <= 1 << 17, "a grid of {lowest} to {highest} is wider than 2^17");
        Grid { scale, zero_point, lowest, highest }
    }

    /// Step between neighbours.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The integer that stands for 0.
    pub fn zero_point(&self) -> i32 {
        self.zero_point
    }

    /// The range, less the zero point: exact as floats.
    fn bounds(&self) -> (f32, f32) {
        ((self.lowest - self.zero_point) as f32, (self.highest - self.zero_point) as f32)
    }
}

/// How a kernel makes a real number, already in steps of the result's scale, an `i8`: rounded, halves to even, the zero point
/// added, clamped to `low..=high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The integer that stands for 0.
    pub zero_point: i8,
    /// Smallest result: the zero point for a fused Relu, else -128.
    pub low: i8,
    /// Largest result, at least `low`.
    pub high: i8,
}

impl Target {
    /// All of `i8`.
    pub fn new(zero_point: i8) -> Target {
        Target { zero_point, low: i8::MIN, high: i8::MAX }
    }
}

/// The integers that [`quantize`] gives and [`dequantize`] takes: `u8` and `i8`.
pub trait Quantized: Copy + Default + Into<i32> + sealed::Byte {
    /// Least value.
    const LOWEST: i32;
    /// Greatest value.
    const HIGHEST: i32;
}

impl Quantized for u8 {
    const LOWEST: i32 = 0;
    const HIGHEST: i32 = 255;
}

impl Quantized for i8 {
    const LOWEST: i32 = -128;
    const HIGHEST: i32 = 127;
}

mod sealed {
    /// An integer of one byte, which the kernels write and read as bits.
    pub trait Byte: Sized {
        const SIGNED: bool;
        fn bits(values: &[Self]) -> &[u8];
        fn bits_mut(values: &mut [Self]) -> &mut [u8];
    }

    impl Byte for u8 {
        const SIGNED: bool = false;
        fn bits(values: &[u8]) -> &[u8] {
            values
        }
        fn bits_mut(values: &mut [u8]) -> &mut [u8] {
            values
        }
    }

    impl Byte for i8 {
        const SIGNED: bool = true;
        fn bits(values: &[i8]) -> &[u8] {
            // SAFETY: `i8` and `u8` have one size and alignment, and every bit pattern is valid in both.
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
        }
        fn bits_mut(values: &mut [i8]) -> &mut [u8] {
            // SAFETY: as above; the one mutable borrow is handed on.
            unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
        }
    }
}

/// `target = saturate(round(source / scale) + zero_point)`, rounding half to even: ONNX QuantizeLinear. Infinities saturate;
/// NaN, which ONNX leaves open, becomes the lowest integer, as in onnxruntime 1.32 on x86-64.
///
/// # Panics
/// If the slices differ in length, or the grid is not one of `Q`.
pub fn quantize<Q: Quantized>(source: &[f32], grid: Grid, target: &mut [Q]) {
    quantize_on(InstructionSet::best(), source, grid, target);
}

/// [`quantize`] with a given instruction set.
pub fn quantize_on<Q: Quantized>(set: InstructionSet, source: &[f32], grid: Grid, target: &mut [Q]) {
    assert_eq!(source.len(), target.len(), "quantize: as many floats as integers");
    check_grid::<Q>(&grid);
    let target = Q::bits_mut(target);
    match set.0 {
        Kind::Scalar => scalar::quantize(source, grid, target),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::quantize(source, grid, target) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::quantize(source, grid, target) },
    }
}

/// `target = (source - zero_point) * scale`: ONNX DequantizeLinear.
///
/// # Panics
/// If the slices differ in length, or the grid is not one of `Q`.
pub fn dequantize<Q: Quantized>(source: &[Q], grid: Grid, target: &mut [f32]) {
    dequantize_on(InstructionSet::best(), source, grid, target);
}

/// [`dequantize`] with a given instruction set.
pub fn dequantize_on<Q: Quantized>(set: InstructionSet, source: &[Q], grid: Grid, target: &mut [f32]) {
    assert_eq!(source.len(), target.len(), "dequantize: as many integers as floats");
    check_grid::<Q>(&grid);
    let bits = Q::bits(source);
    match (set.0, Q::SIGNED) {
        (Kind::Scalar, false) => scalar::dequantize::<false>(bits, grid, target),
        (Kind::Scalar, true) => scalar::dequantize::<true>(bits, grid, target),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        (Kind::Neon(_), false) => unsafe { neon::dequantize::<false>(bits, grid, target) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        (Kind::Neon(_), true) => unsafe { neon::dequantize::<true>(bits, grid, target) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        (Kind::Avx2(_), false) => unsafe { avx2::dequantize::<false>(bits, grid, target) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Kind::Avx2(_), true) => unsafe { avx2::dequantize::<true>(bits, grid, target) },
    }
}

/// Moves each value to the nearest point of the grid: what QuantizeLinear and then DequantizeLinear give, bit for bit.
/// NaN becomes the lowest point.
pub fn fake_quantize(values: &mut [f32], grid: Grid) {
    fake_quantize_on(InstructionSet::best(), values, grid);
}

/// [`fake_quantize`] with a given instruction set.
pub fn fake_quantize_on(set: InstructionSet, values: &mut [f32], grid: Grid) {
    match set.0 {
        Kind::Scalar => scalar::fake_quantize(values, grid),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::fake_quantize(values, grid) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::fake_quantize(values, grid) },
    }
}

/// The least and the greatest of some values and 0; NaN is passed over. For [`Grid::covering`]: parts of a tensor may be looked
/// through apart.
pub fn extent(values: &[f32]) -> (f32, f32) {
    extent_on(InstructionSet::best(), values)
}

/// [`extent`] with a given instruction set.
pub fn extent_on(set: InstructionSet, values: &[f32]) -> (f32, f32) {
    match set.0 {
        Kind::Scalar => scalar::extent(values),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::extent(values) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::extent(values) },
    }
}

/// Quantizes on the grid that covers the values, which it gives: ONNX DynamicQuantizeLinear.
///
/// # Panics
/// If the slices differ in length.
pub fn dynamic_quantize<Q: Quantized>(source: &[f32], target: &mut [Q]) -> Grid {
    let grid = Grid::covering::<Q>(extent(source));
    quantize(source, grid, target);
    grid
}

fn check_grid<Q: Quantized>(grid: &Grid) {
    assert!(
        Q::LOWEST <= grid.lowest && grid.highest <= Q::HIGHEST,
        "a grid of {} to {} for integers of {} to {}",
        grid.lowest,
        grid.highest,
        Q::LOWEST,
        Q::HIGHEST
    );
}

#[cfg(test)]
mod tests;
