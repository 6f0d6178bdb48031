//! DeleteRecords.

use super::{Call, blocking, partition, read_error_code};
use crate::ids::Offset;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k21_delete_records::*;
use crate::security::acl::Operation;
use crate::topics::is_internal;

/// In the place of an offset.
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(call: &Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for DeleteRecordsPartition { partition_index, offset } in topic.partitions {
            let deleted = delete(call, &topic.name, partition_index, offset).await;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index,
                low_watermark: deleted.map_or(-1, |log_start| log_start.0),
                error_code: deleted.err().unwrap_or(ErrorCode::NONE),
            });
        }
        response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    response
}

async fn delete(call: &Call, topic: &str, index: i32, offset: i64) -> Result<Offset, ErrorCode> {
    if !call.may_on_topic(Operation::Delete, topic) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let partition = partition(call, topic, index)?;
    // What is only compacted keeps the last of each key.
    if !partition.config().cleanup.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    // It syncs a checkpoint and deletes files.
    let deleted = {
        let partition = partition.clone();
        blocking(move || {
            let before = match offset {
                HIGH_WATERMARK => partition.visible().high_watermark,
                offset => Offset(offset),
            };
            partition.delete_records(before)
        })
        .await
    };
    deleted.map_err(|error| read_error_code(call, &partition, &error))
}
