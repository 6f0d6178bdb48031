//! OffsetCommit: stores the offsets up to which a group has read.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v5 without retention time, v6 leader epochs, v7 static members (KIP-345), v9 member epochs
    /// (KIP-848).
    OffsetCommitRequest: 2..=9, flexible 8.. {
        group_id: String;
        generation_id_or_member_epoch: i32 = -1;
        member_id: String;
        group_instance_id: Option<String>, in 7..;
        /// -1 for the broker's setting.
        retention_time_ms: i64 = -1, in 2..=4, ignorable;
        topics: Vec<OffsetCommitRequestTopic>;
    }

    OffsetCommitRequestTopic {
        name: String;
        partitions: Vec<OffsetCommitRequestPartition>;
    }

    OffsetCommitRequestPartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 = -1, in 6.., ignorable;
        committed_metadata: Option<String> = Some(String::new());
    }

    /// One error for each partition.
    OffsetCommitResponse: 2..=9, flexible 8.. {
        throttle_time_ms: i32, in 3.., ignorable;
        topics: Vec<OffsetCommitResponseTopic>;
    }

    OffsetCommitResponseTopic {
        name: String;
        partitions: Vec<OffsetCommitResponsePartition>;
    }

    OffsetCommitResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
