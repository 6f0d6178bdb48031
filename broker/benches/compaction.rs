//! Compaction beside traffic: what producers and readers of another topic feel while the cleaner
//! works through a large compacted one, and how long that takes.
//!
//! `cargo bench --workspace --bench compaction [-- MEGABYTES]`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig, now_ms};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Acks, Client, NewTopic, Producer, ProducerOptions, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

const MEGABYTES: u64 = 400;
const VALUE_LEN: usize = 200;
/// Each key comes back about so often.
const VERSIONS: u64 = 4;
/// How long traffic is measured while the cleaner rests.
const QUIET: Duration = Duration::from_secs(3);
/// When the big log has shrunk and not changed for so long, the cleaner is done.
const DONE_AFTER: Duration = Duration::from_secs(2);
/// Longer than any compaction takes.
const COMPACTION_MAX: Duration = Duration::from_secs(300);
/// Pause between acknowledged appends while latency is measured.
const PACE: Duration = Duration::from_millis(1);

/// What the traffic is measured for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Small acknowledged appends, one at a time.
    Latency,
    /// As much as goes in and out.
    Throughput,
}

/// One append.
struct Sample {
    /// Since the traffic began.
    at: Duration,
    took: Duration,
    bytes: u64,
}

fn main() {
    let megabytes =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(MEGABYTES);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!("| compaction beside traffic | result |\n|---|---|");
    for load in [Load::Latency, Load::Throughput] {
        runtime.block_on(measure(load, megabytes << 20));
    }
}

async fn measure(load: Load, bytes: u64) {
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk to measure");
    let broker = open(dir.path(), Duration::from_secs(3_600)).await;
    let client = EmbeddedClient::new(broker.clone());
    let big = NewTopic::new("big", 1)
        .with_config("cleanup.policy", "compact")
        .with_config("segment.bytes", 32 << 20);
    client.create_topic(&big).await.expect("a new topic");
    client.create_topic(&NewTopic::new("traffic", 1)).await.expect("a new topic");
    fill(&client, bytes).await;
    let quiet = {
        let done = Arc::new(AtomicBool::new(false));
        let traffic = tokio::spawn(traffic(client.clone(), load, done.clone()));
        tokio::time::sleep(QUIET).await;
        done.store(true, Ordering::Relaxed);
        traffic.await.expect("traffic")
    };
    broker.shutdown().await.expect("an orderly end");
    drop((client, broker));

    let broker = open(dir.path(), Duration::from_millis(1)).await;
    let client = EmbeddedClient::new(broker.clone());
    let done = Arc::new(AtomicBool::new(false));
    let traffic = tokio::spawn(traffic(client, load, done.clone()));
    let (before, after, took) = compaction(&dir.path().join("big-0"), &done).await;
    let mut busy = traffic.await.expect("traffic");
    // What came after, while nobody knew yet that the cleaner was done, is not beside it.
    busy.retain(|sample| sample.at < took);
    broker.shutdown().await.expect("an orderly end");
    match load {
        Load::Latency => {
            row("append acknowledged, cleaner at rest", &spread(&quiet));
            row("append acknowledged, cleaner at work", &spread(&busy));
        }
        Load::Throughput => {
            row("in and out, cleaner at rest", &speed(&quiet, QUIET));
            row("in and out, cleaner at work", &speed(&busy, took));
        }
    }
    let what = match load {
        Load::Latency => "beside 1,000 acknowledged appends/s",
        Load::Throughput => "beside all that goes in and out",
    };
    let (sizes, speed) = (format!("{} → {} MB", before >> 20, after >> 20), rate(before, took));
    row(&format!("compaction {what}"), &format!("{sizes} in {took:.2?}, {speed}"));
}

async fn open(dir: &Path, cleaner_backoff: Duration) -> Arc<Broker> {
    let config = BrokerConfig { cleaner_backoff, ..BrokerConfig::new(dir) };
    Broker::open(config).await.expect("a broker")
}

/// Records whose keys come back in no order.
async fn fill(client: &EmbeddedClient, bytes: u64) {
    let mut producer = producer(client, Acks::Leader).await;
    let to = TopicPartition::new("big", 0);
    let keys = bytes / (VALUE_LEN as u64 + 20) / VERSIONS;
    let (mut written, mut state) = (0, 1_u64);
    while written < bytes {
        let mut batch = BatchBuilder::default();
        while batch.size() < 64 << 10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((state >> 33) % keys).to_be_bytes();
            batch.append(now_ms(), Some(&key), Some(&[b'x'; VALUE_LEN]));
        }
        written += batch.size() as u64;
        producer.send(&to, batch).await.expect("an append");
    }
    producer.flush().await.expect("a flush");
}

/// Waits until the cleaner has been through the log; how large it was, is, and how long it took.
async fn compaction(dir: &Path, done: &AtomicBool) -> (u64, u64, Duration) {
    let began = Instant::now();
    let before = log_bytes(dir);
    let (mut size, mut changed) = (before, began);
    while size > before / 2 || changed.elapsed() < DONE_AFTER {
        assert!(began.elapsed() < COMPACTION_MAX, "{size} of {before} bytes are left");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = log_bytes(dir);
        if now != size {
            (size, changed) = (now, Instant::now());
        }
    }
    done.store(true, Ordering::Relaxed);
    (before, size, changed.duration_since(began))
}

fn log_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a directory").filter_map(Result::ok);
    let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
    // One that is gone by now has no size.
    logs.filter_map(|log| Some(log.metadata().ok()?.len())).sum()
}

/// Appends to another topic, and a reader of it, until told that it is enough.
async fn traffic(client: EmbeddedClient, load: Load, done: Arc<AtomicBool>) -> Vec<Sample> {
    let to = TopicPartition::new("traffic", 0);
    let end = client.list_offsets(
        std::slice::from_ref(&to),
        broker::client::OffsetSpec::Latest(broker::client::Isolation::ReadUncommitted),
    );
    let end = end.await.expect("an offset")[0].unwrap_or(Offset(0));
    let from = ReaderOptions::partitions(vec![(to.clone(), end)]);
    let mut reader = client.reader(from).await.expect("a reader");
    let reading = tokio::spawn(async move {
        // One record alone is the last.
        while let Ok(ReaderEvent::Batches(fetched)) = reader.next().await {
            if fetched.batches.iter().any(|batch| batch.records_count() == 1) {
                return;
            }
        }
    });
    let (acks, records) = match load {
        Load::Latency => (Acks::All, 2),
        Load::Throughput => (Acks::Leader, 64),
    };
    let mut producer = producer(&client, acks).await;
    let (mut samples, began) = (Vec::new(), Instant::now());
    while !done.load(Ordering::Relaxed) {
        let (batch, sent) = (batch(records), Instant::now());
        let (at, bytes) = (sent.duration_since(began), batch.size() as u64);
        producer.send(&to, batch).await.expect("an append");
        producer.flush().await.expect("an fsync, if asked for");
        samples.push(Sample { at, took: sent.elapsed(), bytes });
        match load {
            Load::Latency => tokio::time::sleep(PACE).await,
            // So that the reader's turn comes, as it would between requests.
            Load::Throughput => tokio::task::yield_now().await,
        }
    }
    producer.send(&to, batch(1)).await.expect("an append");
    producer.flush().await.expect("a flush");
    reading.await.expect("a reader");
    samples
}

fn batch(records: usize) -> BatchBuilder {
    let mut batch = BatchBuilder::default();
    for _ in 0..records {
        batch.append(now_ms(), None, Some(&[b'x'; VALUE_LEN]));
    }
    batch
}

async fn producer(client: &EmbeddedClient, acks: Acks) -> Box<dyn Producer> {
    let options = ProducerOptions { acks, ..ProducerOptions::default() };
    client.producer(options).await.expect("a producer")
}

fn row(what: &str, result: &str) {
    println!("| {what} | {result} |");
}

fn rate(bytes: u64, elapsed: Duration) -> String {
    format!("{:.0} MB/s", bytes as f64 / elapsed.as_secs_f64() / 1e6)
}

fn speed(samples: &[Sample], elapsed: Duration) -> String {
    rate(samples.iter().map(|sample| sample.bytes).sum(), elapsed)
}

fn spread(samples: &[Sample]) -> String {
    let mut took: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (p50, p99, most) = (at(0.5), at(0.99), at(1.0));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, most {most:.2} ms")
}
