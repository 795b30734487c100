//! C tor goes on with what our client kept, and our client with what C tor kept: either starts
//! with the other's files when nobody of the network is there any more.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use cepa::internal::base::time::Wall;
use cepa::internal::client::Progress;
use cepa::internal::client::state::{STATE, State};
use cepa::internal::directory::consensus::Flag;
use cepa::internal::directory::store;
use cepa::internal::path::guards::sample::{DEFAULT, Record};
use cepa::internal::path::timeout::Saved;

use super::lab::Guest;
use super::program;
use super::relays::TorNetwork;
use super::shell::Shell;
use super::tor::{Client, Folder};

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
    let record = Record::new(guard.rsa_id(), guard.nickname(), "0.4.9.11", now() - Duration::from_secs(60));
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
