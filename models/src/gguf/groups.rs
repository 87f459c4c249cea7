//! A row of a format taken apart into what the kernels' layouts are made of: codes, and the scales and minima of their groups, each
//! exactly as the format has it.

use super::Format;
use super::format::{code_of_q3, code_of_q4, code_of_q5, code_of_q6, half_power_of_two, scale_and_minimum, scale_of_iq4, scale_of_q3};

/// A row taken apart. What a format does not have stays empty.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Of 4 bits, the code itself; else the number that is multiplied by the scale.
    pub(crate) codes: Vec<i8>,
    /// Scales of groups, or of 256 values where there are factors, as bits of an f16.
    pub(crate) scales: Vec<u16>,
    /// What the scale of 256 values is multiplied by in each group.
    pub(crate) factors: Vec<i8>,
    /// Scales of groups that no f16 holds.
    pub(crate) singles: Vec<f32>,
    /// What is subtracted, as `scales`.
    pub(crate) minima: Vec<u16>,
    /// As `factors`, of the minima.
    pub(crate) minimum_factors: Vec<i8>,
}

fn bits(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

/// The sign changed: layouts subtract minima, some formats add them.
fn negated(bits: u16) -> u16 {
    bits ^ 0x8000
}

impl Groups {
    /// Takes the blocks of a row apart.
    ///
    /// # Panics
    /// If the format has no blocks, or the bytes are not whole ones.
    pub(crate) fn read(&mut self, format: Format, row: &[u8]) {
        for list in [&mut self.scales, &mut self.minima] {
            list.clear();
        }
        for list in [&mut self.codes, &mut self.factors, &mut self.minimum_factors] {
            list.clear();
        }
        self.singles.clear();
        assert!(format.block() > 1 && row.len().is_multiple_of(format.block_bytes()), "{format}: {} bytes are no whole blocks", row.len());
        row.chunks_exact(format.block_bytes()).for_each(|block| self.block(format, block));
    }

    fn block(&mut self, format: Format, b: &[u8]) {
        let nibble = |bytes: &[u8], at: usize| (bytes[at % 16] >> (4 * (at / 16)) & 15) as i8;
        let fifth = |bytes: &[u8], at: usize| ((u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) >> at & 1) as i8) << 4;
        let values = 0..format.block();
        match format {
            Format::F32 | Format::F16 | Format::BF16 => unreachable!("floats are not grouped"),
            Format::Q4_0 | Format::IQ4_NL => {
                self.codes.extend(values.map(|at| nibble(&b[2..], at)));
                self.scales.push(bits(b));
            }
            Format::Q4_1 => {
                self.codes.extend(values.map(|at| nibble(&b[4..], at)));
                self.scales.push(bits(b));
                self.minima.push(negated(bits(&b[2..])));
            }
            Format::Q5_0 => {
                self.codes.extend(values.map(|at| (nibble(&b[6..], at) | fifth(&b[2..], at)) - 16));
                self.scales.push(bits(b));
            }
            Format::Q5_1 => {
                self.codes.extend(values.map(|at| nibble(&b[8..], at) | fifth(&b[4..], at)));
                self.scales.push(bits(b));
                self.minima.push(negated(bits(&b[2..])));
            }
            Format::Q8_0 => {
                self.codes.extend(b[2..].iter().map(|code| *code as i8));
                self.scales.push(bits(b));
            }
            Format::MXFP4 => {
                self.codes.extend(values.map(|at| nibble(&b[1..], at)));
                self.singles.push(half_power_of_two(b[0]));
            }
            Format::Q2_K => {
                self.codes.extend(values.map(|at| (b[16 + at / 128 * 32 + at % 32] >> (2 * (at % 128 / 32)) & 3) as i8));
                self.scales.push(bits(&b[80..]));
                self.minima.push(bits(&b[82..]));
                self.factors.extend(b[..16].iter().map(|scale| (scale & 15) as i8));
                self.minimum_factors.extend(b[..16].iter().map(|scale| (scale >> 4) as i8));
            }
            Format::Q3_K => {
                self.codes.extend(values.map(|at| code_of_q3(b, at)));
                self.scales.push(bits(&b[108..]));
                self.factors.extend((0..16).map(|group| scale_of_q3(&b[96..], group)));
            }
            Format::Q4_K | Format::Q5_K => {
                self.codes.extend(values.map(|at| if format == Format::Q4_K { code_of_q4(&b[16..], at) } else { code_of_q5(b, at) } as i8));
                self.scales.push(bits(b));
                self.minima.push(bits(&b[2..]));
                let groups = || (0..8).map(|group| scale_and_minimum(&b[4..], group));
                self.factors.extend(groups().map(|(scale, _)| scale as i8));
                self.minimum_factors.extend(groups().map(|(_, minimum)| minimum as i8));
            }
            Format::Q6_K => {
                self.codes.extend(values.map(|at| code_of_q6(b, at)));
                self.scales.push(bits(&b[208..]));
                self.factors.extend(b[192..208].iter().map(|scale| *scale as i8));
            }
            Format::IQ4_XS => {
                self.codes.extend(values.map(|at| nibble(&b[8 + at / 32 * 16..], at % 32)));
                self.scales.push(bits(b));
                self.factors.extend((0..8).map(|group| scale_of_iq4(b, group)));
            }
        }
    }
}
