//! AddPartitionsToTxn, as producers send it; from v4 on it is for brokers among themselves.

use std::ops::RangeInclusive;

use super::{Call, codes, partition};
use crate::coordinator::transactions::ProducerIdentity;
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k24_add_partitions_to_txn::*;

pub const VERSIONS: RangeInclusive<i16> = *AddPartitionsToTxnRequest::VERSIONS.start()..=3;

pub async fn handle(call: &Call, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics;
    let all = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| TopicPartition::new(topic.name.as_str(), *index))
    });
    let all: Vec<TopicPartition> = all.collect();
    let exists = |of: &TopicPartition| partition(call, &of.topic, of.partition).is_ok();
    let each: Vec<bool> = all.iter().map(exists).collect();
    // All or none: a producer told of one failure takes the whole request for failed.
    let code = if each.contains(&false) {
        ErrorCode::OPERATION_NOT_ATTEMPTED
    } else {
        let producer = ProducerIdentity {
            producer_id: ProducerId(request.v3_and_below_producer_id),
            epoch: ProducerEpoch(request.v3_and_below_producer_epoch),
        };
        let id = &request.v3_and_below_transactional_id;
        let added = call.broker().transactions().add_partitions(id, producer, all).await;
        added
            .err()
            .map_or(ErrorCode::NONE, |error| codes::of_transaction(&error, call.version >= 2))
    };
    let mut each = each.into_iter();
    let results = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut each);
        let result = |(index, exists): (&i32, bool)| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: match exists {
                true => code,
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            },
        };
        let results_by_partition = partitions.map(result).collect();
        AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition }
    });
    AddPartitionsToTxnResponse {
        results_by_topic_v3_and_below: results.collect(),
        ..AddPartitionsToTxnResponse::default()
    }
}
