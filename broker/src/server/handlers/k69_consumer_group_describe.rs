//! ConsumerGroupDescribe: groups of the new protocol (KIP-848).

use super::{Call, operations};
use crate::coordinator::groups::consumer::assignment::Assignment as Partitions;
use crate::coordinator::groups::consumer::topics::Topics;
use crate::coordinator::groups::{Described, DescribedMember, InstanceId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k69_consumer_group_describe::*;

/// Kafka's numbers for the protocol of a member.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

pub async fn handle(
    call: &Call,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let authorized_operations = match request.include_authorized_operations {
        true => operations::GROUP,
        false => operations::NOT_ASKED,
    };
    let topics = call.broker().groups().topics();
    let groups = request.group_ids.into_iter().map(|group_id| DescribedGroup {
        authorized_operations,
        ..describe(call, group_id, &topics)
    });
    ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
}

fn describe(call: &Call, group_id: String, topics: &Topics) -> DescribedGroup {
    let refused = |error_code, message: String| DescribedGroup {
        error_code,
        error_message: Some(message),
        ..DescribedGroup::default()
    };
    let described = match call.broker().groups().describe(&group_id).map(|group| group.described) {
        _ if group_id.is_empty() => {
            refused(ErrorCode::INVALID_GROUP_ID, "the group id must not be empty".to_owned())
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
        Some(Described::Classic { .. }) => {
            let message = format!("Group {group_id} is not a consumer group.");
            refused(ErrorCode::GROUP_ID_NOT_FOUND, message)
        }
        None => refused(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group_id} not found.")),
    };
    DescribedGroup { group_id, ..described }
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
        subscribed_topic_regex: one.regex.map(|regex| regex.to_string()),
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
