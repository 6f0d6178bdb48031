//! DescribeAcls: the rules that a filter lets through.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 resources of type user.
    DescribeAclsRequest: 1..=3, flexible 2.. {
        resource_type_filter: i8;
        resource_name_filter: Option<String>;
        pattern_type_filter: i8 = 3;
        principal_filter: Option<String>;
        host_filter: Option<String>;
        operation: i8;
        permission_type: i8;
    }

    DescribeAclsResponse: 1..=3, flexible 2.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        resources: Vec<DescribeAclsResource>;
    }

    DescribeAclsResource {
        resource_type: i8;
        resource_name: String;
        pattern_type: i8 = 3;
        acls: Vec<AclDescription>;
    }

    AclDescription {
        principal: String;
        host: String;
        operation: i8;
        permission_type: i8;
    }
}
