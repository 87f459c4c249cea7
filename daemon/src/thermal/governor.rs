//! The governor: learns the board from looks, forecasts, and chooses the budget. Pure: looks in, a budget out.
//!
//! # How it decides
//! Each look moves the [learner](super::learner): where chip and board stand, and what they are made of. From there two
//! forecasts, one without work and one with a watt of it, give the power that has the chip at its goal some seconds from now;
//! that power, less what others on the machine take, is the mean of busy cores that the engine may spend. A chip far from its
//! goal may spend all it has, and one at its goal what the board can carry off: all heat that can be stored is used, none is
//! spent twice. The goal is the limit (or what the mode asks for) less what may be wrong with the estimate.
//! The clock is capped where the same heat then serves more; see [`choice`](super::choice).

use super::choice::{Choice, SOON, Scope};
use super::forecast::{self, Fan};
use super::learner::{Learner, Power};
use super::meter::Meter;
use super::quiet::Quiet;
use super::steps::Steps;
use super::straying::Straying;
use super::trust::{Guess, Trust, Verdict};
use super::{Budget, Celsius, ClockStep, Expected, Learnt, Limit, Load, Look, Mode, Notice, Traits};
use std::time::Duration;

/// It is aimed so far below the goal, K, so many times how far the chip strays from where it is aimed, and this many sigmas of the estimate.
const MARGIN: f64 = 0.05;
const STRAYS: f64 = 2.0;
const SIGMAS: f64 = 2.0;
/// And so much further, K, where there is a fan to lose.
const FAN_TO_LOSE: f64 = 0.13;
/// And so much further where the mode is not balanced or little is learnt, K.
const WIDER: f64 = 0.15;
/// For so long a long step, or a few, may be hotter than the mean before the sensor shows it, s; by a core at most.
const STEP: f64 = 0.8;
/// Where readings are above what was expected, the chip is so many times that above its estimate.
const LAGS: f64 = 2.0;
/// A goal without a sensor to see it by is lower, K, and more sigmas lower.
const BLIND_MARGIN: f64 = 3.0;
const BLIND_SIGMAS: f64 = 3.0;
/// The chip is to be at its goal after so many of its own times, and between these, s: late enough to be smooth, early
/// enough that a late look does not matter.
const HORIZON: (f64, f64, f64) = (0.5, 3.0, 10.0);
/// But no sooner than so many times the time between looks.
const LOOKS: f64 = 1.5;
/// Between two looks.
const USUAL: Duration = Duration::from_secs(1);
/// A gap between two looks that is longer than this is a sleep.
const SLEPT: Duration = Duration::from_secs(15);
/// What was learnt does not hold if it is so far off, K and sigmas, as a mean over some 40 looks, after that many of them.
const CHANGED: (f64, f64, u32) = (0.28, 0.65, 600);
/// Seconds of the running means of load.
const LOAD: f64 = 10.0;
/// All that may be spent is, where this share of it is.
const SATURATED: f64 = 0.75;
/// The furthest that [`Governor::limit_in`] looks.
const LIMIT_WITHIN: f64 = 900.0;

/// Chooses the budget from the looks.
#[derive(Debug, Clone)]
pub struct Governor {
    traits: Traits,
    limit: Option<Limit>,
    mode: Mode,
    learnt: Option<Learnt>,
    learner: Option<Learner>,
    /// The learner as it was when the sensor last moved, since then without it.
    blind: Option<Learner>,
    meter: Meter,
    trust: Trust,
    choice: Choice,
    quiet: Quiet,
    last: Option<Look>,
    /// Time that has passed, by the looks: no clock that is set back holds it up.
    time: Duration,
    /// Running means of busy cores and clock, for forecasts at the present load.
    load: (f64, f64),
    steps: Steps,
    straying: Straying,
    budget: Budget,
    notices: Vec<Notice>,
}

impl Governor {
    /// A governor of a board of which nothing is learnt yet.
    pub fn new(traits: Traits, limit: Option<Limit>) -> Governor {
        let budget = Budget::unbounded(traits.threads);
        Governor {
            traits,
            limit,
            mode: Mode::default(),
            learnt: None,
            learner: None,
            blind: None,
            meter: Meter::default(),
            trust: Trust::default(),
            choice: Choice::default(),
            quiet: Quiet::default(),
            last: None,
            time: Duration::ZERO,
            load: (0.0, 1.0),
            steps: Steps::default(),
            straying: Straying::default(),
            budget,
            notices: Vec::new(),
        }
    }

    /// One that goes on from what was learnt before.
    pub fn with_learnt(traits: Traits, limit: Option<Limit>, learnt: &Learnt) -> Governor {
        Governor { learnt: Some(learnt.clone()), ..Governor::new(traits, limit) }
    }

    /// The limit it keeps.
    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// A new limit, after a reload.
    pub fn set_limit(&mut self, limit: Option<Limit>) {
        self.limit = limit;
    }

    /// The mode it is in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Another mode.
    pub fn set_mode(&mut self, mode: Mode) {
        if mode == Mode::Quiet && self.traits.fan.is_empty() && self.mode != mode {
            self.notices.push(Notice::QuietUnknown);
        }
        self.quiet = Quiet::default();
        self.mode = mode;
    }

    /// The clocks that may be set as a cap; none where a write failed.
    pub fn set_clocks(&mut self, mut clocks: Vec<ClockStep>) {
        clocks.retain(|step| step.clock > 0.0 && step.clock <= 1.0 + 1e-9);
        clocks.sort_by(|a, b| a.clock.total_cmp(&b.clock));
        self.traits.clocks = clocks;
        self.choice.clocks_changed();
    }

    /// What has to be said; each only once.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// What was learnt so far, to be kept.
    pub fn learnt(&self) -> Learnt {
        self.learner.as_ref().map(Learner::learnt).or_else(|| self.learnt.clone()).unwrap_or_default()
    }

    /// Takes a look and decides.
    pub fn on(&mut self, look: &Look) -> Budget {
        let Some(limit) = self.limit.as_ref().map(|limit| limit.at) else {
            if self.last.is_none() {
                self.notices.push(Notice::NoSensor);
            }
            self.last = Some(look.clone());
            self.budget = Budget { reason: "no temperature sensor: nothing is held back".into(), ..Budget::unbounded(self.traits.threads) };
            return self.budget.clone();
        };
        let look = sane(look);
        // A clock that goes back tells nothing of how much time has passed: as much as usual.
        let since = self.last.as_ref().map(|last| look.at.checked_sub(last.at).unwrap_or(USUAL));
        if since == Some(Duration::ZERO) {
            return self.budget.clone();
        }
        self.time += since.unwrap_or_default();
        self.learn(&look, since, limit);
        let since = since.map_or(1.0, |since| since.as_secs_f64());
        self.load.0 += (look.busy - self.load.0) * (since / LOAD).min(1.0);
        self.steps.pass(&look, since);
        self.load.1 += (look.clock - self.load.1) * (since / LOAD).min(1.0);
        self.budget = self.decide(&look, since, limit);
        self.last = Some(look);
        self.budget.clone()
    }

    fn learn(&mut self, look: &Look, since: Option<Duration>, limit: Celsius) {
        let power = self.meter.see(&self.traits, look.busy, look.clock, look.watts);
        let fan = fan_of(look);
        let reading = look.temperature.map(|at| at.0);
        let Some(learner) = &mut self.learner else {
            if let Some(at) = reading {
                let learner = Learner::new(&self.traits, at, power, fan, self.learnt.as_ref());
                (self.blind, self.learner) = (Some(learner.clone()), Some(learner));
            }
            return;
        };
        let since = since.unwrap_or_default();
        if let (Power::Work(_), Some(last)) = (power, &self.last) {
            learner.change_clock((look.clock - last.clock).abs());
        }
        let slept = since > SLEPT;
        learner.pass(since.as_secs_f64().min(3600.0), power, fan);
        if slept {
            self.notices.push(Notice::Slept(since));
            if let Some(at) = reading {
                learner.stand_at(at, power, fan);
                (self.trust, self.blind) = (Trust::default(), Some(learner.clone()));
                return;
            }
        }
        let blind = self.blind.get_or_insert_with(|| learner.clone());
        blind.pass(since.as_secs_f64().min(3600.0), power, fan);
        let doubted = self.trust.doubt().is_some();
        let near = learner.chip().0 > limit.0 - 4.0;
        match self.trust.judge(self.time, reading, &look.complaint, guess(learner), guess(blind), near) {
            Verdict::Sound(at) => {
                learner.see(at, fan);
                if self.trust.still_for(self.time).is_zero() {
                    *blind = learner.clone();
                }
            }
            Verdict::Elsewhere(at) => {
                learner.stand_at(at, power, fan);
                *blind = learner.clone();
            }
            // What a frozen sensor said since it froze was not so.
            Verdict::Aside if !doubted && self.trust.doubt().is_some() => *learner = blind.clone(),
            Verdict::Aside => {}
        }
        match (doubted, self.trust.doubt(), reading) {
            (false, Some(why), _) => self.notices.push(Notice::SensorDoubted(why.to_owned())),
            (true, None, Some(at)) => self.notices.push(Notice::SensorBelieved(Celsius(at))),
            _ => {}
        }
        let (off, surprise) = learner.off();
        if off.abs() > CHANGED.0 && surprise.abs() > CHANGED.1 && learner.looks() > CHANGED.2 {
            learner.forget(fan, off > 0.0);
            self.notices.push(Notice::BoardChanged { off });
        }
    }

    /// Where the chip may go: the limit, or what the mode asks for.
    fn goal(&mut self, limit: Celsius, since: f64) -> Celsius {
        match self.mode {
            Mode::Performance | Mode::Balanced => limit,
            Mode::Cool(at) => Celsius(at.0.min(limit.0)),
            Mode::Quiet => {
                // A mean, since no step fills all its threads all the time.
                let saturated = self.load.0 >= SATURATED * self.budget.cores.min(f64::from(self.traits.threads));
                let work = self.load.0 * self.load.1;
                let top = self.quiet.goal(&self.traits, since, saturated, work, &mut self.notices);
                top.filter(|at| at.0 < limit.0).unwrap_or(limit)
            }
        }
    }

    fn decide(&mut self, look: &Look, since: f64, limit: Celsius) -> Budget {
        let goal = self.goal(limit, since);
        let Some(learner) = &self.learner else {
            let reason = format!("no temperature yet ({}): held back to be safe", look.complaint);
            return self.choice.in_the_dark(&self.traits, reason);
        };
        let (chip, variance) = learner.chip();
        let blind = self.trust.doubt();
        let fan = fan_of(look);
        let fast = learner.stages(fan).fast;
        // A step is hotter than the mean, where it uses more threads than there are cores to spend, for as long as it takes.
        let excess = (self.budget.cores.ceil() + 1.0).min(f64::from(self.traits.threads)) - self.budget.cores;
        let ripple = excess.clamp(0.0, 1.0) * self.traits.dynamic(1.0, look.clock) * STEP * self.steps.length() / fast.capacity;
        // Full clocks make for steeper heating, other goals than the limit are no place to be greedy, and neither is a board
        // that was just met, or has just changed.
        let as_balanced = self.mode == Mode::Balanced || self.mode == Mode::Quiet && self.traits.fan.is_empty();
        let surprised = learner.looks() < CHANGED.2;
        let wider = if as_balanced && !surprised { 0.0 } else { WIDER };
        let fan_to_lose = if self.traits.fan.is_empty() { 0.0 } else { FAN_TO_LOSE };
        let (margin, sigmas) = match blind {
            Some(_) => (BLIND_MARGIN, BLIND_SIGMAS),
            None => (MARGIN + fan_to_lose + STRAYS * self.straying.by(), SIGMAS),
        };
        let aim = goal.0 - margin - wider - ripple - sigmas * variance.sqrt() - LAGS * learner.lags();
        if blind.is_none() {
            self.straying.see(chip - aim, since);
        }
        let horizon = (HORIZON.0 * fast.resistance * fast.capacity).clamp(HORIZON.1, HORIZON.2).max(LOOKS * since);
        let measured = look.watts.is_some();
        let power = |work: f64| self.meter.power(&self.traits, work, measured);
        let now = forecast::allows(learner, fan, power, aim, horizon);
        let fan_then = fan.max(forecast::fan_below(&self.traits, goal.0));
        let over = |seconds: f64| forecast::allows(learner, fan_then, power, aim, seconds);
        let (soon, lasting) = (over(SOON), over(self.choice.lasting()));
        let why = match blind {
            Some(why) => format!("the sensor is not believed ({why})"),
            None if look.throttled => format!("{chip:.1} °C, the firmware throttles; the goal is {:.1} °C", goal.0),
            None => format!("{chip:.1} °C, the goal is {:.1} °C", goal.0),
        };
        let scope = Scope { since, busy: look.busy, clock: look.clock, now, soon, lasting, blind: blind.is_some(), mode: self.mode };
        self.choice.choose(&self.traits, &scope, &why)
    }

    fn fan(&self) -> Fan<'_> {
        Fan { steps: &self.traits.fan, now: self.last.as_ref().map_or(0, fan_of) }
    }

    /// The power of the present load, if it goes on.
    fn present(&self) -> Power {
        let measured = self.last.as_ref().is_some_and(|last| last.watts.is_some());
        self.meter.power(&self.traits, self.traits.dynamic(self.load.0, self.load.1), measured)
    }

    /// The temperatures to come if the load stays as it is; empty where nothing is known.
    pub fn outlook(&self, after: &[Duration]) -> Vec<Expected> {
        let Some(learner) = &self.learner else { return Vec::new() };
        let limit = self.limit.as_ref().map(|limit| limit.at);
        after.iter().map(|after| forecast::expect(learner, self.fan(), &[(after.as_secs_f64(), self.present())], limit)).collect()
    }

    /// The temperature at the end of a load that comes now, one piece after the other; none where nothing is known.
    pub fn expect(&self, load: &[Load]) -> Option<Expected> {
        let learner = self.learner.as_ref()?;
        let power = |load: &Load| match load.watts {
            Some(watts) => Power::Measured(watts),
            None => Power::Work(self.traits.dynamic(load.busy, load.clock)),
        };
        let loads: Vec<(f64, Power)> = load.iter().map(|load| (load.during.as_secs_f64(), power(load))).collect();
        Some(forecast::expect(learner, self.fan(), &loads, self.limit.as_ref().map(|limit| limit.at)))
    }

    /// When the limit will be reached if the load stays as it is; none if not within 900 s.
    pub fn limit_in(&self) -> Option<Duration> {
        let limit = self.limit.as_ref()?.at.0;
        forecast::passes(self.learner.as_ref()?, self.fan(), self.present(), limit, LIMIT_WITHIN)
    }
}

fn guess(learner: &Learner) -> Guess {
    let (at, variance) = learner.chip();
    Guess { at, sigma: variance.sqrt() }
}

fn fan_of(look: &Look) -> usize {
    look.fan.map_or(0, |step| step as usize)
}

/// A look with numbers that can be reckoned with.
fn sane(look: &Look) -> Look {
    let within = |value: f64, most: f64, else_: f64| if value.is_finite() { value.clamp(0.0, most) } else { else_ };
    Look {
        temperature: look.temperature.filter(|at| at.0.is_finite()),
        busy: within(look.busy, 4096.0, 0.0),
        clock: within(look.clock, 1.0, 1.0),
        ..look.clone()
    }
}
