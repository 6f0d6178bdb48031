//! ListOffsets: the offset at a timestamp, at the start or at the end of a partition.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v2 isolation level, v4 leader epochs, v7 the largest timestamp (KIP-734), v8 and v9 tiered
    /// storage (KIP-405, KIP-1005), v10 a timeout (KIP-1075).
    ListOffsetsRequest: 1..=10, flexible 6.. {
        replica_id: i32;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: i8, in 2..;
        topics: Vec<ListOffsetsTopic>;
        timeout_ms: i32, in 10.., ignorable;
    }

    ListOffsetsTopic {
        name: String;
        partitions: Vec<ListOffsetsPartition>;
    }

    ListOffsetsPartition {
        partition_index: i32;
        current_leader_epoch: i32 = -1, in 4.., ignorable;
        /// -1 the end, -2 the start, -3 the largest timestamp, -4 the earliest local offset, -5 the
        /// latest tiered one.
        timestamp: i64;
    }

    /// One offset and timestamp for each partition; -1 where there is none.
    ListOffsetsResponse: 1..=10, flexible 6.. {
        throttle_time_ms: i32, in 2.., ignorable;
        topics: Vec<ListOffsetsTopicResponse>;
    }

    ListOffsetsTopicResponse {
        name: String;
        partitions: Vec<ListOffsetsPartitionResponse>;
    }

    ListOffsetsPartitionResponse {
        partition_index: i32;
        error_code: ErrorCode;
        timestamp: i64 = -1;
        offset: i64 = -1;
        leader_epoch: i32 = -1, in 4..;
    }
}
