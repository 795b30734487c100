//! One figure of a measurement, its unit, and why there may be none.
//!
//! Called by everything in `suite` that measures. Spec: none.

use core::fmt;
use core::time::Duration;
use std::io;
use std::process::ExitStatus;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Milliseconds,
    /// 2^20 bytes.
    Mebibytes,
    /// 2^20 bytes a second.
    MebibytesPerSecond,
    /// Operations a second.
    PerSecond,
    /// Seconds of a processor for 2^30 bytes.
    SecondsPerGibibyte,
    /// Thousandths of a processor's second for an operation.
    MillisecondsPerOperation,
    /// So many times for 2^20 bytes.
    TimesPerMebibyte,
    /// So many times for an operation.
    TimesPerOperation,
}

impl Unit {
    /// As a report writes it. Where it ends in `/s`, more is better; otherwise, less.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
            Unit::MebibytesPerSecond => "MiB/s",
            Unit::PerSecond => "1/s",
            Unit::SecondsPerGibibyte => "s/GiB",
            Unit::MillisecondsPerOperation => "ms/op",
            Unit::TimesPerMebibyte => "1/MiB",
            Unit::TimesPerOperation => "1/op",
        }
    }
}

/// Whether more of a unit is better.
pub fn is_more_better(unit: &str) -> bool {
    unit.ends_with("/s")
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Of what.
    pub metric: &'static str,
    /// In what.
    pub unit: Unit,
    /// How much.
    pub value: f64,
}

impl Figure {
    /// So much of it.
    pub fn new(metric: &'static str, unit: Unit, value: f64) -> Figure {
        Figure { metric, unit, value }
    }

    /// A time.
    pub fn time(metric: &'static str, time: Duration) -> Figure {
        Figure::new(metric, Unit::Milliseconds, time.as_secs_f64() * 1e3)
    }

    /// Memory, out of bytes.
    pub fn memory(metric: &'static str, bytes: u64) -> Figure {
        Figure::new(metric, Unit::Mebibytes, mebibytes(bytes))
    }
}

/// Bytes in 2^20 of them.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What went through while it was measured, by which its cost is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// So many operations.
    Operations(u64),
    /// Nothing to divide by.
    Nothing,
}

/// What came of measuring once.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The first is what the workload is about.
    pub figures: Vec<Figure>,
    /// What that took.
    pub amount: Amount,
}

/// Why there is no figure.
#[derive(Debug)]
pub enum Fault {
    /// The program cannot be started.
    Start(String),
    /// It ended by itself.
    Died(ExitStatus),
    /// Nothing came of it in so long.
    Hangs(Duration),
    /// It keeps failing to start, and is not tried again.
    GivenUp,
    /// Its port says no, with this code.
    Refused(u8),
    /// Its port does not speak SOCKS5, or the server's answer is none.
    Gibberish,
    /// It ended a stream before its time.
    CutOff,
    /// From that byte of a stream on, other bytes came than were sent.
    WrongBytes(u64),
    /// More bytes came than were asked for.
    Surplus,
    /// The server's count of bytes is not the one here.
    Miscounted {
        /// The server's.
        origin: u64,
        /// Ours.
        reported: u64,
    },
    /// A figure is zero, or none.
    Nothing(&'static str),
    /// A socket.
    Network(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Start(why) => write!(f, "it does not start: {why}"),
            Fault::Died(status) => write!(f, "it died ({status})"),
            Fault::Hangs(limit) => write!(f, "it hangs: nothing came of it in {} s", limit.as_secs()),
            Fault::GivenUp => f.write_str("it is not tried any more, since it kept failing to start"),
            Fault::Refused(code) => write!(f, "its SOCKS port says no, with code {code}"),
            Fault::Gibberish => f.write_str("an answer is not what it should be"),
            Fault::CutOff => f.write_str("a stream ends before its time"),
            Fault::WrongBytes(at) => write!(f, "wrong bytes: what came is not what was sent, from byte {at} on"),
            Fault::Surplus => f.write_str("wrong bytes: more came than was asked for"),
            Fault::Miscounted { origin, reported } => {
                write!(f, "wrong count: {origin} bytes at the server, {reported} here")
            }
            Fault::Nothing(metric) => write!(f, "{metric} is zero, so nothing was measured"),
            Fault::Network(error) => write!(f, "a connection fails: {error}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Network(error)
    }
}

impl Measured {
    /// Itself, if something was measured.
    pub fn check(self) -> Result<Measured, Fault> {
        let is_real = |number: usize, value: f64| value.is_finite() && value >= 0.0 && (number > 0 || value > 0.0);
        match self.figures.iter().enumerate().find(|(number, figure)| !is_real(*number, figure.value)) {
            Some((_, figure)) => Err(Fault::Nothing(figure.metric)),
            None if self.figures.is_empty() => Err(Fault::Nothing("everything")),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_better_of_rates_alone() {
        let all = [
            Unit::Milliseconds,
            Unit::Mebibytes,
            Unit::MebibytesPerSecond,
            Unit::PerSecond,
            Unit::SecondsPerGibibyte,
            Unit::MillisecondsPerOperation,
            Unit::TimesPerMebibyte,
            Unit::TimesPerOperation,
        ];
        let better: Vec<_> = all.iter().filter(|unit| is_more_better(unit.word())).collect();
        assert_eq!(better, [&Unit::MebibytesPerSecond, &Unit::PerSecond]);
    }

    #[test]
    fn what_is_zero_or_no_number_was_not_measured() {
        let of = |values: &[f64]| {
            let figures = values.iter().map(|value| Figure::new("x", Unit::PerSecond, *value)).collect();
            Measured { figures, amount: Amount::Nothing }.check()
        };
        assert!(of(&[1.0, 0.0]).is_ok());
        for bad in [&[][..], &[0.0], &[-1.0], &[f64::NAN], &[1.0, f64::INFINITY]] {
            assert!(matches!(of(bad), Err(Fault::Nothing(_))), "{bad:?}");
        }
    }
}
