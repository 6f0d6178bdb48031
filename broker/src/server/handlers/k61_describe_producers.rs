//! DescribeProducers.

use super::{Call, opened, permitted_partition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k61_describe_producers::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: DescribeProducersRequest) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter();
        let partitions = partitions.map(|index| describe(call, &topic.name, *index)).collect();
        TopicResponse { name: topic.name, partitions }
    });
    DescribeProducersResponse { topics: topics.collect(), ..DescribeProducersResponse::default() }
}

fn describe(call: &Call, topic: &str, partition_index: i32) -> PartitionResponse {
    let mut response = PartitionResponse { partition_index, ..PartitionResponse::default() };
    match permitted_partition(call, Operation::Read, topic, partition_index).and_then(opened) {
        Ok(partition) => {
            let producers = partition.producers().into_iter().map(|producer| ProducerState {
                producer_id: producer.producer_id.0,
                producer_epoch: i32::from(producer.epoch.0),
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_start_offset: producer.transaction_start.map_or(-1, |start| start.0),
            });
            response.active_producers = producers.collect();
        }
        Err(error_code) => {
            response.error_code = error_code;
            let is_unknown = error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            if is_unknown && call.broker().topic(topic).is_none() {
                response.error_message = Some(format!("topic '{topic}' does not exist"));
            }
        }
    }
    response
}
