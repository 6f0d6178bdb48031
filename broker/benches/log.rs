//! What the log itself costs, without sockets: append, acknowledged append, read, recovery.
//!
//! `cargo bench --workspace --bench log [-- GIGABYTES]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Acks, Client, NewTopic, Producer, ProducerOptions, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

const RECORD_LEN: usize = 100;

fn main() {
    let gigabytes: f64 =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1.0);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run((gigabytes * 1e9) as u64));
}

async fn run(bytes: u64) {
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk to measure");
    let started = Instant::now();
    let client = open(dir.path()).await;
    println!("open, empty                  {:>10.1} ms", ms(started.elapsed()));
    for batch_len in [1 << 10, 16 << 10, 512 << 10] {
        let name = format!("append-{batch_len}");
        client.0.create_topic(&NewTopic::new(&name, 1)).await.expect("a new topic");
        append(&client.0, &name, batch_len, bytes.min(batch_len as u64 * 400_000)).await;
        read(&client.0, &name).await;
    }
    acknowledged(&client.0).await;
    // Not shut down: the next open has to look at everything that is not below a recovery point.
    drop(client);
    let started = Instant::now();
    let client = open(dir.path()).await;
    let elapsed = started.elapsed();
    let reports = client.1.recovery_reports();
    let scanned: u64 = reports.iter().map(|(_, report)| report.bytes_scanned).sum();
    let rate = scanned as f64 / elapsed.as_secs_f64() / 1e9;
    println!(
        "recovery of {:>5.2} GB          {:>10.1} ms  {rate:>8.2} GB/s",
        scanned as f64 / 1e9,
        ms(elapsed)
    );
    client.1.shutdown().await.expect("an orderly end");
    drop(client);
    let started = Instant::now();
    let client = open(dir.path()).await;
    println!("open after a shutdown        {:>10.1} ms", ms(started.elapsed()));
    client.1.shutdown().await.expect("an orderly end");
}

async fn open(dir: &Path) -> (EmbeddedClient, Arc<Broker>) {
    let broker = Broker::open(BrokerConfig::new(dir)).await.expect("a broker");
    (EmbeddedClient::new(broker.clone()), broker)
}

fn batch(len: usize) -> BatchBuilder {
    let mut batch = BatchBuilder::default();
    let value = [b'x'; RECORD_LEN];
    while batch.size() + RECORD_LEN < len {
        batch.append(broker::broker::now_ms(), None, Some(&value));
    }
    batch
}

async fn producer(client: &EmbeddedClient, acks: Acks) -> Box<dyn Producer> {
    let options = ProducerOptions { acks, ..ProducerOptions::default() };
    client.producer(options).await.expect("a producer")
}

async fn append(client: &EmbeddedClient, topic: &str, batch_len: usize, bytes: u64) {
    let to = TopicPartition::new(topic, 0);
    let mut producer = producer(client, Acks::Leader).await;
    let batch = batch(batch_len);
    let count = bytes / batch.size() as u64;
    let started = Instant::now();
    for _ in 0..count {
        producer.send(&to, batch.clone()).await.expect("an append");
    }
    let elapsed = started.elapsed();
    let each = elapsed / count as u32;
    let rate = (count * batch.size() as u64) as f64 / elapsed.as_secs_f64() / 1e9;
    println!("append {batch_len:>7} B, acks=1     {each:>10.1?} each {rate:>8.2} GB/s");
}

async fn read(client: &EmbeddedClient, topic: &str) {
    let partition = TopicPartition::new(topic, 0);
    let from = ReaderOptions::partitions(vec![(partition, Offset(0))]);
    let mut reader = client.reader(from).await.expect("a reader");
    let (mut bytes, started) = (0, Instant::now());
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await.expect("batches") else { continue };
        bytes += fetched.batches.iter().map(|batch| batch.size()).sum::<usize>();
        if fetched.next_offset == fetched.end_offset {
            break;
        }
    }
    let rate = bytes as f64 / started.elapsed().as_secs_f64() / 1e9;
    println!("read it back, 1 MiB a time                    {rate:>8.2} GB/s");
}

/// Many producers that each wait for the disk: how far they share fsyncs.
async fn acknowledged(client: &EmbeddedClient) {
    client.create_topic(&NewTopic::new("acknowledged", 1)).await.expect("a new topic");
    for producers in [1, 16, 128] {
        let rounds = 200;
        let started = Instant::now();
        let tasks: Vec<_> = (0..producers)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let to = TopicPartition::new("acknowledged", 0);
                    let mut producer = producer(&client, Acks::All).await;
                    for _ in 0..rounds {
                        producer.send(&to, batch(1 << 10)).await.expect("an append");
                        producer.flush().await.expect("an fsync");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a producer");
        }
        let elapsed = started.elapsed();
        let rate = f64::from(producers * rounds) / elapsed.as_secs_f64();
        println!(
            "acks=all, {producers:>3} producers      {:>10.2} ms each {rate:>8.0} appends/s",
            ms(elapsed) / f64::from(rounds)
        );
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
