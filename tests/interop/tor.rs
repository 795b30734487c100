//! Debian's `tor` as a lone relay or as a client, and Arti as a client: started, awaited, ended.
//!
//! They know made-up authorities only and publish nothing; they are never started outside
//! the empty namespace that `main` has checked.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long tor may take to open its port, or to read its documents.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kernel's unit of processor time, the same on every Linux of today.
const TICK: Duration = Duration::from_millis(10);

/// How many of the last words of a tor are shown when it did not say what it should.
const LAST_LINES: usize = 200;

pub fn is_installed() -> bool {
    Command::new("tor").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// How many folders there were; a number that comes again may be of one that is still there.
static FOLDERS: AtomicUsize = AtomicUsize::new(0);

/// A folder that goes away with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("cepa-interop-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// With an empty data directory in it.
    pub fn with_data() -> Folder {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("data")).unwrap();
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with its owner, also when a test fails.
pub struct Running(Child);

impl Running {
    pub fn of(process: Child) -> Running {
        Running(process)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and waits until it has; gives its status.
    pub fn end(&mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.0.wait().unwrap().code()
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process has used of the processors, as user and as system.
pub fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the program may hold blanks; it ends at the last parenthesis.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    TICK * u32::try_from(ticks).unwrap()
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A running relay.
pub struct LoneRelay {
    _process: Running,
    pub address: SocketAddr,
    /// 40 hex digits.
    pub rsa: String,
    /// 43 characters of base64.
    pub ed25519: String,
    _folder: Folder,
}

impl LoneRelay {
    /// Starts a relay and waits until its port is open and its keys are made.
    pub fn start() -> LoneRelay {
        let folder = Folder::new();
        let port = free_port();
        let torrc = folder.path().join("torrc");
        fs::write(&torrc, torrc_lines(folder.path(), port)).unwrap();
        let mut process = start(&torrc);
        wait_for(&mut process.0, "Bootstrapped 0% (starting)");
        let word = |file: &str| {
            let text = fs::read_to_string(folder.path().join("data").join(file)).unwrap();
            text.split_whitespace().nth(1).unwrap().to_owned()
        };
        LoneRelay {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            rsa: word("fingerprint"),
            ed25519: word("fingerprint-ed25519"),
            _process: process,
            _folder: folder,
        }
    }
}

/// The Arti that is to be tried, by the environment.
pub fn arti() -> Option<PathBuf> {
    std::env::var_os("CEPA_ARTI").map(PathBuf::from)
}

/// A client whose every word is listened to.
pub struct Client {
    process: Running,
    said: mpsc::Receiver<String>,
    folder: Folder,
}

impl Client {
    /// Starts it with these lines of a torrc, which name the authorities; its data directory is
    /// `data` in `folder`.
    pub fn start(folder: Folder, options: &str) -> Client {
        Client::start_as(&mut Command::new("tor"), folder, options)
    }

    /// The same of a program that takes C tor's options.
    pub fn start_as(program: &mut Command, folder: Folder, options: &str) -> Client {
        let torrc = folder.path().join("torrc");
        let lines = format!(
            "TestingTorNetwork 1\nDataDirectory {}/data\nSocksPort auto\nLog info stdout\n{options}",
            folder.path().display()
        );
        fs::write(&torrc, lines).unwrap();
        let mut process = spawn(program.args(["--defaults-torrc", "/dev/null", "-f"]).arg(&torrc));
        let output = process.0.stdout.take().unwrap();
        Client::listen(process, output, folder)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end, and waits until it has; gives its status.
    pub fn end(&mut self) -> Option<i32> {
        self.process.end()
    }

    /// Starts Arti with this configuration, which names the network, and a SOCKS port.
    pub fn start_arti(program: &Path, network: &str, socks: SocketAddr) -> Client {
        let folder = Folder::new();
        let file = folder.path().join("arti.toml");
        let home = folder.path().display();
        let ours = format!(
            "\n[application]\nallow_running_as_root = true\n[proxy]\nsocks_listen = \"{socks}\"\n\
             [storage]\ncache_dir = \"{home}/cache\"\nstate_dir = \"{home}/state\"\n\
             [storage.permissions]\ndangerously_trust_everyone = true\n"
        );
        fs::write(&file, format!("{network}{ours}")).unwrap();
        let mut command = Command::new(program);
        let mut process = spawn(command.arg("--config").arg(&file).arg("proxy").stderr(Stdio::piped()));
        let output = process.0.stderr.take().unwrap();
        Client::listen(process, output, folder)
    }

    fn listen(process: Running, output: impl Read + Send + 'static, folder: Folder) -> Client {
        let output = BufReader::new(output);
        let (tell, said) = mpsc::channel();
        // Read to the end, or it would block.
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Client { process, said, folder }
    }

    /// Ends it, so that it saves what it knows; its folder stays.
    pub fn stop(self) -> Folder {
        let Client { mut process, folder, .. } = self;
        let told = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()));
        process.0.wait().unwrap();
        folder
    }

    /// Ends it at once, so that it saves nothing more; its folder stays.
    pub fn kill(self) -> Folder {
        let Client { mut process, folder, .. } = self;
        process.stop();
        folder
    }

    /// Waits until it has said one of `lines`; gives all that it said until then.
    pub fn until(&self, lines: &[&str]) -> Vec<String> {
        let (mut said, end) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(text) => said.push(text),
                Err(_) => panic!(
                    "nobody said any of {lines:?}:\n{}",
                    said[said.len().saturating_sub(LAST_LINES)..].join("\n")
                ),
            }
            if said.last().is_some_and(|text| lines.iter().any(|line| text.contains(line))) {
                return said;
            }
        }
    }
}

fn start(torrc: &Path) -> Running {
    spawn(Command::new("tor").args(["--defaults-torrc", "/dev/null", "-f"]).arg(torrc))
}

fn spawn(command: &mut Command) -> Running {
    command.stdout(Stdio::piped()).spawn().map(Running).unwrap()
}

fn torrc_lines(folder: &Path, port: u16) -> String {
    let authority = "v3ident=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 127.0.0.1:1 \
         BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    format!(
        "DirAuthority nobody orport=1 no-v2 {authority}\n\
         DataDirectory {}/data\n\
         Nickname lone\n\
         Address 127.0.0.1\n\
         ORPort 127.0.0.1:{port}\n\
         AssumeReachable 1\n\
         PublishServerDescriptor 0\n\
         ExitRelay 0\n\
         SocksPort 0\n\
         Log notice stdout\n",
        folder.display()
    )
}

/// A port nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until the process has said `line`; then its output is read on and forgotten.
fn wait_for(process: &mut Child, line: &'static str) {
    let output = BufReader::new(process.stdout.take().unwrap());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut said = Vec::new();
        for text in output.lines().map_while(Result::ok) {
            let found = text.contains(line);
            said.push(text);
            if found && tell.send(Ok(())).is_err() {
                return;
            }
        }
        let _ = tell.send(Err(said));
    });
    match told.recv_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        Ok(Err(said)) => panic!("tor ended:\n{}", said.join("\n")),
        Err(_) => panic!("tor did not say {line:?} within {} s", PATIENCE.as_secs()),
    }
}
