//! TxnOffsetCommit: offsets that become valid when the transaction commits.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 fences members (KIP-447), v5 adds the group to the transaction by itself (KIP-890).
    TxnOffsetCommitRequest: 0..=5, flexible 3.. {
        transactional_id: String;
        group_id: String;
        producer_id: i64;
        producer_epoch: i16;
        generation_id: i32 = -1, in 3..;
        member_id: String, in 3..;
        group_instance_id: Option<String>, in 3..;
        topics: Vec<TxnOffsetCommitRequestTopic>;
    }

    TxnOffsetCommitRequestTopic {
        name: String;
        partitions: Vec<TxnOffsetCommitRequestPartition>;
    }

    TxnOffsetCommitRequestPartition {
        partition_index: i32;
        committed_offset: i64;
        committed_leader_epoch: i32 = -1, in 2.., ignorable;
        committed_metadata: Option<String> = Some(String::new());
    }

    TxnOffsetCommitResponse: 0..=5, flexible 3.. {
        throttle_time_ms: i32;
        topics: Vec<TxnOffsetCommitResponseTopic>;
    }

    TxnOffsetCommitResponseTopic {
        name: String;
        partitions: Vec<TxnOffsetCommitResponsePartition>;
    }

    TxnOffsetCommitResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
