//! ConsumerGroupDescribe: groups of the new protocol (KIP-848).

use std::collections::BTreeSet;

use super::{Call, OPERATIONS_NOT_ASKED};
use crate::coordinator::groups::consumer::assignment::Assignment as Partitions;
use crate::coordinator::groups::consumer::topics::Topics;
use crate::coordinator::groups::{Described, DescribedMember, InstanceId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k69_consumer_group_describe::*;
use crate::security::acl::{Operation, ResourceType};

/// Kafka's numbers for the protocol of a member.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub async fn handle(
    call: &Call,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let topics = call.broker().groups().topics();
    let groups = request.group_ids.into_iter().map(|group_id| {
        if !call.may_on_group(Operation::Describe, &group_id) {
            let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
            return DescribedGroup { group_id, error_code, ..DescribedGroup::default() };
        }
        let described = describe(call, &group_id, &topics);
        let described = DescribedGroup { group_id, ..described };
        let authorized_operations = match request.include_authorized_operations {
            true => call.operations(ResourceType::Group, &described.group_id),
            false => OPERATIONS_NOT_ASKED,
        };
        match described.error_code {
            ErrorCode::NONE if may_know_topics(call, &described) => {
                DescribedGroup { authorized_operations, ..described }
            }
            ErrorCode::NONE => DescribedGroup {
                error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                error_message: Some("The group reads topics that may not be described.".to_owned()),
                group_id: described.group_id,
                ..DescribedGroup::default()
            },
            _ => described,
        }
    });
    ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
}

/// Whether the client may know of all topics that the members have or shall have.
fn may_know_topics(call: &Call, group: &DescribedGroup) -> bool {
    let of_members = group.members.iter().flat_map(|one| [&one.assignment, &one.target_assignment]);
    let names = of_members.flat_map(|assignment| &assignment.topic_partitions);
    let names: BTreeSet<&str> = names.map(|topic| topic.topic_name.as_str()).collect();
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
        Some(Described::Consumer { state, epoch, target_epoch, assignor, members }) => {
            DescribedGroup {
                group_state: state.name().to_owned(),
                group_epoch: epoch,
                assignment_epoch: target_epoch,
                assignor_name: assignor.to_owned(),
                members: members.into_iter().map(|one| member(one, topics)).collect(),
                ..DescribedGroup::default()
            }
        }
        Some(Described::Classic { .. } | Described::Share { .. }) => {
            not_found(format!("Group {group_id} is not a consumer group."))
        }
        None => not_found(format!("Group {group_id} not found.")),
    }
}

fn member(one: DescribedMember, topics: &Topics) -> Member {
    Member {
        member_id: one.member_id.to_string(),
        instance_id: one.instance_id.as_ref().map(InstanceId::to_string),
        rack_id: one.rack_id,
        member_epoch: one.epoch,
        client_id: one.client_id,
        client_host: one.client_host,
        subscribed_topic_names: one.topics.iter().map(|name| name.to_string()).collect(),
        // Empty, not null, where there is none.
        subscribed_topic_regex: Some(one.regex.map(|regex| regex.to_string()).unwrap_or_default()),
        assignment: assignment(&one.assigned, topics),
        target_assignment: assignment(&one.target, topics),
        member_type: if one.is_classic { CLASSIC } else { CONSUMER },
    }
}

fn assignment(partitions: &Partitions, topics: &Topics) -> Assignment {
    let topic_partitions = topics.named(partitions).into_iter();
    let topic_partitions = topic_partitions.map(|(name, topic_id, partitions)| TopicPartitions {
        topic_id,
        topic_name: name.to_string(),
        partitions,
    });
    Assignment { topic_partitions: topic_partitions.collect() }
}
