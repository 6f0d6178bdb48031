//! A thousand partitions: what they cost in memory and open files. Alone in its binary, since
//! it counts what the whole process has.

#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, Producer, ProducerOptions, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::{BatchBuilder, Compression};
use tokio::time::timeout;

const PARTITIONS: i32 = 1_000;
const ROUNDS: i64 = 4;
/// Each is much longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Open files of this process, and the KiB of memory that it has.
fn held() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, memory.split_whitespace().next().unwrap().parse().unwrap())
}

async fn open(dir: &std::path::Path) -> (Arc<Broker>, EmbeddedClient) {
    let broker = Broker::open(BrokerConfig::new(dir)).await.unwrap();
    let client = EmbeddedClient::new(broker.clone());
    (broker, client)
}

fn partitions() -> impl Iterator<Item = TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new("t", partition))
}

async fn write(producer: &mut dyn Producer, round: i64) {
    for to in partitions() {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(round, None, Some(format!("{to} {round}").as_bytes()));
        producer.send(&to, batch).await.unwrap();
    }
    producer.flush().await.unwrap();
}

/// Reads what every partition holds, from its beginning.
async fn read(client: &EmbeddedClient, rounds: i64) {
    let from = partitions().map(|partition| (partition, Offset(0))).collect();
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
    let mut read = vec![0; PARTITIONS as usize];
    let mut missing = PARTITIONS;
    while missing > 0 {
        let ReaderEvent::Batches(batches) = reader.next().await.unwrap() else { continue };
        for batch in &batches.batches {
            for record in batch.records().unwrap().iter() {
                let record = record.unwrap();
                let count = &mut read[batches.partition.partition as usize];
                let expected = format!("{} {count}", batches.partition);
                assert_eq!(record.value, Some(expected.as_bytes()));
                *count += 1;
                missing -= i32::from(*count == rounds);
            }
        }
    }
}

/// In memory where that can be had: some disks take a minute to delete so many files.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_partitions_are_cheap() {
    let dir = directory();
    let (broker, client) = open(dir.path()).await;
    let (files, memory) = held();
    client.create_topic(&NewTopic::new("t", PARTITIONS)).await.unwrap();
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    for round in 0..ROUNDS {
        timeout(PATIENCE, write(&mut *producer, round)).await.unwrap();
    }
    timeout(PATIENCE, read(&client, ROUNDS)).await.unwrap();
    let (files_then, memory_then) = held();
    // The segment of each that is written to, and what all have in common.
    let more = files_then - files;
    assert!(more <= PARTITIONS as usize + 300, "{more} files are open");
    let each = memory_then.saturating_sub(memory) * 1024 / PARTITIONS as usize;
    assert!(each < 64 << 10, "{each} bytes of memory for each partition");

    drop((producer, client));
    timeout(PATIENCE, broker.shutdown()).await.unwrap().unwrap();
    drop(broker);
    // Once after an orderly end that has written to all, once after one that has only read.
    for _ in 0..2 {
        let (broker, client) = timeout(PATIENCE, open(dir.path())).await.unwrap();
        let more = held().0.saturating_sub(files);
        assert!(more <= 300, "{more} files are open before anybody asks for a record");
        timeout(PATIENCE, read(&client, ROUNDS)).await.unwrap();
        drop(client);
        timeout(PATIENCE, broker.shutdown()).await.unwrap().unwrap();
    }
}
