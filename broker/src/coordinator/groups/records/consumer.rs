//! The records of groups of the new protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::RecordError;
use crate::coordinator::groups::consumer::assignment::Assignment;
use crate::coordinator::groups::consumer::changes::Change;
use crate::coordinator::groups::consumer::member::{
    ClassicFacts, Current, MemberFacts, MemberState,
};
use crate::coordinator::groups::consumer::topics::{Subscription, TopicFacts};
use crate::coordinator::groups::messages::{InstanceId, MemberId};
use crate::protocol::EncodeError;
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_offsets::*;

/// The version of each value, which has had no other yet.
const VALUE_VERSION: i16 = 0;

/// Which part of a group a record keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Epoch,
    Subscribed,
    Member(MemberId),
    TargetEpoch,
    Target(MemberId),
    Current(MemberId),
}

/// The group and the part that a key names; `version` is one of 3 to 8.
pub fn decode_key(version: i16, bytes: &Bytes) -> Result<(String, Part), RecordError> {
    let of = |(group, member): (String, String), part: fn(MemberId) -> Part| {
        (group, part(member.as_str().into()))
    };
    Ok(match version {
        3 => (ConsumerGroupMetadataKey::decode_versioned(bytes)?.1.group, Part::Epoch),
        4 => {
            let (_, key) = ConsumerGroupPartitionMetadataKey::decode_versioned(bytes)?;
            (key.group, Part::Subscribed)
        }
        5 => {
            let (_, key) = ConsumerGroupMemberMetadataKey::decode_versioned(bytes)?;
            of((key.group, key.member_id), Part::Member)
        }
        6 => {
            let (_, key) = ConsumerGroupTargetAssignmentMetadataKey::decode_versioned(bytes)?;
            (key.group, Part::TargetEpoch)
        }
        7 => {
            let (_, key) = ConsumerGroupTargetAssignmentMemberKey::decode_versioned(bytes)?;
            of((key.group, key.member_id), Part::Target)
        }
        _ => {
            let (_, key) = ConsumerGroupCurrentMemberAssignmentKey::decode_versioned(bytes)?;
            of((key.group, key.member_id), Part::Current)
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
        Part::Epoch => Change::Epoch(value!(ConsumerGroupMetadataValue).map(|value| value.epoch)),
        Part::Subscribed => {
            Change::Subscribed(value!(ConsumerGroupPartitionMetadataValue).map(topics))
        }
        Part::Member(id) => Change::Member(id, value!(ConsumerGroupMemberMetadataValue).map(facts)),
        Part::TargetEpoch => {
            let value = value!(ConsumerGroupTargetAssignmentMetadataValue);
            Change::TargetEpoch(value.map(|value| value.assignment_epoch))
        }
        Part::Target(id) => {
            let value = value!(ConsumerGroupTargetAssignmentMemberValue);
            Change::Target(id, value.map(|value| assignment(value.topic_partitions)))
        }
        Part::Current(id) => {
            Change::Current(id, value!(ConsumerGroupCurrentMemberAssignmentValue).map(current))
        }
    })
}

fn topics(value: ConsumerGroupPartitionMetadataValue) -> BTreeMap<Arc<str>, TopicFacts> {
    let topics = value.topics.into_iter().map(|topic| {
        let facts = TopicFacts { id: topic.topic_id, partitions: topic.num_partitions };
        (topic.topic_name.into(), facts)
    });
    topics.collect()
}

fn facts(value: ConsumerGroupMemberMetadataValue) -> MemberFacts {
    let classic = value.classic_member_metadata.map(|classic| ClassicFacts {
        session_timeout_ms: classic.session_timeout_ms,
        protocols: classic
            .supported_protocols
            .into_iter()
            // Copied out of the batch, which is large and would be kept alive.
            .map(|one| (one.name.into(), Bytes::copy_from_slice(&one.metadata)))
            .collect(),
    });
    MemberFacts {
        instance_id: value.instance_id.as_deref().map(InstanceId::from),
        rack_id: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor.map(Into::into),
        subscription: Subscription {
            names: value.subscribed_topic_names.into_iter().map(Into::into).collect(),
            // Kafka writes an empty one where there is none.
            regex: value.subscribed_topic_regex.filter(|one| !one.is_empty()).map(Into::into),
        },
        classic,
    }
}

fn current(value: ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::of_number(value.state),
        assigned: assignment(value.assigned_partitions),
        revoking: assignment(value.partitions_pending_revocation),
    }
}

pub(super) fn assignment(topics: Vec<TopicPartitions>) -> Assignment {
    Assignment::of_topics(topics.into_iter().map(|topic| (topic.topic_id, topic.partitions)))
}

pub(super) fn partitions(assignment: &Assignment) -> Vec<TopicPartitions> {
    let topics = assignment.topics().map(|(topic_id, partitions)| TopicPartitions {
        topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    topics.collect()
}

pub(super) type Encoded = Result<(Bytes, Option<Bytes>), EncodeError>;

/// A change as the key and value of its record.
pub fn encode(group: &str, change: &Change) -> Encoded {
    let group = group.to_owned();
    match change {
        Change::Classic(_) | Change::Shared(_) => super::encode_change(&group, change),
        Change::Epoch(epoch) => {
            let value = epoch.map(|epoch| ConsumerGroupMetadataValue { epoch });
            record(3, ConsumerGroupMetadataKey { group }, value)
        }
        Change::Subscribed(topics) => {
            let topic = |(name, facts): (&Arc<str>, &TopicFacts)| TopicMetadata {
                topic_id: facts.id,
                topic_name: name.to_string(),
                num_partitions: facts.partitions,
                partition_metadata: Vec::new(),
            };
            let value = topics.as_ref().map(|topics| ConsumerGroupPartitionMetadataValue {
                topics: topics.iter().map(topic).collect(),
            });
            record(4, ConsumerGroupPartitionMetadataKey { group }, value)
        }
        Change::Member(id, facts) => {
            let key = ConsumerGroupMemberMetadataKey { group, member_id: id.to_string() };
            record(5, key, facts.as_ref().map(member))
        }
        Change::TargetEpoch(epoch) => {
            let value = epoch.map(|assignment_epoch| ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch,
            });
            record(6, ConsumerGroupTargetAssignmentMetadataKey { group }, value)
        }
        Change::Target(id, target) => {
            let member_id = id.to_string();
            let key = ConsumerGroupTargetAssignmentMemberKey { group, member_id };
            let value = target.as_ref().map(|target| ConsumerGroupTargetAssignmentMemberValue {
                topic_partitions: partitions(target),
            });
            record(7, key, value)
        }
        Change::Current(id, current) => {
            let member_id = id.to_string();
            let key = ConsumerGroupCurrentMemberAssignmentKey { group, member_id };
            let value = current.as_ref().map(|one| ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: one.epoch,
                previous_member_epoch: one.previous_epoch,
                state: one.state.number(),
                assigned_partitions: partitions(&one.assigned),
                partitions_pending_revocation: partitions(&one.revoking),
            });
            record(8, key, value)
        }
    }
}

pub(super) fn record<K: Message, V: Message>(version: i16, key: K, value: Option<V>) -> Encoded {
    let value = value.map(|value| value.encode_versioned(VALUE_VERSION)).transpose()?;
    Ok((key.encode_versioned(version)?, value))
}

fn member(facts: &MemberFacts) -> ConsumerGroupMemberMetadataValue {
    let protocol = |(name, metadata): &(Arc<str>, Bytes)| ClassicProtocol {
        name: name.to_string(),
        metadata: metadata.clone(),
    };
    let subscription = &facts.subscription;
    ConsumerGroupMemberMetadataValue {
        instance_id: facts.instance_id.as_ref().map(InstanceId::to_string),
        rack_id: facts.rack_id.clone(),
        client_id: facts.client_id.clone(),
        client_host: facts.client_host.clone(),
        subscribed_topic_names: subscription.names.iter().map(|name| name.to_string()).collect(),
        subscribed_topic_regex: subscription.regex.as_ref().map(|regex| regex.to_string()),
        rebalance_timeout_ms: facts.rebalance_timeout_ms,
        server_assignor: facts.assignor.as_ref().map(|assignor| assignor.to_string()),
        classic_member_metadata: facts.classic.as_ref().map(|classic| ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic.protocols.iter().map(protocol).collect(),
        }),
    }
}
