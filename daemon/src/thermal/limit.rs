//! The temperature that is not to be crossed, and which rule gave it.
//!
//! The lowest of: the passive trips; what the firmware of a known board does without telling the kernel; the lowest
//! critical trip less 25 K; the user's own. Active trips are fan steps, never limits.

use super::Celsius;
use super::sensors::{Board, TripKind};

/// A limit and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// The temperature.
    pub at: Celsius,
    /// The rule that gave it.
    pub rule: LimitRule,
}

/// The rule that gave a limit.
#[derive(Debug, Clone, PartialEq)]
pub enum LimitRule {
    /// The kernel throttles at this trip.
    PassiveTrip(String),
    /// The firmware of this board throttles there, unseen by the kernel.
    Firmware(&'static str),
    /// The board switches off 25 K above.
    BelowCritical(String),
    /// `thermal.limit_celsius`.
    User,
    /// Nothing on this board names a limit.
    Assumed,
}

/// How far below a critical trip to stay.
const BELOW_CRITICAL: f64 = 25.0;
/// Where nothing on the board names a limit.
const ASSUMED: Celsius = Celsius(80.0);

impl std::fmt::Display for LimitRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LimitRule::PassiveTrip(trip) => write!(f, "passive trip: the kernel throttles there ({trip})"),
            LimitRule::Firmware(board) => write!(f, "firmware of the {board}: it throttles there, unseen by the kernel"),
            LimitRule::BelowCritical(trip) => write!(f, "25 K below the critical trip that switches the board off ({trip})"),
            LimitRule::User => write!(f, "configured: thermal.limit_celsius"),
            LimitRule::Assumed => write!(f, "assumed: nothing on this board names a limit"),
        }
    }
}

impl Limit {
    /// The limit of this board, with the user's wish; none where there is no sensor to hold against it.
    pub fn of(board: &Board, user: Option<Celsius>) -> Option<Limit> {
        if !board.has_sensor() {
            return None;
        }
        let trips = board.trips.iter().filter_map(|trip| match trip.kind {
            TripKind::Passive => Some(Limit { at: trip.at, rule: LimitRule::PassiveTrip(trip.name.clone()) }),
            TripKind::Critical => {
                Some(Limit { at: Celsius(trip.at.0 - BELOW_CRITICAL), rule: LimitRule::BelowCritical(trip.name.clone()) })
            }
            TripKind::Active | TripKind::Hot => None,
        });
        let user = user.map(|at| Limit { at, rule: LimitRule::User });
        let lowest = trips.chain(firmware(board)).chain(user).min_by(|a, b| a.at.0.total_cmp(&b.at.0));
        Some(lowest.unwrap_or(Limit { at: ASSUMED, rule: LimitRule::Assumed }))
    }
}

/// Limits that firmware keeps for itself (raspberrypi.com/documentation, "Frequency management and thermal control").
fn firmware(board: &Board) -> Option<Limit> {
    let known: [(&str, f64, &'static str); 5] = [
        ("raspberrypi,3-", 60.0, "Raspberry Pi 3, soft limit"),
        ("raspberrypi,4-", 80.0, "Raspberry Pi 4"),
        ("raspberrypi,400", 80.0, "Raspberry Pi 400"),
        ("raspberrypi,5-", 80.0, "Raspberry Pi 5"),
        ("raspberrypi,500", 80.0, "Raspberry Pi 500"),
    ];
    known
        .into_iter()
        .find(|(prefix, ..)| board.compatible.iter().any(|c| c.starts_with(prefix)))
        .map(|(_, at, name)| Limit { at: Celsius(at), rule: LimitRule::Firmware(name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn board(name: &str) -> Board {
        Board::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards").join(name))
    }

    #[test]
    fn each_board_is_held_to_the_lowest_limit_that_applies() {
        for (name, sensor, temperature, limit, rule) in [
            ("pi3", "cpu-thermal", 48.312, 60.0, "firmware of the Raspberry Pi 3"),
            ("pi4", "cpu-thermal", 51.608, 80.0, "firmware of the Raspberry Pi 4"),
            ("pi5", "cpu-thermal", 52.35, 80.0, "firmware of the Raspberry Pi 5"),
            ("rock5b", "bigcore2-thermal", 43.461, 85.0, "passive trip"),
            ("pc-x86", "x86_pkg_temp", 54.0, 80.0, "assumed"),
            ("pc-amd", "k10temp Tctl", 58.125, 80.0, "assumed"),
        ] {
            let board = board(name);
            assert_eq!(board.read().hottest, Some((sensor.into(), Celsius(temperature))), "{name}");
            let found = Limit::of(&board, None).unwrap();
            assert_eq!(found.at, Celsius(limit), "{name}");
            assert!(found.rule.to_string().starts_with(rule), "{name}: {}", found.rule);
        }
    }

    #[test]
    fn the_user_may_lower_the_limit_but_not_raise_it() {
        let pi4 = board("pi4");
        assert_eq!(Limit::of(&pi4, Some(Celsius(70.0))).unwrap(), Limit { at: Celsius(70.0), rule: LimitRule::User });
        assert_eq!(Limit::of(&pi4, Some(Celsius(90.0))).unwrap().at, Celsius(80.0));
    }

    #[test]
    fn no_sensor_is_a_state() {
        let none = board("no-sensor");
        assert!(!none.has_sensor() && Limit::of(&none, Some(Celsius(70.0))).is_none() && none.read().complaints.is_empty());
    }

    #[test]
    fn fans_clocks_and_throttle_bits_are_read() {
        let (pi4, pi5, rock) = (board("pi4"), board("pi5"), board("rock5b"));
        let bits = pi4.read().throttled.unwrap();
        assert!(bits.since_boot() && !bits.now() && !bits.under_voltage());
        assert!(pi5.read().throttled.is_some());
        let fan = &pi5.cooling_devices()[0];
        assert_eq!((fan.kind.as_str(), fan.state, fan.most), ("pwm-fan", 1, 4));
        assert_eq!(rock.cooling_devices().len(), 4);
        assert_eq!(rock.frequencies().iter().map(|p| p.most_khz).collect::<Vec<_>>(), [1_800_000, 2_400_000, 2_400_000]);
    }
}
