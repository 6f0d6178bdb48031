//! DescribeGroups: state and members of groups.

use bytes::Bytes;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 authorized operations (KIP-430).
    DescribeGroupsRequest: 0..=6, flexible 5.. {
        groups: Vec<String>;
        include_authorized_operations: bool, in 3..;
    }

    /// v4 static members, v6 GROUP_ID_NOT_FOUND with a message (KIP-1043).
    DescribeGroupsResponse: 0..=6, flexible 5.. {
        throttle_time_ms: i32, in 1.., ignorable;
        groups: Vec<DescribedGroup>;
    }

    DescribedGroup {
        error_code: ErrorCode;
        error_message: Option<String>, in 6..;
        group_id: String;
        group_state: String;
        protocol_type: String;
        protocol_data: String;
        members: Vec<DescribedGroupMember>;
        authorized_operations: i32 = i32::MIN, in 3..;
    }

    DescribedGroupMember {
        member_id: String;
        group_instance_id: Option<String>, in 4.., ignorable;
        client_id: String;
        client_host: String;
        member_metadata: Bytes;
        member_assignment: Bytes;
    }
}
