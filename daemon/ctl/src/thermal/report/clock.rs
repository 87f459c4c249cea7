//! Moments as a person reads them: the time of day where the board is.

use std::process::Command;

/// The board's time zone, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Zone {
    /// Seconds that its clocks are ahead of UTC.
    pub(super) offset: i64,
}

impl Zone {
    /// The zone that holds here at a moment, which the system's own `date` knows best; UTC where there is none.
    pub(super) fn here(moment: f64) -> Zone {
        let asked = Command::new("date").args(["-d", &format!("@{moment:.0}"), "+%z"]).output();
        let told = asked.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
        Zone { offset: told.and_then(|told| offset(told.trim())).unwrap_or(0) }
    }

    /// As `UTC+02:00`.
    pub(super) fn name(self) -> String {
        if self.offset == 0 {
            return "UTC".into();
        }
        let minutes = self.offset.abs() / 60;
        format!("UTC{}{:02}:{:02}", if self.offset < 0 { '−' } else { '+' }, minutes / 60, minutes % 60)
    }

    /// Hours, minutes and seconds of the day.
    pub(super) fn time(self, moment: f64) -> (i64, i64, i64) {
        let second = (moment.floor() as i64 + self.offset).rem_euclid(86_400);
        (second / 3600, second / 60 % 60, second % 60)
    }

    /// As `14:02`.
    pub(super) fn minutes(self, moment: f64) -> String {
        let (hour, minute, _) = self.time(moment);
        format!("{hour:02}:{minute:02}")
    }

    /// As `14:02:11`.
    pub(super) fn seconds(self, moment: f64) -> String {
        let (hour, minute, second) = self.time(moment);
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// As `29 Nov 2026`.
    pub(super) fn day(self, moment: f64) -> String {
        const MONTHS: [(&str, i64); 12] = [
            ("Jan", 31),
            ("Feb", 28),
            ("Mar", 31),
            ("Apr", 30),
            ("May", 31),
            ("Jun", 30),
            ("Jul", 31),
            ("Aug", 31),
            ("Sep", 30),
            ("Oct", 31),
            ("Nov", 30),
            ("Dec", 31),
        ];
        let mut day = (moment.floor() as i64 + self.offset).div_euclid(86_400);
        let mut year = 1970;
        let leap = |year: i64| i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        while day >= 365 + leap(year) {
            day -= 365 + leap(year);
            year += 1;
        }
        for (index, (name, days)) in MONTHS.iter().enumerate() {
            let days = days + if index == 1 { leap(year) } else { 0 };
            if day < days {
                return format!("{} {name} {year}", day + 1);
            }
            day -= days;
        }
        String::new()
    }
}

/// `+0130` in seconds.
fn offset(told: &str) -> Option<i64> {
    let (sign, digits) = match told.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_at_checked(2)?;
    Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
}

/// Steps between two times on an axis, in seconds.
const STEPS: [f64; 13] = [60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0];

/// At most so many round moments between two.
pub(super) fn ticks(zone: Zone, (from, to): (f64, f64), most: usize) -> Vec<f64> {
    let step = STEPS.into_iter().find(|step| (to - from) / step <= most as f64).unwrap_or(604_800.0);
    let offset = zone.offset as f64;
    let first = ((from + offset) / step).ceil() * step - offset;
    (0..=most).map(|n| first + step * n as f64).filter(|tick| *tick <= to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        let (utc, india) = (Zone { offset: 0 }, Zone { offset: offset("+0530").unwrap() });
        assert_eq!((utc.day(951_782_400.0), utc.day(951_868_800.0)), ("29 Feb 2000".into(), "1 Mar 2000".into()));
        assert_eq!((utc.seconds(1_796_000_521.9), utc.day(1_796_000_521.9)), ("01:02:01".into(), "30 Nov 2026".into()));
        assert_eq!((india.minutes(1_795_999_000.0), india.name()), ("06:06".into(), "UTC+05:30".into()));
        assert_eq!((offset("-0300"), offset("Z"), offset("")), (Some(-10_800), None, None));
    }

    #[test]
    fn ticks_are_round_where_the_board_is() {
        let zone = Zone { offset: 1800 };
        let ticks = ticks(zone, (1_796_000_521.0, 1_796_000_521.0 + 6.0 * 3600.0), 8);
        assert!(ticks.len() >= 4 && ticks.len() <= 8);
        assert!(ticks.iter().all(|tick| zone.time(*tick).1 == 0), "{ticks:?}");
    }
}
