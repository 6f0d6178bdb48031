//! CreateAcls: adds rules.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 resources of type user.
    CreateAclsRequest: 1..=3, flexible 2.. {
        creations: Vec<AclCreation>;
    }

    AclCreation {
        resource_type: i8;
        resource_name: String;
        resource_pattern_type: i8 = 3;
        principal: String;
        host: String;
        operation: i8;
        permission_type: i8;
    }

    CreateAclsResponse: 1..=3, flexible 2.. {
        throttle_time_ms: i32;
        results: Vec<AclCreationResult>;
    }

    AclCreationResult {
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
