//! Heartbeat: a member lives, and learns of rebalances.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 static members (KIP-345).
    HeartbeatRequest: 0..=4, flexible 4.. {
        group_id: String;
        generation_id: i32;
        member_id: String;
        group_instance_id: Option<String>, in 3..;
    }

    HeartbeatResponse: 0..=4, flexible 4.. {
        throttle_time_ms: i32, in 1.., ignorable;
        error_code: ErrorCode;
    }
}
