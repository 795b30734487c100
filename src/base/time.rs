//! Time as a value: [`Now`] is read once at the edge and handed down.
//!
//! Reads no clock and waits for nothing. Monotonic time (timers, round trips) and wall
//! time (certificates, consensuses) are different types, so that a stepped wall clock can
//! never fire a timer. Called by every machine. Spec: dir-spec, "Document meta-format",
//! for how a date is written.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time since a start that only the edge knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(Duration);

/// Wall-clock time since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(Duration);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and durations.
    pub tick: Tick,
    /// For dates.
    pub wall: Wall,
}

impl Tick {
    /// The time `since_start` after the start.
    pub const fn new(since_start: Duration) -> Self {
        Tick(since_start)
    }

    /// How long after `earlier`; zero if it is not later.
    pub fn since(self, earlier: Tick) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Wall {
    /// The date `since_epoch` after 1970-01-01 00:00 UTC.
    pub fn new(since_epoch: Duration) -> Self {
        Wall(since_epoch)
    }

    /// The date given in seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Wall(Duration::from_secs(secs))
    }

    /// Whole seconds after the epoch.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// A date as documents write it, its day and its time apart; `None` if there is no such
    /// date since the epoch. A leap second is the one after.
    pub fn parse(day: &str, time: &str) -> Option<Wall> {
        let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        if year < 1970 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_since_epoch(year, month, day)?;
        Some(Wall::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
    }

    /// How long after `earlier`; zero if it is not later.
    pub fn since(self, earlier: Wall) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// The same moment plus `step` on both clocks.
    #[must_use]
    pub fn plus(self, step: Duration) -> Now {
        Now { tick: self.tick + step, wall: self.wall + step }
    }
}

/// As every document of Tor writes a date, in UTC: `2026-11-21 12:38:00`.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.as_secs() / 86_400, self.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// Three numbers of so many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|c| c.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Year, month and day, `days` after 1970-01-01. The inverse is [`days_since_epoch`].
pub fn civil(days: u64) -> (u64, u64, u64) {
    // Counted in eras of 400 years from the first of March of year 0, so that a leap day is
    // the last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// How many days after 1970-01-01 a date is, 0 if it is before; `None` if there is no such
/// date.
pub fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let before_month: u64 = (1..month).map(|month| days_in_month(year, month)).sum();
    Some((days_before_year(year) + before_month + day - 1).saturating_sub(days_before_year(1970)))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first day of year 0 to the first day of `year`, which has four digits.
fn days_before_year(year: u64) -> u64 {
    let past = year.saturating_sub(1);
    year * 365 + past / 4 - past / 100 + past / 400
}

impl Add<Duration> for Tick {
    type Output = Tick;

    fn add(self, step: Duration) -> Tick {
        Tick(self.0.saturating_add(step))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;

    fn add(self, step: Duration) -> Wall {
        Wall(self.0.saturating_add(step))
    }
}

impl Sub<Duration> for Wall {
    type Output = Wall;

    fn sub(self, step: Duration) -> Wall {
        Wall(self.0.saturating_sub(step))
    }
}

/// The earlier of two deadlines, either of which may be absent.
pub fn earlier(a: Option<Tick>, b: Option<Tick>) -> Option<Tick> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_panicking() {
        let end = Tick::new(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Tick::default().since(end), Duration::ZERO);
        assert_eq!(Wall::from_secs(1) - Duration::from_secs(2), Wall::default());
    }

    #[test]
    fn dates_read_as_documents_write_them() {
        for (secs, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_078_012_800, "2004-02-29 00:00:00"),
            (1_601_000_000, "2020-09-25 02:13:20"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (253_402_300_799, "9999-12-31 23:59:59"),
        ] {
            assert_eq!(Wall::from_secs(secs).to_string(), date);
            let (day, time) = date.split_once(' ').unwrap();
            assert_eq!(Wall::parse(day, time), Some(Wall::from_secs(secs)));
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for (day, time) in [
            ("1969-12-31", "23:59:59"),
            ("2023-02-29", "00:00:00"),
            ("2023-2-28", "00:00:00"),
            ("2023-02-28-", "00:00:00"),
            ("+023-02-28", "00:00:00"),
            ("2023-02-28", "24:00:00"),
            ("2023-02-28", "00:60:00"),
            ("2023-02-28", "00:00:61"),
            ("2023-02-28", "00:00"),
            ("", ""),
        ] {
            assert_eq!(Wall::parse(day, time), None, "{day} {time}");
        }
    }

    #[test]
    fn dates_and_days_agree_to_the_end_of_year_9999() {
        for days in 0..2_932_897 {
            let (year, month, day) = civil(days);
            assert_eq!(days_since_epoch(year, month, day), Some(days));
        }
        assert_eq!(civil(2_932_896), (9999, 12, 31));
        assert_eq!(days_since_epoch(1969, 12, 31), Some(0));
        for (year, month, day) in
            [(2023, 2, 29), (2100, 2, 29), (2024, 4, 31), (2024, 0, 1), (2024, 13, 1), (2024, 1, 0)]
        {
            assert_eq!(days_since_epoch(year, month, day), None);
        }
    }

    #[test]
    fn the_earlier_deadline_wins() {
        let (one, two) = (Tick::new(Duration::from_secs(1)), Tick::new(Duration::from_secs(2)));
        assert_eq!(earlier(Some(two), Some(one)), Some(one));
        assert_eq!(earlier(None, Some(one)), Some(one));
        assert_eq!(earlier(None, None), None);
    }
}
