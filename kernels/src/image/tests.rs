//! The image kernels against exact arithmetic, against PIL, and on every instruction set against the scalar code.

use super::*;
use crate::quant::{Grid, Quantized, quantize};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes that Python repeats: `s = (s * 1664525 + 1013904223) & 0xffffffff; s >> 24`.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn resized(set: InstructionSet, src: &[u8], (w, h): (usize, usize), channels: usize, (to_w, to_h): (usize, usize)) -> Vec<u8> {
    let mut dst = vec![0; to_w * to_h * channels];
    resize_bilinear_on(set, src, w, h, channels, &mut dst, to_w, to_h);
    dst
}

/// The weights of one axis in floating point, straight from the definition.
fn triangle(source: usize, target: usize, position: usize) -> Vec<f64> {
    let scale = source as f64 / target as f64;
    let centre = (position as f64 + 0.5) * scale;
    let weights: Vec<f64> = (0..source).map(|x| (1.0 - ((x as f64 + 0.5 - centre) / scale.max(1.0)).abs()).max(0.0)).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn exactly_resized(src: &[u8], (w, h): (usize, usize), channels: usize, (to_w, to_h): (usize, usize)) -> Vec<f64> {
    let columns: Vec<Vec<f64>> = (0..to_w).map(|x| triangle(w, to_w, x)).collect();
    let mut out = Vec::new();
    for y in 0..to_h {
        let rows = triangle(h, to_h, y);
        let row: Vec<f64> = (0..w * channels)
            .map(|i| rows.iter().enumerate().map(|(y, weight)| weight * f64::from(src[y * w * channels + i])).sum())
            .collect();
        for columns in &columns {
            for channel in 0..channels {
                out.push(columns.iter().enumerate().map(|(x, weight)| weight * row[x * channels + channel]).sum());
            }
        }
    }
    out
}

/// Sizes that are often 1 or at the edge of a vector.
fn side() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..=4, 5usize..=40, Just(16), Just(17), Just(33)]
}

proptest! {
    #[test]
    fn a_resize_gives_the_same_bytes_on_every_instruction_set_and_is_within_one_of_exact(
        w in side(), h in side(), to_w in side(), to_h in side(), channels in 1usize..=5, seed: u32,
    ) {
        let src = bytes(w * h * channels, seed);
        let reference = resized(InstructionSet::SCALAR, &src, (w, h), channels, (to_w, to_h));
        for set in InstructionSet::available() {
            prop_assert_eq!(&resized(set, &src, (w, h), channels, (to_w, to_h)), &reference, "{}", set);
        }
        for (&got, exact) in reference.iter().zip(exactly_resized(&src, (w, h), channels, (to_w, to_h))) {
            prop_assert!((f64::from(got) - exact).abs() < 1.0, "{} for {}", got, exact);
        }
    }

    #[test]
    fn extreme_scales_give_the_same_bytes_on_every_instruction_set(
        long in 300usize..=900, short in 1usize..=3, channels in 1usize..=4, seed: u32,
    ) {
        for (from, to) in [((long, short), (short, 1)), ((short, long), (1, 2)), ((short, 1), (long, short)), ((1, short), (2, long))] {
            let src = bytes(from.0 * from.1 * channels, seed);
            let reference = resized(InstructionSet::SCALAR, &src, from, channels, to);
            for set in InstructionSet::available() {
                prop_assert_eq!(&resized(set, &src, from, channels, to), &reference, "{}", set);
            }
        }
    }

    #[test]
    fn a_flat_picture_stays_flat(value: u8, w in side(), h in side(), to_w in side(), to_h in side(), channels in 1usize..=4) {
        for set in InstructionSet::available() {
            let dst = resized(set, &vec![value; w * h * channels], (w, h), channels, (to_w, to_h));
            prop_assert_eq!(dst, vec![value; to_w * to_h * channels]);
        }
    }

    #[test]
    fn normalising_gives_the_same_floats_on_every_instruction_set(
        pixels in 0usize..=150, channels in 1usize..=5, seed: u32, parameters in vec((-10f32..10.0, -10f32..10.0), 5),
    ) {
        let src = bytes(pixels * channels, seed);
        let (scale, offset): (Vec<f32>, Vec<f32>) = parameters.into_iter().take(channels).unzip();
        let expected = |pixel: usize, channel: usize| f32::from(src[pixel * channels + channel]) * scale[channel] + offset[channel];
        for set in InstructionSet::available() {
            let (mut hwc, mut chw) = (vec![f32::NAN; src.len()], vec![f32::NAN; src.len()]);
            normalise_hwc_on(set, &src, &scale, &offset, &mut hwc);
            normalise_chw_on(set, &src, &scale, &offset, &mut chw);
            for pixel in 0..pixels {
                for channel in 0..channels {
                    prop_assert_eq!(hwc[pixel * channels + channel].to_bits(), expected(pixel, channel).to_bits(), "{}", set);
                    prop_assert_eq!(chw[channel * pixels + pixel].to_bits(), expected(pixel, channel).to_bits(), "{}", set);
                }
            }
        }
    }
}

/// Both layouts of the fused kernel against the two kernels that it fuses.
fn check_fused<Q: Quantized + std::fmt::Debug + PartialEq>(
    src: &[u8],
    scale: &[f32],
    offset: &[f32],
    grid: Grid,
) -> Result<(), TestCaseError> {
    let mut floats = vec![0.0; src.len()];
    let (mut hwc, mut chw) = (vec![Q::default(); src.len()], vec![Q::default(); src.len()]);
    normalise_hwc(src, scale, offset, &mut floats);
    quantize(&floats, grid, &mut hwc);
    normalise_chw(src, scale, offset, &mut floats);
    quantize(&floats, grid, &mut chw);
    for set in InstructionSet::available() {
        let mut found = vec![Q::default(); src.len()];
        normalise_quantize_hwc_on(set, src, scale, offset, grid, &mut found);
        prop_assert_eq!(&found, &hwc, "{} HWC", set);
        normalise_quantize_chw_on(set, src, scale, offset, grid, &mut found);
        prop_assert_eq!(&found, &chw, "{} CHW", set);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_fused_kernel_is_normalise_then_quantize_bit_for_bit(
        pixels in 0usize..=150, channels in 1usize..=5, seed: u32, parameters in vec((-1f32..1.0, -10f32..10.0), 5),
        step in 1e-3f32..1.0, zero_point: u8,
    ) {
        let src = bytes(pixels * channels, seed);
        let (scale, offset): (Vec<f32>, Vec<f32>) = parameters.into_iter().take(channels).unzip();
        check_fused::<u8>(&src, &scale, &offset, Grid::new(step, zero_point))?;
        check_fused::<i8>(&src, &scale, &offset, Grid::new(step, zero_point as i8))?;
    }
}

#[test]
fn a_resize_is_within_one_of_pil() {
    // Pillow 9.4: `Image.fromarray(..).resize((to_w, to_h), Image.BILINEAR)` of `bytes(w * h * c, w * 1000 + h * 10 + c)`.
    type Case = ((usize, usize), usize, (usize, usize), &'static [u8]);
    #[rustfmt::skip]
    let cases: [Case; 4] = [
        ((13, 9), 3, (5, 4), &[
            133, 197, 138, 147, 141, 124, 133, 135, 116, 143, 163, 117, 171, 136, 118, 149, 138, 174, 134, 114, 133, 107, 117, 119,
            108, 142, 110, 105, 113, 93, 153, 143, 124, 111, 132, 143, 123, 135, 169, 86, 174, 167, 139, 122, 123, 107, 161, 129,
            113, 152, 124, 112, 168, 176, 111, 153, 161, 143, 147, 114,
        ]),
        ((3, 2), 3, (7, 5), &[
            104, 121, 177, 110, 108, 186, 127, 68, 215, 145, 28, 243, 123, 34, 177, 101, 41, 112, 94, 43, 90, 100, 119, 183, 107,
            107, 188, 127, 69, 207, 147, 31, 225, 126, 41, 166, 105, 53, 107, 98, 56, 88, 84, 113, 207, 94, 103, 199, 126, 73, 176,
            158, 43, 152, 139, 72, 121, 120, 101, 89, 114, 110, 79, 67, 106, 230, 81, 98, 209, 124, 77, 144, 168, 55, 79, 151, 102,
            75, 134, 148, 71, 129, 164, 69, 63, 104, 236, 78, 97, 211, 124, 78, 136, 170, 58, 61, 154, 109, 64, 138, 160, 66, 133,
            177, 67,
        ]),
        ((40, 30), 1, (6, 5), &[
            114, 133, 133, 134, 125, 129, 139, 140, 136, 128, 125, 128, 137, 137, 133, 127, 136, 122, 132, 138, 136, 148, 140, 131,
            135, 138, 132, 146, 125, 138,
        ]),
        ((5, 17), 1, (8, 3), &[
            86, 110, 141, 136, 115, 77, 96, 114, 162, 150, 134, 123, 124, 136, 114, 96, 127, 128, 131, 149, 168, 189, 171, 154,
        ]),
    ];
    for ((w, h), channels, to, pil) in cases {
        let src = bytes(w * h * channels, (w * 1000 + h * 10 + channels) as u32);
        let got = resized(InstructionSet::best(), &src, (w, h), channels, to);
        assert_eq!(got.len(), pil.len());
        for (&got, &pil) in got.iter().zip(pil) {
            assert!(got.abs_diff(pil) <= 1, "{w} x {h} x {channels}: {got}, PIL {pil}");
        }
    }
}

#[test]
fn a_resize_gives_the_same_bytes_on_every_architecture() {
    let mut checksum = 0u32;
    for (from, channels, to) in [((320, 240), 3, (96, 96)), ((31, 17), 1, (64, 50)), ((500, 40), 3, (20, 45))] {
        let src = bytes(from.0 * from.1 * channels, 7);
        for byte in resized(InstructionSet::best(), &src, from, channels, to) {
            checksum = checksum.wrapping_mul(31).wrapping_add(u32::from(byte));
        }
    }
    assert_eq!(checksum, 41_320_934, "as found on x86-64");
}

#[test]
fn the_same_size_copies() {
    let src = bytes(7 * 5 * 3, 1);
    assert_eq!(resized(InstructionSet::best(), &src, (7, 5), 3, (7, 5)), src);
}

#[test]
fn saturated_pictures_do_not_wrap() {
    for set in InstructionSet::available() {
        assert!(resized(set, &[255; 64 * 64], (64, 64), 1, (13, 90)).iter().all(|&pixel| pixel == 255), "{set}");
    }
}

#[test]
#[should_panic(expected = "source picture of 4 x 4 pixels and 3 channels has 47 bytes, not width * height * channels")]
fn a_source_of_another_length_is_refused() {
    resize_bilinear(&[0; 47], 4, 4, 3, &mut [0; 12], 2, 2);
}

#[test]
#[should_panic(expected = "target picture of 0 x 2 pixels and 3 channels: each must be at least 1")]
fn an_empty_target_is_refused() {
    resize_bilinear(&[0; 48], 4, 4, 3, &mut [], 0, 2);
}

#[test]
#[should_panic(expected = "target picture")]
fn sizes_whose_product_overflows_are_refused() {
    resize_bilinear(&[0; 48], 4, 4, 3, &mut [], usize::MAX, 2);
}

#[test]
#[should_panic(expected = "48 bytes do not fit 47 values: there must be as many")]
fn a_normalised_target_of_another_length_is_refused() {
    normalise_chw(&[0; 48], &[1.0; 3], &[0.0; 3], &mut [0.0; 47]);
}

#[test]
#[should_panic(expected = "47 bytes are not whole pixels of 3 channels")]
fn half_a_pixel_is_refused() {
    normalise_hwc(&[0; 47], &[1.0; 3], &[0.0; 3], &mut [0.0; 47]);
}

#[test]
#[should_panic(expected = "3 scales but 2 offsets")]
fn scales_without_offsets_are_refused() {
    normalise_hwc(&[0; 48], &[1.0; 3], &[0.0; 2], &mut [0.0; 48]);
}
