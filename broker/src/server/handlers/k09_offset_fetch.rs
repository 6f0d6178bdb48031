//! OffsetFetch: of one group, or of several.

use super::Call;
use crate::coordinator::groups::{GroupError, MemberId, StoredOffset};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k09_offset_fetch::*;
use crate::security::acl::{Operation, ResourceType};

/// The first version that asks for several groups.
const GROUPS_FROM: i16 = 8;

pub async fn handle(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if call.version >= GROUPS_FROM {
        let groups = request.groups.into_iter().map(|group| match check(call, &group) {
            Ok(()) => OffsetFetchResponseGroup {
                topics: fetch(call, &group.group_id, group.topics, stable),
                group_id: group.group_id,
                error_code: ErrorCode::NONE,
            },
            Err(error_code) => {
                let group_id = group.group_id;
                OffsetFetchResponseGroup { group_id, error_code, topics: Vec::new() }
            }
        });
        return OffsetFetchResponse { groups: groups.collect(), ..Default::default() };
    }
    if !call.may_on_group(Operation::Describe, &request.group_id) {
        return denied(call, request);
    }
    let wanted = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
        });
        topics.collect()
    });
    let topics = fetch(call, &request.group_id, wanted, stable).into_iter();
    let topics = topics.map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
}

/// Before v2 there was no error for all, so each partition has it.
fn denied(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
    if call.version >= 2 {
        return OffsetFetchResponse { error_code, ..OffsetFetchResponse::default() };
    }
    let topics = request.topics.into_iter().flatten().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .into_iter()
            .map(|partition_index| OffsetFetchResponsePartition {
                partition_index,
                committed_offset: -1,
                error_code,
                ..OffsetFetchResponsePartition::default()
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
}

/// Whether the group may be looked at, and the member that a request names, if it does, is one at
/// this epoch. Where there is no such group nothing is committed either.
fn check(call: &Call, group: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
    if !call.may_on_group(Operation::Describe, &group.group_id) {
        return Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    }
    if group.member_id.is_none() && group.member_epoch < 0 {
        return Ok(());
    }
    let member = MemberId::from(group.member_id.as_deref().unwrap_or_default());
    let checked = call.broker().groups().check_fetch(&group.group_id, &member, group.member_epoch);
    checked.unwrap_or(Ok(())).map_err(ErrorCode::from)
}

fn fetch(
    call: &Call,
    group: &str,
    wanted: Option<Vec<OffsetFetchRequestTopics>>,
    stable: bool,
) -> Vec<OffsetFetchResponseTopics> {
    let groups = call.broker().groups();
    let Some(wanted) = wanted else {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        // In order of topics.
        for (of, found) in groups.fetch_offsets(group, None, stable) {
            if !call.may_quietly(Operation::Describe, ResourceType::Topic, &of.topic) {
                continue;
            }
            let partition = response(of.partition, found);
            match topics.last_mut().filter(|topic| *topic.name == *of.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetFetchResponseTopics {
                    name: of.topic.to_string(),
                    partitions: vec![partition],
                }),
            }
        }
        return topics;
    };
    let topics = wanted.into_iter().map(|topic| {
        if !call.may_on_topic(Operation::Describe, &topic.name) {
            let refused = topic.partition_indexes.iter().map(|index| {
                let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
                OffsetFetchResponsePartitions { error_code, ..response(*index, Ok(None)) }
            });
            let partitions = refused.collect();
            return OffsetFetchResponseTopics { name: topic.name, partitions };
        }
        let name: std::sync::Arc<str> = topic.name.as_str().into();
        let of = |index: &i32| TopicPartition::new(name.clone(), *index);
        let partitions: Vec<TopicPartition> = topic.partition_indexes.iter().map(of).collect();
        let found = groups.fetch_offsets(group, Some(&partitions), stable).into_iter();
        let partitions = found.map(|(of, found)| response(of.partition, found));
        OffsetFetchResponseTopics { name: topic.name, partitions: partitions.collect() }
    });
    topics.collect()
}

fn response(
    partition_index: i32,
    found: Result<Option<StoredOffset>, GroupError>,
) -> OffsetFetchResponsePartitions {
    let none = OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        ..OffsetFetchResponsePartitions::default()
    };
    match found {
        Ok(None) => none,
        Ok(Some(stored)) => OffsetFetchResponsePartitions {
            committed_offset: stored.offset,
            committed_leader_epoch: stored.leader_epoch,
            metadata: Some(stored.metadata),
            ..none
        },
        Err(error) => OffsetFetchResponsePartitions { error_code: error.into(), ..none },
    }
}
