//! ElectLeaders (KIP-460).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    ElectLeadersRequest: 0..=2, flexible 2.. {
        /// 0 the preferred replica, 1 any, even one that is behind.
        election_type: i8, in 1..;
        /// Null for all.
        topic_partitions: Option<Vec<TopicPartitions>> = Some(Vec::new());
        timeout_ms: i32 = 60000;
    }

    TopicPartitions {
        topic: String;
        partitions: Vec<i32>;
    }

    ElectLeadersResponse: 0..=2, flexible 2.. {
        throttle_time_ms: i32;
        error_code: ErrorCode, in 1..;
        replica_election_results: Vec<ReplicaElectionResult>;
    }

    ReplicaElectionResult {
        topic: String;
        partition_result: Vec<PartitionResult>;
    }

    PartitionResult {
        partition_id: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
    }
}
