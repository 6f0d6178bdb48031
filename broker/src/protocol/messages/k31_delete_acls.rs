//! DeleteAcls: removes the rules that filters let through.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 resources of type user.
    DeleteAclsRequest: 1..=3, flexible 2.. {
        filters: Vec<DeleteAclsFilter>;
    }

    DeleteAclsFilter {
        resource_type_filter: i8;
        resource_name_filter: Option<String>;
        pattern_type_filter: i8 = 3;
        principal_filter: Option<String>;
        host_filter: Option<String>;
        operation: i8;
        permission_type: i8;
    }

    DeleteAclsResponse: 1..=3, flexible 2.. {
        throttle_time_ms: i32;
        filter_results: Vec<DeleteAclsFilterResult>;
    }

    DeleteAclsFilterResult {
        error_code: ErrorCode;
        error_message: Option<String>;
        matching_acls: Vec<DeleteAclsMatchingAcl>;
    }

    DeleteAclsMatchingAcl {
        error_code: ErrorCode;
        error_message: Option<String>;
        resource_type: i8;
        resource_name: String;
        pattern_type: i8 = 3;
        principal: String;
        host: String;
        operation: i8;
        permission_type: i8;
    }
}
