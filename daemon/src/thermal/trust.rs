//! Trust: whether a reading of the sensor is to be believed, by what it could be. A sensor that vanishes, jumps or freezes
//! is doubted until it moves as the board should.

use std::time::Duration;

/// A reading may be so far from what is expected, K, besides four sigmas: more than a chip heats or cools in a second.
const JUMP: f64 = 7.0;
/// A reading that does not move may be so far from what is expected without it, K, besides two sigmas.
const FROZEN: f64 = 2.5;
/// It has not moved at all for so long before it is called frozen.
const STILL: Duration = Duration::from_secs(6);
/// Near the limit it is doubted when it has not moved for so long, and for more than twice as long as it ever was still before.
const STILL_AND_HOT: Duration = Duration::from_secs(90);
/// Readings missing for so long are not a hiccup.
const MISSING: Duration = Duration::from_secs(3);
/// A doubted sensor is believed after so many readings in a row that could be.
const SOUND: u32 = 5;
/// One that was at another temperature is believed there after so many readings that hang together, and differ.
const STEADY: u32 = 20;
/// Readings that hang together are no further from each other than this, K.
const TOGETHER: f64 = 3.0;

/// What to make of a look at the sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Learn from it.
    Sound(f64),
    /// Leave it aside.
    Aside,
    /// It is believed again, and the board is elsewhere than was expected: learn from here.
    Elsewhere(f64),
}

/// What is expected of a reading, °C, and its sigma, K.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guess {
    pub(super) at: f64,
    pub(super) sigma: f64,
}

/// The sensor's record.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust {
    last: Option<f64>,
    /// Since when it reads the same.
    same_since: Duration,
    longest_still: Duration,
    missing_since: Option<Duration>,
    doubt: Option<String>,
    /// Readings in a row that could be, while it is doubted.
    sound: u32,
    /// Readings in a row that hang together, while it is doubted, and how many of them moved.
    steady: (u32, u32),
}

impl Trust {
    /// Why it is doubted.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// How long it has read the same by now.
    pub(super) fn still_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.same_since)
    }

    /// Judges a reading. `guess` is of everything known, `blind` of what was known when the sensor last moved; `near` the limit.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        reading: Option<f64>,
        complaint: &str,
        guess: Guess,
        blind: Guess,
        near: bool,
    ) -> Verdict {
        let Some(reading) = reading else {
            let since = *self.missing_since.get_or_insert(now);
            if now.saturating_sub(since) >= MISSING {
                let why = if complaint.is_empty() { "it says nothing" } else { complaint };
                self.doubt.get_or_insert_with(|| why.to_owned());
            }
            (self.sound, self.steady) = (0, (0, 0));
            return Verdict::Aside;
        };
        self.missing_since = None;
        let moved = self.last.map(|last| (reading - last).abs()).filter(|moved| *moved > 0.0);
        let hangs_together = self.last.is_some_and(|last| (reading - last).abs() <= TOGETHER);
        if moved.is_some() || self.last.is_none() {
            if self.doubt.is_none() {
                self.longest_still = self.longest_still.max(self.still_for(now));
            }
            self.same_since = now;
        }
        self.last = Some(reading);
        if self.doubt.is_some() {
            return self.reconsider(reading, moved.is_some(), hangs_together, guess);
        }
        let still = self.still_for(now);
        let jumped = (reading - guess.at).abs() > JUMP + 4.0 * guess.sigma;
        let frozen = still >= STILL && (reading - blind.at).abs() > FROZEN + 2.0 * blind.sigma;
        let stuck = near && still >= STILL_AND_HOT && still > 2 * self.longest_still;
        self.doubt = if jumped {
            Some(format!("it says {reading:.0} °C where {:.0} °C is expected", guess.at))
        } else if frozen {
            Some(format!("it has said {reading:.1} °C for {} s, where {:.1} °C is expected", still.as_secs(), blind.at))
        } else if stuck {
            Some(format!("it has said {reading:.1} °C for {} s without moving", still.as_secs()))
        } else {
            return Verdict::Sound(reading);
        };
        (self.sound, self.steady) = (0, (0, 0));
        Verdict::Aside
    }

    /// A doubted sensor has to move, and to be where the board should be; or to go on elsewhere as a sensor does.
    fn reconsider(&mut self, reading: f64, moved: bool, hangs_together: bool, guess: Guess) -> Verdict {
        self.steady = if hangs_together { (self.steady.0 + 1, self.steady.1 + u32::from(moved)) } else { (0, 0) };
        let could_be = (reading - guess.at).abs() <= FROZEN + 3.0 * guess.sigma;
        self.sound = if could_be && hangs_together && (moved || self.sound > 0) { self.sound + 1 } else { 0 };
        if self.sound >= SOUND {
            self.doubt = None;
            return Verdict::Sound(reading);
        }
        if self.steady.0 >= STEADY && self.steady.1 >= 3 {
            self.doubt = None;
            return Verdict::Elsewhere(reading);
        }
        Verdict::Aside
    }
}
