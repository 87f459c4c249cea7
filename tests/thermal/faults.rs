//! Faults: sensors that lie, clocks that jump, a machine that sleeps, a cap that cannot be written. The board must stay below its
//! limit, and whoever looks after it must be told.

use super::cells::{Air, Cell};
use super::controllers::Controller;
use super::loads::Load;
use super::outcome::{LIMIT, Outcome};
use super::world;
use hearth_tests::board::Kind;
use hearthd::thermal::{Celsius, Look, Mode};
use std::time::Duration;

/// What is wrong with what the daemon is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Lie {
    /// Nothing.
    Nothing,
    /// The sensor goes on to show what it showed.
    Freezes,
    /// It shows this, °C.
    Jumps(f64),
    /// It cannot be read.
    Vanishes,
    /// Reading it takes so long that there is a look only every ten seconds.
    Late,
    /// There never was one.
    NoSensor,
    /// The clock's cap cannot be written, although it looked as if.
    ReadOnly,
    /// The time since boot is off by so much from then on, s.
    ClockSteps(f64),
    /// The machine sleeps for so long, s.
    Sleeps(f64),
}

impl Lie {
    /// Every fault.
    pub(crate) const ALL: [Lie; 10] = [
        Lie::Freezes,
        Lie::Jumps(0.0),
        Lie::Jumps(200.0),
        Lie::Vanishes,
        Lie::Late,
        Lie::NoSensor,
        Lie::ReadOnly,
        Lie::ClockSteps(3600.0),
        Lie::ClockSteps(-600.0),
        Lie::Sleeps(600.0),
    ];

    /// What it is called.
    pub(crate) fn name(self) -> String {
        match self {
            Lie::Nothing => "nothing".into(),
            Lie::Freezes => "sensor freezes".into(),
            Lie::Jumps(to) => format!("sensor jumps to {to:.0}"),
            Lie::Vanishes => "sensor vanishes".into(),
            Lie::Late => "sensor comes late".into(),
            Lie::NoSensor => "no sensor".into(),
            Lie::ReadOnly => "cpufreq is read-only".into(),
            Lie::ClockSteps(by) => format!("clock steps by {by:+.0} s"),
            Lie::Sleeps(_) => "suspend and resume".into(),
        }
    }

    /// When it begins and ends, as shares of the run. A freeze begins while the board is cool, before the load rises: then it hides
    /// the most. The others begin when it is hot.
    fn window(self) -> (f64, f64) {
        match self {
            Lie::Freezes | Lie::Late => (0.45, 0.85),
            Lie::NoSensor | Lie::ReadOnly => (0.0, 1.0),
            Lie::ClockSteps(_) => (0.7, 1.0),
            _ => (0.7, 0.85),
        }
    }

    /// Whether the fault must be said by the governor. What fails in writing, the daemon says that wrote; a clock that steps back is
    /// no fault of the board.
    fn is_to_be_said(self) -> bool {
        !matches!(self, Lie::ReadOnly | Lie::ClockSteps(_) | Lie::Late)
    }

    /// How far above the limit the board may be, K, while nothing can tell the lie from the truth.
    fn allowance(self) -> f64 {
        match self {
            // Whole degrees that stand still are what a board in balance shows as well.
            Lie::Freezes => 1.0,
            // A look every ten seconds, while the die follows the power within eight.
            Lie::Late => 1.0,
            // There is no limit where there is no sensor: the firmware's own throttling has to do.
            Lie::NoSensor => 5.5,
            _ => 0.0,
        }
    }
}

/// A lie under way.
#[derive(Debug, Clone)]
pub(crate) struct Liar {
    lie: Lie,
    frozen: Option<Celsius>,
}

impl Liar {
    /// Tells this lie when its time comes.
    pub(crate) fn new(lie: Lie) -> Liar {
        Liar { lie, frozen: None }
    }

    /// What the daemon is told of a look; none: it does not come to look.
    pub(crate) fn tell(&mut self, mut look: Look, now: f64, seconds: f64) -> Option<Look> {
        let (from, until) = self.lie.window();
        let lies = now >= from * seconds && now < until * seconds;
        match self.lie {
            Lie::Freezes if lies => look.temperature = Some(*self.frozen.get_or_insert(look.temperature?)),
            Lie::Jumps(to) if lies => look.temperature = Some(Celsius(to)),
            Lie::Vanishes if lies => {
                look.temperature = None;
                look.complaint = "cpu-thermal cannot be read: No such device".into();
            }
            Lie::NoSensor => {
                look.temperature = None;
                look.complaint = "no temperature sensor".into();
            }
            Lie::Late if lies && !(now.round() as u64).is_multiple_of(10) => return None,
            Lie::ClockSteps(by) if lies && by > 0.0 => look.at += Duration::from_secs_f64(by),
            Lie::ClockSteps(by) if lies => look.at = look.at.saturating_sub(Duration::from_secs_f64(-by)),
            Lie::Sleeps(_) if now >= until * seconds => look.at += self.asleep(),
            _ => {}
        }
        Some(look)
    }

    /// How long the machine sleeps in all.
    fn asleep(&self) -> Duration {
        if let Lie::Sleeps(seconds) = self.lie { Duration::from_secs_f64(seconds) } else { Duration::ZERO }
    }

    /// For how long the machine falls asleep now.
    pub(crate) fn sleeps(&self, now: f64, seconds: f64) -> Option<Duration> {
        let (_, until) = self.lie.window();
        (matches!(self.lie, Lie::Sleeps(_)) && now.round() == (until * seconds).round()).then(|| self.asleep())
    }

    /// Whether the cap of the clock can be written.
    pub(crate) fn lets_write(&self) -> bool {
        self.lie != Lie::ReadOnly
    }
}

/// A fault on a board, and what came of it.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: String,
    /// The hottest, °C.
    pub(crate) peak: f64,
    /// How far above the limit it might be, K.
    pub(crate) allowance: f64,
    /// What the governor said first after the fault began; none where it said nothing.
    pub(crate) said: Option<(f64, String)>,
    /// Whether it had to.
    pub(crate) to_be_said: bool,
    /// Answers in time while the fault lasted, as a share of those without it.
    pub(crate) served: f64,
}

impl Case {
    /// The case in a line.
    pub(crate) fn line(&self) -> String {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let said = match &self.said {
            Some((at, says)) => format!("at {at:.0} s: {says}"),
            None => "nothing".into(),
        };
        let (name, peak, allowance, served) = (&self.name, self.peak, self.allowance, 100.0 * self.served);
        format!("fault  {verdict:<7} {name:<42} peak {peak:.2} °C (limit {LIMIT:.0} + {allowance:.1}), serves {served:.0} %; says {said}")
    }

    /// Whether the promise is kept.
    pub(crate) fn is_met(&self) -> bool {
        self.peak <= LIMIT + self.allowance && (self.said.is_some() || !self.to_be_said)
    }
}

/// Every fault on three boards; in a short run, on one.
pub(crate) fn cases(short: bool, seconds: f64, seed: u64) -> Vec<(Lie, Cell)> {
    let kinds: &[Kind] = if short { &[Kind::Pi4Bare] } else { &[Kind::Pi4Bare, Kind::Pi4Fan, Kind::Pi5Bare] };
    let cell = |kind: Kind| {
        // In air of 40 °C even the board with a fan comes near its limit; it fails, so that it must be held.
        let fan_fails = !kind.parameters().fan.is_empty();
        let air = Air::Still(if fan_fails { 40.0 } else { 30.0 });
        Cell { kind, load: Load::Rising, air, fan_fails, clock: true, seconds, seed }
    };
    Lie::ALL.into_iter().flat_map(|lie| kinds.iter().map(move |kind| (lie, cell(*kind)))).collect()
}

/// Lives through one.
pub(crate) fn run(lie: Lie, cell: Cell) -> Case {
    let arrivals = cell.load.arrivals(cell.kind, cell.seconds, cell.seed);
    let lived = |lie: Lie| -> Outcome {
        let controller = Controller::governor(&cell, Mode::Balanced, lie != Lie::NoSensor);
        world::run(cell, &arrivals, controller, Liar::new(lie))
    };
    let (truth, outcome) = (lived(Lie::Nothing), lived(lie));
    let began = lie.window().0 * cell.seconds;
    Case {
        name: format!("{}: {}", cell.kind.parameters().name, lie.name()),
        peak: outcome.peak,
        allowance: lie.allowance(),
        said: outcome.notices.iter().find(|(at, _)| *at >= began).cloned(),
        to_be_said: lie.is_to_be_said(),
        served: outcome.good / truth.good.max(1.0),
    }
}
