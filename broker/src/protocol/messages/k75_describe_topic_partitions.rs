//! DescribeTopicPartitions: Metadata in pages, for clusters with very many partitions (KIP-966).

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeTopicPartitionsRequest: 0..=0, flexible 0.. {
        topics: Vec<TopicRequest>;
        response_partition_limit: i32 = 2000;
        cursor: Option<Cursor>;
    }

    TopicRequest {
        name: String;
    }

    /// Where the next page begins. Request and response share it.
    Cursor {
        topic_name: String;
        partition_index: i32;
    }

    DescribeTopicPartitionsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic>;
        next_cursor: Option<Cursor>;
    }

    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode;
        name: Option<String> = Some(String::new());
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        topic_authorized_operations: i32 = i32::MIN;
    }

    DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 = -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        eligible_leader_replicas: Option<Vec<i32>>;
        last_known_elr: Option<Vec<i32>>;
        offline_replicas: Vec<i32>;
    }
}
