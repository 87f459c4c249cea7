//! Pictures: bilinear resize, and bytes to normalised floats or 8-bit integers. Interleaved rows of bytes without padding; decodes nothing.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "aarch64")]
mod neon;
mod quantized;
mod scalar;
mod weights;

use crate::InstructionSet;
use crate::cpu::Kind;
pub use quantized::{normalise_quantize_chw, normalise_quantize_chw_on, normalise_quantize_hwc, normalise_quantize_hwc_on};
use weights::{STEP, Weights};

/// Binary digits after the point of the pixels between the two passes of a resize: `255 << 7` still fits an `i16`.
const FRACTION: u32 = 7;

/// Values that a vector step of [`normalise_hwc`] takes.
const LANES: usize = 8;

/// Scales a picture, bilinearly, with half-pixel centres and antialiasing: what PIL's `BILINEAR` and torchvision's
/// `antialias=True` give, within 1, since models are trained with these.
///
/// `src` holds `src_h` rows of `src_w` pixels of `channels` interleaved bytes, `dst` likewise. Downscaling averages over all
/// the source pixels that a target pixel covers, weighted by a triangle; upscaling interpolates (ONNX Resize `linear`,
/// `half_pixel`). The arithmetic is fixed-point: the result is the same on every CPU, and a flat picture stays as it is. Down to
/// a fiftieth of a side it is within 1 of the exact value whatever the picture; beyond, for all but contrived ones.
///
/// # Panics
/// If a size is 0 or a slice's length is not width * height * channels.
pub fn resize_bilinear(src: &[u8], src_w: usize, src_h: usize, channels: usize, dst: &mut [u8], dst_w: usize, dst_h: usize) {
    resize_bilinear_on(InstructionSet::best(), src, src_w, src_h, channels, dst, dst_w, dst_h);
}

/// [`resize_bilinear`] with a given instruction set.
#[allow(clippy::too_many_arguments, reason = "two pictures, described alike")]
pub fn resize_bilinear_on(
    set: InstructionSet,
    src: &[u8],
    src_w: usize,
    src_h: usize,
    channels: usize,
    dst: &mut [u8],
    dst_w: usize,
    dst_h: usize,
) {
    check_picture("source", src.len(), src_w, src_h, channels);
    check_picture("target", dst.len(), dst_w, dst_h, channels);
    if (src_w, src_h) == (dst_w, dst_h) {
        dst.copy_from_slice(src);
        return;
    }
    let (rows, columns) = (Weights::new(src_h, dst_h), Weights::new(src_w, dst_w));
    let stride = src_w * channels;
    // Rows first: that pass reads each byte once, in order, whatever the channels, and needs a buffer of one row.
    // Zeros follow the row, for vectors that reach beyond it.
    let mut blended = vec![0i16; stride + STEP * channels];
    for (position, out) in dst.chunks_exact_mut(dst_w * channels).enumerate() {
        let (start, weights) = rows.at(position);
        let source = &src[start * stride..(start + weights.len()) * stride];
        blend_rows(set, source, weights, rows.bits, &mut blended[..stride]);
        blend_columns(set, &blended, &columns, channels, out);
    }
}

/// Weighted sum of the `weights.len()` rows in `rows`, each as long as `out`: fixed-point, [`FRACTION`] digits after the point.
fn blend_rows(set: InstructionSet, rows: &[u8], weights: &[i16], bits: u32, out: &mut [i16]) {
    debug_assert_eq!(rows.len(), weights.len() * out.len());
    let stride = out.len();
    match set.0 {
        Kind::Scalar => scalar::blend_rows(rows, stride, weights, bits, out),
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::blend_rows(rows, stride, weights, bits, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::blend_rows(rows, stride, weights, bits, out) },
    }
}

/// A row of target pixels from a row that [`blend_rows`] made, followed by [`STEP`] pixels of zeros.
fn blend_columns(set: InstructionSet, row: &[i16], weights: &Weights, channels: usize, out: &mut [u8]) {
    debug_assert_eq!(out.len(), weights.len() * channels);
    match (set.0, channels) {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        (Kind::Neon(_), 1) => unsafe { neon::blend_columns_grey(row, weights, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        (Kind::Neon(_), 3) => unsafe { neon::blend_columns_rgb(row, weights, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        (Kind::Avx2(_), 1) => unsafe { avx2::blend_columns_grey(row, weights, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Kind::Avx2(_), 3) => unsafe { avx2::blend_columns_rgb(row, weights, out) },
        _ => scalar::blend_columns(row, weights, channels, out),
    }
}

/// Interleaved bytes to interleaved floats (HWC to HWC): `dst = src * scale + offset`, with a scale and an offset for each
/// channel; `scale.len()` is the number of channels. For a mean and a deviation of pixels over 255: `scale = 1 / (255 * std)`,
/// `offset = -mean / std`. The product is rounded before the sum (no fused multiply-add), so every CPU gives the same bits.
///
/// # Panics
/// If there is no scale, if scales and offsets or source and target differ in number, or if the source is not whole pixels.
pub fn normalise_hwc(src: &[u8], scale: &[f32], offset: &[f32], dst: &mut [f32]) {
    normalise_hwc_on(InstructionSet::best(), src, scale, offset, dst);
}

/// [`normalise_hwc`] with a given instruction set.
pub fn normalise_hwc_on(set: InstructionSet, src: &[u8], scale: &[f32], offset: &[f32], dst: &mut [f32]) {
    check_normalise(src.len(), scale.len(), offset.len(), dst.len());
    let pattern = Pattern::new(scale, offset);
    match (set.0, scale.len()) {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        (Kind::Neon(_), 1) => unsafe { neon::normalise_interleaved::<1>(src, &pattern, dst) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        (Kind::Neon(_), 3) => unsafe { neon::normalise_interleaved::<3>(src, &pattern, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        (Kind::Avx2(_), 1) => unsafe { avx2::normalise_interleaved::<1>(src, &pattern, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Kind::Avx2(_), 3) => unsafe { avx2::normalise_interleaved::<3>(src, &pattern, dst) },
        _ => scalar::normalise_interleaved(src, &pattern, dst),
    }
}

/// Interleaved bytes to planar floats (HWC to CHW), else as [`normalise_hwc`]: the first channel of all pixels, then the
/// second, and so on.
///
/// # Panics
/// As [`normalise_hwc`].
pub fn normalise_chw(src: &[u8], scale: &[f32], offset: &[f32], dst: &mut [f32]) {
    normalise_chw_on(InstructionSet::best(), src, scale, offset, dst);
}

/// [`normalise_chw`] with a given instruction set.
pub fn normalise_chw_on(set: InstructionSet, src: &[u8], scale: &[f32], offset: &[f32], dst: &mut [f32]) {
    check_normalise(src.len(), scale.len(), offset.len(), dst.len());
    let channels = scale.len();
    let pixels = src.len() / channels;
    if channels == 1 {
        return normalise_hwc_on(set, src, scale, offset, dst);
    }
    match (set.0, channels) {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        (Kind::Neon(_), 3) => unsafe { neon::normalise_planar_rgb(src, scale, offset, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        (Kind::Avx2(_), 3) => unsafe { avx2::normalise_planar_rgb(src, scale, offset, dst) },
        _ => scalar::normalise_planar(src, scale, offset, dst, 0..pixels),
    }
}

/// Scale and offset of each of [`LANES`] pixels in turn: lines up with both the channels and the vectors.
struct Pattern {
    scale: Vec<f32>,
    offset: Vec<f32>,
}

impl Pattern {
    fn new(scale: &[f32], offset: &[f32]) -> Pattern {
        Pattern { scale: scale.repeat(LANES), offset: offset.repeat(LANES) }
    }
}

fn check_picture(which: &str, length: usize, width: usize, height: usize, channels: usize) {
    assert!(
        width > 0 && height > 0 && channels > 0,
        "{which} picture of {width} x {height} pixels and {channels} channels: each must be at least 1"
    );
    let needed = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels));
    assert!(
        needed == Some(length),
        "{which} picture of {width} x {height} pixels and {channels} channels has {length} bytes, not width * height * channels"
    );
}

fn check_normalise(source: usize, scales: usize, offsets: usize, target: usize) {
    assert!(scales > 0, "a picture needs at least one channel: no scale given");
    assert!(scales == offsets, "{scales} scales but {offsets} offsets: there must be one of each for a channel");
    assert!(source.is_multiple_of(scales), "{source} bytes are not whole pixels of {scales} channels");
    assert!(source == target, "{source} bytes do not fit {target} values: there must be as many");
}

#[cfg(test)]
mod tests;
