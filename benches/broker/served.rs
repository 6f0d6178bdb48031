//! A broker in a process of its own: this one, or Apache Kafka as it is shipped.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::{Running, succeed};

/// Kafka's own script starts it so.
const KAFKAS_JVM: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
const START_PATIENCE: Duration = Duration::from_secs(300);
const DELETE_PATIENCE: Duration = Duration::from_secs(60);

pub struct Served {
    pub name: &'static str,
    pub address: String,
    /// From exec until clients are served.
    pub started_in: Duration,
    dir: tempfile::TempDir,
    process: Process,
}

enum Process {
    Millstream(Option<Running>),
    Kafka { child: Child, jars: PathBuf },
}

impl Served {
    pub fn millstream() -> Served {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let began = Instant::now();
        let (broker, address) = Running::broker(dir.path());
        let started_in = began.elapsed();
        let process = Process::Millstream(Some(broker));
        Served { name: "Millstream", address, started_in, dir, process }
    }

    pub fn kafka() -> Served {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let jars = PathBuf::from(script(&["fetch"]).trim());
        let [port, controller] = free_ports();
        fs::write(dir.path().join("server.properties"), properties(dir.path(), port, controller))
            .expect("a file");
        let properties = dir.path().join("server.properties").display().to_string();
        let id = "bWlsbHN0cmVhbS1iZW5jaA";
        script(&["class", "kafka.tools.StorageTool", "format", "-t", id, "-c", &properties]);
        let (child, started_in) = start_kafka(&jars, dir.path());
        let process = Process::Kafka { child, jars };
        Served { name: "Kafka", address: format!("127.0.0.1:{port}"), started_in, dir, process }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn id(&self) -> u32 {
        match &self.process {
            Process::Millstream(running) => running.as_ref().expect("it runs").id(),
            Process::Kafka { child, .. } => child.id(),
        }
    }

    /// What it holds of memory, without the page cache.
    pub fn memory_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the broker runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|kib| kib.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    }

    /// What it has used of the processors.
    pub fn processor_s(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()));
        let stat = stat.expect("the broker runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        ticks(11).zip(ticks(12)).map_or(f64::NAN, |(user, system)| user + system) / TICKS_PER_SECOND
    }

    /// A topic whose acks=all is fsynced, or is that of the page cache.
    pub fn create_topic(&self, name: &str, partitions: usize, is_synced: bool) {
        let partitions = partitions.to_string();
        let flush = match is_synced {
            true => "flush.messages=1",
            false => "flush.messages=9223372036854775807",
        };
        let args = ["topics", "create", name, "--partitions", &partitions, "--config", flush];
        let to = ["--bootstrap-server", &self.address];
        succeed(self.dir(), &[args.as_slice(), &to].concat());
    }

    /// With its files and their page cache. Were they left, the next to write would take memory
    /// that nobody has used for long, which a virtual machine has to get from its host, page by
    /// page, and that takes several times as long as writing to it.
    pub fn delete_topic(&self, name: &str) {
        succeed(self.dir(), &["topics", "delete", name, "--bootstrap-server", &self.address]);
        let is_left = || {
            let mut dirs = fs::read_dir(self.dir().join("data")).expect("it has its data there");
            dirs.any(|dir| dir.is_ok_and(|dir| dir.file_name().to_string_lossy().starts_with(name)))
        };
        let began = Instant::now();
        while is_left() {
            assert!(began.elapsed() < DELETE_PATIENCE, "{name} is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The time from exec until it serves again.
    pub fn restart_after_kill(&mut self) -> Duration {
        match &mut self.process {
            Process::Millstream(running) => {
                running.take().expect("it runs").kill();
            }
            Process::Kafka { child, .. } => {
                child.kill().expect("it runs");
                child.wait().expect("it was ours");
            }
        }
        self.start_again()
    }

    pub fn restart_in_order(&mut self) -> Duration {
        match &mut self.process {
            Process::Millstream(running) => {
                assert_eq!(running.take().expect("it runs").interrupt().0, Some(0));
            }
            Process::Kafka { child, .. } => {
                let asked = Command::new("kill").arg(child.id().to_string()).status();
                assert!(asked.is_ok_and(|asked| asked.success()));
                child.wait().expect("it was ours");
            }
        }
        self.start_again()
    }

    fn start_again(&mut self) -> Duration {
        match &mut self.process {
            Process::Millstream(running) => {
                let began = Instant::now();
                let (broker, address) = Running::broker(self.dir.path());
                (*running, self.address) = (Some(broker), address);
                began.elapsed()
            }
            Process::Kafka { child, jars } => {
                let started_in;
                (*child, started_in) = start_kafka(jars, self.dir.path());
                started_in
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Process::Kafka { child, .. } = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// As Kafka's own `config/server.properties`, on one node. But what was deleted goes soon, and not
/// after a minute: see [`Served::delete_topic`].
fn properties(dir: &Path, port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
log.segment.delete.delay.ms=500
log.initial.task.delay.ms=500
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
",
        dir.join("data").display()
    )
}

/// The same script that the tests have; what it prints.
pub fn script(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/start-kafka.sh");
    let output = Command::new(script).args(args).stderr(Stdio::inherit()).output();
    let output = output.expect("start-kafka.sh can be run");
    assert!(output.status.success(), "start-kafka.sh {args:?} fails");
    String::from_utf8(output.stdout).expect("text")
}

/// Until it says that it has started.
fn start_kafka(jars: &Path, dir: &Path) -> (Child, Duration) {
    let log = dir.join("server.log");
    let file = fs::File::create(&log).expect("a file");
    let logging = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/log4j2.properties");
    let began = Instant::now();
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "java"])
        .args(KAFKAS_JVM)
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .args(["-cp", &format!("{}/*", jars.display()), "kafka.Kafka"])
        .arg(dir.join("server.properties"))
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a file"))
        .stderr(file)
        .spawn()
        .expect("Java");
    // Its log is all that tells.
    while !fs::read_to_string(&log).unwrap_or_default().contains("Kafka Server started") {
        let ended = child.try_wait().expect("it was ours");
        assert!(ended.is_none() && began.elapsed() < START_PATIENCE, "see {}", log.display());
        thread::sleep(Duration::from_millis(5));
    }
    (child, began.elapsed())
}

fn free_ports() -> [u16; 2] {
    let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
