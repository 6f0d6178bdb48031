//! OffsetFetch: the offsets that groups have committed.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v2 all topics of the group by null, v7 waits for pending transactions (KIP-447), v8 several
    /// groups at once (KIP-709), v9 member epochs (KIP-848).
    OffsetFetchRequest: 1..=9, flexible 6.. {
        group_id: String, in 1..=7;
        /// Null for all topics that the group has offsets of.
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()),
            in 1..=7, nullable in 2..=7;
        groups: Vec<OffsetFetchRequestGroup>, in 8..;
        require_stable: bool, in 7..;
    }

    OffsetFetchRequestTopic {
        name: String;
        partition_indexes: Vec<i32>;
    }

    OffsetFetchRequestGroup {
        group_id: String;
        member_id: Option<String>, in 9.., ignorable;
        member_epoch: i32 = -1, in 9.., ignorable;
        topics: Option<Vec<OffsetFetchRequestTopics>> = Some(Vec::new());
    }

    OffsetFetchRequestTopics {
        name: String;
        partition_indexes: Vec<i32>;
    }

    /// Topics of the one group up to v7, groups from v8.
    OffsetFetchResponse: 1..=9, flexible 6.. {
        throttle_time_ms: i32, in 3.., ignorable;
        topics: Vec<OffsetFetchResponseTopic>, in 1..=7;
        error_code: ErrorCode, in 2..=7, ignorable;
        groups: Vec<OffsetFetchResponseGroup>, in 8..;
    }

    OffsetFetchResponseTopic {
        name: String;
        partitions: Vec<OffsetFetchResponsePartition>;
    }

    OffsetFetchResponsePartition {
        partition_index: i32;
        /// -1 where none is committed.
        committed_offset: i64;
        committed_leader_epoch: i32 = -1, in 5..=7, ignorable;
        metadata: Option<String> = Some(String::new());
        error_code: ErrorCode;
    }

    OffsetFetchResponseGroup {
        group_id: String;
        topics: Vec<OffsetFetchResponseTopics>;
        error_code: ErrorCode;
    }

    OffsetFetchResponseTopics {
        name: String;
        partitions: Vec<OffsetFetchResponsePartitions>;
    }

    OffsetFetchResponsePartitions {
        partition_index: i32;
        /// -1 where none is committed.
        committed_offset: i64;
        committed_leader_epoch: i32 = -1;
        metadata: Option<String> = Some(String::new());
        error_code: ErrorCode;
    }
}
