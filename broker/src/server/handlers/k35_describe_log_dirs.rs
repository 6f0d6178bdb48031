//! DescribeLogDirs: there is one, the data directory.

use super::Call;
use crate::log::Partition;
use crate::protocol::messages::k35_describe_log_dirs::*;

pub async fn handle(call: &Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
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
    let result = DescribeLogDirsResult { log_dir, topics, ..DescribeLogDirsResult::default() };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }
}

fn describe(partition: &Partition) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition {
        partition_index: partition.id().partition,
        partition_size: i64::try_from(partition.size()).unwrap_or(i64::MAX),
        offset_lag: 0,
        is_future_key: false,
    }
}
