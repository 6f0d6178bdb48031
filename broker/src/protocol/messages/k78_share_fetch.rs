//! ShareFetch: a member of a share group is given records, and says what became of earlier ones
//! (KIP-932).

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    ShareFetchRequest: 1..=1, flexible 0.. {
        group_id: Option<String>;
        member_id: Option<String>;
        /// 0 to open a session, -1 to close it.
        share_session_epoch: i32;
        max_wait_ms: i32;
        min_bytes: i32;
        max_bytes: i32 = i32::MAX;
        max_records: i32;
        /// Records that are new are given out in pieces of about as many.
        batch_size: i32;
        topics: Vec<FetchTopic>;
        forgotten_topics_data: Vec<ForgottenTopic>;
    }

    FetchTopic {
        topic_id: Uuid;
        partitions: Vec<FetchPartition>;
    }

    FetchPartition {
        partition_index: i32;
        acknowledgement_batches: Vec<AcknowledgementBatch>;
    }

    AcknowledgementBatch {
        first_offset: i64;
        last_offset: i64;
        /// 0 gap, 1 accept, 2 release, 3 reject: one for all, or one for each.
        acknowledge_types: Vec<i8>;
    }

    ForgottenTopic {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }

    ShareFetchResponse: 1..=1, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        acquisition_lock_timeout_ms: i32;
        responses: Vec<ShareFetchableTopicResponse>;
        node_endpoints: Vec<NodeEndpoint>;
    }

    ShareFetchableTopicResponse {
        topic_id: Uuid;
        partitions: Vec<PartitionData>;
    }

    PartitionData {
        partition_index: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        acknowledge_error_code: ErrorCode;
        acknowledge_error_message: Option<String>;
        current_leader: LeaderIdAndEpoch;
        /// Whole record batches, which may have more than was acquired.
        records: Option<Bytes>;
        acquired_records: Vec<AcquiredRecords>;
    }

    LeaderIdAndEpoch {
        leader_id: i32;
        leader_epoch: i32;
    }

    AcquiredRecords {
        first_offset: i64;
        last_offset: i64;
        delivery_count: i16;
    }

    NodeEndpoint {
        node_id: i32;
        host: String;
        port: i32;
        rack: Option<String>;
    }
}
