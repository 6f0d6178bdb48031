//! DeleteShareGroupOffsets: a share group without members forgets topics (KIP-932).

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DeleteShareGroupOffsetsRequest: 0..=0, flexible 0.. {
        group_id: String;
        topics: Vec<DeleteShareGroupOffsetsRequestTopic>;
    }

    DeleteShareGroupOffsetsRequestTopic {
        topic_name: String;
    }

    DeleteShareGroupOffsetsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        responses: Vec<DeleteShareGroupOffsetsResponseTopic>;
    }

    DeleteShareGroupOffsetsResponseTopic {
        topic_name: String;
        topic_id: Uuid;
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
