//! What was learnt of a board, as it is kept across restarts.

use serde::{Deserialize, Serialize};

/// Of this form.
const VERSION: u32 = 1;
/// More numbers than any board has.
const MOST: usize = 16;

/// What a governor has learnt: logarithms of two resistances (K/W) and two capacities (J/K), the outer resistance for each step
/// of the fan, each with its sigma. Small, bounded, and of no use to another version.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learnt {
    version: u32,
    logarithms: Vec<f64>,
    sigmas: Vec<f64>,
}

impl Learnt {
    pub(super) fn new(numbers: impl Iterator<Item = (f64, f64)>) -> Learnt {
        let (logarithms, sigmas) = numbers.unzip();
        Learnt { version: VERSION, logarithms, sigmas }
    }

    /// The numbers with their sigmas, if they are of this version, of a board with so many steps of a fan, and numbers at all.
    pub(super) fn of(&self, fans: usize) -> Option<impl Iterator<Item = (f64, f64)>> {
        let size = 3 + fans;
        let fits = self.version == VERSION && size <= MOST && self.logarithms.len() == size && self.sigmas.len() == size;
        let sound = self.logarithms.iter().all(|l| l.is_finite()) && self.sigmas.iter().all(|s| s.is_finite() && *s > 0.0);
        (fits && sound).then(|| self.logarithms.iter().copied().zip(self.sigmas.iter().copied()))
    }
}
