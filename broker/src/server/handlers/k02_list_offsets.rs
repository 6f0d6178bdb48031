//! ListOffsets.

use std::collections::HashMap;
use std::sync::Arc;

use super::{
    Call, blocking, check_leader_epoch, isolation, opened, permitted_partition, read_error_code,
};
use crate::client::Isolation;
use crate::log::{Partition, ReadError, TimestampOffset};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k02_list_offsets::*;
use crate::security::acl::Operation;

/// Timestamps that stand for something else.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub async fn handle(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let mut response = ListOffsetsResponse::default();
    let mut times: HashMap<(String, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for wanted in &topic.partitions {
            *times.entry((topic.name.clone(), wanted.partition_index)).or_default() += 1;
        }
    }
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let partition_index = wanted.partition_index;
            let found = match times.remove(&(topic.name.clone(), partition_index)) {
                Some(1) => list(call, &topic.name, &wanted, isolation).await,
                Some(_) => Err(ErrorCode::INVALID_REQUEST),
                // All of the same name have had their one answer.
                None => continue,
            };
            partitions.push(match found {
                Ok(found) => ListOffsetsPartitionResponse {
                    partition_index,
                    leader_epoch: if call.version >= 4 { found.leader_epoch } else { -1 },
                    ..found
                },
                Err(error_code) => ListOffsetsPartitionResponse {
                    partition_index,
                    error_code,
                    ..Default::default()
                },
            });
        }
        response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    response
}

async fn list(
    call: &Call,
    topic: &str,
    wanted: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let index = wanted.partition_index;
    let partition = opened(permitted_partition(call, Operation::Describe, topic, index)?)?;
    check_leader_epoch(&partition, wanted.current_leader_epoch)?;
    let visible = partition.visible();
    let end = match isolation {
        Isolation::ReadUncommitted => visible.high_watermark,
        Isolation::ReadCommitted => visible.last_stable,
    };
    match wanted.timestamp {
        LATEST => Ok(at_offset(end.0, partition.leader_epoch().0)),
        // Everything is local.
        EARLIEST | EARLIEST_LOCAL if wanted.timestamp == EARLIEST || call.version >= 8 => {
            let start = visible.log_start;
            let epoch = partition.epoch_at(start).map_or(-1, |epoch| epoch.0);
            Ok(at_offset(start.0, epoch))
        }
        LATEST_TIERED if call.version >= 9 => Ok(at_offset(-1, -1)),
        MAX_TIMESTAMP if call.version >= 7 => {
            // Where a reader cannot see it yet, Kafka answers with none, not with the next largest.
            let find = move |partition: &Partition| {
                Ok(partition.max_timestamp()?.filter(|found| found.offset < end))
            };
            by_time(call, partition, find).await
        }
        ..0 => Err(ErrorCode::UNSUPPORTED_VERSION),
        time_ms => {
            let find =
                move |partition: &Partition| partition.offset_at_timestamp(time_ms, isolation);
            by_time(call, partition, find).await
        }
    }
}

fn at_offset(offset: i64, leader_epoch: i32) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { offset, leader_epoch, ..Default::default() }
}

/// A search by time reads indexes and batches of any age, and decompresses.
async fn by_time(
    call: &Call,
    partition: Arc<Partition>,
    find: impl FnOnce(&Partition) -> Result<Option<TimestampOffset>, ReadError> + Send + 'static,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    let found = {
        let partition = partition.clone();
        blocking(move || find(&partition)).await
    };
    match found {
        Ok(Some(found)) => Ok(ListOffsetsPartitionResponse {
            timestamp: found.timestamp_ms,
            ..at_offset(found.offset.0, found.leader_epoch.0)
        }),
        Ok(None) => Ok(at_offset(-1, -1)),
        Err(error) => Err(read_error_code(call, &partition, &error)),
    }
}
