//! All options as lines of a torrc, which read back as the same.
//!
//! What was said, in the one way in which C tor writes it: times in seconds, sizes in bytes. Called
//! by the command line, and by the control port to come. Spec: tor(1), `--dump-config`. C tor:
//! `config_dump` in app/config/confmgt.c, lib/confmgt/unitparse.c.

use super::options::{Entry, Kind, Value, table};
use super::torrc::quote;
use super::values::{Choice, list};
use super::{Given, Settings};

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Those that differ from what they are where nobody says anything, the file of defaults aside.
    Short,
    /// The same, with what that file says.
    NonBuiltIn,
    /// All that have a value.
    Full,
}

impl Dump {
    /// By its word.
    pub fn of_word(word: &str) -> Option<Dump> {
        match word {
            "short" => Some(Dump::Short),
            "non-builtin" => Some(Dump::NonBuiltIn),
            "full" => Some(Dump::Full),
            _ => None,
        }
    }
}

/// The lines, in the order of their names.
pub fn lines(settings: &Settings, is_testing: bool, which: Dump) -> Vec<String> {
    let is_wanted = |entry: &&Entry| {
        let is_of_defaults = which == Dump::Short && settings.is_of_first_layer(entry.name);
        // C tor: a list that was given is another than none, whatever it says.
        let is_given = entry.kind.is_list() && !settings.given(entry.name).is_empty();
        let is_odd = (is_given || !entry.is_usual(settings, is_testing)) && !is_of_defaults;
        // C tor: those are not for files.
        let is_hidden = entry.name.starts_with("__") || entry.is_obsolete();
        !is_hidden && (which == Dump::Full || is_odd)
    };
    let entries = table().into_iter().filter(is_wanted);
    entries.flat_map(|entry| lines_of(entry, settings, is_testing)).collect()
}

fn lines_of(entry: &Entry, settings: &Settings, is_testing: bool) -> Vec<String> {
    let line = |value: &str| format!("{} {}", entry.name, quote(value)).trim_end().to_owned();
    let given = settings.given(entry.name);
    if entry.kind == Kind::Relays {
        // C tor: one list, whatever the lines, and one without relays is a value too.
        let items: Vec<&str> = given.iter().flat_map(|given| list(&given.value)).collect();
        return vec![line(&items.join(","))];
    }
    if entry.kind.is_list() {
        return given.iter().map(|Given { value, .. }| line(value)).collect();
    }
    match entry.value(settings, is_testing) {
        Some(value) => vec![line(&written(&value, entry.kind))],
        // C tor: a list of no words is a value too.
        None if matches!(entry.kind, Kind::Words | Kind::WordsOf(_) | Kind::PortNumbers) => {
            vec![line("")]
        }
        None => Vec::new(),
    }
}

fn written(value: &Value, kind: Kind) -> String {
    match value {
        Value::Truth(yes) => u8::from(*yes).to_string(),
        Value::Choice(Choice::Auto) => "auto".to_owned(),
        Value::Choice(choice) => u8::from(*choice == Choice::Yes).to_string(),
        Value::Number(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Fraction(fraction) => format!("{fraction:.6}"),
        Value::Time(time) if matches!(kind, Kind::Millis) => time.as_millis().to_string(),
        Value::Time(time) => time.as_secs().to_string(),
        Value::Words(words) => words.join(","),
        Value::Text(text) => text.clone(),
        Value::Off => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumped(text: &str, which: Dump) -> Vec<String> {
        let mut settings = Settings::new();
        settings.add_text("defaults", "SocksTimeout 7\n").unwrap();
        settings.begin_layer();
        settings.add_text("torrc", text).unwrap();
        lines(&settings, false, which)
    }

    #[test]
    fn what_is_unusual_is_written_in_one_way() {
        let text = "safelogging 0\nCircuitBuildTimeout 1.5 minutes\nBandwidthRate 1 MB\nLongLivedPorts 21, 22\n\
                    Log notice  stdout\nLog \"err file /x#y\"\nConnectionPadding auto\nDormantClientTimeout 1 day\n";
        let expected = [
            "BandwidthRate 1048576",
            "CircuitBuildTimeout 90",
            "Log notice  stdout",
            "Log \"err file /x#y\"",
            "LongLivedPorts 21,22",
            "SafeLogging 0",
        ];
        assert_eq!(dumped(text, Dump::Short), expected);
        assert!(dumped(text, Dump::NonBuiltIn).contains(&"SocksTimeout 7".to_owned()));
    }

    #[test]
    fn all_that_is_dumped_is_read_back_as_the_same() {
        let text = dumped("SocksPort 1\nSocksPort 2\nExcludeNodes {us},abc\n", Dump::Full).join("\n");
        let mut settings = Settings::new();
        settings.add_text("torrc", &text).unwrap();
        assert_eq!(lines(&settings, false, Dump::Full).join("\n"), text);
        assert!(text.contains("SocksPort 1\nSocksPort 2\n") && text.contains("\nSocksTimeout 7\n"));
    }
}
