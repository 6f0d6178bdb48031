//! OffsetDelete (KIP-496).

use super::{Call, partition};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k47_offset_delete::*;

pub async fn handle(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let all = request.topics.iter().flat_map(|topic| {
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
    for topic in request.topics {
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
    response
}
