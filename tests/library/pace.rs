//! What a stream costs in this process, beside the same bytes by the same client's SOCKS port.
//!
//! Not run with the others; `.ci/run soak` has it:
//! `cargo test --release --test library pace -- --ignored --nocapture`.

use std::time::Instant;

use super::*;
use cepa::Isolation;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LENGTH: u64 = 64 << 20;
const ROUNDS: usize = 5;
const READ_LEN: usize = 64 * 1024;

/// How long the client's thread has run.
fn busy() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "cepa");
    let [thread] = &tasks.filter(named).collect::<Vec<_>>()[..] else { panic!("there is one client") };
    let text = std::fs::read_to_string(thread.join("schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Reads it all: how long that took, and for how long the client's thread was busy.
async fn measure(mut stream: impl AsyncRead + Unpin) -> (Duration, Duration) {
    let (begun, before, mut length, mut buffer) = (Instant::now(), busy(), 0, vec![0; READ_LEN]);
    while length < LENGTH {
        match stream.read(&mut buffer).await.unwrap() {
            0 => panic!("it ends after {length}"),
            more => length += u64::try_from(more).unwrap(),
        }
    }
    (begun.elapsed(), busy() - before)
}

async fn by_socks(port: &str, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(port).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let length = u8::try_from(host.len()).unwrap();
    stream.write_all(&[&[5, 1, 0, 3, length], host.as_bytes(), &[0, 80]].concat()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    stream
}

#[test]
#[ignore = "it measures, which takes a machine that does nothing else"]
fn a_stream_costs_less_than_the_same_by_socks() {
    run(async {
        let client = builder().option("SocksPort", "auto").start().await.unwrap();
        client.bootstrap(PATIENCE).await.unwrap();
        let host = format!("source-{LENGTH}.lab");
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let stream = client.connect((host.as_str(), 80), &Isolation::default()).await.unwrap();
            here.push(measure(stream).await);
            there.push(measure(by_socks(&client.ports()[0], &host).await).await);
        }
        here.sort();
        there.sort();
        println!("64 MiB, took and thread, in the process: {here:.0?}\nby SOCKS: {there:.0?}");
        let thread = |all: &[(Duration, Duration)]| all.iter().map(|(_, thread)| *thread).sum::<Duration>();
        assert!(thread(&here) < thread(&there));
    });
}
