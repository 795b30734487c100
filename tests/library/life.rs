//! A client from its start to its end: how far it is, what it keeps, and that nothing of it stays.

use std::net::TcpStream;
use std::time::Instant;

use super::*;
use cepa::{BootstrapError, CircuitStatus, Error, Event, Isolation, Progress, StartError};
use tokio::io::AsyncReadExt;

/// The only relay of that network: a port of this machine that nobody has.
const NOBODY: &str = "TestingTorNetwork 1\nDirAuthority nobody orport=1 \
                      v3ident=0000000000000000000000000000000000000000 127.0.0.1:1 \
                      0000000000000000000000000000000000000000\n";

#[test]
fn progress_is_told_step_by_step_until_streams_can_be_opened() {
    run(async {
        let client = builder().start().await.unwrap();
        let (mut steps, waiting) = (client.progress(), client.clone());
        let bootstrapped = tokio::spawn(async move { waiting.bootstrap(PATIENCE).await });
        let mut told: Vec<Progress> = Vec::new();
        while let Some(progress) = steps.next().await {
            told.push(progress);
        }
        bootstrapped.await.unwrap().unwrap();
        assert!(told.windows(2).all(|pair| pair[0].percent() < pair[1].percent()), "{told:?}");
        let tags: Vec<&str> = told.iter().map(|progress| progress.tag()).collect();
        let places = ["starting", "conn", "loading_status", "enough_dirinfo", "circuit_create", "done"]
            .map(|tag| tags.iter().position(|told| *told == tag));
        assert!(places.iter().skip(1).all(Option::is_some) && places.is_sorted(), "{tags:?}");
        // Who comes late hears how it is.
        let mut late = client.progress();
        assert!(late.next().await.is_some_and(Progress::is_done) && late.next().await.is_none());
        client.bootstrap(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn a_network_that_nobody_reaches_is_given_up_in_time_and_the_error_says_how_far_it_came() {
    run(async {
        let client = Client::builder().torrc(NOBODY).option("SocksTimeout", "3").start().await.unwrap();
        let (begun, limit) = (Instant::now(), Duration::from_secs(2));
        let error = client.bootstrap(limit).await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= limit && took < 5 * limit, "{took:?}");
        let BootstrapError::TimedOut { progress, trouble } = &error else { panic!("{error:?}") };
        assert!(progress.percent() < 15 && *trouble == Some("the connection is refused"), "{error:?}");
        assert!(error.to_string().contains(&progress.to_string()), "{error}");
        let refused = client.connect(("secret.example", 80), &Isolation::default()).await.unwrap_err();
        assert_eq!(refused, Error::NotBootstrapped);
        assert!(!format!("{refused} {refused:?}").contains("secret"));
    });
}

#[test]
fn events_tell_of_circuits_and_none_comes_after_the_end() {
    run(async {
        let client = builder().start().await.unwrap();
        let (mut events, mut built) = (client.events(), Vec::new());
        client.bootstrap(PATIENCE).await.unwrap();
        client.shutdown().await.unwrap();
        let mut can_build = false;
        while let Some(event) = events.next().await {
            match event {
                Event::CanBuild(is) => can_build |= is,
                Event::Circuit { circuit, status: CircuitStatus::Built, relays } => built.push((circuit, relays)),
                _ => {}
            }
        }
        assert!(can_build && !built.is_empty());
        assert!(
            built.iter().all(|(_, relays)| relays.len() == 3 && relays.iter().all(|it| it.len() == 40)),
            "{built:?}"
        );
        assert_eq!(client.events().next().await, None);
    });
}

#[test]
fn a_data_directory_is_one_clients_at_a_time_and_the_next_ones_after_it() {
    let scratch = Scratch::new("kept");
    run(async {
        let begin = || builder().data_directory(scratch.path("data")).start();
        let first = begin().await.unwrap();
        first.bootstrap(PATIENCE).await.unwrap();
        assert!(matches!(begin().await, Err(StartError::InUse)));
        first.shutdown().await.unwrap();
        assert!(
            is_written(&scratch.path("data/state")) && is_written(&scratch.path("data/cached-microdesc-consensus"))
        );
        // The directory is on the disk: nothing of it is asked for again.
        let second = begin().await.unwrap();
        let (mut steps, mut tags) = (second.progress(), Vec::new());
        while let Some(progress) = steps.next().await {
            tags.push(progress.tag());
        }
        assert!(tags.contains(&"done") && !tags.contains(&"loading_status"), "{tags:?}");
        second.shutdown().await.unwrap();
    });
}

#[test]
fn whoever_ends_a_client_ends_all_that_it_had() {
    run(async {
        let client = builder().option("SocksPort", "auto").start().await.unwrap();
        client.bootstrap(PATIENCE).await.unwrap();
        let [port] = client.ports() else { panic!("{:?}", client.ports()) };
        assert!(TcpStream::connect(port).is_ok());
        let mut stream = client.connect(("echo.lab", 80), &Isolation::default()).await.unwrap();
        let reader = tokio::spawn(async move { stream.read_u8().await.unwrap_err().kind() });
        let other = client.clone();
        let (one, two) = tokio::join!(client.shutdown(), other.shutdown());
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(reader.await.unwrap(), std::io::ErrorKind::ConnectionAborted);
        let ended = other.connect(("echo.lab", 80), &Isolation::default()).await;
        assert_eq!(ended.err(), Some(Error::Ended));
        assert_eq!(other.bootstrap(PATIENCE).await, Err(BootstrapError::Ended(None)));
        assert_eq!(other.new_identity().await, Err(Error::Ended));
        assert!(TcpStream::connect(port).is_err());
        other.shutdown().await.unwrap();
    });
}

#[test]
fn a_client_without_handles_ends_by_itself_and_keeps_what_it_knows() {
    let scratch = Scratch::new("dropped");
    run(async {
        let begin = || builder().data_directory(scratch.path("data")).start();
        let client = begin().await.unwrap();
        client.bootstrap(PATIENCE).await.unwrap();
        let mut stream = client.connect(("echo.lab", 80), &Isolation::default()).await.unwrap();
        let (mut events, clone) = (client.events(), client.clone());
        drop(client);
        clone.resolve("echo.lab", &Isolation::default()).await.unwrap();
        drop(clone);
        // The thread is what events come from.
        while events.next().await.is_some() {}
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
        assert!(is_written(&scratch.path("data/state")));
        begin().await.unwrap().shutdown().await.unwrap();
    });
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let scratch = Scratch::new("start");
    run(async {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = held.local_addr().unwrap().to_string();
        std::fs::write(scratch.path("file"), "").unwrap();
        let nowhere = format!("notice file {}", scratch.path("a/b").display());
        let of = |builder: ClientBuilder| async { builder.start().await.unwrap_err() };
        assert!(
            matches!(of(builder().option("SocksPort", &taken)).await, StartError::Port(text) if text.contains(&taken))
        );
        assert!(matches!(of(builder().option("Log", &nowhere)).await, StartError::Log(_)));
        assert!(matches!(of(builder().data_directory(scratch.path("file"))).await, StartError::Directory(_)));
        assert!(matches!(of(builder().option("ORPort", "1")).await, StartError::Options(_)));
        let odd = builder().option("Nickname", "me").start().await.unwrap();
        assert!(
            odd.warnings().iter().any(|warning| warning.contains("Nickname has no effect")),
            "{:?}",
            odd.warnings()
        );
    });
}
