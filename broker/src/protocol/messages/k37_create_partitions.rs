//! CreatePartitions: more partitions for a topic.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    CreatePartitionsRequest: 0..=3, flexible 2.. {
        topics: Vec<CreatePartitionsTopic>;
        timeout_ms: i32;
        validate_only: bool;
    }

    CreatePartitionsTopic {
        name: String;
        count: i32;
        assignments: Option<Vec<CreatePartitionsAssignment>> = Some(Vec::new());
    }

    CreatePartitionsAssignment {
        broker_ids: Vec<i32>;
    }

    CreatePartitionsResponse: 0..=3, flexible 2.. {
        throttle_time_ms: i32;
        results: Vec<CreatePartitionsTopicResult>;
    }

    CreatePartitionsTopicResult {
        name: String;
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
