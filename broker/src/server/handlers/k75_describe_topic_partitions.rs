//! DescribeTopicPartitions: Metadata in pages, in order of names and partitions.

use std::collections::BTreeSet;

use super::k03_metadata::leader_error;
use super::{Call, OPERATIONS_NOT_ASKED};
use crate::broker::Topic;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k75_describe_topic_partitions::*;
use crate::security::acl::{Operation, ResourceType};
use crate::topics::name::check as check_name;

/// `max.request.partition.size.limit`
const PARTITIONS_MAX: usize = 2000;

pub async fn handle(
    call: &Call,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let broker = call.broker();
    let of_all = request.topics.is_empty();
    let names: BTreeSet<String> = match of_all {
        // Before anything is said of a name: a refusal names it too.
        true => visible(call),
        false => request.topics.into_iter().map(|topic| topic.name).collect(),
    };
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut room = limit.clamp(1, PARTITIONS_MAX);
    let (from, first) =
        request.cursor.map_or((String::new(), 0), |at| (at.topic_name, at.partition_index));
    let mut response = DescribeTopicPartitionsResponse::default();
    if first < 0 || (!from.is_empty() && names.range(from.clone()..).next().is_none()) {
        // The cursor is none of ours.
        let topics = names.into_iter().map(|name| refused(name, ErrorCode::INVALID_REQUEST));
        response.topics = topics.collect();
        return response;
    }
    // Whether they exist is not told either.
    let mut denied = Vec::new();
    for name in names.range(from.clone()..) {
        if !of_all && !call.may_on_topic(Operation::Describe, name) {
            denied.push(refused(name.clone(), ErrorCode::TOPIC_AUTHORIZATION_FAILED));
            continue;
        }
        let skipped = if *name == from { usize::try_from(first).unwrap_or(0) } else { 0 };
        if room == 0 {
            let (topic_name, partition_index) = (name.clone(), 0);
            response.next_cursor = Some(Cursor { topic_name, partition_index });
            break;
        }
        let Some(topic) = broker.topic(name) else {
            let error_code = match check_name(name) {
                Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
            };
            let topic_authorized_operations = call.operations(ResourceType::Topic, name);
            let missing = refused(name.clone(), error_code);
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                topic_authorized_operations,
                ..missing
            });
            continue;
        };
        let described = describe(broker.node_id(), &topic, skipped, room);
        let topic_authorized_operations = call.operations(ResourceType::Topic, name);
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            topic_authorized_operations,
            ..described
        });
        let end = skipped.saturating_add(room);
        if end < topic.partitions().len() {
            let (topic_name, partition_index) = (name.clone(), end as i32);
            response.next_cursor = Some(Cursor { topic_name, partition_index });
            break;
        }
        room -= topic.partitions().len().saturating_sub(skipped);
    }
    response.topics.append(&mut denied);
    response
}

/// All topics that the client may see.
fn visible(call: &Call) -> BTreeSet<String> {
    let topics = call.broker().topics();
    let names = topics.iter().map(|topic| topic.name.to_string());
    let may = |name: &String| call.may_quietly(Operation::Describe, ResourceType::Topic, name);
    names.filter(may).collect()
}

fn refused(name: String, error_code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    let name = Some(name);
    DescribeTopicPartitionsResponseTopic { error_code, name, ..Default::default() }
}

fn describe(
    node_id: i32,
    topic: &Topic,
    skipped: usize,
    room: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let partitions = topic.partitions().iter().skip(skipped).take(room);
    let partitions = partitions.map(|partition| {
        let offline = partition.offline().is_some();
        DescribeTopicPartitionsResponsePartition {
            error_code: leader_error(offline),
            partition_index: partition.id().partition,
            leader_id: if offline { -1 } else { node_id },
            leader_epoch: partition.leader_epoch().0,
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: if offline { vec![node_id] } else { Vec::new() },
        }
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
    }
}
