//! Bytes to normalised and quantized integers in one pass: of a byte and a channel there are only 256 results each, so tables
//! hold them.

#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{check_normalise, normalise_hwc_on, scalar};
use crate::InstructionSet;
use crate::cpu::Kind;
use crate::pointwise::lookup::apply_bits;
use crate::quant::{Grid, Quantized, quantize_on};

/// Interleaved bytes to interleaved 8-bit integers (HWC to HWC): [`normalise_hwc`](super::normalise_hwc) and then
/// [`quantize`](crate::quant::quantize) on one grid, bit for bit.
///
/// # Panics
/// As those two.
pub fn normalise_quantize_hwc<Q: Quantized>(src: &[u8], scale: &[f32], offset: &[f32], grid: Grid, dst: &mut [Q]) {
    normalise_quantize_hwc_on(InstructionSet::best(), src, scale, offset, grid, dst);
}

/// [`normalise_quantize_hwc`] with a given instruction set.
pub fn normalise_quantize_hwc_on<Q: Quantized>(set: InstructionSet, src: &[u8], scale: &[f32], offset: &[f32], grid: Grid, dst: &mut [Q]) {
    check_normalise(src.len(), scale.len(), offset.len(), dst.len());
    let (tables, dst) = (tables::<Q>(scale, offset, grid), Q::bits_mut(dst));
    if let [table] = &tables[..] {
        dst.copy_from_slice(src);
        return apply_bits(set, table, dst);
    }
    match (set.0, <&[[u8; 256]; 3]>::try_from(&tables[..])) {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        (Kind::Neon(_), Ok(tables)) => unsafe { neon::map_interleaved_rgb(src, tables, dst) },
        _ => scalar::map_interleaved(src, &tables, dst),
    }
}

/// Interleaved bytes to planar 8-bit integers (HWC to CHW): [`normalise_chw`](super::normalise_chw) and then
/// [`quantize`](crate::quant::quantize) on one grid, bit for bit.
///
/// # Panics
/// As those two.
pub fn normalise_quantize_chw<Q: Quantized>(src: &[u8], scale: &[f32], offset: &[f32], grid: Grid, dst: &mut [Q]) {
    normalise_quantize_chw_on(InstructionSet::best(), src, scale, offset, grid, dst);
}

/// [`normalise_quantize_chw`] with a given instruction set.
pub fn normalise_quantize_chw_on<Q: Quantized>(set: InstructionSet, src: &[u8], scale: &[f32], offset: &[f32], grid: Grid, dst: &mut [Q]) {
    check_normalise(src.len(), scale.len(), offset.len(), dst.len());
    let (tables, dst) = (tables::<Q>(scale, offset, grid), Q::bits_mut(dst));
    let channels = tables.len();
    let pixels = src.len() / channels;
    let done = if channels == 3 { split_rgb(set, src, dst) } else { 0 };
    scalar::split(src, channels, dst, done..pixels);
    if pixels > 0 {
        for (plane, table) in dst.chunks_exact_mut(pixels).zip(&tables) {
            apply_bits(set, table, plane);
        }
    }
}

/// Three interleaved channels to planes; gives the number of pixels done.
fn split_rgb(set: InstructionSet, src: &[u8], dst: &mut [u8]) -> usize {
    let (red, rest) = dst.split_at_mut(src.len() / 3);
    let (green, blue) = rest.split_at_mut(src.len() / 3);
    let _planes = [red, green, blue];
    match set.0 {
        Kind::Scalar => 0,
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::split_rgb(src, _planes) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Kind::Avx2` exists only where AVX2 was detected.
        Kind::Avx2(_) => unsafe { avx2::split_rgb(src, _planes) },
    }
}

/// For each channel the bits of the integer that each byte becomes.
fn tables<Q: Quantized>(scale: &[f32], offset: &[f32], grid: Grid) -> Vec<[u8; 256]> {
    // The kernels give the same bits on every instruction set, so any will do.
    let set = InstructionSet::best();
    let bytes: Vec<u8> = (0..=255).collect();
    let (mut normalised, mut quantized) = ([0.0; 256], [Q::default(); 256]);
    let channels = scale.iter().zip(offset);
    channels
        .map(|(&scale, &offset)| {
            normalise_hwc_on(set, &bytes, &[scale], &[offset], &mut normalised);
            quantize_on(set, &normalised, grid, &mut quantized);
            std::array::from_fn(|byte| Q::bits(&quantized)[byte])
        })
        .collect()
}
