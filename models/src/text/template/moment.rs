//! A moment in the words of `strftime`, in UTC and English, for `strftime_now` of chat templates.

use minijinja::{Error, ErrorKind};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Writes a moment after 1970 as `format` has it.
pub(super) fn format(moment: SystemTime, format: &str) -> Result<String, Error> {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = date(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(days % 7) as usize]);
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let directive = letters.next().unwrap_or('%');
        // GNU's `%-d`: without a zero before it.
        let (bare, directive) = if directive == '-' { (true, letters.next().unwrap_or('%')) } else { (false, directive) };
        let two = |number: u64| if bare { number.to_string() } else { format!("{number:02}") };
        let written = match directive {
            'Y' => write!(text, "{year}"),
            'y' => write!(text, "{}", two(year % 100)),
            'm' => write!(text, "{}", two(month)),
            'd' => write!(text, "{}", two(day)),
            'H' => write!(text, "{}", two(hour)),
            'I' => write!(text, "{}", two((hour + 11) % 12 + 1)),
            'M' => write!(text, "{}", two(minute)),
            'S' => write!(text, "{}", two(second % 60)),
            'p' => write!(text, "{}", if hour < 12 { "AM" } else { "PM" }),
            'B' => write!(text, "{month_name}"),
            'b' | 'h' => write!(text, "{}", &month_name[..3]),
            'A' => write!(text, "{day_name}"),
            'a' => write!(text, "{}", &day_name[..3]),
            'F' => write!(text, "{year}-{month:02}-{day:02}"),
            'T' => write!(text, "{hour:02}:{minute:02}:{:02}", second % 60),
            'Z' => write!(text, "UTC"),
            'z' => write!(text, "+0000"),
            '%' => write!(text, "%"),
            other => {
                let wrong = format!("strftime_now knows no %{other}; it knows Y y m d H I M S p B b A a F T Z z");
                return Err(Error::new(ErrorKind::InvalidOperation, wrong));
            }
        };
        written.expect("a string takes all that is written");
    }
    Ok(text)
}

/// Year, month and day of a number of days after 1 January 1970, in the Gregorian calendar. The year is counted from March, so that
/// the day that a leap year has more is its last (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds: u64, as_in: &str| format(UNIX_EPOCH + Duration::from_secs(seconds), as_in).unwrap();
        assert_eq!(at(0, "%A %d %B %Y %H:%M:%S"), "Thursday 01 January 1970 00:00:00");
        assert_eq!(at(951_782_400, "%d %b %Y"), "29 Feb 2000");
        assert_eq!(at(1_795_904_645, "%F %T %a %-I %p"), "2026-11-28 22:24:05 Sat 10 PM");
        assert_eq!(at(4_107_542_400, "%F"), "2100-03-01");
        assert!(format(UNIX_EPOCH, "%Q").unwrap_err().to_string().contains("%Q"));
    }
}
