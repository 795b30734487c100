//! What a value of an option may look like: truth, numbers, times, sizes, lists.
//!
//! Each reading says what would have been right ([`Wanted`]). Not ports and not policies,
//! which have files of their own; not which option wants what (`mod.rs`, which calls this).
//! Spec: none. C tor: `lib/confmgt/unitparse.c`, `lib/confmgt/type_defs.c`.

use core::fmt;
use core::time::Duration;

/// What an option wants that was not given.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// 0 or 1.
    Bool,
    /// 0, 1 or auto.
    AutoBool,
    /// A whole number in a range.
    Number(u64, u64),
    /// A fraction in a range.
    Fraction(f64, f64),
    /// A time with one of the units there are.
    Time,
    /// A time in a range.
    TimeBetween(Duration, Duration),
    /// A size with one of the units there are.
    Size,
    /// Any value at all.
    Something,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// What this says.
    Other(&'static str),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Bool => write!(f, "0 or 1"),
            Wanted::AutoBool => write!(f, "0, 1 or auto"),
            Wanted::Number(low, high) => write!(f, "a number from {low} to {high}"),
            Wanted::Fraction(f64::MIN, f64::MAX) => write!(f, "a number"),
            Wanted::Fraction(f64::MIN, high) => write!(f, "a number of at most {high}"),
            Wanted::Fraction(low, f64::MAX) => write!(f, "a number of at least {low}"),
            Wanted::Fraction(low, high) => write!(f, "a number from {low} to {high}"),
            Wanted::Time => write!(f, "a time, such as 30, \"10 minutes\" or \"2 hours\""),
            Wanted::TimeBetween(low, high) => {
                write!(f, "a time from {} to {} seconds", low.as_secs(), high.as_secs())
            }
            Wanted::Size => write!(f, "a size, such as 8192, \"64 KB\" or \"1 GB\""),
            Wanted::Something => write!(f, "a value"),
            Wanted::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Wanted::Other(text) => f.write_str(text),
        }
    }
}

/// Truth, or leave it to the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// 0.
    No,
    /// 1.
    Yes,
    /// auto.
    #[default]
    Auto,
}

/// Bytes in one of each unit. C tor: `memory_units`; a bit is the eighth of a byte.
const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("byte", 1),
    ("bytes", 1),
    ("kb", 1 << 10),
    ("kbyte", 1 << 10),
    ("kbytes", 1 << 10),
    ("kilobyte", 1 << 10),
    ("kilobytes", 1 << 10),
    ("kilobits", 1 << 7),
    ("kilobit", 1 << 7),
    ("kbits", 1 << 7),
    ("kbit", 1 << 7),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("mbyte", 1 << 20),
    ("mbytes", 1 << 20),
    ("megabyte", 1 << 20),
    ("megabytes", 1 << 20),
    ("megabits", 1 << 17),
    ("megabit", 1 << 17),
    ("mbits", 1 << 17),
    ("mbit", 1 << 17),
    ("gb", 1 << 30),
    ("gbyte", 1 << 30),
    ("gbytes", 1 << 30),
    ("gigabyte", 1 << 30),
    ("gigabytes", 1 << 30),
    ("gigabits", 1 << 27),
    ("gigabit", 1 << 27),
    ("gbits", 1 << 27),
    ("gbit", 1 << 27),
    ("tb", 1 << 40),
    ("tbyte", 1 << 40),
    ("tbytes", 1 << 40),
    ("terabyte", 1 << 40),
    ("terabytes", 1 << 40),
    ("terabits", 1 << 37),
    ("terabit", 1 << 37),
    ("tbits", 1 << 37),
    ("tbit", 1 << 37),
];

/// Milliseconds in one of each unit; the empty one is the option's own. C tor: `time_units`
/// and `time_msec_units`, of which only the second knows milliseconds.
const TIMES: &[(&str, u64)] = &[
    ("second", 1000),
    ("seconds", 1000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("hour", 3_600_000),
    ("hours", 3_600_000),
    ("day", 86_400_000),
    ("days", 86_400_000),
    ("week", 604_800_000),
    ("weeks", 604_800_000),
];
const SECONDS_ONLY: &[(&str, u64)] = &[("", 1000), ("month", 2_629_728_000), ("months", 2_629_728_000)];
const MILLIS_ONLY: &[(&str, u64)] = &[("", 1), ("msec", 1), ("millisecond", 1), ("milliseconds", 1)];

/// The most units of a time: C tor keeps it in an `int`.
const MOST: u64 = 0x7FFF_FFFF;

/// Reads 0 or 1.
pub fn truth(text: &str) -> Result<bool, Wanted> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Wanted::Bool),
    }
}

/// Reads 0, 1 or auto.
pub fn choice(text: &str) -> Result<Choice, Wanted> {
    match text {
        "0" => Ok(Choice::No),
        "1" => Ok(Choice::Yes),
        text if text.eq_ignore_ascii_case("auto") => Ok(Choice::Auto),
        _ => Err(Wanted::AutoBool),
    }
}

/// Reads a whole number.
pub fn number(text: &str, low: u64, high: u64) -> Result<u64, Wanted> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_plain && (low..=high).contains(number));
    number.ok_or(Wanted::Number(low, high))
}

/// Reads a whole number that may be negative. C tor: an `int`.
pub fn integer(text: &str) -> Result<i64, Wanted> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<i32>().ok().filter(|_| is_plain);
    number.map(i64::from).ok_or(Wanted::Other("a whole number"))
}

/// Reads a fraction.
pub fn fraction(text: &str, low: f64, high: f64) -> Result<f64, Wanted> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| (low..=high).contains(number)).ok_or(Wanted::Fraction(low, high))
}

/// Reads a time of whole seconds.
pub fn seconds(text: &str) -> Result<Duration, Wanted> {
    let millis = with_unit(text, &[SECONDS_ONLY, TIMES]).ok_or(Wanted::Time)?;
    let seconds = millis / 1000;
    if seconds > MOST { Err(Wanted::Time) } else { Ok(Duration::from_secs(seconds)) }
}

/// Reads a time of whole seconds, perhaps with others behind a comma. C tor: once had such lists,
/// and takes the first of them.
pub fn first_seconds(text: &str) -> Result<Duration, Wanted> {
    seconds(text.split(',').next().unwrap_or_default().trim_end())
}

/// Reads a time of milliseconds.
pub fn millis(text: &str) -> Result<Duration, Wanted> {
    let millis = with_unit(text, &[MILLIS_ONLY, TIMES]).ok_or(Wanted::Time)?;
    if millis > MOST { Err(Wanted::Time) } else { Ok(Duration::from_millis(millis)) }
}

/// Reads a size in bytes.
pub fn size(text: &str) -> Result<u64, Wanted> {
    with_unit(text, &[SIZES]).ok_or(Wanted::Size)
}

/// Reads ports between commas.
pub fn ports(text: &str) -> Result<Vec<u16>, Wanted> {
    let wanted = Wanted::Other("ports between commas");
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or(wanted.clone());
    list(text).map(port).collect()
}

/// The items between commas, without the blanks around them; empty ones are left out.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// A number, which may be a fraction, and its unit.
fn with_unit(text: &str, tables: &[&[(&str, u64)]]) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start();
    let known = tables.iter().copied().flatten().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let (_, scale) = known?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.contains('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(*scale).filter(|value| i64::try_from(*value).is_ok())?;
    whole.checked_add(part_of(part, *scale))
}

/// The digits behind a point, times a scale, rounded down. Nine of them are looked at.
fn part_of(digits: &str, scale: u64) -> u64 {
    let mut one = 1_u128;
    let mut sum = 0_u128;
    for digit in digits.bytes().take(9) {
        one *= 10;
        sum = sum * 10 + u128::from(digit - b'0');
    }
    u64::try_from(sum * u128::from(scale) / one).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From `test_util_config_parse_...` in C tor's src/test/test_config.c, `test_config_parse_interval`
    /// and `test_config_parse_memunit`, and the borders of each.
    #[test]
    fn times_and_sizes_have_units() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1", Ok(1)),
            ("1 second", Ok(1)),
            ("10 MINUTES", Ok(600)),
            ("2hours", Ok(7200)),
            ("1.5 hours", Ok(5400)),
            ("0.5 seconds", Ok(0)),
            ("1 month", Ok(2_629_728)),
            ("3 weeks", Ok(1_814_400)),
            ("2147483647", Ok(2_147_483_647)),
            ("2147483648", Err(Wanted::Time)),
            ("", Err(Wanted::Time)),
            ("-1", Err(Wanted::Time)),
            (".5 hours", Err(Wanted::Time)),
            ("1.2.3", Err(Wanted::Time)),
            ("5 fortnights", Err(Wanted::Time)),
            ("5 msec", Err(Wanted::Time)),
            ("99999999999999999999", Err(Wanted::Time)),
        ] {
            assert_eq!(seconds(text), expected.map(Duration::from_secs), "{text:?}");
        }
        assert_eq!(millis("250"), Ok(Duration::from_millis(250)));
        assert_eq!(millis("250 msec"), Ok(Duration::from_millis(250)));
        assert_eq!(millis("2.5 seconds"), Ok(Duration::from_millis(2500)));
        assert_eq!(millis("1 month"), Err(Wanted::Time));
        for (text, expected) in [
            ("100", Ok(100)),
            ("8 KB", Ok(8192)),
            ("1 GB", Ok(1 << 30)),
            ("16 kbits", Ok(2048)),
            ("1.5 m", Ok(3 << 19)),
            ("3 TB", Ok(3 << 40)),
            ("1 KiB", Err(Wanted::Size)),
            ("9999999 TB", Err(Wanted::Size)),
        ] {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_and_truth_have_borders() {
        assert_eq!((truth("0"), truth("1"), truth("yes")), (Ok(false), Ok(true), Err(Wanted::Bool)));
        assert_eq!(
            (choice("AUTO"), choice("1"), choice("")),
            (Ok(Choice::Auto), Ok(Choice::Yes), Err(Wanted::AutoBool))
        );
        for (text, expected) in [("1", true), ("1024", true), ("0", false), ("1025", false), ("+5", false), ("", false)]
        {
            assert_eq!(number(text, 1, 1024).is_ok(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("-1", Some(-1)),
            ("2147483647", Some(0x7FFF_FFFF)),
            ("2147483648", None),
            ("+1", None),
            ("-", None),
            ("1.5", None),
        ] {
            assert_eq!(integer(text).ok(), expected, "{text:?}");
        }
        assert_eq!(first_seconds("6, 11, 3600"), Ok(Duration::from_secs(6)));
        assert_eq!((first_seconds("1 minute"), first_seconds(",6")), (Ok(Duration::from_secs(60)), Err(Wanted::Time)));
        assert_eq!((ports("80, 443"), ports("").map(|ports| ports.len())), (Ok(vec![80, 443]), Ok(0)));
        assert!(ports("0").is_err() && ports("65536").is_err() && ports("http").is_err());
        let wanted = |low, high| Wanted::Fraction(low, high).to_string();
        assert_eq!(wanted(f64::MIN, 1.0), "a number of at most 1");
        assert_eq!(wanted(0.0, f64::MAX), "a number of at least 0");
        for (text, expected) in [("0.25", true), ("0.95", true), ("0.96", false), ("NaN", false), ("x", false)] {
            assert_eq!(fraction(text, 0.25, 0.95).is_ok(), expected, "{text:?}");
        }
        assert_eq!(list(" a, b,,c ,").collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    proptest! {
        #[test]
        fn no_value_panics(text in ".*|[0-9.]{0,30} ?(tb|months|kbits)") {
            let _ = (seconds(&text), millis(&text), size(&text), truth(&text), choice(&text));
            let _ = (integer(&text), first_seconds(&text), ports(&text));
            let _ = (number(&text, 0, 9), fraction(&text, 0.0, 1.0), list(&text).count());
        }
    }
}
