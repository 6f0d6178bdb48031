//! Groups and offsets as records of `__consumer_offsets`, in Kafka's form.
//!
//! ```text
//! key, two bytes of version first                 value
//! 0 1  offset                group topic partition   offset, leader epoch, metadata, time
//! 2    group, classic        group                   generation, protocol, leader, members
//! 3    group, consumer       group                   group epoch
//! 4    what it reads         group                   topics with their ids and partitions
//! 5    member                group member            what it has told of itself
//! 6    target                group                   the epoch that it was computed for
//! 7    target of a member    group member            partitions by topic id
//! 8    current of a member   group member            epochs, state, assigned, to be revoked
//! 10   member of a share group, as 5
//! 11   share group, as 3     group                   group epoch
//! 12 13 14                   of share groups, as 6 7 8
//! ```
//!
//! A group is of the kind whose own record, 2, 3 or 11, comes last. An older broker leaves keys
//! above 2 as they are.

mod consumer;
mod share;

use bytes::{Buf, Bytes};
use thiserror::Error;

pub use self::consumer::{Part, decode as decode_part};
pub use self::share::decode as decode_share_part;
use super::consumer::changes::Change;
use super::messages::{GroupSnapshot, InstanceId, MemberId, MemberSnapshot};
use super::offsets::StoredOffset;
use crate::ids::TopicPartition;
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_offsets::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use crate::protocol::{DecodeError, EncodeError};

/// Versions that every Kafka of the last years reads.
const OFFSET_KEY_VERSION: i16 = 1;
const OFFSET_VALUE_VERSION: i16 = 3;
const GROUP_KEY_VERSION: i16 = 2;
const GROUP_VALUE_VERSION: i16 = 3;

/// Why a record of `__consumer_offsets` was not understood.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("key is cut short")]
    Key,
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Offset {
        group: String,
        partition: TopicPartition,
    },
    Group {
        group: String,
    },
    /// Of a group of the new protocol.
    Consumer {
        group: String,
        part: Part,
    },
    /// Of a share group.
    Share {
        group: String,
        part: Part,
    },
    /// Of a kind that came after ours: left as it is.
    Unknown,
}

pub fn encode_offset_key(group: &str, of: &TopicPartition) -> Result<Bytes, EncodeError> {
    let (group, topic) = (group.to_owned(), of.topic.to_string());
    OffsetCommitKey { group, topic, partition: of.partition }.encode_versioned(OFFSET_KEY_VERSION)
}

pub fn encode_group_key(group: &str) -> Result<Bytes, EncodeError> {
    GroupMetadataKey { group: group.to_owned() }.encode_versioned(GROUP_KEY_VERSION)
}

pub fn decode_key(bytes: &Bytes) -> Result<Key, RecordError> {
    let version = bytes.get(..2).ok_or(RecordError::Key)?.get_i16();
    Ok(match version {
        0 | 1 => {
            let (_, key) = OffsetCommitKey::decode_versioned(bytes)?;
            let partition = TopicPartition::new(key.topic, key.partition);
            Key::Offset { group: key.group, partition }
        }
        2 => Key::Group { group: GroupMetadataKey::decode_versioned(bytes)?.1.group },
        3..=8 => {
            let (group, part) = consumer::decode_key(version, bytes)?;
            Key::Consumer { group, part }
        }
        10..=14 => {
            let (group, part) = share::decode_key(version, bytes)?;
            Key::Share { group, part }
        }
        _ => Key::Unknown,
    })
}

/// A change as the key and value of its record; no value takes away.
pub fn encode_change(group: &str, change: &Change) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    match change {
        Change::Classic(snapshot) => {
            let value = snapshot.as_ref().map(encode_group).transpose()?;
            Ok((encode_group_key(group)?, value))
        }
        Change::Shared(change) => share::encode(group, change),
        change => consumer::encode(group, change),
    }
}

pub fn encode_offset(stored: &StoredOffset) -> Result<Bytes, EncodeError> {
    let value = OffsetCommitValue {
        offset: stored.offset,
        leader_epoch: stored.leader_epoch,
        metadata: stored.metadata.clone(),
        commit_timestamp: stored.committed_ms,
        ..OffsetCommitValue::default()
    };
    value.encode_versioned(OFFSET_VALUE_VERSION)
}

pub fn decode_offset(bytes: &Bytes) -> Result<StoredOffset, RecordError> {
    let (_, value) = OffsetCommitValue::decode_versioned(bytes)?;
    Ok(StoredOffset {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        committed_ms: value.commit_timestamp,
    })
}

pub fn encode_group(snapshot: &GroupSnapshot) -> Result<Bytes, EncodeError> {
    let member = |member: &MemberSnapshot| MemberMetadata {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.as_ref().map(InstanceId::to_string),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.metadata.clone(),
        assignment: member.assignment.clone(),
    };
    let value = GroupMetadataValue {
        protocol_type: snapshot.protocol_type.to_string(),
        generation: snapshot.generation,
        protocol: snapshot.protocol.as_ref().map(|protocol| protocol.to_string()),
        leader: snapshot.leader.as_ref().map(MemberId::to_string),
        current_state_timestamp: snapshot.state_since_ms,
        members: snapshot.members.iter().map(member).collect(),
    };
    value.encode_versioned(GROUP_VALUE_VERSION)
}

pub fn decode_group(bytes: &Bytes) -> Result<GroupSnapshot, RecordError> {
    let (_, value) = GroupMetadataValue::decode_versioned(bytes)?;
    let member = |member: MemberMetadata| MemberSnapshot {
        member_id: member.member_id.as_str().into(),
        instance_id: member.group_instance_id.as_deref().map(InstanceId::from),
        client_id: member.client_id,
        client_host: member.client_host,
        session_timeout_ms: member.session_timeout,
        rebalance_timeout_ms: member.rebalance_timeout,
        // Copied out of the batch, which is large and would be kept alive.
        metadata: Bytes::copy_from_slice(&member.subscription),
        assignment: Bytes::copy_from_slice(&member.assignment),
    };
    Ok(GroupSnapshot {
        generation: value.generation,
        protocol_type: value.protocol_type.into(),
        protocol: value.protocol.map(Into::into),
        leader: value.leader.as_deref().map(MemberId::from),
        state_since_ms: value.current_state_timestamp,
        members: value.members.into_iter().map(member).collect(),
    })
}
