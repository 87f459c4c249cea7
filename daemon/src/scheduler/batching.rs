//! Batching: which requests of a queue would make its next step, and whether it pays to wait for more.

use super::arrivals::Arrivals;
use super::costs::Costs;
use super::lane::{Place, Queue, Waiting};
use super::{Profile, Time};
use std::time::Duration;

/// A batch that could be run now.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its requests; never none.
    pub(super) places: Vec<Place>,
    /// The threads it shall use.
    pub(super) threads: u32,
    /// Mean busy cores that it should take.
    pub(super) busy: f64,
    /// How long it should take; zero if nothing was measured.
    pub(super) latency: Duration,
    /// The first deadline in it.
    pub(super) deadline: Time,
    /// All its requests run alone.
    pub(super) alone: bool,
}

/// The batch that `queue` would run now. `inside`: within a running step, where a request that has to run alone cannot.
pub(super) fn form(queue: &Queue, costs: &Costs, inside: bool, now: Time) -> Option<Batch> {
    let eligible = || queue.waiting.iter().filter(|(_, w)| !(inside && w.alone));
    let single = |(place, first): (&Place, &Waiting)| Batch {
        places: vec![*place],
        threads: costs.threads(1),
        busy: costs.busy(1),
        latency: costs.latency(1).unwrap_or_default(),
        deadline: first.deadline,
        alone: first.alone,
    };
    // A request that would not be ready in time lets those pass that would: under overload, answers that come late
    // would else push the next ones over their deadlines, and so on without end.
    let in_time = now + costs.latency(1).unwrap_or_default();
    let mut viable = eligible().filter(|(_, w)| w.deadline >= in_time);
    let Some(first) = viable.next() else { return eligible().next().map(single) };
    let most = costs.batch(queue.waiting.len());
    if first.1.alone || most == 1 {
        return Some(single(first));
    }
    let mut places = Vec::with_capacity(most);
    places.push(*first.0);
    let mut deadline = first.1.deadline;
    for (place, next) in viable.filter(|(_, w)| !w.alone).take(most - 1) {
        let first_deadline = deadline.min(next.deadline);
        if now + costs.latency(places.len() + 1).unwrap_or_default() > first_deadline {
            break;
        }
        deadline = first_deadline;
        places.push(*place);
    }
    let batch = costs.batch(places.len());
    if batch < places.len() {
        places.truncate(batch);
        deadline = places.iter().filter_map(|place| queue.waiting.get(place)).map(|w| w.deadline).min().unwrap_or(deadline);
    }
    let latency = costs.latency(batch).unwrap_or_default();
    Some(Batch { threads: costs.threads(batch), busy: costs.busy(batch), latency, deadline, alone: false, places })
}

/// Until when `queue` should wait for more requests to join; none if its batch should run now. It waits only while it may
/// (`max_delay`, the first deadline), somebody is expected within that time, and what the batch saves by the next
/// request's joining is more than the wait for it.
pub(super) fn hold(queue: &Queue, profile: &Profile, costs: &Costs, arrivals: &Arrivals, here: usize, now: Time) -> Option<Time> {
    let waiting = queue.waiting.len();
    if waiting >= costs.best_batch() || arrivals.all_here(here) {
        return None;
    }
    let (gap, give_up) = arrivals.next()?;
    if costs.saved_by_joining(waiting) <= gap {
        return None;
    }
    if queue.waiting.first_key_value().is_some_and(|(_, first)| first.alone) {
        return None;
    }
    let oldest = queue.waiting.values().map(|w| w.arrived).min()?;
    let deadline = queue.waiting.values().map(|w| w.deadline).min()?;
    let latest = (oldest + profile.max_delay).min(deadline - costs.latency(waiting + 1)?);
    let until = latest.min(give_up);
    (now + gap <= latest && now < until).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Ticket;
    use crate::thermal::Budget;
    use hearth_api::Point;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// A step takes 10 ms and 1 ms for each request; up to 8 were measured. A wait may be 20 ms.
    fn profile() -> Profile {
        let points = [1, 2, 4, 8].map(|n| Point { batch: n, threads: 1, latency_us: 10_000 + 1_000 * u64::from(n), cpu_us_per_item: 1 });
        Profile { max_batch: 8, max_delay: MS(20), points: points.into(), conversations: false }
    }

    /// A queue of requests that came and must be ready at these milliseconds, the last of them just now.
    fn queue(waiting: &[(u64, u64)]) -> Queue {
        let mut queue = Queue::default();
        for (n, (arrived, deadline)) in (0..).zip(waiting) {
            let (arrived, deadline) = (Time(MS(*arrived)), Time(MS(*deadline)));
            queue.waiting.insert((deadline, Ticket(n)), Waiting { deadline, arrived, alone: false });
        }
        queue
    }

    /// Requests that come every `gap` milliseconds until `now`, with up to `crowd` at work at once.
    fn arrivals(gap: u64, crowd: usize, now: u64) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for n in (0..40).rev() {
            arrivals.came(Time(MS(now - gap * n)), 1, MS(20));
        }
        arrivals.step(crowd);
        arrivals
    }

    fn held_until(waiting: &[(u64, u64)], gap: u64, crowd: usize, now: u64) -> Option<u64> {
        let profile = profile();
        let costs = Costs::within(&profile, &Budget::unbounded(1));
        let until = hold(&queue(waiting), &profile, &costs, &arrivals(gap, crowd, now), waiting.len(), Time(MS(now)));
        until.map(|until| (until.0.as_secs_f64() * 1e3).round() as u64)
    }

    #[test]
    fn a_wait_ends_with_the_patience_the_longest_delay_or_the_first_deadline_less_the_step() {
        // Three gaps of 4 ms after the last arrival.
        assert_eq!(held_until(&[(1000, 9000)], 4, 5, 1000), Some(1012));
        // 20 ms after the oldest came.
        assert_eq!(held_until(&[(990, 9000), (1000, 9000)], 4, 5, 1000), Some(1010));
        // A step of three takes 13 ms; the first deadline is in 19.
        assert_eq!(held_until(&[(1000, 9000), (1000, 1019)], 4, 5, 1000), Some(1006));
    }

    #[test]
    fn nobody_waits_where_nobody_can_come_in_time() {
        // The next is expected after the longest delay, or after the last moment to begin in time.
        assert_eq!(held_until(&[(983, 9000), (1000, 9000)], 4, 5, 1000), None);
        assert_eq!(held_until(&[(1000, 1015)], 4, 5, 1000), None);
    }

    #[test]
    fn nobody_waits_longer_than_is_saved_by_it() {
        // The first requests save 10 ms by riding together.
        assert!(held_until(&[(1000, 9000)], 9, 5, 1000).is_some());
        assert_eq!(held_until(&[(1000, 9000)], 11, 5, 1000), None);
    }

    #[test]
    fn nobody_waits_when_all_are_here_or_the_best_batch_is() {
        assert_eq!(held_until(&[(1000, 9000); 5], 1, 5, 1000), None);
        assert!(held_until(&[(1000, 9000); 5], 1, 6, 1000).is_some());
        assert_eq!(held_until(&[(1000, 9000); 8], 1, 50, 1000), None);
    }

    #[test]
    fn a_request_that_cannot_be_ready_lets_those_pass_that_can() {
        let profile = profile();
        let costs = Costs::within(&profile, &Budget::unbounded(1));
        let tickets = |waiting: &[(u64, u64)]| {
            let batch = form(&queue(waiting), &costs, false, Time(MS(1000))).unwrap();
            batch.places.iter().map(|(_, Ticket(n))| *n).collect::<Vec<_>>()
        };
        assert_eq!(tickets(&[(990, 1005), (991, 1050), (992, 1060)]), [1, 2]);
        // If none can, the first is tried all the same: a measurement is no certainty.
        assert_eq!(tickets(&[(990, 1005), (991, 1006)]), [0]);
    }
}
