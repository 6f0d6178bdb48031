//! AlterShareGroupOffsets: where a share group without members begins anew (KIP-932).

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterShareGroupOffsetsRequest: 0..=0, flexible 0.. {
        group_id: String;
        topics: Vec<AlterShareGroupOffsetsRequestTopic>;
    }

    AlterShareGroupOffsetsRequestTopic {
        topic_name: String;
        partitions: Vec<AlterShareGroupOffsetsRequestPartition>;
    }

    AlterShareGroupOffsetsRequestPartition {
        partition_index: i32;
        start_offset: i64;
    }

    AlterShareGroupOffsetsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        responses: Vec<AlterShareGroupOffsetsResponseTopic>;
    }

    AlterShareGroupOffsetsResponseTopic {
        topic_name: String;
        topic_id: Uuid;
        partitions: Vec<AlterShareGroupOffsetsResponsePartition>;
    }

    AlterShareGroupOffsetsResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
