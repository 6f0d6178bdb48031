//! Metadata: the brokers, and the partitions of topics with their leaders.

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 tells all topics (null) from none (empty), v4 auto-creation, v8 authorized operations
    /// (KIP-430), v10 and v12 topics by id (KIP-516).
    MetadataRequest: 0..=13, flexible 9.. {
        /// Null (in v0 empty) for all.
        topics: Option<Vec<MetadataRequestTopic>> = Some(Vec::new()), nullable in 1..;
        allow_auto_topic_creation: bool = true, in 4..;
        include_cluster_authorized_operations: bool, in 8..=10;
        include_topic_authorized_operations: bool, in 8..;
    }

    MetadataRequestTopic {
        topic_id: Uuid, in 10.., ignorable;
        name: Option<String> = Some(String::new()), nullable in 10..;
    }

    /// v5 offline replicas, v7 leader epochs, v13 an error for the whole response (KIP-1102).
    MetadataResponse: 0..=13, flexible 9.. {
        throttle_time_ms: i32, in 3.., ignorable;
        brokers: Vec<MetadataResponseBroker>;
        cluster_id: Option<String>, in 2.., ignorable;
        controller_id: i32 = -1, in 1.., ignorable;
        topics: Vec<MetadataResponseTopic>;
        /// A bit set; `i32::MIN` when it was not asked for.
        cluster_authorized_operations: i32 = i32::MIN, in 8..=10;
        error_code: ErrorCode, in 13.., ignorable;
    }

    MetadataResponseBroker {
        node_id: i32;
        host: String;
        port: i32;
        rack: Option<String>, in 1.., ignorable;
    }

    MetadataResponseTopic {
        error_code: ErrorCode;
        name: Option<String> = Some(String::new()), nullable in 12..;
        topic_id: Uuid, in 10.., ignorable;
        is_internal: bool, in 1.., ignorable;
        partitions: Vec<MetadataResponsePartition>;
        /// A bit set; `i32::MIN` when it was not asked for.
        topic_authorized_operations: i32 = i32::MIN, in 8..;
    }

    MetadataResponsePartition {
        error_code: ErrorCode;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 = -1, in 7.., ignorable;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        offline_replicas: Vec<i32>, in 5.., ignorable;
    }
}
