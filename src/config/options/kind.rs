//! What the values of an option may be, and what one says.
//!
//! Reads one value by its kind, for its form and to compare it with others: 60 and "1 minute" are
//! the same time. Not what it means together with others (`conflicts.rs`). Called by `mod.rs` and
//! by `kept.rs`. Spec: none. C tor: `lib/confmgt/type_defs.c`, and for the kinds that are text to
//! it the check of each option in `options_validate_cb` of app/config/config.c.

use core::time::Duration;

use crate::config::relays::Relays;
use crate::config::values::{self, Wanted, list};
use crate::config::{forms, policy, port};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// 0 or 1.
    Truth,
    /// 0, 1 or auto.
    Choice,
    /// A whole number between these two.
    Number(u64, u64),
    /// A whole number that may be negative.
    Integer,
    /// A fraction between these two.
    Fraction(f64, f64),
    /// A time. C tor counts it in seconds.
    Seconds,
    /// The same, perhaps with others behind it that do not count.
    FirstSeconds,
    /// A time that C tor counts in milliseconds.
    Millis,
    /// A size in bytes, and the most it may be.
    Size(u64),
    /// One line of text.
    Text,
    /// A name of a file or of a directory.
    File,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// One of these words, as it is written.
    Exactly(&'static [&'static str]),
    /// Words between commas.
    Words,
    /// The same, each one of these.
    WordsOf(&'static [&'static str]),
    /// Ports between commas.
    PortNumbers,
    /// Relays between commas: names, fingerprints, countries, addresses.
    Relays,
    /// The same of names and fingerprints alone.
    Family,
    /// The name of a relay.
    Nickname,
    /// An address.
    Address,
    /// A block of addresses to take some of.
    Network(forms::Network),
    /// A host and perhaps a port.
    Endpoint,
    /// The same behind the name of a protocol.
    Proxy,
    /// What is left of a password.
    Password,
    /// A bridge.
    Bridge,
    /// A program that disguises links.
    Transport(forms::Side),
    /// Where such a program listens.
    TransportAddress,
    /// What such a program is told.
    TransportOptions,
    /// A moment that comes again each month, week or day.
    Moment,
    /// A version of Tor.
    Version,
    /// A key of Ed25519, or any.
    Key,
    /// A process.
    Process,
    /// One word.
    Keyword,
    /// What nobody looks at.
    Anything,
    /// Any number of lines, each a value.
    Lines,
    /// The same, each of that kind.
    Each(&'static Kind),
    /// The same, each a listener.
    Listeners(port::Kind),
    /// The same, each patterns of a policy.
    Patterns,
    /// The same, where a pattern needs no `accept` before it.
    Places,
}

/// What a value says, to compare it with others of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 0 or 1.
    Truth(bool),
    /// 0, 1 or auto.
    Choice(values::Choice),
    /// A number, or a size in bytes.
    Number(u64),
    /// One that may be negative.
    Integer(i64),
    /// A fraction.
    Fraction(f64),
    /// A time.
    Time(Duration),
    /// Words.
    Words(Vec<String>),
    /// What counts as it is written.
    Text(String),
    /// A listener that is none.
    Off,
}

impl Kind {
    /// Whether a second line adds to the first, where otherwise it takes its place.
    pub fn is_list(self) -> bool {
        matches!(self, Kind::Lines | Kind::Each(_) | Kind::Listeners(_) | Kind::Patterns | Kind::Places | Kind::Relays)
    }

    /// What a value says, or what would be right.
    pub fn read(self, text: &str) -> Result<Value, Wanted> {
        let text = text.trim();
        let as_text = || Value::Text(text.to_owned());
        match self {
            Kind::Truth => values::truth(text).map(Value::Truth),
            Kind::Choice => values::choice(text).map(Value::Choice),
            Kind::Number(low, high) => values::number(text, low, high).map(Value::Number),
            Kind::Integer => values::integer(text).map(Value::Integer),
            Kind::Fraction(low, high) => values::fraction(text, low, high).map(Value::Fraction),
            Kind::Seconds => values::seconds(text).map(Value::Time),
            Kind::FirstSeconds => values::first_seconds(text).map(Value::Time),
            Kind::Millis => values::millis(text).map(Value::Time),
            Kind::Size(most) => values::size(text).and_then(|size| at_most(size, most)).map(Value::Number),
            Kind::OneOf(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).ok_or(Wanted::OneOf(words))?;
                Ok(Value::Text((*word).to_owned()))
            }
            Kind::Exactly(words) if words.contains(&text) => Ok(as_text()),
            Kind::Exactly(words) => Err(Wanted::OneOf(words)),
            Kind::Words => Ok(words(text)),
            Kind::WordsOf(known) => {
                let is_known = |word: &str| known.iter().any(|known| known.eq_ignore_ascii_case(word));
                list(text).all(is_known).then(|| words(text)).ok_or(Wanted::OneOf(known))
            }
            Kind::PortNumbers => values::ports(text).map(|_| words(text)),
            Kind::Each(kind) => kind.read(text),
            Kind::Listeners(kind) => {
                port::parse(text, kind).map(|reading| reading.port.map_or(Value::Off, |_| as_text()))
            }
            kind => kind.form(text).map(|()| as_text()),
        }
    }

    /// Whether a value that counts as it is written has its form.
    fn form(self, text: &str) -> Result<(), Wanted> {
        match self {
            Kind::Relays => Relays::default().add(text),
            Kind::Family => forms::family(text),
            Kind::Nickname => forms::nickname(text),
            Kind::Address => forms::address(text),
            Kind::Network(network) => forms::network(text, network).map(|_| ()),
            Kind::Endpoint => forms::endpoint(text),
            Kind::Proxy => forms::proxy(text),
            Kind::Password => forms::password(text),
            Kind::Bridge => forms::bridge(text),
            Kind::Transport(side) => forms::transport(text, side),
            Kind::TransportAddress => forms::transport_address(text),
            Kind::TransportOptions => forms::transport_options(text),
            Kind::Moment => forms::moment(text),
            Kind::Version => forms::version(text),
            Kind::Key => forms::key(text),
            Kind::Process => forms::process(text),
            Kind::Keyword => forms::keyword(text),
            Kind::Patterns => policy::Policy::default().add(text),
            Kind::Places => policy::Policy::default().add_places(text),
            _ => Ok(()),
        }
    }
}

fn words(text: &str) -> Value {
    Value::Words(list(text).map(str::to_owned).collect())
}

fn at_most(size: u64, most: u64) -> Result<u64, Wanted> {
    if size <= most { Ok(size) } else { Err(Wanted::Other("a size of at most 2 GB")) }
}
