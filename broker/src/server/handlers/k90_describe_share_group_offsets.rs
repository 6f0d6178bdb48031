//! DescribeShareGroupOffsets (KIP-932): before which offsets share groups are done.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Call;
use crate::broker::Topic;
use crate::coordinator::shares::sessions::Named;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k90_describe_share_group_offsets::*;
use crate::security::acl::Operation;

/// Of a partition that the group has not begun with, which may not even be there.
const NOT_BEGUN: i64 = -1;

pub async fn handle(
    call: &Call,
    request: DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let groups = request.groups.into_iter().map(|group| describe(call, group)).collect();
    DescribeShareGroupOffsetsResponse { groups, ..DescribeShareGroupOffsetsResponse::default() }
}

fn describe(
    call: &Call,
    asked: DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let DescribeShareGroupOffsetsRequestGroup { group_id, topics } = asked;
    if !call.may_on_group(Operation::Describe, &group_id) {
        let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return DescribeShareGroupOffsetsResponseGroup {
            group_id,
            error_code,
            ..DescribeShareGroupOffsetsResponseGroup::default()
        };
    }
    let offsets: HashMap<Named, i64> =
        call.broker().shares().offsets(&group_id).into_iter().collect();
    let topics = match topics {
        None => all(call, &offsets),
        Some(topics) => {
            let told = topics.into_iter().map(|topic| named(call, topic, &offsets));
            let mut told: Vec<_> = told.collect();
            // Those that are not there come first.
            told.sort_by_key(|topic| !topic.topic_id.is_nil());
            told
        }
    };
    DescribeShareGroupOffsetsResponseGroup {
        group_id,
        topics,
        ..DescribeShareGroupOffsetsResponseGroup::default()
    }
}

fn named(
    call: &Call,
    asked: DescribeShareGroupOffsetsRequestTopic,
    offsets: &HashMap<Named, i64>,
) -> DescribeShareGroupOffsetsResponseTopic {
    let DescribeShareGroupOffsetsRequestTopic { topic_name, partitions } = asked;
    let is_permitted = call.may_on_topic(Operation::Describe, &topic_name);
    let topic = call.broker().topic(&topic_name).filter(|_| is_permitted);
    let topic_id = topic.map(|topic| topic.id).unwrap_or_default();
    let partitions = partitions.into_iter().map(|index| match is_permitted {
        true => partition(index, offsets.get(&(topic_id, index))),
        false => {
            let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
            let error_message = Some(error_code.message().to_owned());
            let told = partition(index, None);
            DescribeShareGroupOffsetsResponsePartition { error_code, error_message, ..told }
        }
    });
    let partitions = partitions.collect();
    DescribeShareGroupOffsetsResponseTopic { topic_name, topic_id, partitions }
}

/// Of all topics that the group has begun with and the client may know.
fn all(call: &Call, offsets: &HashMap<Named, i64>) -> Vec<DescribeShareGroupOffsetsResponseTopic> {
    let topics = offsets.keys().filter_map(|(topic_id, _)| call.broker().topic_by_id(*topic_id));
    let topics: BTreeMap<Arc<str>, Arc<Topic>> = topics
        .filter(|topic| call.may_on_topic(Operation::Describe, &topic.name))
        .map(|topic| (topic.name.clone(), topic))
        .collect();
    let told = topics.into_iter().map(|(name, topic)| {
        let partitions = (0..topic.partitions_count())
            .map(|index| partition(index, offsets.get(&(topic.id, index))));
        DescribeShareGroupOffsetsResponseTopic {
            topic_name: name.to_string(),
            topic_id: topic.id,
            partitions: partitions.collect(),
        }
    });
    told.collect()
}

fn partition(index: i32, offset: Option<&i64>) -> DescribeShareGroupOffsetsResponsePartition {
    DescribeShareGroupOffsetsResponsePartition {
        partition_index: index,
        start_offset: offset.copied().unwrap_or(NOT_BEGUN),
        ..DescribeShareGroupOffsetsResponsePartition::default()
    }
}
