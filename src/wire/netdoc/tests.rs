//! Documents are by hand, after dir-spec, unless a test says otherwise.

use super::*;
use crate::base::error::{Blame, Scope};
use proptest::prelude::*;

fn cut(text: &str) -> Vec<Item<'_>> {
    Tokenizer::new(text.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// The faults of `text`, each with its line.
fn faults(text: impl AsRef<[u8]>) -> Vec<(Error, usize)> {
    let results = Tokenizer::new(text.as_ref());
    results.filter_map(|result| result.err().map(|fault| (fault.error, fault.at.line))).collect()
}

/// The shape of the example in dir-spec, "Authority key certificates".
#[test]
fn a_document_is_cut_into_lines_and_objects() {
    let text = "dir-key-certificate-version 3\nfingerprint  AB CD\tEF \ndir-identity-key\n\
                -----BEGIN RSA PUBLIC KEY-----\nZm9v\nYmFy\n-----END RSA PUBLIC KEY-----\nlast\n";
    let items = cut(text);
    let keywords: Vec<_> = items.iter().map(|item| item.keyword).collect();
    assert_eq!(keywords, ["dir-key-certificate-version", "fingerprint", "dir-identity-key", "last"]);
    assert_eq!(items[1].rest, " AB CD\tEF ");
    assert_eq!(items[1].args().collect::<Vec<_>>(), ["AB", "CD", "EF"]);
    assert_eq!(items[0].object, None);
    let object = items[2].object.unwrap();
    assert_eq!((object.label, object.decode()), ("RSA PUBLIC KEY", Ok(b"foobar".to_vec())));
    assert_eq!(items[3].rest, "");
}

/// Arti 2.7, tor-netdoc testdata/microdesc1.txt, without its three longest lines.
#[test]
fn a_microdescriptor_is_cut() {
    let text = "\
        onion-key\n\
        -----BEGIN RSA PUBLIC KEY-----\n\
        MIGJAoGBALiyRXkiUmFQAmd1+Sy2ApNiPE4F54H7dKUwRqvCs+PqpqExaM2ybqMd\n\
        Zzjkgsp41jjOxk/m5RGyo+wLTo3C1TanWsf3CFfoL836KYiv9IjguIuH8FH/EpX1\n\
        ss5ChhkkKNhPtvOMFfVe0iuN0abUdGSmixKUVNW0/LiNzXa9Fa/jAgMBAAE=\n\
        -----END RSA PUBLIC KEY-----\n\
        ntor-onion-key gkQqYIYcecF1KwS2wVV/oVQAuf6oeTWzswXFkEVs/nE=\n\
        id ed25519 k3TwldYWObTQkjmY83o+uG6xcbD5b/Zda8QPc/C5Ftg\n\
        ";
    let items = cut(text);
    let found: Vec<_> = items.iter().map(|item| (item.keyword, item.at.line)).collect();
    assert_eq!(found, [("onion-key", 1), ("ntor-onion-key", 7), ("id", 8)]);
    assert_eq!(items[0].object.unwrap().decode().unwrap().len(), 140);
    assert_eq!(items.iter().map(|item| item.len).sum::<usize>(), text.len());
}

#[test]
fn items_know_where_they_are() {
    let text = "a 1\nb\n-----BEGIN X-----\nAAAA\n-----END X-----\nc 2\n";
    let items = cut(text);
    let spans: Vec<_> = items.iter().map(|item| &text[item.span()]).collect();
    assert_eq!(spans, ["a 1\n", "b\n-----BEGIN X-----\nAAAA\n-----END X-----\n", "c 2\n"]);
    assert_eq!(items.iter().map(|item| item.at.line).collect::<Vec<_>>(), [1, 2, 6]);
    let mut tokenizer = Tokenizer::new(text.as_bytes());
    assert_eq!(tokenizer.by_ref().count(), 3);
    assert_eq!(tokenizer.position(), Position { offset: text.len(), line: 7 });
}

#[test]
fn opt_before_a_keyword_means_nothing() {
    let items = cut("opt fast 1\nopt \t  slow 2\nopt\noption x\n");
    let keywords: Vec<_> = items.iter().map(|item| (item.keyword, item.rest)).collect();
    assert_eq!(keywords, [("fast", "1"), ("slow", "2"), ("opt", ""), ("option", "x")]);
    assert_eq!(faults("opt @note\nopt  \nopt opt x\n"), [1, 2, 3].map(|line| (Error::BadKeyword, line)));
}

#[test]
fn annotations_are_told_from_the_document() {
    let items = cut("@last-listed 2026-01-01 00:00:00\nonion-key\n");
    assert_eq!(items.iter().map(Item::is_annotation).collect::<Vec<_>>(), [true, false]);
    assert_eq!(items[0].keyword, "@last-listed");
}

/// As C tor 0.4.9.11 ends the decrypted layers of a descriptor, feature/hs/hs_descriptor.c.
#[test]
fn the_last_line_may_lack_its_end() {
    let items = cut("encrypted\n-----BEGIN MESSAGE-----\nAAAA\n-----END MESSAGE-----");
    assert_eq!(items[0].object.unwrap().decode(), Ok(vec![0; 3]));
    assert_eq!(cut("a b")[0].rest, "b");
    assert_eq!(cut(""), []);
}

#[test]
fn a_bad_line_is_named_with_its_number() {
    assert_eq!(faults("a\n\nb\n \n"), [(Error::EmptyLine, 2), (Error::BadKeyword, 4)]);
    assert_eq!(faults("-a\nb_c\né 1\n@\n@-x\n# x\n").len(), 6);
    assert_eq!(faults("a\nb\r\n"), [(Error::BadKeyword, 2)]);
    assert_eq!(faults(b"a\nb \xFF\nc\n"), [(Error::NotUtf8, 2)]);
    assert_eq!(faults(b"a\nb \0\nc\n"), [(Error::NulInDocument, 2)]);
    assert_eq!(faults("\u{FEFF}a\nb\n"), [(Error::ByteOrderMark, 1)]);
    assert_eq!(faults("a é\n"), []);
}

#[test]
fn a_bad_object_is_named_with_its_line() {
    for (text, error, line) in [
        ("a\n-----BEGIN X----\nAAAA\n-----END X-----\n", Error::BadObjectBegin, 2),
        ("a\n-----BEGIN X  Y-----\nAAAA\n-----END X  Y-----\n", Error::BadObjectBegin, 2),
        ("a\n-----BEGIN -----\nAAAA\n-----END -----\n", Error::BadObjectBegin, 2),
        ("a\n-----BEGIN X-----\nAA!A\n-----END X-----\n", Error::BadObjectBase64, 3),
        ("a\n-----BEGIN X-----\nAAAA\n-----END Y-----\n", Error::BadObjectEnd, 4),
        ("a\n-----BEGIN X-----\nAAAA\n-----END X----\n", Error::BadObjectEnd, 4),
        ("a\n-----BEGIN X-----\nAAAA\n", Error::BadObjectEnd, 4),
        ("-----BEGIN X-----\nAAAA\n-----END X-----\n", Error::BadKeyword, 1),
        ("a\n-----BEGIN X-----\n\n-----END X-----\n-----BEGIN X-----\n", Error::BadKeyword, 5),
    ] {
        assert_eq!(faults(text)[0], (error, line), "{text}");
    }
    let object = cut("a\n-----BEGIN X-----\nA=AA\n-----END X-----\n")[0].object.unwrap();
    assert_eq!(object.decode(), Err(Error::BadObjectBase64));
}

#[test]
fn an_object_without_end_costs_no_other_item() {
    let results: Vec<_> = Tokenizer::new(b"a\n-----BEGIN X-----\nAAAA\nb 1\nc\n").collect();
    assert_eq!(results.len(), 3);
    assert!(results[0].is_err());
    assert_eq!(results[1].unwrap().keyword, "b");
}

#[test]
fn lines_and_objects_have_a_longest() {
    let line = format!("a {}\n", "x".repeat(MAX_LINE_LEN - 2));
    assert_eq!(cut(&line)[0].len, MAX_LINE_LEN + 1);
    assert_eq!(faults(format!("a{line}")), [(Error::LineTooLong, 1)]);
    assert_eq!(faults(format!("a{}", line.trim_end())), [(Error::LineTooLong, 1)]);

    let object = |lines: usize| {
        format!("a\n-----BEGIN X-----\n{}-----END X-----\n", format!("{}\n", "A".repeat(63)).repeat(lines))
    };
    assert_eq!(cut(&object(MAX_OBJECT_LEN / 64)).len(), 1);
    assert_eq!(faults(object(MAX_OBJECT_LEN / 64 + 1))[0], (Error::ObjectTooLong, MAX_OBJECT_LEN / 64 + 3));
}

#[test]
fn a_piece_ends_before_what_may_go_on() {
    let text = b"a 1\nb\n-----BEGIN X-----\nAAAA\n-----END X-----\nc 2\n";
    for end in 0..text.len() {
        let mut tokenizer = Tokenizer::piece(&text[..end], Position::START);
        let found = tokenizer.by_ref().map(|item| item.unwrap().keyword).collect::<String>();
        let (expected, next) = match end {
            ..5 => ("", 0),
            5..45 => ("a", 4),
            45.. => ("ab", 45),
        };
        assert_eq!((&found[..], tokenizer.position().offset), (expected, next), "the first {end} bytes");
        assert_eq!(tokenizer.next(), None);
    }
}

#[test]
fn a_piece_of_the_longest_item_always_gives_something() {
    for text in
        [vec![b'a'; MAX_ITEM_LEN], [b"a\n-----BEGIN X-----\n".to_vec(), b"AAA\n".repeat(MAX_ITEM_LEN / 4)].concat()]
    {
        let mut tokenizer = Tokenizer::piece(&text, Position::START);
        assert!(tokenizer.next().is_some());
        assert!(tokenizer.position().offset > 0);
    }
}

#[test]
fn what_is_written_is_cut_again() {
    let mut text = String::new();
    write_line(&mut text, "key", &["1", "2"]);
    write_object(&mut text, "ED25519 CERT", &[0xA5; 100]);
    write_line(&mut text, "empty", &[]);
    write_object(&mut text, "X", &[]);
    let items = cut(&text);
    assert_eq!(items[0].args().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(items[0].object.unwrap().decode(), Ok(vec![0xA5; 100]));
    assert_eq!(items[1].object.unwrap().decode(), Ok(vec![]));
    assert!(text.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_bad_document_is_the_fault_of_whoever_sent_it() {
    assert_eq!((Error::NotUtf8.blame(), Error::NotUtf8.scope()), (Blame::Peer, Scope::Stream));
}

#[test]
fn newlines_are_found_wherever_they_are() {
    for len in 0..70 {
        let mut bytes = vec![b'x'; len];
        assert_eq!(find_newline(&bytes), None);
        for at in (0..len).rev() {
            bytes[at] = b'\n';
            assert_eq!(find_newline(&bytes), Some(at));
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_cut_alike_in_pieces(
        text in "(a|b 1|opt x|@n|-----BEGIN X-----|-----END X-----|AAAA|é|\0|-|\n|\n|\n){0,30}",
    ) {
        fuzz_netdoc(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_cut_alike_in_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        fuzz_netdoc(&bytes);
    }

    #[test]
    fn objects_read_back(
        label in "[A-Z0-9]{1,9}( [A-Z]{1,9}){0,2}",
        data in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut text = String::from("key\n");
        write_object(&mut text, &label, &data);
        let object = cut(&text)[0].object.unwrap();
        prop_assert_eq!(object.label, &label[..]);
        prop_assert_eq!(object.decode(), Ok(data));
    }
}
