//! Streams on a circuit, and how much may be under way on it: the tests of `stream` as a tunnel
//! drives it.
//!
//! What streams promise by themselves is tested in `stream/tests.rs`. Spec: tor-spec, "Opening
//! streams", "Flow control".

use super::*;
use crate::stream::map::TURN;

// --- streams ---------------------------------------------------------------------------------

#[test]
fn a_stream_opens_carries_and_ends() {
    let mut pair = Pair::new(&TOR1);
    let flags = BeginFlags::IPV6_OK;
    let at = pair.tunnel.begin(HopNo(2), "example.com", 443, flags, true, &mut pair.entropy).unwrap();
    assert_eq!(pair.tunnel.handle_write(at, b"early"), 5);
    let said: Vec<_> = pair.pull_all().into_iter().map(|(said, _)| (said.hop, said.command, said.body)).collect();
    assert_eq!(said[0], (2, Command::BEGIN, b"example.com:443\0\0\0\0\x01".to_vec()));
    assert_eq!(said[1], (2, Command::DATA, b"early".to_vec()));
    pair.say(2, Command::CONNECTED, Some(at.id), &[198, 51, 100, 80, 0, 0, 0, 60]);
    let Some(Output::Connected { stream, address: Some((ip, 60)) }) = pair.outputs.pop() else { panic!() };
    assert_eq!((stream, ip.uncover().to_string().as_str()), (at, "198.51.100.80"));
    pair.say(2, Command::DATA, Some(at.id), b"answer");
    assert_eq!(pair.read, [(at, b"answer".to_vec())]);
    pair.tunnel.handle_write(at, b"last");
    pair.tunnel.finish(at);
    let said: Vec<_> = pair.pull_all().into_iter().map(|(said, _)| (said.command, said.body)).collect();
    assert_eq!(said, [(Command::DATA, b"last".to_vec()), (Command::END, vec![1])], "the one reason we give");
    pair.say(2, Command::DATA, Some(at.id), b"under way");
    assert_eq!(pair.read.len(), 1, "nobody reads it");
    pair.say(2, Command::END, Some(at.id), &[6]);
    assert_eq!((pair.outputs.len(), pair.tunnel.failure(), pair.tunnel.stream_count(HopNo(2))), (0, None, 0));
}

#[test]
fn an_end_is_told_with_what_to_do_and_what_was_not_answered() {
    let mut pair = Pair::new(&TOR1);
    let at = pair.tunnel.begin(HopNo(2), "example.com", 443, BeginFlags::default(), true, &mut pair.entropy).unwrap();
    pair.tunnel.handle_write(at, b"early");
    pair.pull_all();
    pair.tunnel.handle_write(at, b" and later");
    pair.say(2, Command::END, Some(at.id), &[4, 198, 51, 100, 1, 0, 0, 0, 9]);
    let Some(Output::Ended { stream, why, unanswered }) = pair.outputs.pop() else { panic!() };
    assert_eq!((stream, unanswered.into_inner().as_slice()), (at, &b"early and later"[..]));
    let Ended::ByFarEnd { end, was_open: false } = why else { panic!() };
    assert_eq!((end.reason, end.address.is_some()), (EndReason::EXITPOLICY, true));
    assert_eq!(why.verdict(), Some(Verdict::on(EndReason::EXITPOLICY)));
    assert!(pair.pull().is_none(), "nothing is answered");
}

#[test]
fn a_writer_who_filled_the_room_before_connected_is_called_after_it() {
    let mut pair = Pair::new(&TOR1);
    let at = pair.tunnel.begin(HopNo(2), "example.com", 443, BeginFlags::default(), true, &mut pair.entropy).unwrap();
    assert_eq!(pair.tunnel.handle_write(at, &[1; stream::MAX_UNSENT + 1]), stream::MAX_UNSENT);
    assert!(pair.pull_all().len() > 64);
    assert!(pair.outputs.is_empty() && pair.tunnel.room(at) == 0);
    pair.say(2, Command::CONNECTED, Some(at.id), &[]);
    assert!(matches!(pair.outputs[..], [Output::Connected { .. }, Output::Writable { stream }] if stream == at));
    assert_eq!(pair.tunnel.room(at), stream::MAX_UNSENT);
}

#[test]
fn a_private_address_ends_the_stream_alone() {
    let mut pair = Pair::new(&TOR1);
    let other = pair.open();
    let at = pair.tunnel.begin(HopNo(2), "example.com", 443, BeginFlags::default(), true, &mut pair.entropy).unwrap();
    pair.pull_all();
    pair.say(2, Command::CONNECTED, Some(at.id), &[10, 0, 0, 1, 0, 0, 0, 60]);
    let Some(Output::Ended { stream, why, .. }) = pair.outputs.pop() else { panic!() };
    assert_eq!((stream, why), (at, Ended::Refused(stream::Error::AddressRefused)));
    let (said, _) = pair.pull().unwrap();
    assert_eq!((said.command, said.stream, said.body), (Command::END, Some(at.id), vec![1]));
    pair.say(2, Command::DATA, Some(other.id), b"the other lives");
    assert_eq!(pair.read.len(), 1);
}

#[test]
fn a_network_of_tests_may_answer_with_private_addresses() {
    let mut pair = Pair::new(&TOR1);
    pair.tunnel.allow_internal_answers(true);
    let at = pair.tunnel.begin(HopNo(2), "example.com", 443, BeginFlags::default(), true, &mut pair.entropy).unwrap();
    pair.pull_all();
    pair.say(2, Command::CONNECTED, Some(at.id), &[127, 0, 0, 1, 0, 0, 0, 60]);
    assert!(matches!(pair.outputs.pop(), Some(Output::Connected { .. })));
    let at = pair.tunnel.resolve(HopNo(2), "a.example", &mut pair.entropy).unwrap();
    pair.pull_all();
    pair.say(2, Command::RESOLVED, Some(at.id), &[4, 4, 10, 0, 0, 1, 0, 0, 0, 60]);
    assert!(matches!(pair.outputs.pop(), Some(Output::Resolved { answers, .. }) if answers.len() == 1));
}

#[test]
fn what_is_resolved_is_told_without_private_addresses() {
    let mut pair = Pair::new(&TOR1);
    let mut ask = |body: &[u8]| {
        let at = pair.tunnel.resolve(HopNo(2), "a.example", &mut pair.entropy).unwrap();
        let (said, _) = pair.pull().unwrap();
        assert_eq!((said.command, said.body.as_slice()), (Command::RESOLVE, &b"a.example\0"[..]));
        pair.say(2, Command::RESOLVED, Some(at.id), body);
        assert_eq!(pair.tunnel.stream_count(HopNo(2)), 0, "the answer is its end");
        match pair.outputs.pop() {
            Some(Output::Resolved { answers, stream }) if stream == at => Some(answers),
            Some(Output::Ended { why: Ended::Refused(stream::Error::AddressRefused), .. }) => None,
            other => panic!("{other:?}"),
        }
    };
    let (good, private) = ([4, 4, 198, 51, 100, 1, 0, 0, 0, 60], [4, 4, 10, 0, 0, 1, 0, 0, 0, 60]);
    let address = (Answer::Address(Sensitive::new(IpAddr::from([198, 51, 100, 1]))), 60);
    assert_eq!(ask(&good), Some(vec![address.clone()]));
    assert_eq!(ask(&[private, good].concat()), Some(vec![address]));
    assert_eq!(ask(&private), None);
    assert_eq!(ask(&[0xF1, 0, 0, 0, 0, 60]), Some(vec![(Answer::PermanentError, 60)]));
    assert_eq!(ask(&[0xF0, 0, 0, 0, 0, 60]), Some(vec![(Answer::TransientError, 60)]));
    assert_eq!(ask(&[9, 0, 0, 0, 0, 60]), Some(vec![]));
    let name = (Answer::Hostname(Sensitive::new(b"b.example".to_vec())), 60);
    assert_eq!(ask(b"\0\x09b.example\0\0\0\x3C"), Some(vec![name]));
}

#[test]
fn a_directory_and_an_exit_share_a_circuit() {
    let mut pair = Pair::new(&TOR1);
    let exit = pair.open();
    let directory = pair.tunnel.begin_dir(HopNo(0), &mut pair.entropy).unwrap();
    pair.tunnel.handle_write(directory, &[1; 498 * 3]);
    pair.tunnel.handle_write(exit, &[2; 498 * 3]);
    let said: Vec<_> = pair.pull_all().into_iter().map(|(said, _)| (said.hop, said.command)).collect();
    assert_eq!(said[0], (0, Command::BEGIN_DIR));
    assert_eq!(said[1..].iter().map(|(hop, _)| *hop).collect::<Vec<_>>(), [2, 0, 2, 0, 2, 0]);
}

#[test]
fn control_goes_before_data_and_streams_take_turns() {
    let mut pair = Pair::new(&TOR1);
    let streams: Vec<_> = (0..5).map(|_| pair.open()).collect();
    for at in &streams {
        pair.tunnel.handle_write(*at, &[1; 498 * 20]);
    }
    pair.pull();
    pair.tunnel.reset(streams[4]);
    let said = pair.pull_all();
    assert_eq!((said[0].0.command, said[0].0.stream), (Command::END, Some(streams[4].id)));
    let mut counts = [0_i32; 4];
    for (said, _) in &said[1..] {
        let number = streams.iter().position(|at| Some(at.id) == said.stream).unwrap();
        counts[number] += 1;
        let apart = counts.iter().max().unwrap() - counts.iter().min().unwrap();
        assert!(apart <= i32::from(TURN), "{counts:?}");
    }
    assert_eq!(counts.iter().sum::<i32>(), 4 * 20 - 1);
}

#[test]
fn streams_that_a_link_has_no_room_for_wait_up_to_a_bound() {
    let mut pair = Pair::new(&TOR1);
    let open = |pair: &mut Pair| pair.tunnel.begin_dir(HopNo(0), &mut Seeded(1));
    let mut opened = 0;
    while let Ok(at) = open(&mut pair) {
        pair.tunnel.reset(at);
        opened += 1;
    }
    assert_eq!((opened, open(&mut pair)), (MAX_WAITING / 2, Err(Error::QueueFull)));
    assert_eq!(pair.pull_all().len(), MAX_WAITING);
    assert!(open(&mut pair).is_ok());
}

// --- windows ---------------------------------------------------------------------------------

#[test]
fn an_upload_goes_as_far_as_both_windows_and_on_with_the_right_proofs() {
    for ciphers in [TOR1, [Cipher::Tor1, Cipher::Tor1, Cipher::OnionService]] {
        let mut pair = Pair::new(&ciphers);
        let streams = [pair.open(), pair.open(), pair.open()];
        let (mut data, mut tags) = (0, VecDeque::new());
        loop {
            for at in streams {
                pair.tunnel.handle_write(at, &[1; stream::MAX_UNSENT]);
            }
            let said = pair.pull_all();
            if said.is_empty() {
                break;
            }
            for (said, tag) in said {
                assert_eq!(said.command, Command::DATA);
                data += 1;
                if data % 100 == 0 {
                    tags.push_back(tag);
                }
            }
        }
        assert_eq!(data, 1000, "the circuit's window, with three streams of 500");
        let sendme = |tag: &SendmeTag| [&[1, 0, 20], tag.as_bytes()].concat();
        for n in 1..=10 {
            let tag = tags.pop_front().unwrap();
            pair.say(2, Command::SENDME, None, &sendme(&tag));
            assert_eq!(pair.tunnel.failure(), None);
            for at in streams {
                pair.tunnel.handle_write(at, &[1; stream::MAX_UNSENT]);
            }
            data += pair.pull_all().len();
            if n < 6 {
                assert_eq!(data, 1000 + 100 * n, "a hundred more for each");
            }
        }
        assert_eq!(data, 1500, "three streams' windows");
        pair.say(2, Command::SENDME, Some(streams[0].id), &[]);
        assert_eq!(pair.pull_all().len(), 50);
        // 1550 cells were sent: ten proofs are used, five are to come.
        pair.say(2, Command::SENDME, None, &sendme(&SendmeTagOf::zero()));
        assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::SendmeTagWrong)));
    }
}

/// A tag that proves nothing.
struct SendmeTagOf;

impl SendmeTagOf {
    fn zero() -> SendmeTag {
        let stream = KeyStream::Shake(Box::new(ShakeStream::new(&[b"nobody's"])));
        ClientLayer::new(Cipher::Tor1, stream).unwrap().0.originate(3, &mut [0; BODY_LEN])
    }
}

#[test]
fn a_sendme_of_another_hop_proves_nothing() {
    let mut pair = Pair::new(&TOR1);
    let at = pair.open();
    for _ in 0..4 {
        pair.tunnel.handle_write(at, &[1; stream::MAX_UNSENT]);
        pair.pull_all();
    }
    pair.say(1, Command::SENDME, None, &[&[1, 0, 20][..], &[0; 20]].concat());
    assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::SendmeUnexpected)));
}

#[test]
fn a_download_is_acknowledged_with_the_tags_of_what_came() {
    for (ciphers, len, cells) in [(TOR1, 23, 2000), ([Cipher::Tor1, Cipher::Tor1, Cipher::Cgo], 19, 500)] {
        let mut pair = Pair::new(&ciphers);
        let at = pair.open();
        let (mut of_circuit, mut of_stream) = (0, 0);
        for n in 1..=cells {
            pair.say(2, Command::DATA, Some(at.id), &[1; 400]);
            for (said, _) in pair.pull_all() {
                match said.stream {
                    None => {
                        of_circuit += 1;
                        assert_eq!((said.hop, said.command, n % 100), (2, Command::SENDME, 0));
                        assert_eq!(said.body.len(), len);
                    }
                    Some(id) => {
                        of_stream += 1;
                        assert_eq!((id, said.body.len()), (at.id, 0));
                    }
                }
            }
        }
        // A SENDME of a stream cannot be written for Counter Galois Onion, whose streams will
        // be held by XON and XOFF.
        assert_eq!((of_circuit, of_stream), (cells / 100, if len == 23 { cells / 50 } else { 0 }));
    }
}

#[test]
fn a_far_end_that_overruns_a_window_ends_the_circuit() {
    // The stream's: its reader reads nothing.
    let mut pair = Pair::new(&TOR1);
    pair.reads = false;
    let at = pair.open();
    for _ in 0..500 {
        pair.say(2, Command::DATA, Some(at.id), b"x");
        assert_eq!(pair.closed(), None);
        assert!(pair.pull_all().iter().all(|(said, _)| said.stream.is_none() || pair.read.len() <= 5090));
    }
    // The circuit's: nothing of ours leaves, so no SENDME does.
    let mut pair = Pair::new(&TOR1);
    let streams = [pair.open(), pair.open(), pair.open()];
    for n in 0..1000 {
        pair.say(2, Command::DATA, Some(streams[n % 3].id), b"x");
        assert_eq!(pair.closed(), None);
    }
    pair.say(2, Command::DATA, Some(streams[0].id), b"x");
    assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::WindowOverrun)));
}

#[test]
fn a_reader_that_reads_nothing_costs_one_window() {
    let mut pair = Pair::new(&TOR1);
    pair.reads = false;
    let at = pair.open();
    let mut unread = 0;
    for _ in 0..500 {
        pair.say(2, Command::DATA, Some(at.id), &[1; 498]);
        unread += 498;
        assert!(pair.pull_all().iter().all(|(said, _)| said.stream.is_none()), "no SENDME of the stream");
    }
    assert_eq!(pair.tunnel.unread(at), unread);
    // It reads: ten SENDMEs are due once little is left.
    pair.tunnel.handle_read(at, unread - 5091);
    assert!(pair.pull().is_none());
    pair.tunnel.handle_read(at, 1);
    assert_eq!(pair.pull_all().len(), 10);
    for _ in 0..500 {
        pair.say(2, Command::DATA, Some(at.id), &[1; 498]);
    }
    assert_eq!(pair.closed(), None);
    pair.say(2, Command::DATA, Some(at.id), &[1; 498]);
    assert_eq!(pair.closed(), Some(Error::Stream(stream::Error::WindowOverrun)));
}
