use super::*;
use crate::config::port;
use crate::config::values::Choice;

#[test]
fn names_are_in_order_and_each_once() {
    let names: Vec<_> = table().iter().map(|entry| entry.name.to_ascii_lowercase()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    // What C tor lists, and what it takes besides.
    let listed = table().iter().filter(|entry| !entry.is_obsolete()).count();
    assert_eq!((listed, names.len() - listed), (372, 73));
}

#[test]
fn every_default_is_one_that_its_kind_takes() {
    for entry in table() {
        for default in [Some(entry.default), entry.testing].into_iter().flatten().filter(|default| !default.is_empty())
        {
            assert!(entry.kind.read(default).is_ok(), "{} {default}", entry.name);
        }
        assert!(!entry.help.is_empty() && !entry.help.ends_with('.'), "{}", entry.name);
        let is_told = match entry.state {
            State::Implemented(_) => true,
            State::Kept(why) | State::Refused(why) => !why.is_empty() && !why.ends_with('.'),
        };
        assert!(is_told, "{}", entry.name);
    }
}

#[test]
fn a_value_is_the_same_however_it_is_written() {
    for (kind, one, other) in [
        (Kind::Seconds, "60", "1 minute"),
        (Kind::Millis, "1000", "1 second"),
        (Kind::FirstSeconds, "6", "6,12"),
        (Kind::Size(u64::MAX), "1 GB", "1073741824 bytes"),
        (Kind::Fraction(f64::MIN, f64::MAX), "-1", "-1.0"),
        (Kind::Words, "a,b", " a , b,"),
        (Kind::Choice, "auto", "AUTO"),
        (Kind::OneOf(&["default"]), "default", "Default"),
        (Kind::Listeners(port::Kind::Others), "0", "0 NoListen"),
    ] {
        assert_eq!(kind.read(one), kind.read(other), "{one:?} {other:?}");
        assert!(kind.read(one).is_ok(), "{one:?}");
    }
    assert_eq!(Kind::Choice.read("1"), Ok(Value::Choice(Choice::Yes)));
    assert_ne!(Kind::Text.read("a"), Kind::Text.read("A"));
}

#[test]
fn each_kind_minds_what_c_tor_minds() {
    for (kind, bad) in [
        (Kind::Truth, "2"),
        (Kind::Choice, "maybe"),
        (Kind::Number(0, 9), "10"),
        (Kind::Integer, "1.5"),
        (Kind::Fraction(0.0, 1.0), "1.1"),
        (Kind::Seconds, "soon"),
        (Kind::FirstSeconds, "soon,6"),
        (Kind::Millis, "1 month"),
        (Kind::Size(9), "10"),
        (RATE, "3 GB"),
        (Kind::OneOf(&["a"]), "b"),
        (Kind::Exactly(&["a"]), "A"),
        (Kind::WordsOf(&["a"]), "a,b"),
        (Kind::PortNumbers, "http"),
        (Kind::Relays, "a-b"),
        (Kind::Family, "{de}"),
        (Kind::Nickname, "a b"),
        (Kind::Address, "example.com"),
        (Kind::Endpoint, "a:b"),
        (Kind::Proxy, "a:1"),
        (Kind::Password, "secret"),
        (Kind::Bridge, "obfs4"),
        (Kind::Each(&Kind::Truth), "2"),
        (Kind::Listeners(port::Kind::Commands), "x"),
        (Kind::Patterns, "192.0.2.1"),
        (Kind::Places, "nowhere"),
    ] {
        assert!(kind.read(bad).is_err(), "{kind:?} {bad:?}");
    }
    assert!(Kind::Places.read("192.0.2.1, reject *:80").is_ok() && RATE.read("2 GB").is_ok());
    assert!(Kind::Text.read("any").is_ok() && Kind::Anything.read("any").is_ok() && Kind::File.read("/x").is_ok());
}
