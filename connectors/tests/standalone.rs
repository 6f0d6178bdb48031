//! Kafka Connect's own worker on our broker: its file source and its file sink, through a restart.
//!
//! Skipped where there is no Java.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::Client;
use broker::client::embedded::EmbeddedClient;
use broker::ids::TopicPartition;
use broker::server::{Server, ServerConfig};
use support::{append, numbered, values};
use tokio_util::sync::CancellationToken;

/// Fetching Connect before the first start, and starting a Java process on a busy machine twice.
const PATIENCE: Duration = Duration::from_secs(400);

/// Whether there is what starts it.
fn has_java() -> bool {
    ["java", "mvn"].iter().all(|tool| {
        let found = Command::new(tool).arg("-version").output();
        let found = found.is_ok_and(|output| output.status.success());
        if !found {
            eprintln!("skipped: running Kafka Connect needs '{tool}'");
        }
        found
    })
}

/// Connect's worker; killed at the end if it has not ended by then.
struct Worker(Child);

impl Worker {
    fn start(dir: &Path) -> Worker {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/start-kafka.sh");
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let child = Command::new(script)
            .arg("standalone")
            .args(["worker", "in", "out"].map(|name| dir.join(format!("{name}.properties"))))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Worker(child.unwrap())
    }

    /// In order, as Ctrl-C does.
    async fn stop(mut self) {
        let signalled = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(signalled.unwrap().success());
        while self.0.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the sink has written these lines.
    async fn writes(&mut self, dir: &Path, lines: &[String]) {
        let wanted: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(dir.join("out.txt")).unwrap_or_default();
            if text == wanted {
                return;
            }
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(wanted.starts_with(&text), "not what was read: {text}\n{}", log());
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended, {ended:?}: {}", log());
            assert!(begin.elapsed() < PATIENCE, "{}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_properties(dir: &Path, bootstrap: &str) {
    let string = "org.apache.kafka.connect.storage.StringConverter";
    let at = dir.display();
    let worker = format!(
        "bootstrap.servers={bootstrap}\nkey.converter={string}\nvalue.converter={string}\n\
         offset.storage.file.filename={at}/offsets\noffset.flush.interval.ms=500\n\
         listeners=http://127.0.0.1:0\nplugin.discovery=service_load\n"
    );
    let source = format!("name=in\nconnector.class=FileStreamSource\nfile={at}/in.txt\ntopic=t\n");
    let sink = format!("name=out\nconnector.class=FileStreamSink\nfile={at}/out.txt\ntopics=t\n");
    for (name, text) in [("worker", worker), ("in", source), ("out", sink)] {
        fs::write(dir.join(format!("{name}.properties")), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connects_own_worker_runs_on_our_broker() {
    if !has_java() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path().join("data"))).await.unwrap();
    let server = Server::bind(broker.clone(), ServerConfig::new("127.0.0.1:0")).await.unwrap();
    write_properties(dir.path(), &server.local_addr().to_string());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));

    let input = dir.path().join("in.txt");
    append(&input, &numbered(0, 100));
    let mut worker = Worker::start(dir.path());
    worker.writes(dir.path(), &numbered(0, 100)).await;
    append(&input, &numbered(100, 50));
    worker.writes(dir.path(), &numbered(0, 150)).await;
    worker.stop().await;

    append(&input, &numbered(150, 25));
    let mut worker = Worker::start(dir.path());
    worker.writes(dir.path(), &numbered(0, 175)).await;
    worker.stop().await;

    let client = EmbeddedClient::new(broker);
    assert_eq!(values(&client, "t").await, numbered(0, 175));
    let partition = [TopicPartition::new("t", 0)];
    let committed = client.committed_offsets("connect-out", &partition).await.unwrap();
    assert_eq!(committed[0].as_ref().map(|committed| committed.offset.0), Some(175));
    shutdown.cancel();
    serving.await.unwrap();
}
