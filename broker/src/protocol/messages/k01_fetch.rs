//! Fetch: reads record batches of many partitions at once.

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v7 sessions (KIP-227), v9 leader epochs (KIP-320), v12 truncation by epoch (KIP-595), v13
    /// topics by id (KIP-516), v15 the replica in a tagged field (KIP-903).
    FetchRequest: 4..=18, flexible 12.. {
        cluster_id: Option<String>, in 12.., tag 0, ignorable;
        /// -1 for a consumer.
        replica_id: i32 = -1, in 4..=14;
        replica_state: ReplicaState, in 15.., tag 1;
        max_wait_ms: i32;
        min_bytes: i32;
        max_bytes: i32 = i32::MAX;
        /// 0 read_uncommitted, 1 read_committed.
        isolation_level: i8;
        session_id: i32, in 7.., ignorable;
        /// -1 no session, 0 a new one.
        session_epoch: i32 = -1, in 7.., ignorable;
        topics: Vec<FetchTopic>;
        forgotten_topics_data: Vec<ForgottenTopic>, in 7..;
        rack_id: String, in 11.., ignorable;
    }

    ReplicaState {
        replica_id: i32 = -1;
        replica_epoch: i64 = -1;
    }

    FetchTopic {
        topic: String, in 4..=12, ignorable;
        topic_id: Uuid, in 13.., ignorable;
        partitions: Vec<FetchPartition>;
    }

    FetchPartition {
        partition: i32;
        current_leader_epoch: i32 = -1, in 9.., ignorable;
        fetch_offset: i64;
        last_fetched_epoch: i32 = -1, in 12..;
        log_start_offset: i64 = -1, in 5.., ignorable;
        partition_max_bytes: i32;
        replica_directory_id: Uuid, in 17.., tag 0, ignorable;
        high_watermark: i64 = i64::MAX, in 18.., tag 1, ignorable;
    }

    ForgottenTopic {
        topic: String, in 7..=12, ignorable;
        topic_id: Uuid, in 13.., ignorable;
        partitions: Vec<i32>;
    }

    /// v7 sessions, v11 the nearest replica (KIP-392), v16 the endpoints of new leaders (KIP-951).
    FetchResponse: 4..=18, flexible 12.. {
        throttle_time_ms: i32;
        error_code: ErrorCode, in 7.., ignorable;
        session_id: i32, in 7..;
        responses: Vec<FetchableTopicResponse>;
        node_endpoints: Vec<NodeEndpoint>, in 16.., tag 0;
    }

    FetchableTopicResponse {
        topic: String, in 4..=12, ignorable;
        topic_id: Uuid, in 13.., ignorable;
        partitions: Vec<PartitionData>;
    }

    PartitionData {
        partition_index: i32;
        error_code: ErrorCode;
        high_watermark: i64;
        last_stable_offset: i64 = -1;
        log_start_offset: i64 = -1, in 5.., ignorable;
        diverging_epoch: EpochEndOffset, in 12.., tag 0;
        current_leader: LeaderIdAndEpoch, in 12.., tag 1;
        snapshot_id: SnapshotId, in 12.., tag 2;
        /// Null for read_uncommitted.
        aborted_transactions: Option<Vec<AbortedTransaction>> = Some(Vec::new());
        /// -1 for none.
        preferred_read_replica: i32 = -1, in 11..;
        /// Whole record batches; empty, never null.
        records: Option<Bytes> = Some(Bytes::new());
    }

    EpochEndOffset {
        epoch: i32 = -1;
        end_offset: i64 = -1;
    }

    LeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }

    SnapshotId {
        end_offset: i64 = -1;
        epoch: i32 = -1;
    }

    AbortedTransaction {
        producer_id: i64;
        first_offset: i64;
    }

    NodeEndpoint {
        node_id: i32;
        host: String;
        port: i32;
        rack: Option<String>;
    }
}
