//! Heat: sensors, the limit that applies, and the governor that turns a temperature into a budget.

mod budget;
mod governor;
mod heat;
mod limit;
mod monitor;
mod sensors;

pub use budget::{Budget, Degraded};
pub use governor::{Governor, Zone};
pub use heat::{Celsius, Heat};
pub use limit::{Limit, LimitRule};
pub use monitor::{Monitor, start};
pub use sensors::{Board, CoolingDevice, FrequencyPolicy, Reading, Throttled, Trip, TripKind};
