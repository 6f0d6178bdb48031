//! ConsumerGroupHeartbeat: a member of a group of KIP-848's protocol joins, says what it owns, is
//! told what it shall own, and leaves.

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 topics by regular expression; the member makes its id itself (KIP-1082). What is null
    /// has not changed since the last heartbeat.
    ConsumerGroupHeartbeatRequest: 0..=1, flexible 0.. {
        group_id: String;
        member_id: String;
        /// 0 to join, -1 to leave, -2 to leave as a static member that will come back.
        member_epoch: i32;
        instance_id: Option<String>;
        rack_id: Option<String>;
        rebalance_timeout_ms: i32 = -1;
        subscribed_topic_names: Option<Vec<String>>;
        subscribed_topic_regex: Option<String>, in 1..;
        server_assignor: Option<String>;
        /// What the member owns.
        topic_partitions: Option<Vec<TopicPartitions>>;
    }

    ConsumerGroupHeartbeatResponse: 0..=1, flexible 0.. {
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
