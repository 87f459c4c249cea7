//! Heat: sensors, the limit that applies, and the governor that learns the board, forecasts its temperature and chooses a
//! budget.

mod activity;
mod budget;
mod choice;
mod clock_cap;
mod forecast;
mod governor;
mod heat;
mod history;
mod learner;
mod learnt;
mod learnt_file;
mod limit;
mod look;
mod meter;
mod mode;
mod monitor;
mod notices;
mod quiet;
mod sensors;
mod stages;
mod steps;
mod straying;
#[cfg(test)]
mod tests;
mod traits;
mod trust;

pub use budget::{Budget, Degraded};
pub use forecast::{Expected, Load};
pub use governor::Governor;
pub use heat::{Celsius, Heat};
pub use history::{History, HistoryFiles};
pub use learnt::Learnt;
pub use limit::{Limit, LimitRule};
pub use look::Look;
pub use mode::Mode;
pub use monitor::{Monitor, start};
pub use notices::Notice;
pub use sensors::{Board, CoolingDevice, FrequencyPolicy, Reading, Throttled, Trip, TripKind};
pub use stages::{Stage, Stages};
pub use traits::{ClockStep, Traits};
