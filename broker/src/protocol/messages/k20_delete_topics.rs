//! DeleteTopics.

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v6 by name or by id (KIP-516).
    DeleteTopicsRequest: 1..=6, flexible 4.. {
        topics: Vec<DeleteTopicState>, in 6..;
        topic_names: Vec<String>, in 1..=5, ignorable;
        timeout_ms: i32;
    }

    DeleteTopicState {
        name: Option<String>;
        topic_id: Uuid;
    }

    /// v5 a message for each error (KIP-599).
    DeleteTopicsResponse: 1..=6, flexible 4.. {
        throttle_time_ms: i32;
        responses: Vec<DeletableTopicResult>;
    }

    DeletableTopicResult {
        name: Option<String> = Some(String::new()), nullable in 6..;
        topic_id: Uuid, in 6.., ignorable;
        error_code: ErrorCode;
        error_message: Option<String>, in 5.., ignorable;
    }
}
