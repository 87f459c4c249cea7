//! Half-precision floats (IEEE 754 binary16) as their bits: to and from `f32`, the same bits on every instruction set.

use crate::InstructionSet;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::cpu::Kind;

/// Rounds each value to the nearest half, ties to even; 65,520 and more become infinite, NaN stays NaN.
///
/// # Panics
/// If the slices differ in length.
pub fn narrow(set: InstructionSet, values: &[f32], out: &mut [u16]) {
    assert_eq!(values.len(), out.len(), "half: as many results as values");
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: F16C was detected.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("f16c") => unsafe { f16c::narrow(values, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::narrow(values, out) },
        _ => narrow_each(values, out),
    }
}

/// The values of halves, exactly.
///
/// # Panics
/// If the slices differ in length.
pub fn widen(set: InstructionSet, halves: &[u16], out: &mut [f32]) {
    assert_eq!(halves.len(), out.len(), "half: as many results as values");
    match set.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: F16C was detected.
        Kind::Avx2(_) if std::arch::is_x86_feature_detected!("f16c") => unsafe { f16c::widen(halves, out) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a `Kind::Neon` exists only where NEON was detected.
        Kind::Neon(_) => unsafe { neon::widen(halves, out) },
        _ => widen_each(halves, out),
    }
}

fn narrow_each(values: &[f32], out: &mut [u16]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = from_f32(value);
    }
}

fn widen_each(halves: &[u16], out: &mut [f32]) {
    for (out, &half) in out.iter_mut().zip(halves) {
        *out = to_f32(half);
    }
}

/// See [`narrow`].
fn from_f32(value: f32) -> u16 {
    /// 2^16 as bits: all halves are below.
    const TOO_LARGE: u32 = 0x4780_0000;
    /// 2^-14 as bits: all halves below are not normal.
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    /// 1/2 as bits.
    const HALF: u32 = 0x3f00_0000;
    const INFINITE: u32 = 0x7c00;
    /// It does not signal.
    const NAN: u32 = 0x7e00;
    let (sign, size) = (value.to_bits() >> 16 & 0x8000, value.to_bits() & 0x7fff_ffff);
    let half = if size > f32::INFINITY.to_bits() {
        NAN | size >> 13 & 0x3ff
    } else if size >= TOO_LARGE {
        INFINITE
    } else if size < SMALLEST_NORMAL {
        // Halves are 2^-24 apart here, as are floats from 1/2 to 1: the addition rounds.
        (f32::from_bits(size) + f32::from_bits(HALF)).to_bits() - HALF
    } else {
        // Exponents are 127 - 15 apart. Adds one less than half of the last place, and 1 where that place is odd.
        (size - ((127 - 15) << 23) + 0xfff + (size >> 13 & 1)) >> 13
    };
    (sign | half) as u16
}

/// See [`widen`].
#[inline(always)]
pub(crate) fn to_f32(half: u16) -> f32 {
    /// 2^112: exponents are 127 - 15 apart.
    const SCALE: f32 = f32::from_bits((127 + 112) << 23);
    let (sign, size) = (u32::from(half & 0x8000) << 16, u32::from(half & 0x7fff) << 13);
    let bits = if half & 0x7c00 == 0x7c00 { f32::INFINITY.to_bits() | size } else { (f32::from_bits(size) * SCALE).to_bits() };
    f32::from_bits(sign | bits)
}

/// Eight at a time with F16C.
#[cfg(target_arch = "x86_64")]
mod f16c {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn narrow(values: &[f32], out: &mut [u16]) {
        let ((values, values_left), (out, out_left)) = (values.as_chunks::<8>(), out.as_chunks_mut::<8>());
        for (values, out) in values.iter().zip(out) {
            // SAFETY: arrays of eight.
            unsafe {
                let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(values.as_ptr()));
                _mm_storeu_si128(out.as_mut_ptr().cast(), halves);
            }
        }
        super::narrow_each(values_left, out_left);
    }

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn widen(halves: &[u16], out: &mut [f32]) {
        let ((halves, halves_left), (out, out_left)) = (halves.as_chunks::<8>(), out.as_chunks_mut::<8>());
        for (halves, out) in halves.iter().zip(out) {
            // SAFETY: arrays of eight.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(halves.as_ptr().cast()))) };
        }
        super::widen_each(halves_left, out_left);
    }
}

/// Four at a time with NEON.
#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    #[target_feature(enable = "neon")]
    pub(super) fn narrow(values: &[f32], out: &mut [u16]) {
        let ((values, values_left), (out, out_left)) = (values.as_chunks::<4>(), out.as_chunks_mut::<4>());
        for (values, out) in values.iter().zip(out) {
            // SAFETY: arrays of four.
            unsafe { vst1_u16(out.as_mut_ptr(), vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(values.as_ptr())))) };
        }
        super::narrow_each(values_left, out_left);
    }

    #[target_feature(enable = "neon")]
    pub(super) fn widen(halves: &[u16], out: &mut [f32]) {
        let ((halves, halves_left), (out, out_left)) = (halves.as_chunks::<4>(), out.as_chunks_mut::<4>());
        for (halves, out) in halves.iter().zip(out) {
            // SAFETY: arrays of four.
            unsafe { vst1q_f32(out.as_mut_ptr(), vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves.as_ptr())))) };
        }
        super::widen_each(halves_left, out_left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_half_survives_the_way_there_and_back() {
        let halves: Vec<u16> = (0..=u16::MAX).filter(|half| half & 0x7fff <= 0x7c00 || half & 0x0200 != 0).collect();
        for set in InstructionSet::available() {
            let (mut wide, mut back) = (vec![0.0; halves.len()], vec![0; halves.len()]);
            widen(set, &halves, &mut wide);
            narrow(set, &wide, &mut back);
            assert!(back == halves, "{set}");
        }
    }

    #[test]
    fn halves_are_what_the_standard_says() {
        let known = [
            (0x0000, 0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3c00, 1.0),
            (0x3555, 0.333_251_95),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
        ];
        for set in InstructionSet::available() {
            for (half, value) in known {
                let (mut wide, mut narrowed) = ([0.0], [0]);
                widen(set, &[half], &mut wide);
                narrow(set, &[value], &mut narrowed);
                assert_eq!((wide, narrowed), ([value], [half]), "{set}");
            }
            for (value, nearest) in
                [(1.0 + 2f32.powi(-11), 0x3c00), (1.0 + 3.0 * 2f32.powi(-11), 0x3c02), (65519.0, 0x7bff), (65520.0, 0x7c00)]
            {
                let mut narrowed = [0; 8];
                narrow(set, &[value; 8], &mut narrowed);
                assert_eq!(narrowed, [nearest; 8], "{value} on {set}");
            }
        }
    }

    proptest! {
        #[test]
        fn all_sets_round_alike(bits in proptest::collection::vec(any::<u32>(), 0..40), shrink: bool) {
            // Shrunk ones fall within the range of halves more often.
            let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits) * if shrink { 1e-30 } else { 1.0 }).collect();
            let mut expected = vec![0; values.len()];
            narrow(InstructionSet::SCALAR, &values, &mut expected);
            for set in InstructionSet::available() {
                let mut found = vec![0; values.len()];
                narrow(set, &values, &mut found);
                let is_nan = |half: u16| half & 0x7fff > 0x7c00;
                for (found, expected) in found.into_iter().zip(&expected) {
                    prop_assert!(found == *expected || is_nan(found) && is_nan(*expected), "{set}");
                }
            }
        }
    }
}
