//! Clients at work: they go on whatever happens to the broker, and write down what they were told.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::client::{
    Client, ClientError, CommittedOffset, Isolation, OffsetSpec, Producer, ProducerOptions,
    ReaderEvent, ReaderOptions, RemoteClient, TransactionOffsets,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::checker::{Outcome, Read, Reads, Write};
use super::history::{History, Random};

pub const PARTITIONS: i32 = 3;
/// Written by idempotent producers, copied by the mirrors.
pub const IN: &str = "in";
/// Written by transactional producers.
pub const TRANSACTIONS: &str = "transactions";
/// Written by the mirrors: what they read, once.
pub const OUT: &str = "out";
/// Compacted.
pub const LATEST: &str = "latest";
/// Few, so that most of what is written can go.
const KEYS: u64 = 40;
const MIRRORS: &str = "mirrors";
/// After so many events the restless mirror leaves its group and comes back.
const RESTLESS_EVENTS: usize = 20;
/// A transaction that a killed client left open is aborted after this; none is waited for.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that clients share.
pub struct World {
    pub client: RemoteClient,
    pub history: History,
    pub reads: Mutex<Reads>,
    /// Of each key of the compacted topic: the last number that was sent, and the last that was
    /// acknowledged.
    pub latest: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Something was acknowledged or mirrored.
    pub progress: Notify,
    pub stop: CancellationToken,
    /// Mirrors go on until all is mirrored.
    pub stop_mirrors: CancellationToken,
}

/// `None` once it is to stop.
async fn until<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = future => Some(done),
    }
}

fn transactional(id: &str) -> ProducerOptions {
    ProducerOptions {
        transactional_id: Some(id.to_owned()),
        transaction_timeout: TRANSACTION_TIMEOUT,
        ..ProducerOptions::default()
    }
}

async fn send(
    producer: &mut Box<dyn Producer>,
    writes: &[Write],
    number: i64,
) -> Result<(), ClientError> {
    let Some(first) = writes.first() else { return Ok(()) };
    let mut batch = BatchBuilder::default();
    for write in writes {
        batch.append(number, None, Some(write.value.as_bytes()));
    }
    producer.send(&TopicPartition::new(first.to.0.as_str(), first.to.1), batch).await
}

impl World {
    fn writes(
        &self,
        topic: &str,
        random: &mut Random,
        (writer, number): (usize, &mut u64),
        transaction: Option<u64>,
    ) -> Vec<Write> {
        let to = (topic.to_owned(), random.below(PARTITIONS as u64) as i32);
        let count = 1 + random.below(12);
        let next = |_| {
            *number += 1;
            let value = format!("{topic}-{writer}-{number}");
            let (to, outcome) = (to.clone(), Outcome::Unknown);
            Write { value, writer, number: *number, to, transaction, outcome }
        };
        (0..count).map(next).collect()
    }

    fn told(&self, writes: Vec<Write>, outcome: Outcome) {
        self.history.add(writes, outcome);
        self.progress.notify_waiters();
    }

    /// Writes batches, each acknowledged before the next.
    pub async fn write(self: Arc<World>, mut random: Random) {
        while !self.stop.is_cancelled() {
            let (writer, mut number) = (self.history.writer(), 0);
            let opened = until(&self.stop, self.client.producer(ProducerOptions::default()));
            let Some(Ok(mut producer)) = opened.await else { continue };
            loop {
                let mut sent = Vec::new();
                let mut outcome = Ok(());
                for _ in 0..1 + random.below(3) {
                    let writes = self.writes(IN, &mut random, (writer, &mut number), None);
                    outcome = outcome.and(send(&mut producer, &writes, number as i64).await);
                    sent.extend(writes);
                }
                let outcome = outcome.and(producer.flush().await);
                let failed = outcome.is_err();
                self.told(sent, if failed { Outcome::Unknown } else { Outcome::Done });
                if failed || self.stop.is_cancelled() {
                    break;
                }
            }
        }
    }

    /// Writes transactions over several partitions, and takes some of them back.
    pub async fn write_transactions(self: Arc<World>, id: String, mut random: Random) {
        let mut transaction = 0;
        while !self.stop.is_cancelled() {
            let (writer, mut number) = (self.history.writer(), 0);
            let opened = until(&self.stop, self.client.producer(transactional(&id)));
            let Some(Ok(mut producer)) = opened.await else { continue };
            while !self.stop.is_cancelled() {
                transaction += 1;
                let mut sent = Vec::new();
                let mut going = producer.begin().await;
                for _ in 0..1 + random.below(4) {
                    let next = (writer, &mut number);
                    let writes = self.writes(TRANSACTIONS, &mut random, next, Some(transaction));
                    if going.is_ok() {
                        going = send(&mut producer, &writes, number as i64).await;
                        sent.extend(writes);
                    }
                }
                // What nobody has asked to commit is never committed, whatever else goes wrong.
                let (outcome, ended) = match going {
                    Err(error) => (Outcome::Aborted, Err(error)),
                    Ok(()) if random.below(4) == 0 => (Outcome::Aborted, producer.abort().await),
                    Ok(()) => match producer.commit(None).await {
                        Ok(()) => (Outcome::Done, Ok(())),
                        Err(error) => (Outcome::Unknown, Err(error)),
                    },
                };
                self.told(sent, outcome);
                if ended.is_err() {
                    break;
                }
            }
        }
    }

    /// Copies one topic to another, each record once: outputs and offsets in one transaction.
    pub async fn mirror(self: Arc<World>, id: String, restless: bool) {
        while !self.stop_mirrors.is_cancelled() {
            let _ = until(&self.stop_mirrors, self.mirror_for_a_while(&id, restless)).await;
        }
    }

    async fn mirror_for_a_while(&self, id: &str, restless: bool) -> Result<(), ClientError> {
        let mut producer = self.client.producer(transactional(id)).await?;
        let options = ReaderOptions::group(MIRRORS, vec![IN.to_owned()]);
        let mut reader = self.client.reader(options).await?;
        let mut events = 0;
        while !restless || events < RESTLESS_EVENTS {
            let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
            events += 1;
            let mut copies = BatchBuilder::default();
            for batch in &fetched.batches {
                for record in batch.records().expect("the reader checks batches").iter() {
                    let record = record.expect("the reader checks batches");
                    let value = [b"mirrored ", record.value.unwrap_or_default()].concat();
                    copies.append(0, None, Some(&value));
                }
            }
            producer.begin().await?;
            if !copies.is_empty() {
                let to = TopicPartition::new(OUT, fetched.partition.partition);
                producer.send(&to, copies).await?;
            }
            let next = CommittedOffset { offset: fetched.next_offset, metadata: String::new() };
            let offsets = TransactionOffsets {
                group: MIRRORS.to_owned(),
                membership: reader.group(),
                offsets: vec![(fetched.partition.clone(), next)],
            };
            producer.commit(Some(&offsets)).await?;
            self.progress.notify_waiters();
        }
        Ok(())
    }

    /// Writes newer and newer values of few keys.
    pub async fn write_latest(self: Arc<World>, mut random: Random) {
        let mut number = 0;
        while !self.stop.is_cancelled() {
            let opened = until(&self.stop, self.client.producer(ProducerOptions::default()));
            let Some(Ok(mut producer)) = opened.await else { continue };
            let to = TopicPartition::new(LATEST, 0);
            while !self.stop.is_cancelled() {
                let mut batch = BatchBuilder::default();
                let mut sent = BTreeMap::new();
                for _ in 0..200 {
                    number += 1;
                    let key = format!("key-{}", random.below(KEYS));
                    let value = format!("{number:0200}");
                    batch.append(0, Some(key.as_bytes()), Some(value.as_bytes()));
                    sent.insert(key, number);
                }
                let mut written = producer.send(&to, batch).await;
                if written.is_ok() {
                    written = producer.flush().await;
                }
                let mut latest = self.latest.lock().unwrap();
                for (key, number) in sent {
                    let known = latest.entry(key).or_default();
                    known.0 = number;
                    if written.is_ok() {
                        known.1 = number;
                    }
                }
                if written.is_err() {
                    break;
                }
            }
        }
    }

    /// Reads everything again and again while it is written.
    pub async fn read_again_and_again(self: Arc<World>) {
        while !self.stop.is_cancelled() {
            for topic in [IN, TRANSACTIONS, OUT] {
                let read = until(&self.stop, self.read(topic, false)).await;
                if let Some(Ok(reads)) = read {
                    let mut all = self.reads.lock().unwrap();
                    reads.into_iter().for_each(|read| all.add(read));
                }
            }
        }
    }

    /// All partitions of a topic from beginning to end, by both isolations.
    pub async fn read(&self, topic: &str, last: bool) -> Result<Vec<Read>, ClientError> {
        let partitions = if topic == LATEST { 1 } else { PARTITIONS };
        let mut reads = Vec::new();
        for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
            for partition in 0..partitions {
                let records = self.read_partition(topic, partition, isolation).await?;
                let from = (topic.to_owned(), partition);
                reads.push(Read { from, isolation, records, last });
            }
        }
        Ok(reads)
    }

    async fn read_partition(
        &self,
        topic: &str,
        partition: i32,
        isolation: Isolation,
    ) -> Result<Vec<(i64, String)>, ClientError> {
        let partition = TopicPartition::new(topic, partition);
        let one = std::slice::from_ref(&partition);
        let end = self.client.list_offsets(one, OffsetSpec::Latest(isolation)).await?;
        let end = end[0].unwrap_or_default();
        let start = vec![(partition, Offset::ZERO)];
        let options = ReaderOptions { isolation, ..ReaderOptions::partitions(start) };
        let mut reader = self.client.reader(options).await?;
        let (mut records, mut next) = (Vec::new(), Offset::ZERO);
        while next < end {
            let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
            for batch in &fetched.batches {
                for record in batch.records().expect("the reader checks batches").iter() {
                    let record = record.expect("the reader checks batches");
                    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
                    let value = text(record.value.unwrap_or_default());
                    let key = record.key.map(|key| format!("{}=", text(key)));
                    records.push((record.offset.0, key.unwrap_or_default() + &value));
                }
            }
            next = fetched.next_offset;
        }
        Ok(records)
    }

    /// Waits until the mirrors have committed all that is in their topic.
    pub async fn all_mirrored(&self) {
        let partitions: Vec<_> =
            (0..PARTITIONS).map(|partition| TopicPartition::new(IN, partition)).collect();
        loop {
            let progress = self.progress.notified();
            let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
            let ends = self.client.list_offsets(&partitions, latest).await.unwrap();
            let committed = self.client.committed_offsets(MIRRORS, &partitions).await.unwrap();
            let done = ends.iter().zip(&committed).all(|(end, committed)| {
                let committed = committed.as_ref().map_or(Offset::ZERO, |at| at.offset);
                end.unwrap_or_default() <= committed
            });
            if done {
                return;
            }
            progress.await;
        }
    }

    /// Ends what was left open.
    pub async fn abort_open(&self, ids: &[String]) {
        for id in ids {
            drop(self.client.producer(transactional(id)).await.unwrap());
        }
    }
}
