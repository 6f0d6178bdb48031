//! Apache Kafka itself, for the tests of any crate: include this file with `#[path]`.
//!
//! `MILLSTREAM_TEST_KAFKA=HOST:PORT` names a broker to use. Without it, start-kafka.sh beside this
//! file starts one, for which it needs Java and Maven.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

/// Fetching its jars included; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A broker, for as long as this process lives.
pub struct Kafka {
    /// `HOST:PORT`.
    pub address: String,
    /// Its standard input, held open, is what keeps the broker running.
    _process: Option<Child>,
}

/// The broker that all tests of this process share; `None`, with a notice, where Java or Maven
/// are missing.
pub fn kafka() -> Option<&'static Kafka> {
    static KAFKA: OnceLock<Option<Kafka>> = OnceLock::new();
    KAFKA.get_or_init(find_or_start).as_ref()
}

fn find_or_start() -> Option<Kafka> {
    if let Ok(address) = std::env::var("MILLSTREAM_TEST_KAFKA") {
        return Some(Kafka { address, _process: None });
    }
    let found = |tool: &str| {
        let output = Command::new(tool).arg("-version").output();
        let is_there = output.is_ok_and(|output| output.status.success());
        if !is_there {
            eprintln!("skipped: tests against Apache Kafka need '{tool}', which is not installed");
        }
        is_there
    };
    (found("java") && found("mvn")).then(start)
}

fn start() -> Kafka {
    let port = free_port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests/kafka/start-kafka.sh"))
        .find(|script| script.exists())
        .expect("tests/kafka/start-kafka.sh is in this repository");
    let mut process = Command::new(script)
        .args(["run", "-", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start-kafka.sh starts");
    let output = process.stdout.take().expect("it is piped");
    let (sender, said) = mpsc::channel();
    thread::spawn(move || sender.send(BufReader::new(output).lines().next()));
    let said = said.recv_timeout(PATIENCE).expect("Kafka starts in time");
    let said = said.and_then(Result::ok).unwrap_or_default();
    let address = said.strip_prefix("ready ").expect("Kafka starts; its log is above").to_owned();
    Kafka { address, _process: Some(process) }
}

/// A port that is free, as is the one after it.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
