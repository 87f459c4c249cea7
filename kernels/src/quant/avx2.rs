//! The quantization kernels for AVX2: the float operations of the scalar ones, eight at a time.

use super::{Grid, Target, scalar};
use std::arch::x86_64::*;

/// Values at a time.
const LANES: usize = 8;

/// See `scalar::steps`. The conversion rounds half to even: Rust never changes the rounding mode.
#[inline]
#[target_feature(enable = "avx2")]
fn steps(values: __m256, scale: __m256, lowest: __m256, highest: __m256) -> __m256i {
    // Of a NaN and a number, MAXPS gives its second operand.
    let steps = _mm256_max_ps(_mm256_div_ps(values, scale), lowest);
    _mm256_cvtps_epi32(_mm256_min_ps(steps, highest))
}

/// [`scalar::saturate`] for 16 values.
#[derive(Clone, Copy)]
pub(crate) struct Saturate {
    zero_point: __m256i,
    low: __m128i,
    high: __m128i,
}

impl Saturate {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(target: Target) -> Saturate {
        Saturate {
            zero_point: _mm256_set1_epi16(target.zero_point.into()),
            low: _mm_set1_epi8(target.low),
            high: _mm_set1_epi8(target.high),
        }
    }

    /// The first vector holds the values 0 to 3 and 8 to 11, the second 4 to 7 and 12 to 15: as AVX2 widens without crossing
    /// its halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn bytes(&self, values: [__m256; 2]) -> __m128i {
        // The conversion makes the lowest integer of all that is too large: not so of what is clamped before.
        let [first, second] = values.map(|values| _mm256_cvtps_epi32(_mm256_min_ps(values, _mm256_set1_ps(32767.0))));
        let words = _mm256_adds_epi16(_mm256_packs_epi32(first, second), self.zero_point);
        let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_min_epi8(_mm_max_epi8(bytes, self.low), self.high)
    }
}

/// Vectors whose steps are looked at together.
const TOGETHER: usize = 4;

/// How far from the middle between two integers a product with the reciprocal of the scale has to be, for the quotient, which is what is
/// asked for, to round alike: the two differ by less than `256 * 1.5 * 2^-23`. Dividing takes several times as long.
const CERTAIN: f32 = 0.5 - 1e-4;

/// See [`scalar::quantize`].
#[target_feature(enable = "avx2")]
pub(super) fn quantize(source: &[f32], grid: Grid, target: &mut [u8]) {
    let reciprocal = 1.0 / grid.scale;
    let (source, target) = if grid.scale.is_normal() && reciprocal.is_normal() {
        let (blocks, source) = source.as_chunks::<{ TOGETHER * LANES }>();
        let (targets, target) = target.as_chunks_mut::<{ TOGETHER * LANES }>();
        quantize_blocks(blocks, reciprocal, grid, targets);
        (source, target)
    } else {
        (source, target)
    };
    let (lowest, highest) = grid.bounds();
    let (scale, lowest, highest) = (_mm256_set1_ps(grid.scale), _mm256_set1_ps(lowest), _mm256_set1_ps(highest));
    let (zero_point, low_byte) = (_mm256_set1_epi32(grid.zero_point), _mm256_set1_epi32(0xff));
    let ((blocks, source_left), (targets, target_left)) = (source.as_chunks::<LANES>(), target.as_chunks_mut::<LANES>());
    for (block, target) in blocks.iter().zip(targets) {
        // SAFETY: an array of 8 floats.
        let values = unsafe { _mm256_loadu_ps(block.as_ptr()) };
        let values = _mm256_add_epi32(steps(values, scale, lowest, highest), zero_point);
        let values = _mm256_and_si256(values, low_byte);
        let values = _mm_packus_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
        // SAFETY: an array of 8 bytes.
        unsafe { _mm_storel_epi64(target.as_mut_ptr().cast(), _mm_packus_epi16(values, values)) };
    }
    scalar::quantize(source_left, grid, target_left);
}

/// Whole blocks, on a grid of 8 bits whose scale has a reciprocal.
#[inline]
#[target_feature(enable = "avx2")]
fn quantize_blocks(blocks: &[[f32; TOGETHER * LANES]], reciprocal: f32, grid: Grid, targets: &mut [[u8; TOGETHER * LANES]]) {
    let (lowest, highest) = grid.bounds();
    let (scale, lowest, highest) = (_mm256_set1_ps(grid.scale), _mm256_set1_ps(lowest), _mm256_set1_ps(highest));
    let (reciprocal, sign, certain) = (_mm256_set1_ps(reciprocal), _mm256_set1_ps(-0.0), _mm256_set1_ps(CERTAIN));
    let (zero_point, low_byte) = (_mm256_set1_epi32(grid.zero_point), _mm256_set1_epi32(0xff));
    let in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (block, target) in blocks.iter().zip(targets) {
        // SAFETY: an array of 32 floats.
        let values: [__m256; TOGETHER] = std::array::from_fn(|at| unsafe { _mm256_loadu_ps(block.as_ptr().add(at * LANES)) });
        let mut farthest = _mm256_setzero_ps();
        let mut integers = values.map(|values| {
            let steps = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(values, reciprocal), lowest), highest);
            let rounded = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(steps);
            farthest = _mm256_max_ps(farthest, _mm256_andnot_ps(sign, _mm256_sub_ps(steps, rounded)));
            _mm256_cvtps_epi32(rounded)
        });
        if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(farthest, certain)) != 0 {
            integers = values.map(|values| steps(values, scale, lowest, highest));
        }
        let [a, b, c, d] = integers.map(|values| _mm256_and_si256(_mm256_add_epi32(values, zero_point), low_byte));
        let bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
        // SAFETY: an array of 32 bytes.
        unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(bytes, in_order)) };
    }
}

/// See [`scalar::dequantize`].
#[target_feature(enable = "avx2")]
pub(super) fn dequantize<const SIGNED: bool>(source: &[u8], grid: Grid, target: &mut [f32]) {
    let (scale, zero_point) = (_mm256_set1_ps(grid.scale), _mm256_set1_epi32(grid.zero_point));
    let ((blocks, source_left), (targets, target_left)) = (source.as_chunks::<LANES>(), target.as_chunks_mut::<LANES>());
    for (block, target) in blocks.iter().zip(targets) {
        // SAFETY: an array of 8 bytes.
        let bits = unsafe { _mm_loadl_epi64(block.as_ptr().cast()) };
        let values = if SIGNED { _mm256_cvtepi8_epi32(bits) } else { _mm256_cvtepu8_epi32(bits) };
        let values = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(values, zero_point)), scale);
        // SAFETY: an array of 8 floats.
        unsafe { _mm256_storeu_ps(target.as_mut_ptr(), values) };
    }
    scalar::dequantize::<SIGNED>(source_left, grid, target_left);
}

/// See [`scalar::fake_quantize`].
#[target_feature(enable = "avx2")]
pub(super) fn fake_quantize(values: &mut [f32], grid: Grid) {
    let (lowest, highest) = grid.bounds();
    let (scale, lowest, highest) = (_mm256_set1_ps(grid.scale), _mm256_set1_ps(lowest), _mm256_set1_ps(highest));
    let (blocks, left) = values.as_chunks_mut::<LANES>();
    for block in blocks {
        // SAFETY: an array of 8 floats.
        unsafe {
            let steps = steps(_mm256_loadu_ps(block.as_ptr()), scale, lowest, highest);
            _mm256_storeu_ps(block.as_mut_ptr(), _mm256_mul_ps(_mm256_cvtepi32_ps(steps), scale));
        }
    }
    scalar::fake_quantize(left, grid);
}

/// See [`scalar::extent`].
#[target_feature(enable = "avx2")]
pub(super) fn extent(values: &[f32]) -> (f32, f32) {
    let (blocks, left) = values.as_chunks::<{ TOGETHER * LANES }>();
    let (mut lowest, mut highest) = ([_mm256_setzero_ps(); TOGETHER], [_mm256_setzero_ps(); TOGETHER]);
    for block in blocks {
        for ((values, lowest), highest) in block.as_chunks::<LANES>().0.iter().zip(&mut lowest).zip(&mut highest) {
            // SAFETY: an array of 8 floats.
            let values = unsafe { _mm256_loadu_ps(values.as_ptr()) };
            // Of a NaN and a number, MINPS and MAXPS give their second operand.
            *lowest = _mm256_min_ps(values, *lowest);
            *highest = _mm256_max_ps(values, *highest);
        }
    }
    let ([a, b, c, d], [e, f, g, h]) = (lowest, highest);
    let lowest = _mm256_min_ps(_mm256_min_ps(a, b), _mm256_min_ps(c, d));
    let highest = _mm256_max_ps(_mm256_max_ps(e, f), _mm256_max_ps(g, h));
    let (mut lows, mut highs) = ([0.0; LANES], [0.0; LANES]);
    // SAFETY: arrays of 8 floats.
    unsafe {
        _mm256_storeu_ps(lows.as_mut_ptr(), lowest);
        _mm256_storeu_ps(highs.as_mut_ptr(), highest);
    }
    let left = scalar::extent(left);
    (lows.into_iter().fold(left.0, f32::min), highs.into_iter().fold(left.1, f32::max))
}
