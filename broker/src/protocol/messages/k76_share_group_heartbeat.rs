//! ShareGroupHeartbeat: a member of a share group (KIP-932) joins, says what it reads, is told
//! which partitions it shares with the others, and leaves.

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// The member makes its id itself. What is null has not changed since the last heartbeat.
    ShareGroupHeartbeatRequest: 1..=1, flexible 0.. {
        group_id: String;
        member_id: String;
        /// 0 to join, -1 to leave.
        member_epoch: i32;
        rack_id: Option<String>;
        subscribed_topic_names: Option<Vec<String>>;
    }

    ShareGroupHeartbeatResponse: 1..=1, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        member_id: Option<String>;
        member_epoch: i32;
        heartbeat_interval_ms: i32;
        /// Null if it has not changed.
        assignment: Option<Assignment>;
    }

    Assignment {
        topic_partitions: Vec<TopicPartitions>;
    }

    TopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }
}
