//! What an exactly-once commit costs in this process: small transactions of the embedded producer,
//! each with records in several partitions and the offsets that they were computed from.
//!
//! `cargo bench --workspace --bench transactions [-- TRANSACTIONS]`

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Client, CommittedOffset, NewTopic, Producer, ProducerOptions, Reader, ReaderEvent,
    ReaderOptions, TransactionOffsets,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

const TRANSACTIONS: usize = 1_000;
const RECORD_LEN: usize = 100;
/// Transactions per second while latency to a waiting reader is measured.
const RATE: u32 = 20;

fn main() {
    let transactions = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(TRANSACTIONS);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(transactions));
}

async fn run(transactions: usize) {
    let dir = tempfile::tempdir_in(".").expect("a directory on the disk to measure");
    let (client, broker) = open(dir.path()).await;
    println!("| embedded transactions | result |\n|---|---|");
    fsync(dir.path());
    for partitions in [1, 2, 8] {
        one_after_another(&client, partitions, transactions).await;
    }
    side_by_side(&client, 8, transactions / 8).await;
    to_a_reader(&client, transactions.min(200)).await;
    broker.shutdown().await.expect("an orderly end");
}

async fn open(dir: &Path) -> (EmbeddedClient, Arc<Broker>) {
    let broker = Broker::open(BrokerConfig::new(dir)).await.expect("a broker");
    (EmbeddedClient::new(broker.clone()), broker)
}

/// What the disk itself takes to make a small append durable: the unit of all that follows.
fn fsync(dir: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("probe")).expect("a file");
    let took = (0..200).map(|_| {
        file.write_all(&[b'x'; RECORD_LEN]).expect("a write");
        let began = Instant::now();
        file.sync_data().expect("an fsync");
        began.elapsed()
    });
    row("one fsync, by itself", &spread(took.collect()));
}

async fn one_after_another(client: &EmbeddedClient, partitions: i32, transactions: usize) {
    let topic = format!("serial-{partitions}");
    client.create_topic(&NewTopic::new(&topic, partitions)).await.expect("a new topic");
    let mut producer = producer(client, &topic).await;
    let (mut took, mut committed) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for number in 0..transactions {
        let began = Instant::now();
        fill(&mut *producer, &topic, partitions).await;
        let filled = Instant::now();
        producer.commit(Some(&offsets(&topic, number))).await.expect("a commit");
        committed.push(filled.elapsed());
        took.push(began.elapsed());
    }
    let rate = transactions as f64 / began.elapsed().as_secs_f64();
    let what = format!("{partitions} partitions and offsets");
    row(&format!("whole transaction, {what}"), &format!("{}, {rate:.0}/s", spread(took)));
    row(&format!("its commit, {what}"), &spread(committed));
}

/// Many producers at once, as queries of one process are.
async fn side_by_side(client: &EmbeddedClient, producers: usize, transactions: usize) {
    let began = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|index| {
            let client = client.clone();
            tokio::spawn(async move {
                let topic = format!("parallel-{index}");
                client.create_topic(&NewTopic::new(&topic, 2)).await.expect("a new topic");
                let mut producer = producer(&client, &topic).await;
                let mut took = Vec::new();
                for number in 0..transactions {
                    let began = Instant::now();
                    fill(&mut *producer, &topic, 2).await;
                    producer.commit(Some(&offsets(&topic, number))).await.expect("a commit");
                    took.push(began.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("a producer"));
    }
    let rate = took.len() as f64 / began.elapsed().as_secs_f64();
    row(&format!("{producers} producers at once"), &format!("{}, {rate:.0}/s", spread(took)));
}

/// From the first record of a transaction to a reader of what is committed.
async fn to_a_reader(client: &EmbeddedClient, transactions: usize) {
    let topic = "read".to_owned();
    client.create_topic(&NewTopic::new(&topic, 1)).await.expect("a new topic");
    let from = ReaderOptions::partitions(vec![(TopicPartition::new("read", 0), Offset(0))]);
    let mut reader = client.reader(from).await.expect("a reader");
    let mut producer = producer(client, &topic).await;
    let writing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut began = Vec::new();
        for number in 0..transactions {
            ticks.tick().await;
            began.push(Instant::now());
            fill(&mut *producer, &topic, 1).await;
            producer.commit(Some(&offsets(&topic, number))).await.expect("a commit");
        }
        began
    });
    let mut seen = Vec::new();
    while seen.len() < transactions {
        let records = records(&mut *reader).await;
        seen.extend(std::iter::repeat_n(Instant::now(), records));
    }
    let began = writing.await.expect("a producer");
    let took = seen.iter().zip(&began).map(|(seen, began)| seen.duration_since(*began));
    row(&format!("to a reader, {RATE} transactions/s"), &spread(took.collect()));
}

async fn records(reader: &mut dyn Reader) -> usize {
    let ReaderEvent::Batches(fetched) = reader.next().await.expect("batches") else { return 0 };
    fetched.batches.iter().map(|batch| batch.records_count() as usize).sum()
}

async fn producer(client: &EmbeddedClient, id: &str) -> Box<dyn Producer> {
    let transactional_id = Some(id.to_owned());
    let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
    client.producer(options).await.expect("a producer")
}

async fn fill(producer: &mut dyn Producer, topic: &str, partitions: i32) {
    producer.begin().await.expect("a transaction");
    for partition in 0..partitions {
        let mut batch = BatchBuilder::default();
        batch.append(broker::broker::now_ms(), None, Some(&[b'x'; RECORD_LEN]));
        let to = TopicPartition::new(topic, partition);
        producer.send(&to, batch).await.expect("an append");
    }
}

fn offsets(group: &str, next: usize) -> TransactionOffsets {
    let committed = CommittedOffset { offset: Offset(next as i64), metadata: String::new() };
    let offsets = vec![(TopicPartition::new("input", 0), committed)];
    TransactionOffsets { group: group.to_owned(), membership: None, offsets }
}

fn row(what: &str, result: &str) {
    println!("| {what} | {result} |");
}

fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99))
}
