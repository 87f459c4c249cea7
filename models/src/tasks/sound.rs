//! Recordings: WAV, mixed to one channel, resampled, cut into windows.

use super::{floats, is_float, shape_of};
use crate::manifest;
use hearth_api::Fault;
use hearth_api::tensor::{Tensor, TensorMetadata};
use hound::{SampleFormat, WavReader};
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};
use std::io::Cursor;

/// Most samples of a recording, after resampling: 24 minutes at 12 kHz.
const MAX_SAMPLES: usize = 1 << 24;
/// Most windows of a recording.
const MAX_WINDOWS: usize = 1024;
/// Frames that the resampler takes at a time.
const CHUNK: usize = 1024;

/// How recordings become an input.
#[derive(Debug)]
pub(super) struct Sound {
    sound: manifest::Sound,
    input: TensorMetadata,
    /// Shape of a row.
    shape: Vec<usize>,
}

impl Sound {
    pub(super) fn new(sound: &manifest::Sound, input: &TensorMetadata) -> Result<Sound, String> {
        if !is_float(input.datatype) {
            return Err(format!("input {:?} is {:?}; sound becomes FP32, FP16 or FP64", input.name, input.datatype));
        }
        // [batch, samples], or [batch, 1, samples] where the graph has a channel.
        let usual: &[usize] = if input.shape.len() == 3 { &[1, sound.window] } else { &[sound.window] };
        let shape = shape_of(input, sound.window, usual)?;
        Ok(Sound { sound: sound.clone(), input: input.clone(), shape })
    }

    /// One recording as a row for each window. One shorter than a window is refused: silence put in its place would be
    /// judged as if it had been recorded.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Tensor, Fault> {
        let (samples, rate) = read(bytes)?;
        let samples = resample(samples, rate, self.sound.sample_rate)?;
        let (window, hop) = (self.sound.window, self.sound.hop);
        if samples.len() < window {
            return Err(Fault::bad_request(format!(
                "the recording has {} samples at {} Hz; this model takes at least {window}, {:.2} s",
                samples.len(),
                self.sound.sample_rate,
                window as f64 / f64::from(self.sound.sample_rate)
            )));
        }
        let windows = (samples.len() - window) / hop + 1;
        if windows > MAX_WINDOWS {
            return Err(Fault::too_large(format!(
                "the recording has {windows} windows; at most {MAX_WINDOWS} are taken: send it in parts"
            ))
            .with_limit("sound_windows", MAX_WINDOWS as u64));
        }
        let mut values = Vec::with_capacity(windows * window);
        for start in (0..windows).map(|i| i * hop) {
            values.extend_from_slice(&samples[start..start + window]);
            if self.sound.standardise {
                standardise(&mut values[start / hop * window..]);
            }
        }
        let mut shape = vec![windows];
        shape.extend(&self.shape);
        Ok(floats(&self.input, shape, &values))
    }
}

/// Samples from -1 to 1, mixed to one channel, and their rate.
fn read(bytes: &[u8]) -> Result<(Vec<f32>, u32), Fault> {
    let broken =
        |e: hound::Error| Fault::bad_request(format!("the WAV cannot be read: {e}; PCM of 8 to 32 bits and 32-bit float are taken"));
    if !bytes.starts_with(b"RIFF") {
        return Err(Fault::bad_request("the payload is said to be audio/wav, but does not begin with RIFF"));
    }
    let mut reader = WavReader::new(Cursor::new(bytes)).map_err(broken)?;
    let format = reader.spec();
    if format.channels == 0 || format.sample_rate == 0 {
        return Err(Fault::bad_request(format!("the WAV has {} channels at {} Hz", format.channels, format.sample_rate)));
    }
    let samples: Vec<f32> = match format.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(broken)?,
        SampleFormat::Int => {
            let full_scale = (1u64 << (format.bits_per_sample - 1)) as f32;
            reader.samples::<i32>().map(|s| s.map(|s| s as f32 / full_scale)).collect::<Result<_, _>>().map_err(broken)?
        }
    };
    if let Some(bad) = samples.iter().position(|s| !s.is_finite()) {
        return Err(Fault::bad_request(format!("sample {bad} of the WAV is no finite number")));
    }
    let channels = usize::from(format.channels);
    let mixed = samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    Ok((mixed, format.sample_rate))
}

fn resample(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, Fault> {
    let length = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from));
    if samples.len() > MAX_SAMPLES || length > MAX_SAMPLES as u64 {
        return Err(Fault::too_large(format!(
            "the recording has {length} samples at {to} Hz; at most {MAX_SAMPLES} are taken: send it in parts"
        ))
        .with_limit("sound_samples", MAX_SAMPLES as u64));
    }
    if from == to || samples.is_empty() {
        return Ok(samples);
    }
    let unfit = |e: &dyn std::fmt::Display| Fault::bad_request(format!("the recording at {from} Hz cannot be resampled to {to} Hz: {e}"));
    let frames = samples.len();
    // The resampler's buffers grow with the rates' lowest terms: keep to those that sound cards have.
    if !(1_000..=400_000).contains(&from) && from != to {
        return Err(unfit(&"rates from 1000 to 400000 Hz are resampled"));
    }
    let input = InterleavedOwned::new_from(samples, 1, frames).map_err(|e| unfit(&e))?;
    let mut resampler = Fft::<f32>::new(from as usize, to as usize, CHUNK, 1, FixedSync::Both).map_err(|e| unfit(&e))?;
    let resampled = resampler.process_all(&input, frames, None).map_err(|e| unfit(&e))?;
    Ok(resampled.take_data())
}

/// Less its mean, over its standard deviation; of a flat window nothing is left but zeros.
fn standardise(window: &mut [f32]) {
    let n = window.len() as f64;
    let mean = window.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let deviation = (window.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let scale = if deviation > 1e-12 { 1.0 / deviation } else { 0.0 };
    window.iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
}
