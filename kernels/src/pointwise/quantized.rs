//! Softmax and layer normalisation from `i8` to `i8`: a block of values at a time is made `f32`, computed with, and quantized again
//! while the cache holds it. The bits are those of `dequantize`, the function of floats, and `quantize` one after the other.

use super::{LayerNorm, layer_normalise_on, softmax_columns_on, softmax_on};
use crate::InstructionSet;
use crate::quant::{Grid, dequantize_on, quantize_on};

/// Floats of a block: half of the first-level cache of a small core.
const BLOCK: usize = 4096;

/// Columns of a block at least: a cache line of them.
const COLUMNS: usize = 16;

/// What scores mean, and what their softmax becomes.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedSoftmax<'a> {
    /// Of the scores. Their zero point is of no concern, since a softmax does not change with a shift of them all.
    pub scale: f32,
    /// Added to the scores: empty, or one for each of those whose softmax is one.
    pub mask: &'a [f32],
    /// For the results; of `i8`.
    pub target: Grid,
}

/// [`softmax`](super::softmax) of each row of `depth` scores, as floats `score * scale + mask`; `scratch` grows to a block.
///
/// # Panics
/// If the scores are not whole rows, `out` is not as long, there is another number of mask values, or the grid is not one of `i8`.
pub fn softmax_quantized(scores: &[i8], softmax: &QuantizedSoftmax<'_>, depth: usize, out: &mut [i8], scratch: &mut Vec<f32>) {
    softmax_quantized_on(InstructionSet::best(), scores, softmax, depth, out, scratch);
}

/// [`softmax_quantized`] with a given instruction set.
pub fn softmax_quantized_on(
    set: InstructionSet,
    scores: &[i8],
    softmax: &QuantizedSoftmax<'_>,
    depth: usize,
    out: &mut [i8],
    scratch: &mut Vec<f32>,
) {
    check(scores.len(), softmax, [depth, 1], out.len());
    let source = Grid::new(softmax.scale, 0i8);
    let block = (BLOCK / depth).max(1) * depth;
    for (scores, out) in scores.chunks(block).zip(out.chunks_mut(block)) {
        let floats = floats(scratch, scores.len());
        dequantize_on(set, scores, source, floats);
        if !softmax.mask.is_empty() {
            floats.chunks_exact_mut(depth).for_each(|row| row.iter_mut().zip(softmax.mask).for_each(|(value, mask)| *value += mask));
        }
        softmax_on(set, floats, depth);
        quantize_on(set, floats, softmax.target, out);
    }
}

/// [`softmax_columns`](super::softmax_columns) of scores of `outer x depth x inner`, as floats `score * scale + mask`; `scratch`
/// grows to a block.
///
/// # Panics
/// If the scores are not whole blocks of `depth x inner`, `out` is not as long, there is another number of mask values, or the grid
/// is not one of `i8`.
pub fn softmax_columns_quantized(
    scores: &[i8],
    softmax: &QuantizedSoftmax<'_>,
    [depth, inner]: [usize; 2],
    out: &mut [i8],
    scratch: &mut Vec<f32>,
) {
    softmax_columns_quantized_on(InstructionSet::best(), scores, softmax, [depth, inner], out, scratch);
}

/// [`softmax_columns_quantized`] with a given instruction set.
pub fn softmax_columns_quantized_on(
    set: InstructionSet,
    scores: &[i8],
    softmax: &QuantizedSoftmax<'_>,
    [depth, inner]: [usize; 2],
    out: &mut [i8],
    scratch: &mut Vec<f32>,
) {
    check(scores.len(), softmax, [depth, inner], out.len());
    let source = Grid::new(softmax.scale, 0i8);
    let most = (BLOCK / depth).max(COLUMNS);
    for (scores, out) in scores.chunks_exact(depth * inner).zip(out.chunks_exact_mut(depth * inner)) {
        for start in (0..inner).step_by(most) {
            let columns = start..inner.min(start + most);
            let floats = floats(scratch, depth * columns.len());
            for (row, floats) in floats.chunks_exact_mut(columns.len()).enumerate() {
                dequantize_on(set, &scores[row * inner..][columns.clone()], source, floats);
                if let Some(mask) = softmax.mask.get(row) {
                    floats.iter_mut().for_each(|value| *value += mask);
                }
            }
            softmax_columns_on(set, floats, depth, columns.len());
            for (row, floats) in floats.chunks_exact(columns.len()).enumerate() {
                quantize_on(set, floats, softmax.target, &mut out[row * inner..][columns.clone()]);
            }
        }
    }
}

/// [`layer_normalise`](super::layer_normalise) from one grid to another, both of `i8`; `scratch` grows to two blocks.
///
/// # Panics
/// As [`layer_normalise`](super::layer_normalise), or if a grid is not one of `i8`.
pub fn layer_normalise_quantized(values: &[i8], source: Grid, norm: &LayerNorm<'_>, target: Grid, out: &mut [i8], scratch: &mut Vec<f32>) {
    layer_normalise_quantized_on(InstructionSet::best(), values, source, norm, target, out, scratch);
}

/// [`layer_normalise_quantized`] with a given instruction set.
pub fn layer_normalise_quantized_on(
    set: InstructionSet,
    values: &[i8],
    source: Grid,
    norm: &LayerNorm<'_>,
    target: Grid,
    out: &mut [i8],
    scratch: &mut Vec<f32>,
) {
    let depth = norm.scale.len();
    assert!(depth > 0 && values.len().is_multiple_of(depth), "layer norm: {} values are not whole rows of {depth}", values.len());
    assert_eq!(values.len(), out.len(), "layer norm: as many results as values");
    let block = (BLOCK / 2 / depth).max(1) * depth;
    for (values, out) in values.chunks(block).zip(out.chunks_mut(block)) {
        let (floats, normalised) = floats(scratch, 2 * values.len()).split_at_mut(values.len());
        dequantize_on(set, values, source, floats);
        layer_normalise_on(set, floats, norm, normalised);
        quantize_on(set, normalised, target, out);
    }
}

fn check(length: usize, softmax: &QuantizedSoftmax<'_>, [depth, inner]: [usize; 2], out: usize) {
    super::float::check_blocks("softmax", length, depth, inner);
    assert_eq!(length, out, "softmax: as many results as scores");
    assert!([0, depth].contains(&softmax.mask.len()), "softmax: a mask of {} for {depth} scores", softmax.mask.len());
}

/// Room for floats.
fn floats(scratch: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
    &mut scratch[..length]
}
