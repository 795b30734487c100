//! C tor goes on with what our client kept, and our client with what C tor kept: either starts
//! with the other's files when nobody of the network is there any more.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use cepa::internal::base::time::Wall;
use cepa::internal::client::Progress;
use cepa::internal::client::state::{STATE, State};
use cepa::internal::directory::consensus::Flag;
use cepa::internal::directory::store;
use cepa::internal::path::guards::sample::{DEFAULT, RESTRICTED, Record};
use cepa::internal::path::timeout::Saved;

use super::lab::Guest;
use super::program;
use super::relays::{self, TorNetwork};
use super::shell::Shell;
use super::tor::{Client, Folder};

/// How often the two take turns, and how often ours is killed: by night both are done twenty times.
const TURNS: usize = 10;
const KILLS: usize = 20;
/// How long after its start it is killed at the latest: it has learned the network by then.
const LONGEST: Duration = Duration::from_millis(1200);
const ENOUGH: &str = "enough directory information to build circuits";

fn now() -> Wall {
    Wall::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// Learns a network and keeps what it learned; gives the lines that name the network.
fn learn(data: &Path) -> (String, State) {
    let network = TorNetwork::start();
    let mut shell = Shell::start(network.directory_lines(), Some(data));
    shell.run_until(|shell| shell.client.dir().is_some_and(|dir| dir.missing_count() == 0));
    let dir = shell.client.dir().unwrap();
    let guard = dir.relays().find(|relay| relay.flags().has(Flag::Guard)).unwrap();
    let record = Record::new(DEFAULT, guard.rsa_id(), guard.nickname(), "0.4.9.11", now() - Duration::from_secs(60));
    let mut state = State::default();
    state.build_times = Saved { total: 3, abandoned: 1, bins: vec![(125, 2)] };
    state.set_guards(DEFAULT, [record].iter());
    (network.directory_lines().to_owned(), state)
}

pub fn tor_starts_from_what_our_client_kept() {
    let folder = Folder::with_data();
    let data = folder.path().join("data");
    let (lines, state) = learn(&data);
    let unheard_of = "WhatAnotherProgramKnows by heart";
    fs::write(data.join(STATE), format!("{}{unheard_of}\n", state.encode("cepa", now()))).unwrap();

    let tor = Client::start(folder, &lines);
    let said = tor.until(&[ENOUGH]);
    let all = said.join("\n");
    assert!(all.contains("Reloaded microdescriptor cache. Found 11 descriptors."), "{all}");
    assert!(all.contains("Loaded state from") && all.contains("Adding 1 timeouts."), "{all}");
    assert!(!all.contains("aside") && !all.contains("Received"), "{all}");
    let folder = tor.stop();

    let data = folder.path().join("data");
    assert!(!data.join("state.0").exists());
    let (kept, faults) = State::parse(&fs::read(data.join(STATE)).unwrap());
    assert_eq!(faults, []);
    let ours: Vec<_> = state.guards(DEFAULT).map(|guard| guard.id).collect();
    assert!(kept.guards(DEFAULT).any(|guard| ours.contains(&guard.id)), "it sampled others");
    assert_eq!(kept.build_times, state.build_times);
    assert!(kept.encode("cepa", now()).contains(unheard_of));
}

pub fn our_client_starts_from_what_tor_kept() {
    let network = TorNetwork::start();
    let lines = network.directory_lines().to_owned();
    let tor = Client::start(Folder::with_data(), &lines);
    tor.until(&["Bootstrapped 100% (done)"]);
    let folder = tor.stop();
    drop(network);

    let data = folder.path().join("data");
    let before = fs::read(data.join(store::CONSENSUS)).unwrap();
    let mut shell = Shell::start(&lines, Some(&data));
    shell.run_until(|shell| shell.progress.last() >= Some(&Progress::EnoughDirectory));
    let dir = shell.client.dir().unwrap();
    assert_eq!((dir.relays().count(), dir.missing_count()), (11, 0));
    assert_eq!(shell.client.bootstrap().request_count(), 0);
    assert_eq!(fs::read(data.join(store::CONSENSUS)).unwrap(), before);

    // What it knew is understood, and it understands it when we have written it.
    let (state, faults) = State::parse(&fs::read(data.join(STATE)).unwrap());
    assert_eq!(faults, []);
    assert!(state.guards(DEFAULT).count() > 0 && state.written.is_some() && state.is_dormant == Some(false));
    assert!(state.guards(DEFAULT).all(|guard| dir.by_rsa_id(&guard.id).is_some()));
    fs::write(data.join(STATE), state.encode("cepa", now())).unwrap();
    let tor = Client::start(folder, &lines);
    tor.until(&[ENOUGH]);
    let folder = tor.stop();
    assert!(folder.path().join("data/state").exists() && !folder.path().join("data/state.0").exists());
}

/// What it knew outlives it, and is written on a signal.
pub fn our_program_goes_on_where_it_ended() {
    let (town, lines) = program::lab();
    let folder = Folder::with_data();
    let data = folder.path().join("data");
    let read = |name: &str| fs::read(data.join(name)).unwrap_or_default();
    let guest = Guest::with(program::start(&mut Command::new(program::CEPA), folder, &lines), Some(town));
    guest.fetches(1000);
    let (folder, town) = guest.part();
    for name in [store::CERTIFICATES, store::CONSENSUS, store::MICRODESCS_JOURNAL] {
        assert!(!read(name).is_empty(), "{name}");
    }
    let guards = |faults: &mut Vec<_>| {
        let (state, found) = State::parse(&read(STATE));
        faults.extend(found);
        state.guards(DEFAULT).map(|guard| guard.id).collect::<Vec<_>>()
    };
    let mut faults = Vec::new();
    let before = guards(&mut faults);
    let mut guest = Guest::with(program::start(&mut Command::new(program::CEPA), folder, &lines), town);
    guest.fetches(1000);
    let said = guest.client().end();
    assert!(said == Some(0) && !before.is_empty() && guards(&mut faults) == before && faults.is_empty());
}

/// The guards of a selection of a state file.
fn guards(data: &Path, selection: &str) -> Vec<Record> {
    let (state, faults) = State::parse(&fs::read(data.join(STATE)).unwrap());
    assert_eq!(faults, []);
    state.guards(selection).cloned().collect()
}

/// They take turns on one directory: neither samples new guards, or changes what is known of
/// one. A path may come to one that was not used yet, where the first is the path's exit.
pub fn tor_and_our_program_take_turns_on_one_directory() {
    let network = relays::shared();
    let last = take_turns(network.directory_lines(), DEFAULT, TURNS);
    assert!(last.len() > 2);
}

/// The same of somebody who lets us use one guard, which both take for a sample of its own.
pub fn few_guards_are_the_same_to_tor() {
    let network = relays::shared();
    let lines = network.directory_lines();
    let name = take_turns(lines, DEFAULT, 1).swap_remove(0).id;
    let [only] = &take_turns(&format!("{lines}EntryNodes {name}\n"), RESTRICTED, 4)[..] else {
        panic!("another number of guards than one")
    };
    assert_eq!(only.id, name);
}

/// What both know of the guards of a selection in the end.
fn take_turns(lines: &str, selection: &str, turns: usize) -> Vec<Record> {
    let mut folder = Folder::with_data();
    let data = folder.path().join("data");
    let mut before: Vec<Record> = Vec::new();
    for turn in 0..turns {
        let client = match turn % 2 {
            0 => Client::start(folder, lines),
            _ => Client::start_as(&mut Command::new(program::CEPA), folder, lines),
        };
        let guest = Guest::with(client, None);
        guest.reaches_a_socket_of_this_machine();
        folder = guest.part().0;
        let now = guards(&data, selection);
        // C tor may have begun with the usual ones, before it knew that few are allowed.
        let is_confirmed = now.iter().any(|guard| guard.confirmed.is_some());
        assert!(is_confirmed || selection == RESTRICTED, "turn {turn}: nobody is confirmed");
        assert!(before.is_empty() || now.len() == before.len(), "turn {turn}");
        for (now, before) in now.iter().zip(&before) {
            assert_eq!((now.id, now.sampled_on), (before.id, before.sampled_on), "turn {turn}");
            assert!(before.confirmed.is_none() || now.confirmed == before.confirmed, "turn {turn}: {now:?}");
        }
        assert!(!data.join("state.0").exists());
        before = now;
    }
    before
}

/// Under another name it can be looked at; under its own it is as good as new.
pub fn what_is_broken_is_kept_and_made_anew() {
    let (town, lines) = program::lab();
    let guest = Guest::with(program::start(&mut Command::new(program::CEPA), Folder::with_data(), &lines), Some(town));
    guest.fetches(1000);
    let (folder, town) = guest.part();
    let data = folder.path().join("data");
    let before: Vec<_> = guards(&data, DEFAULT).iter().map(|guard| guard.id).collect();
    let broken: Vec<(&str, Vec<u8>)> = [STATE, store::CERTIFICATES, store::CONSENSUS]
        .into_iter()
        .map(|name| {
            let mut text = fs::read(data.join(name)).unwrap();
            match name {
                STATE => text.extend(b"Guard of nobody\n"),
                _ => text.iter_mut().skip(700).step_by(50).for_each(|byte| *byte = b'!'),
            }
            fs::write(data.join(name), &text).unwrap();
            (name, text)
        })
        .collect();
    let client = program::start(&mut Command::new(program::CEPA), folder, &lines);
    let said = client.until(&["Bootstrapped 100% (done)"]).join("\n");
    for (name, text) in broken {
        assert!(said.contains(&format!("{name} is broken. As it was it is kept as {name}.0.")), "{said}");
        assert_eq!(fs::read(data.join(format!("{name}.0"))).unwrap(), text, "{name}");
    }
    let folder = client.stop();
    // Nothing is wrong with them any more, and nothing was lost.
    assert_eq!(guards(&data, DEFAULT).iter().map(|guard| guard.id).collect::<Vec<_>>(), before);
    let client = program::start(&mut Command::new(program::CEPA), folder, &lines);
    let said = client.until(&["Bootstrapped 100% (done)"]).join("\n");
    assert!(!said.contains("is broken"), "{said}");
    drop((client, town));
}

/// However far it is: what is on the disk afterwards is what was there before, or what it was
/// about to write.
pub fn our_program_may_be_killed_at_any_instant() {
    let (town, lines) = program::lab();
    let guest = Guest::with(program::start(&mut Command::new(program::CEPA), Folder::with_data(), &lines), Some(town));
    guest.fetches(1000);
    let (mut folder, town) = guest.part();
    let data = folder.path().join("data");
    let first: Vec<_> = guards(&data, DEFAULT).iter().map(|guard| guard.id).collect();
    for turn in 0..KILLS {
        // From files, without the consensus, and without any directory.
        for name in [store::CONSENSUS, store::MICRODESCS_JOURNAL].iter().take(turn % 3) {
            let _ = fs::remove_file(data.join(name));
        }
        let client = program::start(&mut Command::new(program::CEPA), folder, &lines);
        let drawn = RandomState::new().build_hasher().finish();
        let instant = Duration::from_micros(drawn % u64::try_from(LONGEST.as_micros()).unwrap());
        thread::sleep(instant);
        folder = client.kill();
        let left: Vec<_> = guards(&data, DEFAULT).iter().map(|guard| guard.id).collect();
        assert_eq!(left, first, "kill {turn}, {instant:?} after its start");
    }
    let client = program::start(&mut Command::new(program::CEPA), folder, &lines);
    let said = client.until(&["Bootstrapped 100% (done)"]).join("\n");
    assert!(!said.contains("[warn] Something in") && !said.contains("is left out"), "{said}");
    drop(town);
}
