//! The lab's network in a process of its own, `cepa-lab`, so that neither its relays nor the load
//! generator have to wait for the other's thread.
//!
//! Called by `mod.rs`. Spec: none; see `docs/lab.md`.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::json::Value;
use super::super::process::{Folder, Process};
use super::{Network, beside};

/// How long it may take to come up; ours, many times what 20,000 listed relays take.
const LIMIT: Duration = Duration::from_secs(120);

/// Starts it.
pub async fn open(listed: usize, seed: u64) -> Result<Network, String> {
    let folder = Folder::new().map_err(|error| error.to_string())?;
    let (torrc, arti) = (folder.path().join("torrc"), folder.path().join("arti.toml"));
    let mut command = Command::new(beside("cepa-lab")?);
    command.args(["--network-only", "--seed", &seed.to_string(), "--listed", &listed.to_string()]);
    command.arg("--torrc-out").arg(&torrc).arg("--arti-out").arg(&arti);
    // Its input is ours to close, which happens whatever becomes of us.
    command.arg("--until-eof").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = Process::start(&mut command).map_err(|error| format!("cepa-lab: {error}"))?;
    let output = process.output().ok_or("cepa-lab: it cannot be heard")?;
    let (tell, told) = oneshot::channel();
    // It says something only once both files are whole.
    // Who has given up waiting hears nothing.
    let listen = move || {
        let _ = tell.send(BufReader::new(output).lines().next().is_some_and(|line| line.is_ok()));
    };
    thread::Builder::new().name("bench lab".to_owned()).spawn(listen).map_err(|error| error.to_string())?;
    match timeout(LIMIT, told).await {
        Ok(Ok(true)) => {}
        Ok(_) => return Err("cepa-lab ended".to_owned()),
        Err(_) => return Err(format!("cepa-lab does not answer within {} s", LIMIT.as_secs())),
    }
    let read = |path| std::fs::read_to_string(path).map_err(|error| format!("cepa-lab: {error}"));
    let facts = [("name", "lab".into()), ("listed", Value::Number(listed as f64))];
    Ok(Network {
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        torrc: read(&torrc)?,
        arti: Some(read(&arti)?),
        processes: vec![process],
        _folder: Some(folder),
    })
}
