//! Recordings: WAV, mixed to one channel, resampled, cut into windows.

use super::wav::Wav;
use super::{floats, is_float, shape_of};
use crate::manifest::{self, SAMPLE_RATES};
use hearth_api::Fault;
use hearth_api::tensor::{Tensor, TensorMetadata};
use hearth_kernels::sound::standardise;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Fft, FixedSync, Resampler};

/// Most samples of a recording, before and after resampling, and of its windows together: 23 minutes at 12 kHz, 64 MiB.
const MAX_SAMPLES: usize = 1 << 24;
/// Most windows of a recording.
const MAX_WINDOWS: usize = 1024;
/// Frames that the resampler takes at a time; more where the rates have no common factor.
const CHUNK: usize = 1024;
/// Largest term of a ratio of rates: the resampler's blocks are as long, and their Fourier transforms with them.
const MAX_TERM: u32 = 1 << 16;

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

    /// One recording as a row for each whole window; what is left at its end is not judged. A recording shorter than a window is
    /// refused: silence put in its place would be judged as if it had been recorded.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Tensor, Fault> {
        let wav = Wav::read(bytes)?;
        let (rate, window, hop) = (self.sound.sample_rate, self.sound.window, self.sound.hop);
        // As many as resampling gives; known before anything is allocated.
        let length = (wav.frames() as u64 * u64::from(rate)).div_ceil(u64::from(wav.rate));
        if length.max(wav.frames() as u64) > MAX_SAMPLES as u64 {
            return Err(too_long(format!("{length} samples at {rate} Hz ({} at its own)", wav.frames()), "sound_samples", MAX_SAMPLES));
        }
        let Some(windows) = (length as usize).checked_sub(window).map(|rest| rest / hop + 1) else {
            return Err(Fault::bad_request(format!(
                "the recording has {length} samples at {rate} Hz; this model takes at least {window}, {:.2} s",
                window as f64 / f64::from(rate)
            )));
        };
        let most = MAX_WINDOWS.min(MAX_SAMPLES / window);
        if windows > most {
            return Err(too_long(format!("{windows} windows"), "sound_windows", most));
        }
        let samples = resample(wav.mixed()?, wav.rate, rate)?;
        let mut values = Vec::with_capacity(windows * window);
        for start in (0..windows).map(|i| i * hop) {
            let recorded = samples.get(start..start + window);
            values.extend_from_slice(recorded.ok_or_else(|| Fault::internal("the resampler gave fewer samples than it should"))?);
        }
        if self.sound.standardise {
            values.chunks_exact_mut(window).for_each(standardise);
        }
        let mut shape = vec![windows];
        shape.extend(&self.shape);
        Ok(floats(&self.input, shape, &values))
    }
}

fn too_long(what: String, limit: &str, most: usize) -> Fault {
    Fault::too_large(format!("the recording has {what}; at most {most} are taken: send it in parts")).with_limit(limit, most as u64)
}

fn resample(samples: Vec<f32>, from: u32, to: u32) -> Result<Vec<f32>, Fault> {
    if from == to {
        return Ok(samples);
    }
    let (low, high) = SAMPLE_RATES.into_inner();
    let term = from.max(to) / common_factor(from, to);
    if !SAMPLE_RATES.contains(&from) || term > MAX_TERM {
        return Err(Fault::bad_request(format!(
            "the recording has {from} samples a second and cannot be resampled to the {to} of this model: \
             from {low} to {high} are taken, in a ratio of whole numbers up to {MAX_TERM}"
        )));
    }
    let unfit = |e: &dyn std::fmt::Display| Fault::internal(format!("the recording at {from} Hz could not be resampled to {to} Hz: {e}"));
    let frames = samples.len();
    let input = InterleavedOwned::new_from(samples, 1, frames).map_err(|e| unfit(&e))?;
    let mut resampler = Fft::<f32>::new(from as usize, to as usize, CHUNK, 1, FixedSync::Both).map_err(|e| unfit(&e))?;
    Ok(resampler.process_all(&input, frames, None).map_err(|e| unfit(&e))?.take_data())
}

/// The greatest common factor (Euclid).
fn common_factor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_factor(b, a % b) }
}
