//! Notices: what the governor has to say aloud. For the log, and for whoever looks after the board.

use super::Celsius;
use std::fmt;
use std::time::Duration;

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// The board has no sensor: nothing is held back.
    NoSensor,
    /// The sensor is not believed; why.
    SensorDoubted(String),
    /// The sensor is believed again, at this temperature.
    SensorBelieved(Celsius),
    /// What was learnt of the board does not hold any more.
    BoardChanged {
        /// How far the temperature is from what was expected, in K.
        off: f64,
    },
    /// The board was asleep, or the daemon was held up, for so long.
    Slept(Duration),
    /// Quiet needs the fan at this step to serve what is asked.
    QuietNeeds(u32),
    /// Quiet holds the fan at this step again.
    QuietAgain(u32),
    /// Nothing is known of a fan's steps: quiet is as balanced.
    QuietUnknown,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::NoSensor => write!(f, "no temperature sensor: nothing is held back, and nothing protects the board but itself"),
            Notice::SensorDoubted(why) => write!(f, "the temperature sensor is not believed: {why}; held back to be safe"),
            Notice::SensorBelieved(at) => write!(f, "the temperature sensor is believed again: {at}"),
            Notice::BoardChanged { off } => {
                write!(f, "the board is {off:+.1} K from what was learnt of it (a fan, a case, the season?): it is learnt anew")
            }
            Notice::Slept(gap) => write!(f, "no look at the board for {} s: suspended, or held up", gap.as_secs()),
            Notice::QuietNeeds(step) => write!(f, "quiet: what is asked needs the fan at step {step}"),
            Notice::QuietAgain(0) => write!(f, "quiet: the fan may stay off again"),
            Notice::QuietAgain(step) => write!(f, "quiet: the fan may go back to step {step}"),
            Notice::QuietUnknown => write!(f, "quiet: no steps of a fan are known on this board; as balanced"),
        }
    }
}
