//! Writes GGUF files for tests: what they say is what the test says, true or not.

use super::Format;

/// A file as it is written.
#[derive(Default)]
pub(crate) struct Writer {
    entries: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Writer {
    /// An entry, its value given as bytes of a kind.
    pub(crate) fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        self.entries.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }

    pub(crate) fn count(self, key: &str, value: u32) -> Writer {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(self, key: &str, value: f32) -> Writer {
        self.entry(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Writer {
        self.entry(key, 8, &text(value))
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Writer {
        let list: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.entry(key, 9, &[&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &list].concat())
    }

    /// A tensor of a format's number, its bytes as given.
    pub(crate) fn tensor(mut self, name: &str, dimensions: &[u64], number: u32, bytes: Vec<u8>) -> Writer {
        self.tensors.push((name.into(), dimensions.into(), number, bytes));
        self
    }

    /// A tensor of floats.
    pub(crate) fn floats(self, name: &str, dimensions: &[u64], values: &[f32]) -> Writer {
        self.tensor(name, dimensions, 0, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The file.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        file.extend(self.entries.concat());
        let mut offset = 0u64;
        for (name, dimensions, number, bytes) in &self.tensors {
            file.extend(text(name));
            file.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|dimension| file.extend(dimension.to_le_bytes()));
            file.extend(number.to_le_bytes());
            file.extend(offset.to_le_bytes());
            offset = (offset + bytes.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, bytes) in &self.tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(bytes);
        }
        file
    }
}

/// Bytes of a tensor of so many values, drawn from a seed; its scales are finite and small.
pub(crate) fn blocks(format: Format, values: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut bytes: Vec<u8> = (0..values / format.block() * format.block_bytes()).map(|_| byte()).collect();
    let halves: &[usize] = match format {
        Format::F32 | Format::BF16 => &[],
        Format::F16 | Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL | Format::IQ4_XS => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q2_K => &[80, 82],
        Format::Q3_K => &[108],
        Format::Q6_K => &[208],
        Format::MXFP4 => &[],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in halves {
            // Between 2^-7 and 2^-5 in size.
            block[at + 1] = block[at + 1] & 0x83 | 0x20 | block[at + 1] & 4;
        }
        match format {
            Format::MXFP4 => block[0] = 118 + block[0] % 8,
            Format::F32 => block[3] = block[3] & 0x80 | 0x3c,
            Format::BF16 => block[1] = block[1] & 0x80 | 0x3c,
            _ => {}
        }
    }
    bytes
}
