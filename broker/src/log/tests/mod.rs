//! The log from outside: what is appended is read, whatever happens in between.

mod appending;
mod compaction;
mod crashes;
mod epochs;
mod model;
mod producers;
mod reading;
mod small_files;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::disk::{Disk, OsDisk};
use super::*;
use crate::client::{Acks, Isolation};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::record::{
    BatchBuilder, Compression, ControlType, ProducerStamp, RecordBatch, control_batch,
};

const NOW_MS: i64 = 1_700_000_000_000;

fn options(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig) -> PartitionOptions {
    PartitionOptions {
        partition: TopicPartition::new("t", 0),
        topic_id: Uuid::from_u128(7),
        dir: dir.join("t-0"),
        config,
        disk,
        fsyncs: None,
        runtime: None,
        open_files: Arc::default(),
        epoch: crate::ids::LeaderEpoch(0),
        now_ms: NOW_MS,
    }
}

fn open(dir: &Path, config: LogConfig) -> Arc<Partition> {
    Partition::open(options(Arc::new(OsDisk), dir, config)).unwrap()
}

/// Batches of this size and a little roll after a few.
fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 150, ..LogConfig::default() }
}

/// A batch of records `v<first>`, `v<first + 1>`, … with those numbers of ms for timestamps.
fn numbered(first: i64, count: i64, stamp: ProducerStamp) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for number in first..first + count {
        let value = format!("v{number}");
        builder.append(NOW_MS + number, Some(b"k"), Some(value.as_bytes()));
    }
    builder.build(stamp)
}

fn stamp(id: i64, epoch: i16, base_sequence: i32, transactional: bool) -> ProducerStamp {
    let (producer_id, epoch) = (ProducerId(id), ProducerEpoch(epoch));
    ProducerStamp { producer_id, epoch, base_sequence, transactional }
}

fn by(origin: Origin, acks: Acks) -> AppendOptions {
    AppendOptions { origin, acks, now_ms: NOW_MS }
}

/// A client whose transactions the coordinator knows of.
const CLIENT: AppendOptions = AppendOptions {
    origin: Origin::Admitted { from_zero: false },
    acks: Acks::Leader,
    now_ms: NOW_MS,
};

fn append(log: &Arc<Partition>, batch: RecordBatch) -> Appended {
    log.append(batch.into_bytes(), CLIENT).unwrap()
}

fn append_marker(log: &Arc<Partition>, id: i64, epoch: i16, kind: ControlType) -> Appended {
    let marker = control_batch(ProducerId(id), ProducerEpoch(epoch), kind, 1, NOW_MS);
    log.append(marker.into_bytes(), by(Origin::Coordinator, Acks::Leader)).unwrap()
}

fn read_options(isolation: Isolation, bytes_max: usize) -> ReadOptions {
    ReadOptions { isolation, bytes_max, at_least_one: true }
}

/// All records from `from` on that are visible, as (offset, value); control batches left out.
fn read_values(log: &Partition, mut from: Offset, isolation: Isolation) -> Vec<(i64, String)> {
    let mut values = Vec::new();
    loop {
        let slice = log.read(from, read_options(isolation, 300)).unwrap();
        if slice.records.is_empty() {
            return values;
        }
        for batch in RecordBatch::split_all(slice.records).unwrap() {
            batch.verify_checksum().unwrap();
            if batch.is_control() {
                continue;
            }
            for record in batch.records().unwrap().iter().map(Result::unwrap) {
                if record.offset >= from {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    values.push((record.offset.0, value));
                }
            }
        }
        from = slice.next_offset;
    }
}

fn expected_values(range: std::ops::Range<i64>) -> Vec<(i64, String)> {
    range.map(|number| (number, format!("v{number}"))).collect()
}
