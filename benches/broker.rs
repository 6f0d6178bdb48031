//! The broker under load by librdkafka, in a process of its own: throughput in and out, latency at
//! a fixed rate, memory, and how soon it is back after kill -9.
//!
//!   cargo bench --workspace --bench broker [-- SECONDS]
//!
//! Machines are noisy: compare figures of one run with each other.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fixture::{Running, succeed};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// How long each throughput is measured, unless the command line says otherwise.
const SECONDS: u64 = 4;
/// Records per second while latency is measured.
const RATE: u64 = 2_000;
const RECOVERY_BYTES: u64 = 5 << 30;
const WAIT: Duration = Duration::from_secs(60);

struct Bench {
    dir: tempfile::TempDir,
    address: String,
    broker: Running,
    time: Duration,
}

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(SECONDS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (broker, address) = Running::broker(dir.path());
    let bench = Bench { dir, address, broker, time: Duration::from_secs(seconds) };
    println!("| what | result |\n|---|---|");
    row("memory, idle", &bench.memory());
    for partitions in [1, 12] {
        for size in [100, 1_000] {
            for (acks, fsync) in [("1", false), ("all", true), ("all", false)] {
                bench.throughput(partitions, size, acks, fsync);
            }
        }
    }
    row("memory, after that", &bench.memory());
    for acks in ["1", "all"] {
        bench.latency(acks);
    }
    bench.recovery();
}

fn row(what: &str, result: &str) {
    println!("| {what} | {result} |");
}

impl Bench {
    fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.broker.id()));
        let status = status.expect("the broker runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 =
            kib.and_then(|kib| kib.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
        format!("{:.1} MiB", kib / 1024.0)
    }

    /// A topic; without fsync its acks=all is that of the page cache.
    fn topic(&self, name: &str, partitions: usize, fsync: bool) {
        let partitions = partitions.to_string();
        let mut args = vec!["topics", "create", name, "--partitions", &partitions];
        args.extend(["--bootstrap-server", &self.address]);
        if !fsync {
            args.extend(["--config", "flush.messages=9223372036854775807"]);
        }
        succeed(self.dir.path(), &args);
    }

    fn producer(&self, acks: &str, linger_ms: &str) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("acks", acks);
        config.set("linger.ms", linger_ms).set("batch.size", "1000000");
        config.set("queue.buffering.max.messages", "1000000");
        config.set("queue.buffering.max.kbytes", "262144");
        config.create().expect("librdkafka takes these settings")
    }

    fn consumer(&self, topic: &str, partitions: usize, from: Offset) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("group.id", "bench");
        config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "100");
        config.set("fetch.message.max.bytes", "1048576");
        // The defaults let a fast reader of small records starve for a second at a time.
        config.set("queued.max.messages.kbytes", "131072").set("queued.min.messages", "1000000");
        config.set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer = config.create().expect("librdkafka takes these settings");
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition as i32, from).expect("an offset");
        }
        consumer.assign(&all).expect("an assignment");
        consumer
    }

    fn throughput(&self, partitions: usize, size: usize, acks: &str, fsync: bool) {
        let topic = format!("t-{partitions}-{size}-{acks}-{fsync}");
        self.topic(&topic, partitions, fsync);
        let producer = self.producer(acks, "5");
        let record = vec![b'x'; size];
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < self.time {
            for _ in 0..1_000 {
                send(&producer, &topic, (sent % partitions as u64) as i32, &record);
                sent += 1;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(WAIT).expect("all is written");
        let produced = began.elapsed().as_secs_f64();

        let consumer = self.consumer(&topic, partitions, Offset::Beginning);
        let began = Instant::now();
        let mut read = 0_u64;
        while read < sent {
            let message = consumer.poll(WAIT).expect("a record in time").expect("no error");
            assert_eq!(message.payload().map(<[u8]>::len), Some(size));
            read += 1;
        }
        let consumed = began.elapsed().as_secs_f64();
        let rate = |seconds: f64| {
            let per_second = sent as f64 / seconds;
            format!(
                "{:.2} M records/s, {:.0} MB/s",
                per_second / 1e6,
                per_second * size as f64 / 1e6
            )
        };
        let how = if acks == "1" {
            "acks=1"
        } else if fsync {
            "acks=all"
        } else {
            "acks=all, no fsync"
        };
        let what =
            format!("{size} B, {partitions} partition{}", if partitions > 1 { "s" } else { "" });
        row(&format!("produce, {what}, {how}"), &rate(produced));
        if acks == "1" {
            row(&format!("fetch, {what}"), &rate(consumed));
        }
        succeed(
            self.dir.path(),
            &["topics", "delete", &topic, "--bootstrap-server", &self.address],
        );
    }

    /// From `send` to a consumer that waits, at a fixed rate.
    fn latency(&self, acks: &str) {
        let topic = format!("latency-{acks}");
        self.topic(&topic, 1, true);
        let consumer = self.consumer(&topic, 1, Offset::Beginning);
        // Not known before all is sent.
        let expected = Arc::new(AtomicUsize::new(usize::MAX));
        let reading = {
            let expected = expected.clone();
            thread::spawn(move || {
                let mut took = Vec::new();
                while took.len() < expected.load(Ordering::Relaxed) {
                    let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                    let message = message.expect("no error");
                    let sent = message.payload().and_then(|bytes| bytes.try_into().ok());
                    took.push(now().saturating_sub(u64::from_be_bytes(sent.expect("8 bytes"))));
                }
                took
            })
        };
        let producer = self.producer(acks, "0");
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < self.time * 2 {
            let due = began.elapsed().as_micros() as u64 * RATE / 1_000_000;
            while sent < due {
                send(&producer, &topic, 0, &now().to_be_bytes());
                sent += 1;
            }
            producer.poll(Duration::from_micros(200));
        }
        producer.flush(WAIT).expect("all is written");
        expected.store(sent as usize, Ordering::Relaxed);
        let mut took = reading.join().expect("no panic");
        // The first seconds are those of connecting.
        took.drain(..took.len() / 4);
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e6;
        let result =
            format!("p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999));
        row(&format!("produce to consume, {RATE}/s, acks={acks}"), &result);
    }

    /// The time from exec to ready after kill -9, with much log that was never closed in order.
    fn recovery(mut self) {
        let topic = "recovery";
        self.topic(topic, 4, false);
        let producer = self.producer("1", "5");
        let record = vec![b'x'; 10_000];
        for number in 0..RECOVERY_BYTES / record.len() as u64 {
            send(&producer, topic, (number % 4) as i32, &record);
        }
        producer.flush(WAIT * 5).expect("all is written");
        let restart = |dir: &Path| {
            let began = Instant::now();
            let (broker, _) = Running::broker(dir);
            (broker, began.elapsed())
        };
        self.broker.kill();
        let (broker, crashed) = restart(self.dir.path());
        assert_eq!(broker.interrupt().0, Some(0));
        let (broker, closed) = restart(self.dir.path());
        self.broker = broker;
        let gib = RECOVERY_BYTES >> 30;
        row(&format!("ready after kill -9, {gib} GiB of log"), &format!("{crashed:.2?}"));
        row(&format!("ready after a shutdown, {gib} GiB of log"), &format!("{closed:.2?}"));
    }
}

/// Sends, waiting while the queue is full.
fn send(producer: &BaseProducer, topic: &str, partition: i32, payload: &[u8]) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload);
    loop {
        record = match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
            Err((error, _)) => panic!("{error}"),
        };
        producer.poll(Duration::from_millis(1));
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
