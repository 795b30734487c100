//! Streams and look-ups: bytes both ways, ends of every kind, and who shares a circuit.

use std::io::ErrorKind;

use super::*;
use cepa::{CircuitId, Error, Isolation, IsolationToken, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server of the test's own, with a stream to it: both ends.
async fn pair(client: &Client) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let isolation = Isolation::default();
    let (stream, accepted) = tokio::join!(client.connect(at, &isolation), listener.accept());
    (stream.unwrap(), accepted.unwrap().0)
}

/// All that a server sends.
async fn fetch(client: &Client, host: &str, isolation: &Isolation) -> Vec<u8> {
    let mut stream = client.connect((host, 80), isolation).await.unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    got
}

#[test]
fn bytes_go_both_ways_and_all_that_was_written_before_the_end_arrives() {
    run(async {
        let client = client().await;
        let mut echo = client.connect(("echo.lab", 80), &Isolation::default()).await.unwrap();
        let said = bytes(100_000);
        let (mut reader, mut writer) = tokio::io::split(&mut echo);
        let mut heard = vec![0; said.len()];
        let (written, read) = tokio::join!(writer.write_all(&said), reader.read_exact(&mut heard));
        assert!(written.is_ok() && read.is_ok() && heard == said);
        echo.shutdown().await.unwrap();
        assert_eq!(echo.read(&mut heard).await.unwrap(), 0, "the end of ours is the end of both");
        assert_eq!(echo.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        // More than fits into any buffer, and the program goes at once.
        let (mut stream, mut server) = pair(&client).await;
        let said = bytes(2 << 20);
        let sent = said.clone();
        let sender = tokio::spawn(async move {
            stream.write_all(&sent).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        sender.await.unwrap();
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    });
}

#[test]
fn what_a_server_said_is_read_to_its_end_and_a_break_is_an_error() {
    run(async {
        let client = client().await;
        let (mut stream, mut server) = pair(&client).await;
        server.write_all(b"the last words").await.unwrap();
        drop(server);
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "the last words");
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        let mut broken = client.connect(("reset-5000.lab", 80), &Isolation::default()).await.unwrap();
        let mut heard = Vec::new();
        let error = broken.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!((error.kind(), heard == bytes(5000)), (ErrorKind::ConnectionReset, true));
    });
}

#[test]
fn megabytes_come_as_they_were_sent_while_another_program_reads_nothing() {
    run(async {
        let client = client().await;
        let isolation = Isolation::fresh();
        let mut idle = client.connect(("source-4194304.lab", 80), &isolation).await.unwrap();
        assert_eq!(idle.read_u8().await.unwrap(), bytes(1)[0]);
        let got = fetch(&client, "source-6000000.lab", &isolation).await;
        assert!(got == bytes(6_000_000), "{}", got.len());
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert!(rest == bytes(4 << 20)[1..], "{}", rest.len());
    });
}

#[test]
fn a_stream_that_is_dropped_is_reset_and_a_request_that_is_dropped_is_given_up() {
    run(async {
        let client = client().await;
        let (stream, mut server) = pair(&client).await;
        drop(stream);
        let mut heard = Vec::new();
        // However the exit closes, it is over.
        let _ = tokio::time::timeout(PATIENCE, server.read_to_end(&mut heard)).await.expect("it stays open");
        assert!(heard.is_empty());
        let (stream, mut server) = pair(&client).await;
        server.write_all(&bytes(1000)).await.unwrap();
        drop(stream);
        let _ = tokio::time::timeout(PATIENCE, server.read_to_end(&mut heard)).await.expect("it stays open");

        // It never answers: whoever waits no more is not waited for.
        let isolation = Isolation::default();
        let silent = client.connect(("silent.lab", 80), &isolation);
        assert!(tokio::time::timeout(Duration::from_millis(300), silent).await.is_err());
        client.shutdown().await.unwrap();
    });
}

#[test]
fn each_refusal_has_its_reason_and_none_names_the_place() {
    const ONION: &str = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";
    run(async {
        let client = builder()
            .option("ClientRejectInternalAddresses", "1")
            .option("RejectPlaintextPorts", "23")
            .start()
            .await
            .unwrap();
        client.bootstrap(PATIENCE).await.unwrap();
        for (host, port, expected) in [
            ("refuse.lab", 80, Error::Refused),
            ("10.0.0.1", 80, Error::Internal),
            ("localhost", 80, Error::Internal),
            ("echo.lab", 23, Error::Forbidden),
            ("echo.lab", 0, Error::BadName),
            ("no name", 80, Error::BadName),
            ("a.exit", 80, Error::BadName),
            ("x.onion", 80, Error::BadName),
            (ONION, 80, Error::OnionsNotHere),
            ("ends-4.lab", 80, Error::NoExit),
            ("ends-7.lab", 80, Error::TimedOut),
            ("ends-8.lab", 80, Error::Unreachable),
            ("nowhere.example", 80, Error::NotFound),
        ] {
            let error = client.connect((host, port), &Isolation::default()).await.unwrap_err();
            assert_eq!(error, expected, "{host}:{port}");
            assert!(!format!("{error} {error:?}").contains(host), "{error}");
        }
    });
}

#[test]
fn names_and_addresses_are_looked_up_by_exits() {
    run(async {
        let client = client().await;
        let isolation = Isolation::default();
        let ip = client.resolve("echo.lab", &isolation).await.unwrap();
        assert_eq!(ip.to_string(), "198.51.100.80");
        assert_eq!(client.resolve_ptr(ip, &isolation).await.unwrap(), "server.lab");
        assert_eq!(client.resolve("8.8.8.8", &isolation).await.unwrap().to_string(), "8.8.8.8");
        assert_eq!(client.resolve("fails.lab", &isolation).await, Err(Error::NotFound));
        assert_eq!(client.resolve_ptr([192, 0, 2, 1].into(), &isolation).await, Err(Error::NotFound));
        assert_eq!(client.resolve("x.onion", &isolation).await, Err(Error::BadName));
    });
}

#[test]
fn tokens_say_who_shares_a_circuit() {
    run(async {
        let client = client().await;
        let circuit = async |host: &str, isolation: Isolation| -> CircuitId {
            let stream = client.connect((host, 80), &isolation).await.unwrap();
            stream.circuit().expect("it is open")
        };
        let (a, b) = (IsolationToken::new(), IsolationToken::new());
        let of_a = circuit("echo.lab", a.into()).await;
        let of_b = circuit("echo.lab", b.into()).await;
        let of_all = circuit("echo.lab", Isolation::default()).await;
        assert!(of_a != of_b && of_a != of_all && of_b != of_all);
        for _ in 0..3 {
            assert_eq!(circuit("echo.lab", a.into()).await, of_a);
            assert_eq!(circuit("sink.lab", b.into()).await, of_b);
            assert_eq!(circuit("sink.lab", Isolation::default()).await, of_all);
        }
        let by_host = Isolation::fresh().by_host();
        let (echo, sink) = (circuit("echo.lab", by_host).await, circuit("sink.lab", by_host).await);
        assert!(echo != sink && circuit("echo.lab", by_host).await == echo);
        client.new_identity().await.unwrap();
        assert_ne!(circuit("echo.lab", a.into()).await, of_a);
    });
}

#[test]
fn many_tasks_of_many_threads_use_one_client_at_once() {
    const TASKS: u64 = 24;
    run(async {
        let client = client().await;
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    let length = 20_000 + number;
                    let got = fetch(&client, &format!("source-{length}.lab"), &Isolation::default()).await;
                    got == bytes(length)
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap());
        }
    });
}

/// The futures ask nothing of an executor: one that only polls will do.
#[test]
fn any_executor_will_do() {
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let waker = std::sync::Arc::new(Parked(std::thread::current())).into();
        let mut context = std::task::Context::from_waker(&waker);
        let mut future = std::pin::pin!(async {
            let client = client().await;
            let got = fetch(&client, "source-3000.lab", &Isolation::fresh()).await;
            client.shutdown().await.unwrap();
            got == bytes(3000)
        });
        loop {
            match future.as_mut().poll(&mut context) {
                std::task::Poll::Ready(is_equal) => return done.send(is_equal),
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    });
    assert!(result.recv_timeout(PATIENCE).unwrap());
}

/// Wakes a thread.
struct Parked(std::thread::Thread);

impl std::task::Wake for Parked {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
