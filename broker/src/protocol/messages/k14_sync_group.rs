//! SyncGroup: the leader hands in the assignment, each member gets its part.

use bytes::Bytes;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 static members (KIP-345), v5 protocol type and name to compare (KIP-559).
    SyncGroupRequest: 0..=5, flexible 4.. {
        group_id: String;
        generation_id: i32;
        member_id: String;
        group_instance_id: Option<String>, in 3..;
        protocol_type: Option<String>, in 5.., ignorable;
        protocol_name: Option<String>, in 5.., ignorable;
        assignments: Vec<SyncGroupRequestAssignment>;
    }

    SyncGroupRequestAssignment {
        member_id: String;
        /// For consumers a `ConsumerProtocolAssignment`.
        assignment: Bytes;
    }

    SyncGroupResponse: 0..=5, flexible 4.. {
        throttle_time_ms: i32, in 1.., ignorable;
        error_code: ErrorCode;
        protocol_type: Option<String>, in 5.., ignorable;
        protocol_name: Option<String>, in 5.., ignorable;
        assignment: Bytes;
    }
}
