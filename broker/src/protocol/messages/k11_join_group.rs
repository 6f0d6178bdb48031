//! JoinGroup: a member enters a rebalance and waits until all have.

use bytes::Bytes;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 a rebalance timeout of its own, v4 the broker gives the member id first (KIP-394), v5
    /// static members (KIP-345), v8 a reason (KIP-800), v9 the broker may skip the assignment
    /// (KIP-814).
    JoinGroupRequest: 0..=9, flexible 6.. {
        group_id: String;
        session_timeout_ms: i32;
        rebalance_timeout_ms: i32 = -1, in 1.., ignorable;
        member_id: String;
        group_instance_id: Option<String>, in 5..;
        protocol_type: String;
        protocols: Vec<JoinGroupRequestProtocol>;
        reason: Option<String>, in 8.., ignorable;
    }

    JoinGroupRequestProtocol {
        name: String;
        /// For consumers a `ConsumerProtocolSubscription`.
        metadata: Bytes;
    }

    /// The leader alone learns the members, to assign partitions to them.
    JoinGroupResponse: 0..=9, flexible 6.. {
        throttle_time_ms: i32, in 2.., ignorable;
        error_code: ErrorCode;
        generation_id: i32 = -1;
        protocol_type: Option<String>, in 7.., ignorable;
        protocol_name: Option<String> = Some(String::new()), nullable in 7..;
        leader: String;
        skip_assignment: bool, in 9..;
        member_id: String;
        members: Vec<JoinGroupResponseMember>;
    }

    JoinGroupResponseMember {
        member_id: String;
        group_instance_id: Option<String>, in 5.., ignorable;
        metadata: Bytes;
    }
}
