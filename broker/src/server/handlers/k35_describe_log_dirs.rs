//! DescribeLogDirs: there is one, the data directory.

use std::path::Path;

use super::{Call, blocking};
use crate::data_dir::{self, Volume};
use crate::log::Partition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k35_describe_log_dirs::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    if !call.may_on_cluster(Operation::Describe) {
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        // Before v3 there was no error for all, and an empty list said it.
        return DescribeLogDirsResponse { error_code, ..DescribeLogDirsResponse::default() };
    }
    let broker = call.broker();
    let mut topics = Vec::new();
    match request.topics {
        None => topics.extend(broker.topics().into_iter().map(|topic| DescribeLogDirsTopic {
            name: topic.name.to_string(),
            partitions: topic.partitions().iter().map(|partition| describe(partition)).collect(),
        })),
        Some(wanted) => {
            for DescribableLogDirTopic { topic: name, partitions } in wanted {
                let Some(topic) = broker.topic(&name) else { continue };
                let known = partitions.iter().filter_map(|index| topic.partition(*index));
                let partitions = known.map(|partition| describe(partition)).collect();
                topics.push(DescribeLogDirsTopic { name, partitions });
            }
        }
    }
    let dir = &broker.config().data_dir;
    // Kafka's paths are absolute.
    let log_dir = std::path::absolute(dir).unwrap_or_else(|_| dir.clone()).display().to_string();
    let (total_bytes, usable_bytes) = {
        let dir = dir.clone();
        // A volume that is far away may take its time.
        blocking(move || volume(&dir)).await
    };
    let error_code = ErrorCode::NONE;
    let result = DescribeLogDirsResult { error_code, log_dir, topics, total_bytes, usable_bytes };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

/// How large the volume with the data directory is, and how much of it can still be written
/// (KIP-827); −1 where the system does not tell.
fn volume(dir: &Path) -> (i64, i64) {
    match data_dir::volume(dir) {
        Ok(Volume { total_bytes, usable_bytes }) => {
            let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            (bytes(total_bytes), bytes(usable_bytes))
        }
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "cannot tell the volume's size");
            (-1, -1)
        }
    }
}

fn describe(partition: &Partition) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition {
        partition_index: partition.id().partition,
        partition_size: i64::try_from(partition.size()).unwrap_or(i64::MAX),
        offset_lag: 0,
        is_future_key: false,
    }
}
