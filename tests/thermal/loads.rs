//! The loads: who asks when for what, the same for every controller from the same seed.

use super::models::{self, Model, PIECE};
use hearth_api::Priority;
use hearth_tests::board::{Kind, Random};

/// How the load goes over the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Load {
    /// Three vision models, a third more than the cool board can serve.
    Steady,
    /// The same at a tenth, with bursts of twice what the board can serve.
    Bursts,
    /// The same over a day pressed into the run: next to nothing at night, a fifth over capacity at noon.
    Day,
    /// Vision and conversations together, a fifth over capacity.
    Mixed,
    /// Vision at a third of the capacity: nothing that a board in order cannot serve.
    Light,
    /// Light, and background work without end.
    Background,
    /// Light for the first half, then steady: what a fault is worst under.
    Rising,
}

/// A request to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Arrival {
    /// When, s.
    pub(crate) at: f64,
    /// Which of [`models::ALL`].
    pub(crate) model: usize,
    /// How urgent.
    pub(crate) priority: Priority,
    /// The answer is worth something for so long, s.
    pub(crate) within: f64,
    /// Pieces of a prompt; 0 for vision.
    pub(crate) pieces: u32,
    /// Tokens to be said; 0 for vision.
    pub(crate) tokens: u32,
}

impl Arrival {
    /// What its answer counts as: an image, or its tokens.
    pub(crate) fn items(&self) -> f64 {
        f64::from(self.tokens.max(1))
    }
}

/// An image is wanted within this time, s.
const IMAGE_WITHIN: f64 = 10.0;
/// A conversation is wanted within this time, s.
const TALK_WITHIN: f64 = 60.0;
/// Background work is wanted within this time, s.
const BACKGROUND_WITHIN: f64 = 600.0;
/// This share of the images is urgent: each interrupts what runs, alone, on one thread.
const URGENT: f64 = 0.01;

impl Load {
    /// The loads that the gates are held to.
    pub(crate) const ALL: [Load; 4] = [Load::Steady, Load::Bursts, Load::Day, Load::Mixed];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::Steady => "steady",
            Load::Bursts => "bursts",
            Load::Day => "day",
            Load::Mixed => "mixed",
            Load::Light => "light",
            Load::Background => "background",
            Load::Rising => "rising",
        }
    }

    /// Whether as much is asked for at any time.
    pub(crate) fn stands_still(self) -> bool {
        matches!(self, Load::Steady | Load::Mixed | Load::Light)
    }

    /// Its requests, in order of time.
    pub(crate) fn arrivals(self, kind: Kind, seconds: f64, seed: u64) -> Vec<Arrival> {
        let shape = self.shape(seconds, &mut Random::new(seed ^ 0x5eed));
        let mut all = Vec::new();
        for (model, share) in self.shares() {
            let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(model as u64));
            let capacity = models::ALL[model].capacity(kind) * share;
            arrive(model, &models::ALL[model], capacity, &shape, &mut random, &mut all);
        }
        if self == Load::Background {
            let (model, mut random) = (0, Random::new(seed ^ 0xbac));
            let capacity = models::ALL[model].capacity(kind);
            let from = all.len();
            arrive(model, &models::ALL[model], capacity, &vec![0.8; seconds.ceil() as usize], &mut random, &mut all);
            for arrival in &mut all[from..] {
                (arrival.priority, arrival.within) = (Priority::Background, BACKGROUND_WITHIN);
            }
        }
        all.retain(|arrival| arrival.at < seconds);
        all.sort_by(|a, b| a.at.total_cmp(&b.at));
        all
    }

    /// Each model's part of the capacity.
    fn shares(self) -> Vec<(usize, f64)> {
        match self {
            Load::Mixed => vec![(0, 0.25), (1, 0.25), (3, 0.5)],
            _ => vec![(0, 1.0 / 3.0), (1, 1.0 / 3.0), (2, 1.0 / 3.0)],
        }
    }

    /// For each second the load as a share of the capacity.
    fn shape(self, seconds: f64, random: &mut Random) -> Vec<f64> {
        let count = seconds.ceil() as usize;
        match self {
            Load::Steady => vec![1.33; count],
            Load::Mixed => vec![1.2; count],
            Load::Light | Load::Background => vec![0.33; count],
            Load::Rising => (0..count).map(|second| if second < count / 2 { 0.33 } else { 1.33 }).collect(),
            Load::Day => {
                let noon = |second: usize| 0.5 - 0.5 * (std::f64::consts::TAU * second as f64 / seconds).cos();
                (0..count).map(|second| 0.03 + 1.17 * noon(second)).collect()
            }
            Load::Bursts => {
                let mut shape = Vec::with_capacity(count + 400);
                while shape.len() < count {
                    let quiet = 30.0 + random.exponential(70.0).min(250.0);
                    let burst = 15.0 + random.exponential(30.0).min(120.0);
                    shape.extend(std::iter::repeat_n(0.1, quiet as usize));
                    shape.extend(std::iter::repeat_n(2.0, burst as usize));
                }
                shape.truncate(count);
                shape
            }
        }
    }
}

/// Arrivals that know nothing of each other, at a rate of `capacity` times the shape.
fn arrive(model: usize, is: &Model, capacity: f64, shape: &[f64], random: &mut Random, into: &mut Vec<Arrival>) {
    // A conversation is some tokens and a prompt that counts as several.
    let (pieces, tokens) = if is.talks { ((1, 3), (16, 48)) } else { ((0, 0), (0, 0)) };
    let mean = |(low, high): (u32, u32)| f64::from(low + high) / 2.0;
    let items = if is.talks { mean(tokens) + PIECE * mean(pieces) } else { 1.0 };
    let mut expected = random.exponential(1.0);
    for (second, share) in shape.iter().enumerate() {
        let rate = capacity * share / items;
        let mut passed = 0.0;
        while rate > 0.0 && expected <= (1.0 - passed) * rate {
            passed += expected / rate;
            expected = random.exponential(1.0);
            let among = |(low, high): (u32, u32), share: f64| low + (share * f64::from(high - low + 1)) as u32;
            let urgent = !is.talks && random.share() < URGENT;
            into.push(Arrival {
                at: second as f64 + passed,
                model,
                priority: if urgent { Priority::High } else { Priority::Normal },
                within: if is.talks { TALK_WITHIN } else { IMAGE_WITHIN },
                pieces: if is.talks { among(pieces, random.share()) } else { 0 },
                tokens: if is.talks { among(tokens, random.share()) } else { 0 },
            });
        }
        expected -= (1.0 - passed) * rate;
    }
}
