//! WAV files: the chunks of a RIFF file read in place, PCM and float samples mixed to one channel. No resampling, no windows.
//!
//! Format: "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft, 1991) and `WAVEFORMATEXTENSIBLE`. Read
//! here rather than by hound 3.5, which refuses what usual programs write: chunks of odd length, floats of 64 bits (scipy's
//! default) and files of unknown length (ffmpeg to a pipe).

use hearth_api::Fault;

/// What a recording is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wav<'a> {
    /// Frames a second.
    pub(super) rate: u32,
    channels: usize,
    encoding: Encoding,
    data: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;
/// Length that a writer leaves which could not go back to fill in the real one: the data end with the file.
const UNKNOWN_LENGTH: usize = u32::MAX as usize;

impl<'a> Wav<'a> {
    /// Reads the header; the samples stay where they are.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Wav<'a>, Fault> {
        let Some(mut rest) = bytes.strip_prefix(b"RIFF").and_then(|b| b.get(4..)).and_then(|b| b.strip_prefix(b"WAVE")) else {
            return Err(broken("it does not begin with RIFF, a length and WAVE"));
        };
        let mut format = None;
        while let Some((header, body)) = rest.split_first_chunk::<8>() {
            let (name, length) = (&header[..4], u32_at(header, 4) as usize);
            let length = if name == b"data" && length == UNKNOWN_LENGTH { body.len() } else { length };
            let Some(chunk) = body.get(..length) else {
                let shown = name.escape_ascii();
                return Err(broken(format!("its chunk \"{shown}\" says {length} bytes, the file has {} more", body.len())));
            };
            match name {
                b"fmt " => format = Some(Format::read(chunk)?),
                b"data" => return format.ok_or_else(|| broken("its samples come before their format"))?.of(chunk),
                _ => {}
            }
            // Chunks begin at even offsets.
            rest = body.get(length + length % 2..).unwrap_or_default();
        }
        Err(broken("it has no chunk \"data\""))
    }

    /// How many samples each channel has.
    pub(super) fn frames(&self) -> usize {
        self.data.len() / (self.channels * self.encoding.size())
    }

    /// The mean of all channels, from -1 to 1 for integers, as they are for floats.
    pub(super) fn mixed(&self) -> Result<Vec<f32>, Fault> {
        let data = self.data;
        let samples = match self.encoding {
            Encoding::Unsigned8 => self.mix(data.as_chunks().0, |[b]| (f64::from(b) - 128.0) / 128.0),
            Encoding::Signed16 => self.mix(data.as_chunks().0, |b| f64::from(i16::from_le_bytes(b)) / 32_768.0),
            Encoding::Signed24 => self.mix(data.as_chunks().0, |[a, b, c]| f64::from(i32::from_le_bytes([0, a, b, c])) / 2_147_483_648.0),
            Encoding::Signed32 => self.mix(data.as_chunks().0, |b| f64::from(i32::from_le_bytes(b)) / 2_147_483_648.0),
            Encoding::Float32 => self.mix(data.as_chunks().0, |b| f64::from(f32::from_le_bytes(b))),
            Encoding::Float64 => self.mix(data.as_chunks().0, f64::from_le_bytes),
        };
        match samples.iter().position(|s| !s.is_finite()) {
            Some(at) => Err(Fault::bad_request(format!("sample {at} of the recording is no finite number"))),
            None => Ok(samples),
        }
    }

    fn mix<const SIZE: usize>(&self, samples: &[[u8; SIZE]], value: impl Fn([u8; SIZE]) -> f64) -> Vec<f32> {
        let channels = self.channels as f64;
        samples.chunks_exact(self.channels).map(|frame| (frame.iter().map(|s| value(*s)).sum::<f64>() / channels) as f32).collect()
    }
}

impl Encoding {
    /// Bytes of a sample.
    fn size(self) -> usize {
        match self {
            Encoding::Unsigned8 => 1,
            Encoding::Signed16 => 2,
            Encoding::Signed24 => 3,
            Encoding::Signed32 | Encoding::Float32 => 4,
            Encoding::Float64 => 8,
        }
    }
}

/// The `fmt ` chunk.
struct Format {
    rate: u32,
    channels: usize,
    encoding: Encoding,
}

impl Format {
    fn read(chunk: &[u8]) -> Result<Format, Fault> {
        if chunk.len() < 16 {
            return Err(broken(format!("its format has {} bytes, not 16 or more", chunk.len())));
        }
        let (tag, channels, rate) = (u16_at(chunk, 0), u16_at(chunk, 2), u32_at(chunk, 4));
        let (frame, bits) = (usize::from(u16_at(chunk, 12)), u16_at(chunk, 14));
        // The extensible form has the true format in the first two bytes of a GUID; the samples fill their container from the top.
        let tag = if tag == EXTENSIBLE && chunk.len() >= 26 { u16_at(chunk, 24) } else { tag };
        let encoding = match (tag, bits) {
            (PCM, 8) => Encoding::Unsigned8,
            (PCM, 16) => Encoding::Signed16,
            (PCM, 24) => Encoding::Signed24,
            (PCM, 32) => Encoding::Signed32,
            (FLOAT, 32) => Encoding::Float32,
            (FLOAT, 64) => Encoding::Float64,
            _ => {
                let taken = "PCM of 8, 16, 24 or 32 bits and float of 32 or 64 bits are taken";
                return Err(broken(format!("its format {tag} with {bits} bits is not known; {taken}")));
            }
        };
        if channels == 0 || rate == 0 {
            return Err(broken(format!("it has {channels} channels at {rate} Hz")));
        }
        let channels = usize::from(channels);
        if frame != channels * encoding.size() {
            return Err(broken(format!(
                "its frames have {frame} bytes, but {channels} channels of {bits} bits take {}",
                channels * encoding.size()
            )));
        }
        Ok(Format { rate, channels, encoding })
    }

    fn of(self, data: &[u8]) -> Result<Wav<'_>, Fault> {
        let frame = self.channels * self.encoding.size();
        if !data.len().is_multiple_of(frame) {
            return Err(broken(format!("its {} bytes of samples are no whole number of frames of {frame} bytes", data.len())));
        }
        Ok(Wav { rate: self.rate, channels: self.channels, encoding: self.encoding, data })
    }
}

fn broken(why: impl std::fmt::Display) -> Fault {
    Fault::bad_request(format!("the WAV cannot be read: {why}"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{SampleFormat, WavSpec, WavWriter};
    use std::io::Cursor;

    /// A file as another program writes it.
    fn written<S: hound::Sample + Copy>(channels: u16, bits_per_sample: u16, sample_format: SampleFormat, samples: &[S]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let spec = WavSpec { channels, sample_rate: 8000, bits_per_sample, sample_format };
        let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
        samples.iter().for_each(|s| writer.write_sample(*s).unwrap());
        writer.finalize().unwrap();
        bytes
    }

    fn says(bytes: &[u8], part: &str) {
        let fault = Wav::read(bytes).and_then(|wav| wav.mixed()).unwrap_err();
        assert!(fault.message.contains(part), "{}", fault.message);
    }

    #[test]
    fn every_width_gives_the_same_samples() {
        for bits in [8, 16, 24, 32] {
            let half = 1 << (bits - 2);
            let wav = written(1, bits, SampleFormat::Int, &[0, half, -half]);
            let wav = Wav::read(&wav).unwrap();
            assert_eq!((wav.rate, wav.frames(), wav.mixed().unwrap()), (8000, 3, vec![0.0, 0.5, -0.5]), "{bits} bits");
        }
        let float = written(1, 32, SampleFormat::Float, &[0.0f32, 0.5, -0.5]);
        assert_eq!(Wav::read(&float).unwrap().mixed().unwrap(), [0.0, 0.5, -0.5]);
    }

    #[test]
    fn channels_are_mixed() {
        let stereo = written(2, 16, SampleFormat::Int, &[16_384i16, 0, -16_384, 16_384]);
        assert_eq!(Wav::read(&stereo).unwrap().mixed().unwrap(), [0.25, 0.0]);
    }

    #[test]
    fn other_chunks_are_passed_over_and_an_open_end_is_the_files() {
        let mut wav = written(1, 16, SampleFormat::Int, &[16_384i16]);
        let data = wav.windows(4).position(|w| w == b"data").unwrap();
        wav[data + 4..data + 8].fill(0xff);
        wav.splice(12..12, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(Wav::read(&wav).unwrap().mixed().unwrap(), [0.5]);
    }

    #[test]
    fn a_chunk_that_claims_more_than_there_is_ends_in_a_fault() {
        says(b"RIFF\x24\0\0\0WAVELIST\xff\xff\xff\xff", "\"LIST\" says 4294967295 bytes, the file has 0 more");
        let mut wav = written(1, 16, SampleFormat::Int, &[1i16; 100]);
        let data = wav.windows(4).position(|w| w == b"data").unwrap();
        wav[data + 4..data + 8].copy_from_slice(&0x7fff_fffeu32.to_le_bytes());
        says(&wav, "\"data\" says 2147483646 bytes, the file has 200 more");
    }

    #[test]
    fn what_is_wrong_with_a_format_is_said() {
        let wav = written(1, 16, SampleFormat::Int, &[1i16, 2]);
        let with = |at: usize, value: u16| {
            let mut wav = wav.clone();
            wav[at..at + 2].copy_from_slice(&value.to_le_bytes());
            wav
        };
        says(&with(20, 2), "format 2 with 16 bits is not known");
        says(&with(22, 0), "0 channels at 8000 Hz");
        says(&with(24, 0), "1 channels at 0 Hz");
        says(&with(22, 3), "3 channels of 16 bits take 6");
        says(&with(34, 12), "format 1 with 12 bits");
        says(&wav[..36], "no chunk \"data\"");
        says(b"RIFF", "does not begin with RIFF");
        says(&written(1, 32, SampleFormat::Float, &[0.0, f32::NAN]), "sample 1 of the recording is no finite number");
    }
}
