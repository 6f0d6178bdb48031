//! OffsetForLeaderEpoch: where the records of a leader epoch end, to detect truncation (KIP-320).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 names the replica; -2 is a debugging consumer.
    OffsetForLeaderEpochRequest: 2..=4, flexible 4.. {
        replica_id: i32 = -2, in 3.., ignorable;
        topics: Vec<OffsetForLeaderTopic>;
    }

    OffsetForLeaderTopic {
        topic: String;
        partitions: Vec<OffsetForLeaderPartition>;
    }

    OffsetForLeaderPartition {
        partition: i32;
        current_leader_epoch: i32 = -1;
        leader_epoch: i32;
    }

    OffsetForLeaderEpochResponse: 2..=4, flexible 4.. {
        throttle_time_ms: i32;
        topics: Vec<OffsetForLeaderTopicResult>;
    }

    OffsetForLeaderTopicResult {
        topic: String;
        partitions: Vec<EpochEndOffset>;
    }

    EpochEndOffset {
        error_code: ErrorCode;
        partition: i32;
        leader_epoch: i32 = -1;
        end_offset: i64 = -1;
    }
}
