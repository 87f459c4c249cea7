//! Trials: seeded inputs, run at load to see that a graph runs, alone and in a batch, and that rows do not influence each other.

use super::Network;
use super::cut::MAX_ROWS;
use super::plans::Plans;
use super::run::Pace;
use bytes::Bytes;
use hearth_api::tensor::{Datatype, Tensor, f32_to_half, half_to_f32, volume};
use hearth_kernels::Pool;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Below this, the same row alone and in a batch is not the same answer. Quantized graphs may step to a neighbouring grid point.
const SAME: f64 = 0.999;
/// A row has to get cheaper by this share for twice as many to run at once: they also wait for each other.
const GAIN: f64 = 0.1;
/// A network is small if it takes no longer than this.
const SMALL: Duration = Duration::from_millis(5);
/// A run that takes longer than this is timed once.
const LONG: Duration = Duration::from_millis(100);

impl Network {
    /// Requests of one row each with seeded elements: floats from -1 to 1, bytes of any value, other integers 0 or 1 (which every
    /// vocabulary and mask has).
    pub(crate) fn seeded(&self, requests: usize, seed: u64) -> Result<Vec<Vec<Tensor>>, String> {
        let shapes = self.ports.shapes(1, self.open)?;
        let mut seeds = Seeds(seed);
        let mut request = || {
            let tensors = self.ports.inputs.iter().zip(&shapes);
            tensors.map(|(port, shape)| seeds.tensor(&port.name, port.datatype, shape)).collect()
        };
        Ok((0..requests).map(|_| request()).collect())
    }

    /// Runs requests alone and stacked, and compares. Clears `batched` if stacking does not work or changes answers, and finds
    /// how many rows are worth running at once.
    pub(super) fn try_out(&mut self) -> Result<(), String> {
        let pool = Pool::new(1);
        let requests = self.seeded(if self.batched { MAX_ROWS } else { 1 }, 1)?;
        let views: Vec<&[Tensor]> = requests.iter().map(Vec::as_slice).collect();
        let stackable = std::mem::replace(&mut self.batched, false);
        let compared = views.len().min(if matches!(self.plans, Plans::Symbolic(..)) { 3 } else { 2 });
        let mut alone = Vec::new();
        for view in &views[..compared] {
            alone.push(self.run_stack(&[view], 1, &pool, &mut || ()).remove(0)?);
        }
        if stackable {
            (self.batched, self.largest) = (true, compared);
            let together = self.run_stack(&views[..compared], 1, &pool, &mut || ());
            let same = |(a, b): (&Result<Vec<Tensor>, String>, &Vec<Tensor>)| a.as_ref().is_ok_and(|a| similarity(a, b) >= SAME);
            self.batched = together.iter().zip(&alone).all(same);
            self.largest = if self.batched { self.worth_while(&views, &pool) } else { 1 };
        }
        let batched = self.batched;
        let largest = self.largest;
        // With no other open dimension, these are all the plans that there will ever be.
        let more = self.ports.has_free() || (self.ports.batch.is_some() && !batched);
        self.plans.settle(|shapes| !batched || shapes[0][0] <= largest, more);
        self.complete_outputs(&alone[0]);
        // The first runs met cold caches: nodes take their usual time from here on.
        self.longest_node_ns.store(0, Ordering::Relaxed);
        self.pace = Pace::default();
        let rows = if self.batched { self.largest } else { 1 };
        self.run_stack(&views[..rows], 1, &pool, &mut || ()).into_iter().try_for_each(|result| result.map(|_| ()))
    }

    /// The most rows, a power of two, that are worth running at once: a row must get cheaper by [`GAIN`]. In a small network a size that
    /// does not pay may be followed by one that does, whose tiles are full; two are not.
    fn worth_while(&mut self, views: &[&[Tensor]], pool: &Pool) -> usize {
        let mut best = 1;
        let mut cost = f64::INFINITY;
        let mut in_vain = 0;
        for size in (0..=MAX_ROWS.ilog2()).map(|power| 1 << power) {
            self.largest = size;
            let took = self.time(&views[..size], pool);
            let row = took.as_secs_f64() / size as f64;
            if row <= cost * (1.0 - GAIN) {
                (best, cost, in_vain) = (size, row, 0);
                continue;
            }
            in_vain += 1;
            if in_vain == 2 || took > SMALL {
                break;
            }
        }
        best
    }

    /// How long a stack takes: the best of some runs, or one where that takes long.
    fn time(&self, views: &[&[Tensor]], pool: &Pool) -> Duration {
        let run = || {
            let start = Instant::now();
            self.run_stack(views, 1, pool, &mut || ());
            start.elapsed()
        };
        let first = run();
        // Makes the plan, if it is new: never counted alone where it would be most of the time.
        let second = run();
        if second > LONG { second.min(first) } else { (0..3).map(|_| run()).min().unwrap_or(second).min(second) }
    }

    /// Fills in what an output showed of its shape.
    fn complete_outputs(&mut self, seen: &[Tensor]) {
        let free = self.ports.has_free();
        for (metadata, output) in self.outputs.iter_mut().zip(seen) {
            if metadata.shape.len() != output.shape.len() {
                metadata.shape = vec![-1; output.shape.len()];
            }
            for (axis, (told, seen)) in metadata.shape.iter_mut().zip(&output.shape).enumerate() {
                if axis == 0 && self.batched {
                    *told = -1;
                } else if *told < 0 && !free {
                    *told = i64::try_from(*seen).unwrap_or(-1);
                }
            }
        }
    }
}

/// The least cosine similarity of tensors of the same names; 0 where shapes or types differ. Tensors that are both zero are equal,
/// and elements that are no finite number in both.
pub fn similarity(a: &[Tensor], b: &[Tensor]) -> f64 {
    if a.len() != b.len() {
        return 0.0;
    }
    a.iter().zip(b).map(|(a, b)| cosine(a, b)).fold(1.0, f64::min)
}

fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    if a.name != b.name || a.datatype != b.datatype || a.shape != b.shape {
        return 0.0;
    }
    let (mut dot, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in floats(a).zip(floats(b)) {
        match (x.is_finite(), y.is_finite()) {
            (true, true) => {}
            (false, false) => continue,
            _ => return 0.0,
        }
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    match (aa == 0.0, bb == 0.0) {
        (true, true) => 1.0,
        (false, false) => dot / (aa.sqrt() * bb.sqrt()),
        _ => 0.0,
    }
}

/// The elements as f64, whatever their type.
fn floats(tensor: &Tensor) -> impl Iterator<Item = f64> {
    let size = tensor.datatype.size().unwrap_or(1);
    let datatype = tensor.datatype;
    tensor.data.chunks_exact(size).map(move |b| {
        macro_rules! read {
            ($t:ty) => {
                <$t>::from_le_bytes(b.try_into().expect("exact chunks")) as f64
            };
        }
        match datatype {
            Datatype::Bool | Datatype::Uint8 | Datatype::Bytes => f64::from(b[0]),
            Datatype::Int8 => read!(i8),
            Datatype::Uint16 => read!(u16),
            Datatype::Int16 => read!(i16),
            Datatype::Uint32 => read!(u32),
            Datatype::Int32 => read!(i32),
            Datatype::Uint64 => read!(u64),
            Datatype::Int64 => read!(i64),
            Datatype::Fp16 => f64::from(half_to_f32(u16::from_le_bytes([b[0], b[1]]))),
            Datatype::Fp32 => read!(f32),
            Datatype::Fp64 => read!(f64),
        }
    })
}

/// A small generator (SplitMix64, Steele et al. 2014): the same seed gives the same inputs on every board.
struct Seeds(u64);

impl Seeds {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn tensor(&mut self, name: &str, datatype: Datatype, shape: &[usize]) -> Tensor {
        let mut data = Vec::new();
        for _ in 0..volume(shape).unwrap_or(0) {
            let bit = self.next() >> 63;
            match datatype {
                Datatype::Fp32 => data.extend(self.float().to_le_bytes()),
                Datatype::Fp64 => data.extend(f64::from(self.float()).to_le_bytes()),
                Datatype::Fp16 => data.extend(f32_to_half(self.float()).to_le_bytes()),
                Datatype::Uint8 | Datatype::Int8 => data.push((self.next() >> 56) as u8),
                _ => data.extend(&bit.to_le_bytes()[..datatype.size().unwrap_or(0)]),
            }
        }
        Tensor { name: name.into(), datatype, shape: shape.to_vec(), data: Bytes::from(data) }
    }
}
