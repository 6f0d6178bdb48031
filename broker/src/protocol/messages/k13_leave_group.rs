//! LeaveGroup: members leave without waiting for their session to end.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 several members at once, static ones among them (KIP-345); v5 a reason (KIP-800).
    LeaveGroupRequest: 0..=5, flexible 4.. {
        group_id: String;
        member_id: String, in 0..=2;
        members: Vec<MemberIdentity>, in 3..;
    }

    MemberIdentity {
        member_id: String;
        group_instance_id: Option<String>;
        reason: Option<String>, in 5.., ignorable;
    }

    LeaveGroupResponse: 0..=5, flexible 4.. {
        throttle_time_ms: i32, in 1.., ignorable;
        error_code: ErrorCode;
        members: Vec<MemberResponse>, in 3..;
    }

    MemberResponse {
        member_id: String;
        group_instance_id: Option<String> = Some(String::new());
        error_code: ErrorCode;
    }
}
