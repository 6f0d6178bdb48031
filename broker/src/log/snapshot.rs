//! Producer state as a file, `<offset>.snapshot`: the state after all records below that offset.
//!
//! Kafka's format (version 1), which keeps the last batch of each producer, then an appendix of
//! ours with the batches before it, so that a retry that spans a restart is still recognised.
//! Kafka's tools read the first part and ignore the rest: the checksum covers both.
//!
//! ```text
//! version i16 = 1, crc u32 (CRC-32C of all that follows), count i32, then per producer:
//!   producer_id i64, epoch i16, last_sequence i32 (−1: none), last_offset i64,
//!   offset_delta i32, timestamp i64, coordinator_epoch i32,
//!   transaction_first_offset i64 (−1: none open)
//! appendix: count i32, then per batch, oldest first:
//!   producer_id i64, last_sequence i32, last_offset i64, offset_delta i32, timestamp i64
//! ```

use std::collections::{HashMap, VecDeque};

use bytes::Buf;

use super::producers::{BATCHES_KEPT, Producer, Producers, WrittenBatch};
use crate::ids::{Offset, ProducerEpoch, ProducerId};

const VERSION: i16 = 1;
const CHECKED_FROM: usize = 6;
const PRODUCER_LEN: usize = 46;
const APPENDIX_ENTRY_LEN: usize = 32;

pub(super) fn encode(producers: &Producers) -> Vec<u8> {
    let mut sorted: Vec<(ProducerId, &Producer)> = producers.iter().collect();
    sorted.sort_unstable_by_key(|(id, _)| *id);
    let mut bytes = VERSION.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(sorted.len() as i32).to_be_bytes());
    for (id, producer) in &sorted {
        put_producer(&mut bytes, *id, producer);
    }
    let earlier: Vec<(ProducerId, &WrittenBatch)> = sorted
        .iter()
        .flat_map(|(id, producer)| {
            let earlier = producer.batches.len().saturating_sub(1);
            producer.batches.iter().take(earlier).map(move |batch| (*id, batch))
        })
        .collect();
    bytes.extend_from_slice(&(earlier.len() as i32).to_be_bytes());
    for (id, batch) in earlier {
        bytes.extend_from_slice(&id.0.to_be_bytes());
        put_batch(&mut bytes, batch);
    }
    let crc = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    bytes[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn put_producer(bytes: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&producer.epoch.0.to_be_bytes());
    let none = WrittenBatch {
        last_sequence: -1,
        last_offset: Offset(-1),
        offset_delta: 0,
        timestamp_ms: producer.last_timestamp_ms,
    };
    put_batch(bytes, producer.batches.back().unwrap_or(&none));
    bytes.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
    let start = producer.transaction_start.map_or(-1, |start| start.0);
    bytes.extend_from_slice(&start.to_be_bytes());
}

fn put_batch(bytes: &mut Vec<u8>, batch: &WrittenBatch) {
    bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
    bytes.extend_from_slice(&batch.last_offset.0.to_be_bytes());
    bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
    bytes.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
}

/// `None` if the bytes are not a whole snapshot: then the log is replayed instead.
pub(super) fn decode(bytes: &[u8]) -> Option<Producers> {
    let mut rest = bytes;
    if bytes.len() < CHECKED_FROM + 4 || rest.get_i16() != VERSION {
        return None;
    }
    if rest.get_u32() != crc32c::crc32c(&bytes[CHECKED_FROM..]) {
        return None;
    }
    let count = usize::try_from(rest.get_i32()).ok()?;
    if count > rest.len() / PRODUCER_LEN {
        return None;
    }
    let mut by_id = HashMap::with_capacity(count);
    for _ in 0..count {
        let (id, producer) = get_producer(&mut rest);
        by_id.insert(id, producer);
    }
    if rest.len() >= 4 {
        let count = usize::try_from(rest.get_i32()).ok()?;
        if count > rest.len() / APPENDIX_ENTRY_LEN {
            return None;
        }
        for _ in 0..count {
            let id = ProducerId(rest.get_i64());
            let batch = get_batch(&mut rest);
            let batches = &mut by_id.get_mut(&id)?.batches;
            if batches.is_empty() || batches.len() == BATCHES_KEPT {
                return None;
            }
            batches.insert(batches.len() - 1, batch);
        }
    }
    let mut producers = Producers::default();
    for (id, producer) in by_id {
        producers.restore(id, producer);
    }
    Some(producers)
}

fn get_producer(rest: &mut &[u8]) -> (ProducerId, Producer) {
    let id = ProducerId(rest.get_i64());
    let epoch = ProducerEpoch(rest.get_i16());
    let last = get_batch(rest);
    let coordinator_epoch = rest.get_i32();
    let start = rest.get_i64();
    let mut batches = VecDeque::with_capacity(BATCHES_KEPT);
    if last.last_sequence >= 0 {
        batches.push_back(last);
    }
    let producer = Producer {
        epoch,
        batches,
        coordinator_epoch,
        transaction_start: (start >= 0).then_some(Offset(start)),
        last_timestamp_ms: last.timestamp_ms,
    };
    (id, producer)
}

fn get_batch(rest: &mut &[u8]) -> WrittenBatch {
    WrittenBatch {
        last_sequence: rest.get_i32(),
        last_offset: Offset(rest.get_i64()),
        offset_delta: rest.get_i32(),
        timestamp_ms: rest.get_i64(),
    }
}
