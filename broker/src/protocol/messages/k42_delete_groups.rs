//! DeleteGroups: forgets empty groups and their offsets.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DeleteGroupsRequest: 0..=2, flexible 2.. {
        groups_names: Vec<String>;
    }

    DeleteGroupsResponse: 0..=2, flexible 2.. {
        throttle_time_ms: i32;
        results: Vec<DeletableGroupResult>;
    }

    DeletableGroupResult {
        group_id: String;
        error_code: ErrorCode;
    }
}
