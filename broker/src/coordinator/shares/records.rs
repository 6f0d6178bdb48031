//! The state of share partitions as records of `__share_group_state`, in Kafka's form.
//!
//! Each record is a snapshot: it says all that is kept of a group's partition, so that the topic
//! can be compacted by key. Kafka writes updates in between, and deletes what snapshots make
//! superfluous.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

use super::partition::{Kept, KeptRange, KeptState};
use crate::protocol::message::Message;
use crate::protocol::messages::share_group_state::{
    ShareSnapshotKey, ShareSnapshotValue, StateBatch,
};
use crate::protocol::{DecodeError, EncodeError};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 0;

/// Kafka's numbers of states.
const AVAILABLE: i8 = 0;
const ACCEPTED: i8 = 2;
const ARCHIVED: i8 = 4;

/// A partition as a group shares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub group: Arc<str>,
    pub topic_id: Uuid,
    pub partition: i32,
}

/// Why a record of `__share_group_state` was not understood.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("unknown state {0} of records; a newer version may have written it")]
    State(i8),
}

pub fn encode_key(key: &Key) -> Result<Bytes, EncodeError> {
    let Key { group, topic_id, partition } = key;
    let (topic_id, partition) = (*topic_id, *partition);
    let key = ShareSnapshotKey { group_id: group.to_string(), topic_id, partition };
    key.encode_versioned(KEY_VERSION)
}

pub fn decode_key(bytes: &Bytes) -> Result<Key, RecordError> {
    let (_, key) = ShareSnapshotKey::decode_versioned(bytes)?;
    let ShareSnapshotKey { group_id, topic_id, partition } = key;
    Ok(Key { group: group_id.into(), topic_id, partition })
}

/// `number` counts the snapshots of a partition.
pub fn encode_value(kept: &Kept, number: i32, now_ms: i64) -> Result<Bytes, EncodeError> {
    let batches = kept.ranges.iter().map(|range| StateBatch {
        first_offset: range.first,
        last_offset: range.last,
        delivery_state: match range.state {
            KeptState::Available => AVAILABLE,
            KeptState::Accepted => ACCEPTED,
            KeptState::Archived => ARCHIVED,
        },
        delivery_count: range.deliveries,
    });
    let value = ShareSnapshotValue {
        snapshot_epoch: number,
        state_epoch: 0,
        leader_epoch: 0,
        start_offset: kept.start,
        create_timestamp: now_ms,
        write_timestamp: now_ms,
        state_batches: batches.collect(),
    };
    value.encode_versioned(VALUE_VERSION)
}

/// What was kept, and its number.
pub fn decode_value(bytes: &Bytes) -> Result<(Kept, i32), RecordError> {
    let (_, value) = ShareSnapshotValue::decode_versioned(bytes)?;
    let ranges = value.state_batches.iter().map(|batch| {
        Ok(KeptRange {
            first: batch.first_offset,
            last: batch.last_offset,
            state: match batch.delivery_state {
                AVAILABLE => KeptState::Available,
                ACCEPTED => KeptState::Accepted,
                ARCHIVED => KeptState::Archived,
                other => return Err(RecordError::State(other)),
            },
            deliveries: batch.delivery_count,
        })
    });
    let kept = Kept { start: value.start_offset, ranges: ranges.collect::<Result<_, _>>()? };
    Ok((kept, value.snapshot_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let key = Key { group: "g".into(), topic_id: Uuid::from_u128(7), partition: 3 };
        assert_eq!(decode_key(&encode_key(&key).unwrap()).unwrap(), key);
        let range = |first, last, state, deliveries| KeptRange { first, last, state, deliveries };
        let ranges = vec![
            range(5, 9, KeptState::Available, 2),
            range(10, 10, KeptState::Accepted, 1),
            range(11, 400, KeptState::Archived, 5),
        ];
        let kept = Kept { start: 5, ranges };
        let value = encode_value(&kept, 8, 1_000).unwrap();
        assert_eq!(decode_value(&value).unwrap(), (kept, 8));
    }
}
