//! AlterPartitionReassignments (KIP-455).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterPartitionReassignmentsRequest: 0..=1, flexible 0.. {
        timeout_ms: i32 = 60000;
        allow_replication_factor_change: bool = true, in 1..;
        topics: Vec<ReassignableTopic>;
    }

    ReassignableTopic {
        name: String;
        partitions: Vec<ReassignablePartition>;
    }

    ReassignablePartition {
        partition_index: i32;
        /// Null to cancel what is under way.
        replicas: Option<Vec<i32>>;
    }

    AlterPartitionReassignmentsResponse: 0..=1, flexible 0.. {
        throttle_time_ms: i32;
        allow_replication_factor_change: bool = true, in 1.., ignorable;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        responses: Vec<ReassignableTopicResponse>;
    }

    ReassignableTopicResponse {
        name: String;
        partitions: Vec<ReassignablePartitionResponse>;
    }

    ReassignablePartitionResponse {
        partition_index: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
    }
}
