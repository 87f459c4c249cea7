//! What the examples measure with.

use std::time::{Duration, Instant};

/// Shortest time of one call, over a quarter of a second.
pub(crate) fn shortest(mut call: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut shortest = Duration::MAX;
    while start.elapsed() < Duration::from_millis(250) {
        let call_start = Instant::now();
        call();
        shortest = shortest.min(call_start.elapsed());
    }
    shortest
}
