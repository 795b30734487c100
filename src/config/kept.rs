//! Options that nothing here serves: whether they are well-formed, and whether they may be given.
//!
//! What would make others safe, or somebody else be spoken to, is never passed over: it is refused
//! unless the network is off. What changes nothing is told of. Not what options mean together
//! (`conflicts.rs`). Called by `mod.rs`, which has read all others. Spec: none. C tor: takes any
//! well-formed value of each.

use super::options::{Entry, State, Value};
use super::values::Wanted;
use super::{Complaint, Given, Kind, Objection, Oddity, Settings, Warning};

/// What is wrong with the first of them that is wrong, or what is odd. While the network is off
/// nothing is refused that has the right form: a program that sets one up begins so.
pub(super) fn check(
    settings: &Settings,
    is_testing: bool,
    is_network_disabled: bool,
) -> Result<Vec<Warning>, Complaint> {
    settings.options().try_for_each(|entry| is_well_formed(entry, settings))?;
    let mut warnings = Vec::new();
    for entry in settings.options().filter(|entry| !entry.is_usual(settings, is_testing)) {
        let Some(given) = settings.given(entry.name).last() else { continue };
        let oddity = match entry.state {
            State::Implemented(_) => continue,
            State::Kept(why) => Oddity::WithoutEffect(entry.name, why),
            State::Refused(why) if is_network_disabled => Oddity::KeepsOff(entry.name, why),
            State::Refused(why) => return Err(refuse(entry, given, why)),
        };
        warnings.push(Warning { origin: given.origin.clone(), oddity });
    }
    Ok(warnings)
}

fn refuse(entry: &Entry, given: &Given, why: &'static str) -> Complaint {
    let fault = Objection::Refused { option: entry.name, value: given.value.clone(), why };
    Complaint { origin: given.origin.clone(), fault }
}

fn is_well_formed(entry: &Entry, settings: &Settings) -> Result<(), Complaint> {
    let lines = match entry.kind {
        Kind::Listeners(_) => settings.given_of_port(entry.name),
        _ => settings.given(entry.name).iter().collect(),
    };
    for given in &lines {
        let read = match entry.kind.read(&given.value) {
            // C tor: 0 turns all off, and may not stand beside others.
            Ok(Value::Off) if lines.len() > 1 => Err(Wanted::Other("0 alone, or other lines without it")),
            read => read,
        };
        read.map_err(|wanted| Complaint {
            origin: given.origin.clone(),
            fault: Objection::Value { option: entry.name, value: given.value.clone(), wanted },
        })?;
    }
    Ok(())
}
