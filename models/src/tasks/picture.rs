//! Pictures: JPEG and PNG, upright, in the model's colours, fitted and normalised.

use super::placement::{Axis, Placement};
use super::{floats, is_float, picture_shape, shape_of};
use crate::manifest::{Colour, Fit, Image, Layout};
use hearth_api::tensor::{Datatype, Tensor, TensorMetadata};
use hearth_api::{ContentType, Fault, Payload};
use hearth_kernels::image::{normalise_chw, normalise_hwc, resize_bilinear};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Most pixels of a picture: more than the cameras on such boards take (12 million), and no more than 144 MiB of memory for
/// the worst to decode, a progressive JPEG of 9 bytes a pixel.
const MAX_PIXELS: u64 = 16 << 20;
/// Most memory for decoding one that is not a JPEG: 16 bits a channel, with alpha.
const MAX_DECODE_BYTES: u64 = 144 << 20;
/// What is left around a picture that is scaled to fit inside (as YOLO does).
const LETTERBOX_GREY: u8 = 114;

/// How pictures become an input.
#[derive(Debug)]
pub(super) struct Picture {
    image: Image,
    input: TensorMetadata,
    /// Shape of a row.
    shape: Vec<usize>,
    /// For each channel, `value = pixel * scale + offset`.
    scale: Vec<f32>,
    offset: Vec<f32>,
}

impl Picture {
    pub(super) fn new(image: &Image, input: &TensorMetadata) -> Result<Picture, String> {
        if !is_float(input.datatype) && input.datatype != Datatype::Uint8 {
            return Err(format!("input {:?} is {:?}; pictures become FP32, FP16, FP64 or UINT8", input.name, input.datatype));
        }
        let normalises = !image.mean.is_empty() || !image.std.is_empty();
        if input.datatype == Datatype::Uint8 && normalises {
            return Err(format!("input {:?} is UINT8 and takes pixels as they are; mean and std are for floats", input.name));
        }
        let usual = picture_shape(image.layout, image.colour, image.width as usize, image.height as usize);
        let shape = shape_of(input, usual.iter().product(), &usual)?;
        let channels = image.colour.channels();
        let of = |values: &[f32], channel: usize, default: f32| values.get(channel).copied().unwrap_or(default);
        // ((255 - p) / 255 - mean) / std and (p / 255 - mean) / std are both linear in the pixel.
        let sign = if image.invert { -1.0 } else { 1.0 };
        let white = if image.invert { 1.0 } else { 0.0 };
        let scale = (0..channels).map(|c| sign / (255.0 * of(&image.std, c, 1.0))).collect();
        let offset = (0..channels).map(|c| (white - of(&image.mean, c, 0.0)) / of(&image.std, c, 1.0)).collect();
        Ok(Picture { image: image.clone(), input: input.clone(), shape, scale, offset })
    }

    /// One picture as one row, and where it lies in that.
    pub(super) fn decode(&self, payload: &Payload) -> Result<(Tensor, Placement), Fault> {
        let (pixels, width, height) = self.pixels(read(payload)?);
        let (fitted, placement) = self.fit(&pixels, width, height);
        let mut shape = vec![1];
        shape.extend(&self.shape);
        if self.input.datatype == Datatype::Uint8 {
            let data = self.bytes(fitted).into();
            return Ok((Tensor { name: self.input.name.clone(), datatype: Datatype::Uint8, shape, data }, placement));
        }
        let mut values = vec![0.0; fitted.len()];
        match self.image.layout {
            Layout::Nchw => normalise_chw(&fitted, &self.scale, &self.offset, &mut values),
            Layout::Nhwc => normalise_hwc(&fitted, &self.scale, &self.offset, &mut values),
        }
        Ok((floats(&self.input, shape, &values), placement))
    }

    /// Bytes in the model's layout, for inputs that take them as they are.
    fn bytes(&self, mut pixels: Vec<u8>) -> Vec<u8> {
        if self.image.invert {
            pixels.iter_mut().for_each(|p| *p = 255 - *p);
        }
        let channels = self.image.colour.channels();
        match self.image.layout {
            Layout::Nhwc => pixels,
            Layout::Nchw => (0..channels).flat_map(|c| pixels.iter().skip(c).step_by(channels).copied()).collect(),
        }
    }

    /// Interleaved bytes in the model's colours; what is transparent shows white.
    fn pixels(&self, picture: DynamicImage) -> (Vec<u8>, usize, usize) {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if self.image.colour == Colour::Grey && !picture.color().has_color() && !picture.color().has_alpha() {
            return (picture.into_luma8().into_raw(), width, height);
        }
        let rgb = if picture.color().has_alpha() { over_white(picture.into_rgba8().into_raw()) } else { picture.into_rgb8().into_raw() };
        let pixels = match self.image.colour {
            Colour::Rgb => rgb,
            Colour::Bgr => rgb.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect(),
            Colour::Grey => rgb.chunks_exact(3).map(luma).collect(),
        };
        (pixels, width, height)
    }

    fn fit(&self, pixels: &[u8], width: usize, height: usize) -> (Vec<u8>, Placement) {
        let (to_width, to_height) = (self.image.width as usize, self.image.height as usize);
        let channels = self.image.colour.channels();
        let resize = |pixels: &[u8], width, height, to_width: usize, to_height: usize| {
            let mut out = vec![0; to_width * to_height * channels];
            resize_bilinear(pixels, width, height, channels, &mut out, to_width, to_height);
            out
        };
        match self.image.fit {
            Fit::Stretch => {
                let placement = Placement { x: Axis::whole(width, 0, to_width), y: Axis::whole(height, 0, to_height) };
                (resize(pixels, width, height, to_width, to_height), placement)
            }
            Fit::Crop => {
                // The largest part of the target's shape, in the middle.
                let scaled =
                    |side: usize, by: usize, over: usize| usize::try_from(side as u64 * by as u64 / over as u64).unwrap_or(usize::MAX);
                let keep_width = scaled(height, to_width, to_height).clamp(1, width);
                let keep_height = scaled(width, to_height, to_width).clamp(1, height);
                let (left, top) = ((width - keep_width) / 2, (height - keep_height) / 2);
                let part = crop(pixels, width, channels, (left, top), (keep_width, keep_height));
                let placement =
                    Placement { x: Axis::part(width, left, keep_width, to_width), y: Axis::part(height, top, keep_height, to_height) };
                (resize(&part, keep_width, keep_height, to_width, to_height), placement)
            }
            Fit::Letterbox => {
                // As Ultralytics' LetterBox: halves round to even, an odd pixel of the border goes right and below.
                let scale = (to_width as f64 / width as f64).min(to_height as f64 / height as f64);
                let side = |length: usize, most: usize| ((length as f64 * scale).round_ties_even() as usize).clamp(1, most);
                let (in_width, in_height) = (side(width, to_width), side(height, to_height));
                let inner = resize(pixels, width, height, in_width, in_height);
                let (left, top) = ((to_width - in_width) / 2, (to_height - in_height) / 2);
                let mut out = vec![LETTERBOX_GREY; to_width * to_height * channels];
                for (row, line) in inner.chunks_exact(in_width * channels).enumerate() {
                    let start = ((top + row) * to_width + left) * channels;
                    out[start..start + line.len()].copy_from_slice(line);
                }
                (out, Placement { x: Axis::whole(width, left, in_width), y: Axis::whole(height, top, in_height) })
            }
        }
    }
}

/// Decodes a picture, upright. Its size is looked at before its pixels.
fn read(payload: &Payload) -> Result<DynamicImage, Fault> {
    let said = payload.content_type;
    let format = if said == ContentType::Png { ImageFormat::Png } else { ImageFormat::Jpeg };
    let broken = |e: image::ImageError| match e {
        image::ImageError::Limits(_) => {
            Fault::too_large(format!("decoding the picture would take more than {} MiB", MAX_DECODE_BYTES >> 20))
                .with_limit("picture_decode_bytes", MAX_DECODE_BYTES)
        }
        e => Fault::bad_request(format!("the {} cannot be decoded: {e}", said.as_str())),
    };
    let mut reader = ImageReader::with_format(Cursor::new(&payload.bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(Fault::bad_request(format!("the picture is {width} x {height}: it has no pixels")));
    }
    if pixels > MAX_PIXELS {
        return Err(Fault::too_large(format!("the picture is {width} x {height}, {pixels} pixels; at most {MAX_PIXELS} are taken"))
            .with_limit("picture_pixels", MAX_PIXELS));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// ITU-R BT.601 luma in the fixed point of PIL's `convert("L")`.
fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

fn over_white(rgba: Vec<u8>) -> Vec<u8> {
    let over = |colour: u8, alpha: u8| ((u32::from(colour) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255) as u8;
    rgba.chunks_exact(4).flat_map(|p| [over(p[0], p[3]), over(p[1], p[3]), over(p[2], p[3])]).collect()
}

fn crop(pixels: &[u8], width: usize, channels: usize, (left, top): (usize, usize), (keep_width, keep_height): (usize, usize)) -> Vec<u8> {
    let rows = pixels.chunks_exact(width * channels).skip(top).take(keep_height);
    rows.flat_map(|row| &row[left * channels..(left + keep_width) * channels]).copied().collect()
}
