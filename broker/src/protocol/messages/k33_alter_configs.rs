//! AlterConfigs: replaces a whole configuration. IncrementalAlterConfigs (44) is what new clients
//! use.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterConfigsRequest: 0..=2, flexible 2.. {
        resources: Vec<AlterConfigsResource>;
        validate_only: bool;
    }

    AlterConfigsResource {
        resource_type: i8;
        resource_name: String;
        configs: Vec<AlterableConfig>;
    }

    AlterableConfig {
        name: String;
        value: Option<String> = Some(String::new());
    }

    AlterConfigsResponse: 0..=2, flexible 2.. {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse>;
    }

    AlterConfigsResourceResponse {
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        resource_type: i8;
        resource_name: String;
    }
}
