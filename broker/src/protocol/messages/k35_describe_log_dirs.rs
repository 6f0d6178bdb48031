//! DescribeLogDirs: how much each partition takes on disk.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeLogDirsRequest: 1..=4, flexible 2.. {
        topics: Option<Vec<DescribableLogDirTopic>> = Some(Vec::new());
    }

    DescribableLogDirTopic {
        topic: String;
        partitions: Vec<i32>;
    }

    /// v3 an error for the whole response, v4 sizes of the volume (KIP-827).
    DescribeLogDirsResponse: 1..=4, flexible 2.. {
        throttle_time_ms: i32;
        error_code: ErrorCode, in 3.., ignorable;
        results: Vec<DescribeLogDirsResult>;
    }

    DescribeLogDirsResult {
        error_code: ErrorCode;
        log_dir: String;
        topics: Vec<DescribeLogDirsTopic>;
        total_bytes: i64 = -1, in 4.., ignorable;
        usable_bytes: i64 = -1, in 4.., ignorable;
    }

    DescribeLogDirsTopic {
        name: String;
        partitions: Vec<DescribeLogDirsPartition>;
    }

    DescribeLogDirsPartition {
        partition_index: i32;
        partition_size: i64;
        offset_lag: i64;
        is_future_key: bool;
    }
}
