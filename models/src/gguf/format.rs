//! The formats of ggml in which weights come: how many values a block has, and what each value is.
//!
//! Source: the block structures of `ggml-common.h` and the reference `dequantize_row_*` of `ggml-quants.c`, operation for operation.

use hearth_api::tensor::half_to_f32;
use std::fmt;

/// The values of a 4-bit code of `IQ4_NL` and `IQ4_XS`.
pub const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of a 4-bit code of `MXFP4` (E2M1).
pub const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal, $block:literal values in $bytes:literal;)*) => {
        /// How the values of a tensor are stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "the names by which the formats are known")]
        pub enum Format {
            $($(#[$doc])* $name,)*
        }

        impl Format {
            /// All that are known.
            pub const ALL: &[Format] = &[$(Format::$name),*];

            /// The format with this number in ggml.
            pub fn from_number(number: u32) -> Option<Format> {
                match number {
                    $($number => Some(Format::$name),)*
                    _ => None,
                }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Format::$name => $text,)*
                }
            }

            /// Values of a block.
            pub fn block(self) -> usize {
                match self {
                    $(Format::$name => $block,)*
                }
            }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize {
                match self {
                    $(Format::$name => $bytes,)*
                }
            }
        }
    };
}

formats! {
    /// Single precision.
    F32 = 0 "F32", 1 values in 4;
    /// Half precision.
    F16 = 1 "F16", 1 values in 2;
    /// Brain floats.
    BF16 = 30 "BF16", 1 values in 2;
    /// 4 bits, a scale for 32.
    Q4_0 = 2 "Q4_0", 32 values in 18;
    /// 4 bits, a scale and a minimum for 32.
    Q4_1 = 3 "Q4_1", 32 values in 20;
    /// 5 bits, a scale for 32.
    Q5_0 = 6 "Q5_0", 32 values in 22;
    /// 5 bits, a scale and a minimum for 32.
    Q5_1 = 7 "Q5_1", 32 values in 24;
    /// 8 bits, a scale for 32.
    Q8_0 = 8 "Q8_0", 32 values in 34;
    /// 2 bits, 4-bit scales and minima for 16.
    Q2_K = 10 "Q2_K", 256 values in 84;
    /// 3 bits, 6-bit scales for 16.
    Q3_K = 11 "Q3_K", 256 values in 110;
    /// 4 bits, 6-bit scales and minima for 32.
    Q4_K = 12 "Q4_K", 256 values in 144;
    /// 5 bits, 6-bit scales and minima for 32.
    Q5_K = 13 "Q5_K", 256 values in 176;
    /// 6 bits, 8-bit scales for 16.
    Q6_K = 14 "Q6_K", 256 values in 210;
    /// 4 bits through a table, a scale for 32.
    IQ4_NL = 20 "IQ4_NL", 32 values in 18;
    /// 4 bits through a table, 6-bit scales for 32.
    IQ4_XS = 23 "IQ4_XS", 256 values in 136;
    /// 4-bit floats, an exponent for 32 (OCP Microscaling).
    MXFP4 = 39 "MXFP4", 32 values in 17;
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An f16.
fn half(bytes: &[u8]) -> f32 {
    half_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The scale of an MXFP4 block, halved, since [`MXFP4_VALUES`] are doubled: `2^(exponent - 128)`.
pub(crate) fn half_power_of_two(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

/// The 6-bit scale and minimum of group `index` of a `Q4_K` or `Q5_K` block.
pub(crate) fn scale_and_minimum(scales: &[u8], index: usize) -> (u8, u8) {
    match index {
        0..4 => (scales[index] & 63, scales[index + 4] & 63),
        _ => (scales[index + 4] & 15 | scales[index - 4] >> 6 << 4, scales[index + 4] >> 4 | scales[index] >> 6 << 4),
    }
}

/// The 6-bit scale of group `index` of a `Q3_K` block, from -32 to 31.
pub(crate) fn scale_of_q3(scales: &[u8], index: usize) -> i8 {
    let low = if index < 8 { scales[index] & 15 } else { scales[index - 8] >> 4 };
    let high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
    (low | high << 4) as i8 - 32
}

/// The 6-bit scale of group `index` of an `IQ4_XS` block, from -32 to 31.
pub(crate) fn scale_of_iq4(block: &[u8], index: usize) -> i8 {
    let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * index) & 3;
    let low = block[4 + index / 2] >> (4 * (index % 2)) & 15;
    (low | (high as u8) << 4) as i8 - 32
}

impl Format {
    /// The names of all, for people.
    pub fn names() -> String {
        Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ")
    }

    /// What the values of whole blocks are.
    ///
    /// # Panics
    /// If `bytes` are not the whole blocks of as many values as `out` has room for.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len() * self.block(), out.len() * self.block_bytes(), "{self}: bytes of other values");
        for (block, out) in bytes.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block())) {
            self.block_to_floats(block, out);
        }
    }

    fn block_to_floats(self, b: &[u8], out: &mut [f32]) {
        // Of 32 values in 16 bytes the first half lies in the lower halves of the bytes.
        let nibble = |bytes: &[u8], at: usize| bytes[at % 16] >> (4 * (at / 16)) & 15;
        let fifth = |bytes: &[u8], at: usize| (u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> at & 1) as u8 * 16;
        let each = out.iter_mut().enumerate();
        match self {
            Format::F32 => out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Format::F16 => out[0] = half(b),
            Format::BF16 => out[0] = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16),
            Format::Q4_0 => each.for_each(|(at, out)| *out = f32::from(nibble(&b[2..], at) as i8 - 8) * half(b)),
            Format::Q4_1 => each.for_each(|(at, out)| *out = f32::from(nibble(&b[4..], at)) * half(b) + half(&b[2..])),
            Format::Q5_0 => {
                each.for_each(|(at, out)| *out = f32::from((nibble(&b[6..], at) | fifth(&b[2..], at)) as i8 - 16) * half(b));
            }
            Format::Q5_1 => {
                each.for_each(|(at, out)| *out = f32::from(nibble(&b[8..], at) | fifth(&b[4..], at)) * half(b) + half(&b[2..]));
            }
            Format::Q8_0 => each.for_each(|(at, out)| *out = f32::from(b[2 + at] as i8) * half(b)),
            Format::IQ4_NL => each.for_each(|(at, out)| *out = half(b) * f32::from(IQ4_VALUES[usize::from(nibble(&b[2..], at))])),
            Format::MXFP4 => {
                let scale = half_power_of_two(b[0]);
                each.for_each(|(at, out)| *out = f32::from(MXFP4_VALUES[usize::from(nibble(&b[1..], at))]) * scale);
            }
            Format::Q2_K => each.for_each(|(at, out)| {
                let scale = b[at / 16];
                let code = b[16 + at / 128 * 32 + at % 32] >> (2 * (at % 128 / 32)) & 3;
                *out = half(&b[80..]) * f32::from(scale & 15) * f32::from(code) - half(&b[82..]) * f32::from(scale >> 4);
            }),
            Format::Q3_K => {
                each.for_each(|(at, out)| *out = half(&b[108..]) * f32::from(scale_of_q3(&b[96..], at / 16)) * f32::from(code_of_q3(b, at)))
            }
            Format::Q4_K => each.for_each(|(at, out)| {
                let (scale, minimum) = scale_and_minimum(&b[4..], at / 32);
                *out = half(b) * f32::from(scale) * f32::from(code_of_q4(&b[16..], at)) - half(&b[2..]) * f32::from(minimum);
            }),
            Format::Q5_K => each.for_each(|(at, out)| {
                let (scale, minimum) = scale_and_minimum(&b[4..], at / 32);
                *out = half(b) * f32::from(scale) * f32::from(code_of_q5(b, at)) - half(&b[2..]) * f32::from(minimum);
            }),
            Format::Q6_K => {
                each.for_each(|(at, out)| *out = half(&b[208..]) * f32::from(b[192 + at / 16] as i8) * f32::from(code_of_q6(b, at)));
            }
            Format::IQ4_XS => each.for_each(|(at, out)| {
                let value = IQ4_VALUES[usize::from(nibble(&b[8 + at / 32 * 16..], at % 32))];
                *out = half(b) * f32::from(scale_of_iq4(b, at / 32)) * f32::from(value);
            }),
        }
    }
}

/// The code of value `at` of a `Q3_K` block, from -4 to 3.
pub(crate) fn code_of_q3(block: &[u8], at: usize) -> i8 {
    let low = block[32 + at / 128 * 32 + at % 32] >> (2 * (at % 128 / 32)) & 3;
    let high = block[at % 32] >> (at / 32) & 1;
    low as i8 - if high == 0 { 4 } else { 0 }
}

/// The code of value `at` of a `Q4_K` block, whose codes are given: of 64 values the first half lies in the lower halves.
pub(crate) fn code_of_q4(codes: &[u8], at: usize) -> u8 {
    codes[at / 64 * 32 + at % 32] >> (4 * (at / 32 % 2)) & 15
}

/// The code of value `at` of a `Q5_K` block.
pub(crate) fn code_of_q5(block: &[u8], at: usize) -> u8 {
    code_of_q4(&block[48..], at) | (block[16 + at % 32] >> (at / 32) & 1) << 4
}

/// The code of value `at` of a `Q6_K` block, from -32 to 31.
pub(crate) fn code_of_q6(block: &[u8], at: usize) -> i8 {
    let (half, within) = (at / 128, at % 128);
    let low = block[half * 64 + within % 64] >> (4 * (within / 64)) & 15;
    let high = block[128 + half * 32 + within % 32] >> (2 * (within / 32)) & 3;
    (low | high << 4) as i8 - 32
}
