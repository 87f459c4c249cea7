//! The choice: from the power that heat allows to a budget. The pace follows the heat; what is announced (clock, who is
//! admitted, degraded or not) changes seldom, and only where it pays.

use super::{Budget, Degraded, Mode, Traits};
use hearth_api::Priority;
use std::time::Duration;

/// The heat that is there soon is what is allowed over so many seconds.
pub(super) const SOON: f64 = 30.0;
/// A clock is chosen for the heat that is allowed over as long a time as the load has lasted, since it may well last as long again: from
/// [`SOON`] to this, s. Pauses count so many times against it: bursts do not last.
const LASTING: f64 = 150.0;
const PAUSES: f64 = 4.0;
/// What each clock would serve is a mean over so many seconds in which all was spent that might be: bursts count with steady load. The
/// fewer changes are left, the longer.
const CLOCK_MEAN: f64 = 30.0;
/// None is changed for a mean of fewer: what is allowed falls fast at first.
const ENOUGH: f64 = 10.0;
/// This part of the time of a step waits for memory, which no clock makes shorter. A guess: steps do not tell, since batches and threads
/// change with the heat as well, and those of language models have no measured points to be held against.
const MEMORY: f64 = 0.3;
/// A clock pays for its change if it serves so much more, as a share, while all changes are saved up; the fewer there are, the more
/// one has to pay.
const PAYS: f64 = 0.01;
const PAYS_FOR_PERFORMANCE: f64 = 0.1;
/// The clock is set free after so long without need of a cap, s, if heat allows so many times the work that is done.
const FREES: f64 = 300.0;
const SPARE: f64 = 1.5;
/// Changes that need not be: one in so many seconds, and so many saved up.
const CHANGE: f64 = 300.0;
const CHANGES: f64 = 4.0;
/// Held back for so long, it is degraded; and no longer after it was not for so long, which is when background work begins again.
const DEGRADES: f64 = 10.0;
const COOLS: f64 = 400.0;
/// All that is allowed counts as spent from this share on; and a budget of this share as full.
const SPENT: f64 = 0.8;
const FULL: f64 = 0.95;
/// Below so few cores for so long only high priority is admitted, and again above twice as many.
const NEXT_TO_NOTHING: f64 = 0.05;
const NOTHING: f64 = 60.0;
/// The least that may be spent, in cores: something always is, so that what is admitted ends.
const LEAST: f64 = 0.02;
/// Without a sensor to believe, no more than this share of the cores.
const BLIND: f64 = 0.5;
/// Without any temperature since the start, s many cores.
const DARK: f64 = 0.5;
/// Running means of what is spent, s; and of what others spend, of which so many cores are none: steps do not end with looks.
const MEAN: f64 = 8.0;
const OTHERS_MEAN: f64 = 20.0;
const OTHERS: f64 = 0.15;
/// And of the share that can be kept busy, s; a second with less counts for less, as there may not have been more to do.
const USABLE_MEAN: f64 = 60.0;
const LESS_BUSY: f64 = 0.3;

/// What the choice is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    /// Seconds since the last one.
    pub(super) since: f64,
    /// Busy cores of the whole machine, and their clock.
    pub(super) busy: f64,
    pub(super) clock: f64,
    /// Work that heat allows, in W of [`Traits::dynamic`]: for the moment, for [`SOON`], and for [`Choice::lasting`].
    pub(super) now: f64,
    pub(super) soon: f64,
    pub(super) lasting: f64,
    /// The sensor is not believed.
    pub(super) blind: bool,
    pub(super) mode: Mode,
}

/// What was chosen, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// The cap of the clock; none before the first choice.
    cap: Option<f64>,
    degraded: bool,
    only_high: bool,
    /// What each clock would serve, in cores at the full clock, and over how many seconds that is a mean.
    serves: Vec<f64>,
    served_for: f64,
    /// Changes that may be made, of those that need not be.
    changes: Changes,
    /// The last budget's cores, now and soon.
    cores: f64,
    soon: f64,
    /// What the machine spends above the budget: others' work. Running mean.
    others: f64,
    /// The share of the cores that the engine can keep busy, when it may keep all: no step fills all its threads all the time.
    usable: Usable,
    /// Running mean of busy cores times clock, in cores at the full clock.
    work: f64,
    /// Seconds since all was spent that might be; and how long it was, pauses taken off.
    unspent: f64,
    spent_for: f64,
    /// Seconds held back, not held back, and next to nothing allowed.
    held: f64,
    free: f64,
    nothing: f64,
}

/// A share that begins near one.
#[derive(Debug, Clone, Copy)]
struct Usable(f64);

impl Default for Usable {
    fn default() -> Usable {
        Usable(0.95)
    }
}

/// A bucket of changes: those that need not be are made only out of it.
#[derive(Debug, Clone, Copy)]
struct Changes(f64);

impl Default for Changes {
    fn default() -> Changes {
        Changes(CHANGES)
    }
}

impl Changes {
    fn pass(&mut self, seconds: f64) {
        self.0 = (self.0 + seconds / CHANGE).min(CHANGES);
    }

    fn may(self) -> bool {
        self.0 >= 1.0
    }

    /// How many times what a change has to pay while all are saved up it has to pay now.
    fn price(self) -> f64 {
        CHANGES / self.0.max(1.0)
    }

    /// One was made, whether it might or had to.
    fn made(&mut self) {
        self.0 = (self.0 - 1.0).max(0.0);
    }
}

impl Choice {
    /// Other clocks can be set now, or none.
    pub(super) fn clocks_changed(&mut self) {
        (self.cap, self.served_for) = (None, 0.0);
        self.serves.clear();
    }

    /// How long the load is taken to last, s.
    pub(super) fn lasting(&self) -> f64 {
        self.spent_for.clamp(SOON, LASTING)
    }

    /// No temperature since the start, although there is a sensor.
    pub(super) fn in_the_dark(&mut self, traits: &Traits, reason: String) -> Budget {
        (self.degraded, self.free) = (true, 0.0);
        self.cores = DARK.min(f64::from(traits.threads));
        self.soon = self.cores;
        self.budget(traits, reason)
    }

    /// Chooses.
    pub(super) fn choose(&mut self, traits: &Traits, scope: &Scope, why: &str) -> Budget {
        let full = f64::from(traits.threads);
        self.watch(scope, full);
        self.changes.pass(scope.since);
        let cap = self.choose_clock(traits, scope, full);
        let a_core = traits.dynamic(1.0, cap).max(1e-6);
        let all = if scope.blind { BLIND * full } else { full };
        let ours = |machine: f64| (machine - (self.others - OTHERS).max(0.0)).clamp(LEAST, all);
        (self.cores, self.soon) = (ours(scope.now / a_core), ours(scope.now.min(scope.soon) / a_core));
        self.judge(scope, full, cap);
        let reason = match (self.degraded, self.cores < FULL * full) {
            (_, true) if cap < 1.0 => format!("{why}: {:.1} cores at {:.0} % of the clock", self.cores, cap * 100.0),
            (_, true) => format!("{why}: {:.1} cores", self.cores),
            (true, false) if cap < 1.0 => format!("{why}: all cores at {:.0} % of the clock", cap * 100.0),
            (true, false) => format!("{why}: full speed for now"),
            (false, false) => format!("{why}: full speed"),
        };
        self.budget(traits, reason)
    }

    /// Sees what became of the last budget.
    fn watch(&mut self, scope: &Scope, full: f64) {
        let weight = (scope.since / MEAN).min(1.0);
        if self.cores > 0.0 {
            self.others += ((scope.busy - self.cores).clamp(-full, full) - self.others) * (scope.since / OTHERS_MEAN).min(1.0);
        }
        if self.cores >= FULL * full && scope.busy >= SPENT * full {
            let off = (scope.busy / full).min(1.0) - self.usable.0;
            let counts = if off < 0.0 { LESS_BUSY } else { 1.0 };
            self.usable.0 += off * (counts * scope.since / USABLE_MEAN).min(1.0);
        }
        self.work += (scope.busy * scope.clock - self.work) * weight;
        let spent = scope.busy >= SPENT * self.cores.min(full);
        let held_back = spent && (self.cores < FULL * full || self.cap.is_some_and(|cap| cap < 1.0)) || scope.blind;
        if held_back {
            self.held += scope.since;
            self.free = 0.0;
        } else {
            self.free += scope.since;
            self.held = (self.held - scope.since).max(0.0);
        }
    }

    /// The cap that serves the most with the heat there is, if it pays for the change.
    fn choose_clock(&mut self, traits: &Traits, scope: &Scope, full: f64) -> f64 {
        let cap = self.cap.unwrap_or(1.0);
        if traits.clocks.is_empty() || scope.blind {
            return cap;
        }
        let lasting = scope.lasting.max(0.0);
        let spent = scope.busy >= SPENT * self.cores.min(full);
        self.unspent = if spent { 0.0 } else { self.unspent + scope.since };
        self.spent_for = if spent { self.spent_for + scope.since } else { (self.spent_for - PAUSES * scope.since).max(0.0) };
        if self.unspent >= FREES && cap < 1.0 && lasting >= SPARE * traits.dynamic(self.work, 1.0) && self.changes.may() {
            return self.set_cap(1.0);
        }
        if !spent {
            return cap;
        }
        let usable = full * self.usable.0;
        let serves = traits.clocks.iter().map(|step| (lasting / traits.dynamic(1.0, step.clock).max(1e-6)).min(usable) * speed(step.clock));
        self.served_for += scope.since;
        let weight = scope.since / self.served_for.min(CLOCK_MEAN * self.changes.price());
        self.serves.resize(traits.clocks.len(), 0.0);
        for (mean, serves) in self.serves.iter_mut().zip(serves) {
            *mean += (serves - *mean) * weight.min(1.0);
        }
        let of =
            |clock: f64| traits.clocks.iter().zip(&self.serves).rev().find(|(step, _)| step.clock <= clock + 1e-9).map_or(0.0, |s| *s.1);
        let most = self.serves.iter().copied().fold(0.0, f64::max);
        // Of clocks that serve as much, the highest: it answers sooner.
        let best = traits.clocks.iter().zip(&self.serves).rev().find(|(_, serves)| **serves >= 0.995 * most).map_or(1.0, |s| s.0.clock);
        let pays = if scope.mode == Mode::Performance && best < cap { PAYS_FOR_PERFORMANCE } else { PAYS * self.changes.price() };
        if best != cap && self.served_for >= ENOUGH && most >= of(cap) * (1.0 + pays) && self.changes.may() {
            return self.set_cap(best);
        }
        cap
    }

    fn set_cap(&mut self, cap: f64) -> f64 {
        self.cap = Some(cap);
        self.changes.made();
        cap
    }

    /// Whether it is degraded, and who is admitted.
    fn judge(&mut self, scope: &Scope, full: f64, cap: f64) {
        let degraded = if self.degraded { self.free < COOLS || cap < 1.0 && self.held > 0.0 } else { self.held >= DEGRADES || scope.blind };
        if degraded != self.degraded && (degraded || self.changes.may()) {
            self.degraded = degraded;
            self.changes.made();
        }
        let nothing = if self.only_high { 2.0 * NEXT_TO_NOTHING } else { NEXT_TO_NOTHING } * full / 4.0;
        self.nothing =
            if self.cores <= nothing { (self.nothing + scope.since).min(2.0 * NOTHING) } else { (self.nothing - scope.since).max(0.0) };
        // Who is kept out is let in as soon as that lasts, whatever was changed before.
        let only_high = if self.only_high { self.nothing > 0.0 } else { self.nothing >= NOTHING };
        if only_high != self.only_high {
            self.only_high = only_high;
            self.changes.made();
        }
    }

    fn budget(&self, traits: &Traits, reason: String) -> Budget {
        let admit = match (self.only_high, self.degraded) {
            (true, _) => Priority::High,
            (false, true) => Priority::Normal,
            (false, false) => Priority::Background,
        };
        let retry_after = match admit {
            Priority::High => Duration::from_secs(30),
            // Background work is let in when it has been cool for long enough.
            _ if self.degraded => Duration::from_secs_f64((COOLS - self.free).clamp(1.0, COOLS).ceil()),
            _ => Duration::from_secs(1),
        };
        Budget {
            cores: self.cores,
            soon: self.soon,
            clock: self.cap.unwrap_or(1.0),
            admit,
            retry_after,
            degraded: if self.degraded { Degraded::HighOperatingTemperature } else { Degraded::No },
            reason,
            ..Budget::unbounded(traits.threads)
        }
    }
}

/// How fast steps run at a clock, as a share of how fast they do at the top one.
fn speed(clock: f64) -> f64 {
    1.0 / (MEMORY + (1.0 - MEMORY) / clock)
}
