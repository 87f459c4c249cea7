//! Measuring: runs models on a sample while nothing waits and the board is cool, a little at a time, to fill their tables
//! of points. A request that comes meanwhile runs between two nodes of the measurement.

use super::step_loop::StepLoop;
use crate::thermal::Degraded;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Nothing may have run for this long.
const QUIET: Duration = Duration::from_millis(20);
/// After a measurement it rests this many times as long: two per cent of the time.
const REST: u32 = 49;

impl StepLoop {
    /// When the next measurement is due; none while there is nothing to measure, or it would be in the way.
    pub(super) fn next_measurement(&self) -> Option<Instant> {
        let idle = self.waiting.is_empty() && self.next.is_none() && !self.catalog.is_loading();
        let cool = self.budget.degraded == Degraded::No && self.budget.cores >= f64::from(self.budget.threads);
        if !idle || !cool || !self.catalog.has_to_measure(self.budget.batch, self.budget.threads) {
            return None;
        }
        Some(self.measure_at.max(self.quiet_since + QUIET))
    }

    /// Whether a measurement is due now.
    pub(super) fn may_measure(&self, now: Instant) -> bool {
        self.next_measurement().is_some_and(|at| at <= now)
    }

    /// One measuring run.
    pub(super) fn measure(&mut self) {
        let Some((model, shape, sample)) = self.catalog.to_measure(self.budget.batch, self.budget.threads) else { return };
        let payloads = vec![sample; shape.0 as usize];
        let cpu = process_cpu_time();
        let Some(run) = self.run_model(&model, &payloads, &[], shape.1, 0) else { return };
        let cpu = process_cpu_time().saturating_sub(cpu);
        self.measure_at = Instant::now() + run.elapsed * REST;
        if run.interrupted {
            return;
        }
        if let Some(fault) = run.results.iter().find_map(|result| result.as_ref().err()) {
            tracing::debug!(%model, %fault, "the model cannot be measured with its sample");
            return self.catalog.cannot_measure(&model);
        }
        if self.catalog.measured(&model, shape, run.computed, cpu) {
            self.tell_profile(&model);
        }
    }
}

/// CPU time of the process, all threads together. Nothing else computes while a measurement does.
fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
