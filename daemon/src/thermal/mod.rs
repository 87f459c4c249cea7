//! Heat: sensors, the limit that applies, and the governor that turns a temperature into a budget.

mod budget;

pub use budget::{Budget, Degraded};
