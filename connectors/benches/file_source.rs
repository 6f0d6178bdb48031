//! Lines per second of the file source into the broker of this process, and how long a new line
//! takes until a reader of committed records sees it.
//!
//! `cargo bench --workspace --bench file_source [-- LINES]`

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use connectors::{ConnectorConfig, ConnectorState, Worker, WorkerOptions, validate};

const LINES: usize = 5_000_000;
const APPENDS: usize = 300;

#[tokio::main]
async fn main() {
    let lines = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(LINES);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = BrokerConfig::new(dir.path().join("data"));
    let broker = Broker::open(config).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    println!("| what | result |\n|---|---|");
    for length in [20, 92, 300] {
        throughput(&client, dir.path(), lines * 92 / length.max(92), length).await;
    }
    latency(&client, dir.path()).await;
    broker.shutdown().await.expect("an orderly end");
}

fn source(dir: &Path, name: &str) -> ConnectorConfig {
    let file = format!("{name}.txt");
    let properties = [("connector.class", "file-source"), ("file", &file), ("topic", name)];
    let properties: BTreeMap<_, _> =
        properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    validate(name, &properties, dir).expect("sound properties")
}

async fn throughput(client: &Arc<dyn Client>, dir: &Path, lines: usize, length: usize) {
    let name = format!("lines-{length}");
    let path = dir.join(format!("{name}.txt"));
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    for number in 0..lines {
        writeln!(file, "{number:0length$}").expect("room for it");
    }
    file.flush().expect("room for it");
    let begin = Instant::now();
    let options = WorkerOptions { until_end: true, ..WorkerOptions::default() };
    let worker = Worker::start(client.clone(), vec![source(dir, &name)], options);
    worker.sources_finished().await.expect("no failure");
    let took = begin.elapsed().as_secs_f64();
    let done = worker.shutdown().await.expect("no failure").connectors[0].clone();
    assert_eq!(done.records, lines as u64);
    println!(
        "| file source, {length}-byte lines | {:.2} M lines/s, {:.0} MB/s ({took:.2} s) |",
        lines as f64 / took / 1e6,
        done.bytes as f64 / took / 1e6,
    );
    fs::remove_file(&path).expect("it is ours");
}

async fn latency(client: &Arc<dyn Client>, dir: &Path) {
    let mut file = File::create(dir.join("slow.txt")).expect("a file");
    let config = source(dir, "slow");
    let worker = Worker::start(client.clone(), vec![config], WorkerOptions::default());
    let caught_up = |all: &Vec<_>| {
        let all: &Vec<connectors::ConnectorStatus> = all;
        all[0].state == ConnectorState::CaughtUp
    };
    worker.statuses().wait_for(caught_up).await.expect("the worker lives");
    let from = vec![(TopicPartition::new("slow", 0), Offset::ZERO)];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.expect("a reader");
    let mut took = Vec::new();
    for _ in 0..APPENDS {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begin = Instant::now();
        file.write_all(b"a new line\n").expect("room for it");
        loop {
            let ReaderEvent::Batches(fetched) = reader.next().await.expect("records") else {
                continue;
            };
            if !fetched.batches.is_empty() {
                break;
            }
        }
        took.push(begin.elapsed());
    }
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "| append to visible in the topic | p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms |",
        at(0.5),
        at(0.99),
        at(1.0 - 1e-9),
    );
    sync_floor(dir);
    worker.shutdown().await.expect("no failure");
}

/// What the disk itself takes: one small append and its fsync.
fn sync_floor(dir: &Path) {
    let path = dir.join("floor");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        file.write_all(b"a new line\n").expect("room for it");
        file.sync_data().expect("a disk");
        took.push(begin.elapsed());
    }
    took.sort();
    println!(
        "| one append and fsync, for comparison | p50 {:.1} ms |",
        took[50].as_secs_f64() * 1e3
    );
}
