//! ListGroups: the groups that this broker coordinates.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v4 filters by state (KIP-518), v5 by type (KIP-848).
    ListGroupsRequest: 0..=5, flexible 3.. {
        states_filter: Vec<String>, in 4..;
        types_filter: Vec<String>, in 5..;
    }

    ListGroupsResponse: 0..=5, flexible 3.. {
        throttle_time_ms: i32, in 1.., ignorable;
        error_code: ErrorCode;
        groups: Vec<ListedGroup>;
    }

    ListedGroup {
        group_id: String;
        protocol_type: String;
        group_state: String, in 4.., ignorable;
        group_type: String, in 5.., ignorable;
    }
}
