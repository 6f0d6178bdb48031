//! Records in and out, by librdkafka and by Kafka's own tool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::figures::Measured;
use crate::served::{Served, script};

pub const WAIT: Duration = Duration::from_secs(60);

/// What a record is acknowledged after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// acks=1: the page cache.
    Leader,
    /// acks=all, each append fsynced.
    AllSynced,
    /// acks=all, nothing fsynced.
    All,
}

impl Acks {
    fn setting(self) -> &'static str {
        match self {
            Acks::Leader => "1",
            Acks::AllSynced | Acks::All => "all",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Acks::Leader => "acks=1",
            Acks::AllSynced => "acks=all, fsynced",
            Acks::All => "acks=all, not fsynced",
        }
    }
}

/// Records of one kind.
#[derive(Clone, Debug)]
pub struct Shape {
    partitions: usize,
    bytes: usize,
    acks: Acks,
    compression: &'static str,
}

impl Shape {
    pub fn all() -> Vec<Shape> {
        let mut all = Vec::new();
        for partitions in [1, 12] {
            for bytes in [100, 1_000] {
                for acks in [Acks::Leader, Acks::AllSynced, Acks::All] {
                    all.push(Shape { partitions, bytes, acks, compression: "none" });
                }
            }
        }
        for compression in ["lz4", "zstd"] {
            all.push(Shape { partitions: 12, bytes: 1_000, acks: Acks::Leader, compression });
        }
        all
    }

    fn in_words(&self) -> String {
        let plural = if self.partitions > 1 { "s" } else { "" };
        let compression = match self.compression {
            "none" => String::new(),
            compression => format!(" by {compression}"),
        };
        format!("{} B{compression}, {} partition{plural}", self.bytes, self.partitions)
    }
}

pub struct Load {
    /// How long each throughput is measured.
    pub time: Duration,
}

pub fn producer(broker: &Served, acks: Acks, settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.address).set("acks", acks.setting());
    config.set("batch.size", "1000000");
    config.set("queue.buffering.max.messages", "1000000");
    config.set("queue.buffering.max.kbytes", "262144");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().expect("librdkafka takes these settings")
}

pub fn consumer(broker: &Served, topic: &str, partitions: usize) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.address).set("group.id", "bench");
    config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "100");
    config.set("fetch.message.max.bytes", "1048576");
    // The defaults let a fast reader of small records starve for a second at a time.
    config.set("queued.max.messages.kbytes", "131072").set("queued.min.messages", "1000000");
    config.set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().expect("librdkafka takes these settings");
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        let from = Offset::Beginning;
        all.add_partition_offset(topic, partition as i32, from).expect("an offset");
    }
    consumer.assign(&all).expect("an assignment");
    consumer
}

/// Text such as records are, which can be compressed, but not to nothing.
fn record(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut text = Vec::new();
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.extend(format!("{{\"id\":{},\"city\":\"New York\"}},", state % 1_000_000).bytes());
    }
    text.truncate(bytes);
    text
}

impl Load {
    pub fn throughput(&self, broker: &Served, shape: &Shape, row: &mut Measured) {
        let Shape { partitions, bytes, acks, compression } = *shape;
        let topic = format!("t-{partitions}-{bytes}-{acks:?}-{compression}");
        broker.create_topic(&topic, partitions, acks == Acks::AllSynced);
        let settings = [("linger.ms", "5"), ("compression.type", compression)];
        let producer = producer(broker, acks, &settings);
        let record = record(bytes);
        let (began, processor) = (Instant::now(), broker.processor_s());
        let mut sent = 0_u64;
        while began.elapsed() < self.time {
            for _ in 0..1_000 {
                send(&producer, &topic, (sent % partitions as u64) as i32, &record);
                sent += 1;
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(WAIT).expect("all is written");
        let megabytes = (sent * bytes as u64) as f64 / 1e6;
        let (took, used) = (began.elapsed().as_secs_f64(), broker.processor_s() - processor);
        let what = format!("{}, {}", shape.in_words(), acks.in_words());
        row.more(&format!("produce, {what}"), megabytes / took, "MB/s");
        row.less(&format!("its processor time, {what}"), used * 1e3 / megabytes, "ms/MB");
        if acks == Acks::Leader {
            let (began, processor) = (Instant::now(), broker.processor_s());
            read(&consumer(broker, &topic, partitions), sent, bytes);
            let (took, used) = (began.elapsed().as_secs_f64(), broker.processor_s() - processor);
            let what = shape.in_words();
            row.more(&format!("fetch, {what}"), megabytes / took, "MB/s");
            row.less(
                &format!("its processor time, fetch, {what}"),
                used * 1e3 / megabytes,
                "ms/MB",
            );
        }
        broker.delete_topic(&topic);
    }

    /// Kafka's own `kafka-producer-perf-test`, which is a Java client.
    pub fn by_kafkas_tools(&self, broker: &Served, acks: Acks, row: &mut Measured) {
        let topic = format!("tools-{acks:?}");
        broker.create_topic(&topic, 12, acks == Acks::AllSynced);
        let records = (self.time.as_secs() * 250_000).to_string();
        let address = format!("bootstrap.servers={}", broker.address);
        let acks_set = format!("acks={}", acks.setting());
        let mut args = vec!["class", "org.apache.kafka.tools.ProducerPerformance"];
        args.extend(["--topic", &topic, "--num-records", &records, "--record-size", "1000"]);
        args.extend(["--throughput", "-1", "--producer-props", &address, &acks_set]);
        args.extend(["linger.ms=5", "batch.size=262144", "buffer.memory=134217728"]);
        let told = script(&args);
        let last = told.lines().rev().find(|line| line.contains("MB/sec")).unwrap_or_default();
        let rate = last.split('(').nth(1).and_then(|rate| rate.split(' ').next());
        let rate: Option<f64> = rate.and_then(|rate| rate.parse().ok());
        let what = format!("ProducerPerformance, 1000 B, 12 partitions, {}", acks.in_words());
        row.more(&what, rate.expect("it tells a rate") * 1.048_576, "MB/s");
        broker.delete_topic(&topic);
    }

    /// From `send` to a consumer that waits, at a fixed rate.
    pub fn latency(&self, broker: &Served, rate: u64, acks: Acks, row: &mut Measured) {
        let topic = format!("latency-{rate}-{acks:?}");
        broker.create_topic(&topic, 1, acks == Acks::AllSynced);
        let consumer = consumer(broker, &topic, 1);
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
        let producer = producer(broker, acks, &[("linger.ms", "0")]);
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < self.time * 2 {
            let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
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
        let what = format!("produce to consume, {rate}/s, {}", acks.in_words());
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            row.less(&format!("{what}, {name}"), at(share), "ms");
        }
        broker.delete_topic(&topic);
    }

    /// A topic of so many bytes.
    pub fn fill(&self, broker: &Served, topic: &str, bytes: u64) {
        broker.create_topic(topic, 4, false);
        let producer = producer(broker, Acks::Leader, &[("linger.ms", "5")]);
        let record = record(10_000);
        for number in 0..bytes / record.len() as u64 {
            send(&producer, topic, (number % 4) as i32, &record);
        }
        producer.flush(WAIT * 5).expect("all is written");
    }
}

/// Reads so many records of that size.
pub fn read(consumer: &BaseConsumer, records: u64, bytes: usize) {
    for _ in 0..records {
        let message = consumer.poll(WAIT).expect("a record in time").expect("no error");
        assert_eq!(message.payload().map(<[u8]>::len), Some(bytes));
    }
}

/// Sends, waiting while the queue is full.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, payload: &[u8]) {
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
