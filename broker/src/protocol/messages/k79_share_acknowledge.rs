//! ShareAcknowledge: a member of a share group says what became of records (KIP-932).

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    ShareAcknowledgeRequest: 1..=1, flexible 0.. {
        group_id: Option<String>;
        member_id: Option<String>;
        /// -1 to close the session.
        share_session_epoch: i32;
        topics: Vec<AcknowledgeTopic>;
    }

    AcknowledgeTopic {
        topic_id: Uuid;
        partitions: Vec<AcknowledgePartition>;
    }

    AcknowledgePartition {
        partition_index: i32;
        acknowledgement_batches: Vec<AcknowledgementBatch>;
    }

    AcknowledgementBatch {
        first_offset: i64;
        last_offset: i64;
        /// 0 gap, 1 accept, 2 release, 3 reject: one for all, or one for each.
        acknowledge_types: Vec<i8>;
    }

    ShareAcknowledgeResponse: 1..=1, flexible 0.. {
        throttle_time_ms: i32, ignorable;
        error_code: ErrorCode, ignorable;
        error_message: Option<String>;
        responses: Vec<ShareAcknowledgeTopicResponse>;
        node_endpoints: Vec<NodeEndpoint>;
    }

    ShareAcknowledgeTopicResponse {
        topic_id: Uuid, ignorable;
        partitions: Vec<PartitionData>;
    }

    PartitionData {
        partition_index: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        current_leader: LeaderIdAndEpoch;
    }

    LeaderIdAndEpoch {
        leader_id: i32;
        leader_epoch: i32;
    }

    NodeEndpoint {
        node_id: i32;
        host: String;
        port: i32;
        rack: Option<String>;
    }
}
