//! ShareGroupDescribe: share groups (KIP-932).

use std::collections::BTreeSet;

use super::{Call, OPERATIONS_NOT_ASKED};
use crate::coordinator::groups::consumer::topics::Topics;
use crate::coordinator::groups::{Described, DescribedMember};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k77_share_group_describe::*;
use crate::security::acl::{Operation, ResourceType};

/// Kafka's name for the one assignor that share groups have.
const SIMPLE: &str = "simple";

pub async fn handle(call: &Call, request: ShareGroupDescribeRequest) -> ShareGroupDescribeResponse {
    let topics = call.broker().groups().topics();
    let groups = request.group_ids.into_iter().map(|group_id| {
        if !call.may_on_group(Operation::Describe, &group_id) {
            let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
            return DescribedGroup { group_id, error_code, ..DescribedGroup::default() };
        }
        let described = DescribedGroup {
            authorized_operations: match request.include_authorized_operations {
                true => call.operations(ResourceType::Group, &group_id),
                false => OPERATIONS_NOT_ASKED,
            },
            ..describe(call, &group_id, &topics)
        };
        match described.error_code {
            ErrorCode::NONE if may_know_topics(call, &described) => {
                DescribedGroup { group_id, ..described }
            }
            ErrorCode::NONE => DescribedGroup {
                error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                error_message: Some("The group reads topics that may not be described.".to_owned()),
                group_id,
                ..DescribedGroup::default()
            },
            _ => {
                let authorized_operations = OPERATIONS_NOT_ASKED;
                DescribedGroup { group_id, authorized_operations, ..described }
            }
        }
    });
    ShareGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
}

/// Whether the client may know of all topics that the members have.
fn may_know_topics(call: &Call, group: &DescribedGroup) -> bool {
    let topics = group.members.iter().flat_map(|member| &member.assignment.topic_partitions);
    let names: BTreeSet<&str> = topics.map(|topic| topic.topic_name.as_str()).collect();
    names.into_iter().all(|name| call.may_on_topic(Operation::Describe, name))
}

fn describe(call: &Call, group_id: &str, topics: &Topics) -> DescribedGroup {
    let not_found = |message: String| DescribedGroup {
        error_code: ErrorCode::GROUP_ID_NOT_FOUND,
        error_message: Some(message),
        ..DescribedGroup::default()
    };
    match call.broker().groups().describe(group_id).map(|group| group.described) {
        _ if group_id.is_empty() => {
            let error_code = ErrorCode::INVALID_GROUP_ID;
            DescribedGroup { error_code, ..DescribedGroup::default() }
        }
        Some(Described::Share { state, epoch, target_epoch, members }) => DescribedGroup {
            group_state: state.name().to_owned(),
            group_epoch: epoch,
            assignment_epoch: target_epoch,
            assignor_name: SIMPLE.to_owned(),
            members: members.into_iter().map(|one| member(one, topics)).collect(),
            ..DescribedGroup::default()
        },
        Some(_) => not_found(format!("Group {group_id} is not a share group.")),
        None => not_found(format!("Group {group_id} not found.")),
    }
}

fn member(one: DescribedMember, topics: &Topics) -> Member {
    let topic_partitions = topics.named(&one.assigned).into_iter();
    let topic_partitions = topic_partitions.map(|(name, topic_id, partitions)| TopicPartitions {
        topic_id,
        topic_name: name.to_string(),
        partitions,
    });
    Member {
        member_id: one.member_id.to_string(),
        rack_id: one.rack_id,
        member_epoch: one.epoch,
        client_id: one.client_id,
        client_host: one.client_host,
        subscribed_topic_names: one.topics.iter().map(|name| name.to_string()).collect(),
        assignment: Assignment { topic_partitions: topic_partitions.collect() },
    }
}
