//! The microdescriptor of a relay: what a client must know of it, its keys above all.
//!
//! Not its line in the consensus. Called by `authority/mod.rs`. Spec: dir-spec, "Computing
//! microdescriptors". C tor: writes and reads an `onion-key` line without its object since
//! 0.4.9.1; Arti reads it.

use super::member::Member;
use super::misbehaviour::{GIANT_FAMILY, Misbehaviour};
use crate::base::text;
use crate::wire::netdoc::{write_line, write_object};

/// Writes the microdescriptor of `member`.
pub(super) fn write(member: &Member, misbehaviour: Option<Misbehaviour>) -> String {
    let mut out = String::with_capacity(512);
    write_line(&mut out, "onion-key", &[]);
    if let Some(tap) = &member.tap {
        write_object(&mut out, "RSA PUBLIC KEY", tap);
    }
    write_line(&mut out, "ntor-onion-key", &[&text::base64_unpadded(&member.ntor.0)]);
    // Authorities add whose it is, so that all of a family have the same line. C tor:
    // `nodefamily_canonicalize`.
    let own = member.ids.rsa.filter(|_| !member.family.is_empty());
    let mut family: Vec<_> = member.family.iter().chain(&own).map(ToString::to_string).collect();
    if misbehaviour == Some(Misbehaviour::GiantLists) {
        family.extend((0..GIANT_FAMILY).map(|number| format!("${number:040X}")));
    }
    family.sort_unstable();
    family.dedup();
    if !family.is_empty() {
        write_line(&mut out, "family", &[&family.join(" ")]);
    }
    if !member.family_ids.is_empty() {
        let mut ids: Vec<_> = member.family_ids.iter().map(|id| format!("ed25519:{id}")).collect();
        ids.sort_unstable();
        write_line(&mut out, "family-ids", &[&ids.join(" ")]);
    }
    for (keyword, policy) in [("p", &member.policy), ("p6", &member.policy6)] {
        if let Some(policy) = policy {
            write_line(&mut out, keyword, &[policy]);
        }
    }
    if let Some(id) = member.ids.ed25519 {
        write_line(&mut out, "id", &["ed25519", &id.to_string()]);
    }
    if misbehaviour == Some(Misbehaviour::UnknownKeywords) {
        write_line(&mut out, "favourite-colour", &["octarine"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Ed25519Id, RsaId};
    use crate::wire::netdoc::Tokenizer;

    fn keywords(text: &str) -> Vec<&str> {
        Tokenizer::new(text.as_bytes()).map(|item| item.unwrap().keyword).collect()
    }

    #[test]
    fn lines_stand_in_the_order_of_the_real_ones() {
        let mut member = Member::example(1).exit();
        assert_eq!(keywords(&write(&member, None)), ["onion-key", "ntor-onion-key", "p", "p6", "id"]);
        member.family = vec![RsaId([0xBB; 20]), RsaId([0xAA; 20])];
        member.family_ids = vec![Ed25519Id([7; 32])];
        member.tap = Some(vec![1, 2, 3]);
        let text = write(&member, None);
        assert_eq!(keywords(&text), ["onion-key", "ntor-onion-key", "family", "family-ids", "p", "p6", "id"]);
        let own = member.ids.rsa.unwrap().to_string();
        let mut family = [own, format!("${}", "AA".repeat(20)), format!("${}", "BB".repeat(20))];
        family.sort();
        assert!(text.contains(&format!("\nfamily {}\n", family.join(" "))), "{text}");
        assert!(text.contains("\nfamily-ids ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n"), "{text}");
        assert!(text.starts_with("onion-key\n-----BEGIN RSA PUBLIC KEY-----\nAQID\n"), "{text}");
    }

    #[test]
    fn misbehaviours_show_and_still_parse() {
        let member = Member::example(1);
        let giant = write(&member, Some(Misbehaviour::GiantLists));
        let family = Tokenizer::new(giant.as_bytes()).map(|item| item.unwrap()).find(|item| item.keyword == "family");
        assert_eq!(family.unwrap().args().count(), GIANT_FAMILY);
        assert!(keywords(&write(&member, Some(Misbehaviour::UnknownKeywords))).contains(&"favourite-colour"));
    }
}
