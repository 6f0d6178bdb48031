//! The whole broker on the simulated disk: a producer in its process commits and aborts
//! transactions over several partitions, with offsets, until the power goes at some step or the
//! process is killed. Then the broker opens what is left, and the producer's successor goes on.

use std::collections::BTreeMap;

use super::*;
use crate::client::embedded::EmbeddedClient;
use crate::client::{
    Client, ClientError, CommittedOffset, Producer, ProducerOptions, TransactionOffsets,
};
use crate::log::simulation::SimulatedDisk;

const SEEDS: u64 = 60;
const ROUNDS: usize = 4;
const TRANSACTIONS: u32 = 12;
/// More steps of the disk than a round takes.
const STEPS: usize = 150;

/// A small generator of our own, so that a seed means the same forever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// What the producer knows of its transactions, which are numbered from 1.
#[derive(Debug, Default)]
struct Known {
    /// Records of those that it asked to commit.
    asked: BTreeMap<u32, usize>,
    /// The last that it was told is committed; nothing comes after one that it was not told of.
    committed: Vec<u32>,
    next: u32,
}

fn outputs() -> [TopicPartition; 3] {
    [("out", 0), ("out", 1), ("changelog", 0)].map(|(topic, n)| TopicPartition::new(topic, n))
}

/// One transaction.
async fn transact(
    producer: &mut dyn Producer,
    known: &mut Known,
    random: &mut Random,
) -> Result<(), ClientError> {
    known.next += 1;
    let number = known.next;
    producer.begin().await?;
    let mut records = 0;
    for to in outputs() {
        for _ in 0..random.below(3) {
            let mut batch = BatchBuilder::default();
            batch.append(now_ms(), None, Some(number.to_string().as_bytes()));
            producer.send(&to, batch).await?;
            records += 1;
        }
    }
    if random.below(5) == 0 {
        return producer.abort().await;
    }
    known.asked.insert(number, records);
    let committed = CommittedOffset { offset: Offset(number.into()), metadata: String::new() };
    let offsets = vec![(TopicPartition::new("in", 0), committed)];
    let offsets = TransactionOffsets { group: "g".to_owned(), membership: None, offsets };
    producer.commit(Some(&offsets)).await?;
    known.committed.push(number);
    Ok(())
}

/// All or nothing is there, offsets included; all that was acknowledged; nothing that was not
/// asked for. And nobody waits for a transaction of a producer that is no more.
async fn check(broker: &Arc<Broker>, known: &Known, seed: u64) {
    let mut found: BTreeMap<u32, usize> = BTreeMap::new();
    let partitions = outputs().map(|to| broker.partition(&to).unwrap());
    for topic in broker.topics() {
        for partition in topic.partitions() {
            let visible = partition.visible();
            let open = partition.open_transactions();
            assert_eq!(visible.last_stable, visible.high_watermark, "seed {seed}, {open:?}");
        }
    }
    for partition in &partitions {
        let numbers: Vec<u32> =
            values_committed(partition).iter().map(|value| value.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
        numbers.iter().for_each(|number| *found.entry(*number).or_default() += 1);
    }
    for (number, records) in &found {
        let whole = known.asked.get(number);
        assert_eq!(Some(records), whole, "seed {seed}: transaction {number} of {known:?}");
    }
    let asked = [TopicPartition::new("in", 0)];
    let client = EmbeddedClient::new(broker.clone());
    let offset = client.committed_offsets("g", &asked).await.unwrap()[0].clone();
    let offset = offset.map_or(0, |committed| committed.offset.0 as u32);
    for number in &known.committed {
        let records = found.get(number).copied().unwrap_or_default();
        assert_eq!(records, known.asked[number], "seed {seed}: {number} was acknowledged");
        assert!(offset >= *number, "seed {seed}: offset {offset}, not {number}");
    }
    let last = found.last_key_value().map_or(0, |(number, _)| *number);
    assert!(offset >= last, "seed {seed}: records of {last}, but offset {offset}");
    let records = known.asked.get(&offset).copied().unwrap_or_default();
    assert_eq!(found.get(&offset).copied().unwrap_or_default(), records, "seed {seed}: {offset}");
}

/// Of all batches that a reader of committed records is given, those of aborted transactions left
/// out, as consumers do.
fn values_committed(partition: &Partition) -> Vec<String> {
    let isolation = Isolation::ReadCommitted;
    let options = ReadOptions { isolation, bytes_max: 1 << 20, at_least_one: true };
    let mut values = Vec::new();
    let mut offset = Offset(0);
    loop {
        let slice = partition.read(offset, options).unwrap();
        if slice.records.is_empty() {
            return values;
        }
        for batch in RecordBatch::split_all(slice.records).unwrap() {
            let is_aborted = slice.aborted.iter().any(|aborted| {
                aborted.producer_id == batch.producer_id()
                    && (aborted.first_offset..=aborted.last_offset).contains(&batch.base_offset())
            });
            if is_aborted || batch.is_control() {
                continue;
            }
            for record in batch.records().unwrap().iter() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        offset = slice.next_offset;
    }
}

async fn round(
    disk: &SimulatedDisk,
    dir: &std::path::Path,
    known: &mut Known,
    random: &mut Random,
    seed: u64,
) -> SimulatedDisk {
    let config = BrokerConfig::new(dir);
    let broker = Broker::open_on(Arc::new(disk.clone()), config).await.unwrap();
    let client = EmbeddedClient::new(broker.clone());
    if known.next == 0 {
        client.create_topic(&NewTopic::new("out", 2)).await.unwrap();
        client.create_topic(&NewTopic::new("changelog", 1)).await.unwrap();
    }
    check(&broker, known, seed).await;
    let id = Some("t".to_owned());
    let options = ProducerOptions { transactional_id: id, ..ProducerOptions::default() };
    let mut producer = client.producer(options).await.unwrap();
    transact(&mut *producer, known, random).await.unwrap();
    let off_at = disk.steps() + random.below(STEPS) as u64;
    disk.power_off_at(off_at);
    for _ in 0..TRANSACTIONS {
        if let Err(error) = transact(&mut *producer, known, random).await {
            assert!(disk.steps() >= off_at, "seed {seed}: {error}");
            break;
        }
    }
    // Sometimes the process ends with a transaction open.
    if random.below(2) == 0 && producer.begin().await.is_ok() {
        let mut batch = BatchBuilder::default();
        batch.append(now_ms(), None, Some(b"999999"));
        _ = producer.send(&outputs()[0], batch).await;
    }
    let killed = random.below(4) == 0;
    let choose = &mut |choices| random.below(choices);
    let left = if killed { disk.after_kill() } else { disk.after_power_cut(choose) };
    // What the producer and the broker still try to put in order is lost.
    disk.power_off_at(0);
    end(&broker);
    left
}

/// The process is gone, and so is its lock.
fn end(broker: &Broker) {
    broker.stop.cancel();
    broker.lock.lock().unwrap().take();
}

#[test]
fn transactions_are_whole_whenever_the_power_goes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut disk = SimulatedDisk::default();
        disk.create_dir_all(dir.path()).unwrap();
        let mut known = Known::default();
        for _ in 0..ROUNDS {
            let next = round(&disk, dir.path(), &mut known, &mut random, seed);
            disk = runtime.block_on(next);
        }
        runtime.block_on(async {
            let config = BrokerConfig::new(dir.path());
            let broker = Broker::open_on(Arc::new(disk.clone()), config).await.unwrap();
            check(&broker, &known, seed).await;
            end(&broker);
        });
    }
}
