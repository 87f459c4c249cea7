//! A burst through both doors at once, to see batches form and that nothing gets lost.

use super::{Door, Doors, Sample};
use hearth_ctl::CallError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests under way at once through each door.
const LANES: usize = 48;
/// How often a refused request is sent again.
const TRIES: usize = 20;

/// What became of the burst.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) requests: usize,
    pub(super) answered: usize,
    pub(super) lost: usize,
    pub(super) elapsed: Duration,
    /// How many requests rode in batches of each size, by model.
    pub(super) batches: BTreeMap<String, BTreeMap<u32, usize>>,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({"burst": {"requests": self.requests, "answered": self.answered, "lost": self.lost, "items_per_second": self.rate(),
            "batches": self.batches}})
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (model, sizes) in &self.batches {
            let most = sizes.values().copied().max().unwrap_or(1);
            writeln!(f, "{model}: requests by the size of the batch they rode in")?;
            for (size, requests) in sizes {
                writeln!(f, "  {size:>3}  {:<40} {requests}", "#".repeat((requests * 40).div_ceil(most)))?;
            }
        }
        write!(f, "{} requests, {} answered, {} lost, {:.0} items a second", self.requests, self.answered, self.lost, self.rate())
    }
}

/// Sends `requests` of the samples, as fast as `LANES` at each door allow.
pub(super) async fn run(doors: &Doors, samples: Vec<Sample>, requests: usize, quiet: bool) -> anyhow::Result<Outcome> {
    anyhow::ensure!(!samples.is_empty(), "there are no samples");
    let bar = if quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        let rate = |state: &ProgressState, line: &mut dyn fmt::Write| {
            // A bar that cannot be written has nobody to tell.
            let _ = write!(line, "{:.0} a second", state.per_sec());
        };
        let style = ProgressStyle::with_template("burst {bar:40} {pos} of {len}, {rate}")?.with_key("rate", rate);
        ProgressBar::new(requests as u64).with_style(style)
    };
    let (samples, next) = (Arc::new(samples), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let lanes = Door::BOTH.into_iter().flat_map(|door| std::iter::repeat_n(door, LANES)).map(|door| {
        let (doors, samples, next, bar) = (doors.clone(), samples.clone(), next.clone(), bar.clone());
        tokio::spawn(async move {
            let mut rode = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= requests {
                    return rode;
                }
                let sample = &samples[i % samples.len()];
                if let Some(batch) = persistent(&doors, door, sample, i).await {
                    rode.push((sample.model.to_string(), batch));
                }
                bar.inc(1);
            }
        })
    });
    let mut outcome = Outcome { requests, answered: 0, lost: 0, elapsed: Duration::ZERO, batches: BTreeMap::new() };
    for lane in lanes.collect::<Vec<_>>() {
        for (model, batch) in lane.await? {
            outcome.answered += 1;
            *outcome.batches.entry(model).or_default().entry(batch).or_default() += 1;
        }
    }
    outcome.elapsed = begun.elapsed();
    outcome.lost = requests - outcome.answered;
    bar.finish_and_clear();
    Ok(outcome)
}

/// Asks, and asks again when told when to; the batch the answer rode in, or nothing if none came.
async fn persistent(doors: &Doors, door: Door, sample: &Sample, i: usize) -> Option<u32> {
    for attempt in 0..TRIES {
        match doors.ask(door, sample, &format!("burst-{i}-{attempt}")).await {
            Ok(reply) => return Some(reply.batch),
            Err(CallError::Fault(fault)) if fault.retry_after_ms.is_some() => {
                tokio::time::sleep(Duration::from_millis(fault.retry_after_ms.unwrap_or(1))).await;
            }
            Err(_) => return None,
        }
    }
    None
}
