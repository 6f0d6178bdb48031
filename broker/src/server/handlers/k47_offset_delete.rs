//! OffsetDelete (KIP-496).

use super::{Call, partition};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k47_offset_delete::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    if !call.may_on_group(Operation::Delete, &request.group_id) {
        let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
    }
    let (topics, denied): (Vec<_>, Vec<_>) = request
        .topics
        .into_iter()
        .partition(|topic| call.may_on_topic(Operation::Read, &topic.name));
    let all = topics.iter().flat_map(|topic| {
        let numbers = topic.partitions.iter().map(|partition| partition.partition_index);
        numbers.map(|number| TopicPartition::new(topic.name.as_str(), number))
    });
    let all: Vec<TopicPartition> = all.collect();
    let deleted = call.broker().groups().delete_offsets(&request.group_id, &all).await;
    let results = match deleted {
        Ok(results) => results,
        Err(error) => {
            let error_code = error.into();
            return OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() };
        }
    };
    let mut results = results.into_iter();
    let mut response = OffsetDeleteResponse::default();
    for topic in topics {
        let asked = topic.partitions.iter().zip(results.by_ref());
        let partitions = asked.map(|(asked, result)| {
            let partition_index = asked.partition_index;
            let exists = partition(call, &topic.name, partition_index).map(|_| ());
            let error = exists.and(result.map_err(ErrorCode::from)).err();
            let error_code = error.unwrap_or_default();
            OffsetDeleteResponsePartition { partition_index, error_code }
        });
        let partitions = partitions.collect();
        response.topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    response.topics.extend(denied.into_iter().map(|topic| {
        let error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
        let partitions = topic.partitions.iter().map(|asked| OffsetDeleteResponsePartition {
            partition_index: asked.partition_index,
            error_code,
        });
        OffsetDeleteResponseTopic { name: topic.name, partitions: partitions.collect() }
    }));
    response
}
