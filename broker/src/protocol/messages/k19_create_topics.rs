//! CreateTopics.

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v4 leaves partitions and replication to the broker by -1 (KIP-464).
    CreateTopicsRequest: 2..=7, flexible 5.. {
        topics: Vec<CreatableTopic>;
        timeout_ms: i32 = 60000;
        validate_only: bool;
    }

    CreatableTopic {
        name: String;
        /// -1 for the broker's setting, or where assignments are given.
        num_partitions: i32;
        /// -1 for the broker's setting, or where assignments are given.
        replication_factor: i16;
        assignments: Vec<CreatableReplicaAssignment>;
        configs: Vec<CreatableTopicConfig>;
    }

    CreatableReplicaAssignment {
        partition_index: i32;
        broker_ids: Vec<i32>;
    }

    CreatableTopicConfig {
        name: String;
        value: Option<String> = Some(String::new());
    }

    /// v5 the configuration that resulted (KIP-525), v7 topic ids (KIP-516).
    CreateTopicsResponse: 2..=7, flexible 5.. {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult>;
    }

    CreatableTopicResult {
        name: String;
        topic_id: Uuid, in 7.., ignorable;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        topic_config_error_code: i16, in 5.., tag 0, ignorable;
        num_partitions: i32 = -1, in 5.., ignorable;
        replication_factor: i16 = -1, in 5.., ignorable;
        configs: Option<Vec<CreatableTopicConfigs>> = Some(Vec::new()), in 5.., ignorable;
    }

    CreatableTopicConfigs {
        name: String;
        value: Option<String> = Some(String::new());
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
    }
}
