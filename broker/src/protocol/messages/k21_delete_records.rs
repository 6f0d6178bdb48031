//! DeleteRecords: moves the log start offset forward.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DeleteRecordsRequest: 0..=2, flexible 2.. {
        topics: Vec<DeleteRecordsTopic>;
        timeout_ms: i32;
    }

    DeleteRecordsTopic {
        name: String;
        partitions: Vec<DeleteRecordsPartition>;
    }

    DeleteRecordsPartition {
        partition_index: i32;
        /// -1 for the high watermark.
        offset: i64;
    }

    DeleteRecordsResponse: 0..=2, flexible 2.. {
        throttle_time_ms: i32;
        topics: Vec<DeleteRecordsTopicResult>;
    }

    DeleteRecordsTopicResult {
        name: String;
        partitions: Vec<DeleteRecordsPartitionResult>;
    }

    DeleteRecordsPartitionResult {
        partition_index: i32;
        low_watermark: i64;
        error_code: ErrorCode;
    }
}
