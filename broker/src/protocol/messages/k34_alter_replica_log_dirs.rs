//! AlterReplicaLogDirs: moving replicas between directories of one broker (KIP-113).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterReplicaLogDirsRequest: 1..=2, flexible 2.. {
        dirs: Vec<AlterReplicaLogDir>;
    }

    AlterReplicaLogDir {
        path: String;
        topics: Vec<AlterReplicaLogDirTopic>;
    }

    AlterReplicaLogDirTopic {
        name: String;
        partitions: Vec<i32>;
    }

    AlterReplicaLogDirsResponse: 1..=2, flexible 2.. {
        throttle_time_ms: i32;
        results: Vec<AlterReplicaLogDirTopicResult>;
    }

    AlterReplicaLogDirTopicResult {
        topic_name: String;
        partitions: Vec<AlterReplicaLogDirPartitionResult>;
    }

    AlterReplicaLogDirPartitionResult {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
