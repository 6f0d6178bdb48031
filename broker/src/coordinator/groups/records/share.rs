//! The records of share groups: those of groups of KIP-848's protocol under keys of their own, with
//! less in them.

use std::sync::Arc;

use bytes::Bytes;

use super::RecordError;
use super::consumer::{Encoded, Part, assignment, partitions, record};
use crate::coordinator::groups::consumer::changes::Change;
use crate::coordinator::groups::consumer::member::{Current, MemberFacts, MemberState};
use crate::coordinator::groups::consumer::topics::Subscription;
use crate::coordinator::groups::messages::MemberId;
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_offsets::*;

/// The group and the part that a key names; `version` is one of 10 to 14.
pub fn decode_key(version: i16, bytes: &Bytes) -> Result<(String, Part), RecordError> {
    let member = |id: String| MemberId::from(id.as_str());
    Ok(match version {
        10 => {
            let (_, key) = ShareGroupMemberMetadataKey::decode_versioned(bytes)?;
            (key.group, Part::Member(member(key.member_id)))
        }
        11 => (ShareGroupMetadataKey::decode_versioned(bytes)?.1.group, Part::Epoch),
        12 => {
            let (_, key) = ShareGroupTargetAssignmentMetadataKey::decode_versioned(bytes)?;
            (key.group, Part::TargetEpoch)
        }
        13 => {
            let (_, key) = ShareGroupTargetAssignmentMemberKey::decode_versioned(bytes)?;
            (key.group, Part::Target(member(key.member_id)))
        }
        _ => {
            let (_, key) = ShareGroupCurrentMemberAssignmentKey::decode_versioned(bytes)?;
            (key.group, Part::Current(member(key.member_id)))
        }
    })
}

/// What a record says of its part.
pub fn decode(part: Part, value: Option<&Bytes>) -> Result<Change, RecordError> {
    macro_rules! value {
        ($type:ty) => {
            value.map(<$type>::decode_versioned).transpose()?.map(|(_, value)| value)
        };
    }
    Ok(match part {
        Part::Epoch => Change::Epoch(value!(ShareGroupMetadataValue).map(|value| value.epoch)),
        // There is no such record of share groups.
        Part::Subscribed => Change::Subscribed(None),
        Part::Member(id) => Change::Member(id, value!(ShareGroupMemberMetadataValue).map(facts)),
        Part::TargetEpoch => {
            let value = value!(ShareGroupTargetAssignmentMetadataValue);
            Change::TargetEpoch(value.map(|value| value.assignment_epoch))
        }
        Part::Target(id) => {
            let value = value!(ShareGroupTargetAssignmentMemberValue);
            Change::Target(id, value.map(|value| assignment(value.topic_partitions)))
        }
        Part::Current(id) => {
            Change::Current(id, value!(ShareGroupCurrentMemberAssignmentValue).map(current))
        }
    })
}

fn facts(value: ShareGroupMemberMetadataValue) -> MemberFacts {
    MemberFacts {
        rack_id: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        subscription: Subscription {
            names: value.subscribed_topic_names.into_iter().map(Arc::from).collect(),
            regex: None,
        },
        ..MemberFacts::default()
    }
}

fn current(value: ShareGroupCurrentMemberAssignmentValue) -> Current {
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::Stable,
        assigned: assignment(value.assigned_partitions),
        ..Current::default()
    }
}

/// A change as the key and value of its record.
pub fn encode(group: &str, change: &Change) -> Encoded {
    let group = group.to_owned();
    match change {
        Change::Classic(_) | Change::Shared(_) | Change::Subscribed(_) => {
            super::encode_change(&group, change)
        }
        Change::Epoch(epoch) => {
            let value = epoch.map(|epoch| ShareGroupMetadataValue { epoch, metadata_hash: 0 });
            record(11, ShareGroupMetadataKey { group }, value)
        }
        Change::Member(id, facts) => {
            let key = ShareGroupMemberMetadataKey { group, member_id: id.to_string() };
            record(10, key, facts.as_ref().map(member))
        }
        Change::TargetEpoch(epoch) => {
            let value = epoch.map(|assignment_epoch| ShareGroupTargetAssignmentMetadataValue {
                assignment_epoch,
            });
            record(12, ShareGroupTargetAssignmentMetadataKey { group }, value)
        }
        Change::Target(id, target) => {
            let key = ShareGroupTargetAssignmentMemberKey { group, member_id: id.to_string() };
            let value = target.as_ref().map(|target| ShareGroupTargetAssignmentMemberValue {
                topic_partitions: partitions(target),
            });
            record(13, key, value)
        }
        Change::Current(id, current) => {
            let key = ShareGroupCurrentMemberAssignmentKey { group, member_id: id.to_string() };
            let value = current.as_ref().map(|one| ShareGroupCurrentMemberAssignmentValue {
                member_epoch: one.epoch,
                previous_member_epoch: one.previous_epoch,
                state: one.state.number(),
                assigned_partitions: partitions(&one.assigned),
            });
            record(14, key, value)
        }
    }
}

fn member(facts: &MemberFacts) -> ShareGroupMemberMetadataValue {
    let names = facts.subscription.names.iter();
    ShareGroupMemberMetadataValue {
        rack_id: facts.rack_id.clone(),
        client_id: facts.client_id.clone(),
        client_host: facts.client_host.clone(),
        subscribed_topic_names: names.map(|name| name.to_string()).collect(),
    }
}
