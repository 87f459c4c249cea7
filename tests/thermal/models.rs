//! The models of the virtual engine: what a step takes in time, cores and memory traffic, and the points the daemon would measure.
//!
//! Times are those of a Pi 4 at its full clock; the order is that of int8 networks of these kinds on such a board (a detector of the
//! nano class 0.2 to 0.4 s an image, a language model of half a billion weights in 4 bits some 10 tokens/s).

use hearth_api::{ModelName, Point};
use hearth_tests::board::Kind;
use hearthd::scheduler::Profile;
use std::sync::Arc;
use std::time::Duration;

/// Threads disturb each other in caches and at the memory: each one more makes all slower by this share.
const CROWD: f64 = 0.05;

/// How much longer everything takes on so many threads because they disturb each other.
pub(crate) fn crowded(threads: u32) -> f64 {
    1.0 + CROWD * f64::from(threads.max(1) - 1)
}

/// Shapes that are measured: batches, and threads up to the batch.
const BATCHES: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// Conversations that ride in a step when the capacity of a talker is stated.
const RIDERS: u32 = 4;

/// A model: a step has a cost of its own and one for each item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    /// Its name.
    pub(crate) name: &'static str,
    /// Of a step (vision: of each thread's part of it), s at full clock.
    base: f64,
    /// Of an item, s at full clock on one thread.
    each: f64,
    /// The part of the time that waits for memory, which no clock makes shorter.
    pub(crate) memory: f64,
    /// Moved by a step (vision: by each thread's part of it), bytes.
    base_bytes: f64,
    /// Moved by an item, bytes.
    each_bytes: f64,
    /// Its requests are conversations: an item is a token, and a piece of a prompt counts as several.
    pub(crate) talks: bool,
}

/// Gains from batching, as most vision models do.
pub(crate) const DETECTOR: Model =
    Model { name: "detector", base: 0.06, each: 0.25, memory: 0.25, base_bytes: 30e6, each_bytes: 60e6, talks: false };
/// Gains much: its weights are larger than its images.
pub(crate) const CLASSIFIER: Model =
    Model { name: "classifier", base: 0.10, each: 0.05, memory: 0.4, base_bytes: 60e6, each_bytes: 10e6, talks: false };
/// Gains nothing.
pub(crate) const SEGMENTER: Model =
    Model { name: "segmenter", base: 0.0, each: 0.40, memory: 0.15, base_bytes: 0.0, each_bytes: 80e6, talks: false };
/// A language model: each step reads all its weights.
pub(crate) const TALKER: Model =
    Model { name: "talker", base: 0.10, each: 0.06, memory: 0.6, base_bytes: 300e6, each_bytes: 2e6, talks: true };

/// Every model.
pub(crate) const ALL: [Model; 4] = [DETECTOR, CLASSIFIER, SEGMENTER, TALKER];

/// What a piece of a prompt counts as, in tokens: its weights are read once for all of it.
pub(crate) const PIECE: f64 = 8.0;

/// What a step takes on a board at full clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// Time, s.
    pub(crate) seconds: f64,
    /// Mean busy cores.
    pub(crate) busy: f64,
    /// Bytes moved.
    pub(crate) bytes: f64,
}

/// How much faster than a Pi 4 a board is at its full clock.
fn speed(kind: Kind) -> f64 {
    match kind {
        Kind::Pi4Bare | Kind::Pi4Fan => 1.0,
        Kind::Pi5Bare | Kind::Pi5Cooled => 2.0,
    }
}

impl Model {
    /// Its name, as the daemon knows it.
    pub(crate) fn id(&self) -> ModelName {
        ModelName::new(self.name).expect("a name that the contract allows")
    }

    /// A step of vision with so many images on so many threads, each with its part of them.
    pub(crate) fn step(&self, kind: Kind, images: u32, threads: u32) -> Cost {
        let threads = threads.clamp(1, images.max(1));
        let crowded = crowded(threads) / speed(kind);
        let seconds = (self.base + self.each * f64::from(images.div_ceil(threads))) * crowded;
        let work = (self.base * f64::from(threads) + self.each * f64::from(images)) * crowded;
        let bytes = self.base_bytes * f64::from(threads) + self.each_bytes * f64::from(images);
        Cost { seconds, busy: work / seconds, bytes }
    }

    /// A step of conversations that takes them so many tokens further in all, on so many threads inside its kernels.
    pub(crate) fn turn(&self, kind: Kind, tokens: f64, threads: u32) -> Cost {
        let n = f64::from(threads.max(1));
        let crowded = crowded(threads) / speed(kind);
        // One core cannot draw all that the memory gives: four take a little more than half of one's time.
        let seconds = (self.base * (0.4 + 0.6 / n) + self.each * tokens / n) * crowded;
        Cost { seconds, busy: n, bytes: self.base_bytes + self.each_bytes * tokens }
    }

    /// How fast its steps run at a share of the full clock.
    pub(crate) fn pace(&self, clock: f64) -> f64 {
        1.0 / (self.memory + (1.0 - self.memory) / clock.max(0.05))
    }

    /// Images (or tokens) a second that a cool board serves at most.
    pub(crate) fn capacity(&self, kind: Kind) -> f64 {
        if self.talks {
            return f64::from(RIDERS) / self.turn(kind, f64::from(RIDERS), 4).seconds;
        }
        let shapes = BATCHES.iter().flat_map(|batch| (1..=4).map(move |threads| (*batch, threads)));
        shapes.map(|(batch, threads)| f64::from(batch) / self.step(kind, batch, threads).seconds).fold(0.0, f64::max)
    }

    /// What the scheduler is told: the points as measured on a cool board.
    pub(crate) fn profile(&self, kind: Kind) -> Arc<Profile> {
        let max_delay = Duration::from_millis(50);
        if self.talks {
            return Arc::new(Profile { max_batch: 8, max_delay, points: Vec::new(), conversations: true });
        }
        let points = BATCHES.iter().flat_map(|batch| (1..=4.min(*batch)).map(move |threads| (*batch, threads)));
        let point = |(batch, threads): (u32, u32)| {
            let cost = self.step(kind, batch, threads);
            let latency_us = (cost.seconds * 1e6).round() as u64;
            let cpu_us_per_item = (cost.seconds * cost.busy / f64::from(batch) * 1e6).round() as u64;
            Point { batch, threads, latency_us, cpu_us_per_item }
        };
        Arc::new(Profile { max_batch: 8, max_delay, points: points.map(point).collect(), conversations: false })
    }
}
