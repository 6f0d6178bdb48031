//! ListConfigResources (KIP-1142): what there is that has configs. Version 0 is KIP-714's
//! ListClientMetricsResources.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    ListConfigResourcesRequest: 0..=1, flexible 0.. {
        /// None for all types.
        resource_types: Vec<i8>, in 1..;
    }

    ListConfigResourcesResponse: 0..=1, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        config_resources: Vec<ConfigResource>;
    }

    ConfigResource {
        resource_name: String;
        resource_type: i8 = 16, in 1.., ignorable;
    }
}
