//! The cluster itself: its nodes, what they serve, and what their disks hold.

use std::fmt;

use super::routing::To;
use super::{Admin, AdminError, check};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k18_api_versions::{ApiVersion, FinalizedFeatureKey};
use crate::protocol::messages::k35_describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use crate::protocol::messages::k60_describe_cluster::DescribeClusterRequest;
use crate::server::HostPort;

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

impl Node {
    pub(super) fn address(&self) -> HostPort {
        // A port that is none is refused when it is connected to.
        HostPort { host: self.host.clone(), port: u16::try_from(self.port).unwrap_or(0) }
    }
}

/// `host:port`
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    pub id: String,
    pub controller: i32,
    pub nodes: Vec<Node>,
}

/// What one broker serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedVersions {
    /// By key, in order.
    pub apis: Vec<ApiVersion>,
    /// In force in the whole cluster, such as `transaction.version`.
    pub features: Vec<FinalizedFeatureKey>,
}

/// A directory in which a broker keeps partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    pub path: String,
    pub error: ErrorCode,
    /// Of the volume, if the broker tells.
    pub total_bytes: Option<i64>,
    pub usable_bytes: Option<i64>,
    pub partitions: Vec<StoredPartition>,
}

/// What a partition takes on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPartition {
    pub partition: TopicPartition,
    pub size_bytes: i64,
    pub offset_lag: i64,
    pub is_future: bool,
}

impl Admin {
    pub async fn cluster(&self) -> Result<ClusterDescription, AdminError> {
        if !self.serves::<DescribeClusterRequest>().await? {
            return self.cluster_by_metadata().await;
        }
        let answer = self.ask(To::Any, 0, DescribeClusterRequest::default()).await?;
        check(answer.error_code, answer.error_message, "cluster")?;
        let node =
            |broker: crate::protocol::messages::k60_describe_cluster::DescribeClusterBroker| {
                let (host, rack) = (broker.host, broker.rack);
                Node { id: broker.broker_id, host, port: broker.port, rack }
            };
        let mut nodes: Vec<Node> = answer.brokers.into_iter().map(node).collect();
        nodes.sort_by_key(|node| node.id);
        Ok(ClusterDescription { id: answer.cluster_id, controller: answer.controller_id, nodes })
    }

    async fn cluster_by_metadata(&self) -> Result<ClusterDescription, AdminError> {
        let metadata = self.metadata(Some(&[])).await?;
        let node = |broker: crate::protocol::messages::k03_metadata::MetadataResponseBroker| Node {
            id: broker.node_id,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
        };
        let mut nodes: Vec<Node> = metadata.brokers.into_iter().map(node).collect();
        nodes.sort_by_key(|node| node.id);
        let id = metadata.cluster_id.unwrap_or_default();
        Ok(ClusterDescription { id, controller: metadata.controller_id, nodes })
    }

    /// What the node serves; without one, what any does.
    pub async fn served(&self, node: Option<i32>) -> Result<ServedVersions, AdminError> {
        let versions = self.versions(node).await?;
        let mut apis = versions.api_keys;
        apis.sort_by_key(|api| api.api_key);
        let mut features = versions.finalized_features;
        features.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(ServedVersions { apis, features })
    }

    /// The log directories of a node with what these topics, or all, take in them.
    pub async fn log_dirs(
        &self,
        node: i32,
        topics: Option<&[TopicPartition]>,
    ) -> Result<Vec<LogDir>, AdminError> {
        let named = |partition: &TopicPartition| DescribableLogDirTopic {
            topic: partition.topic.to_string(),
            partitions: vec![partition.partition],
        };
        let topics = topics.map(|partitions| partitions.iter().map(named).collect());
        let answer = self.ask(To::Node(node), 1, DescribeLogDirsRequest { topics }).await?;
        check(answer.error_code, None, &format!("log directories of broker {node}"))?;
        let mut dirs = Vec::new();
        for found in answer.results {
            let mut partitions = Vec::new();
            for topic in found.topics {
                for partition in topic.partitions {
                    let of = partition.partition_index;
                    partitions.push(StoredPartition {
                        partition: TopicPartition::new(topic.name.as_str(), of),
                        size_bytes: partition.partition_size,
                        offset_lag: partition.offset_lag,
                        is_future: partition.is_future_key,
                    });
                }
            }
            partitions.sort_by(|one, other| one.partition.cmp(&other.partition));
            dirs.push(LogDir {
                path: found.log_dir,
                error: found.error_code,
                total_bytes: Some(found.total_bytes).filter(|bytes| *bytes >= 0),
                usable_bytes: Some(found.usable_bytes).filter(|bytes| *bytes >= 0),
                partitions,
            });
        }
        Ok(dirs)
    }
}
