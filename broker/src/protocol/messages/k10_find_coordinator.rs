//! FindCoordinator: the broker that coordinates a group or a transactional id.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 transactional ids, v4 several keys at once (KIP-699), v5 TRANSACTION_ABORTABLE (KIP-890),
    /// v6 share groups (KIP-932).
    FindCoordinatorRequest: 0..=6, flexible 3.. {
        key: String, in 0..=3;
        /// 0 group, 1 transactional id, 2 share group.
        key_type: i8, in 1..;
        coordinator_keys: Vec<String>, in 4..;
    }

    /// One coordinator up to v3, several from v4.
    FindCoordinatorResponse: 0..=6, flexible 3.. {
        throttle_time_ms: i32, in 1.., ignorable;
        error_code: ErrorCode, in 0..=3;
        error_message: Option<String> = Some(String::new()), in 1..=3, ignorable;
        node_id: i32, in 0..=3;
        host: String, in 0..=3;
        port: i32, in 0..=3;
        coordinators: Vec<Coordinator>, in 4..;
    }

    Coordinator {
        key: String;
        node_id: i32;
        host: String;
        port: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
    }
}
