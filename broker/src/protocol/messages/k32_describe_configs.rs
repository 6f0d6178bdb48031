//! DescribeConfigs: the configuration of topics and brokers.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 types and documentation (KIP-569).
    DescribeConfigsRequest: 1..=4, flexible 4.. {
        resources: Vec<DescribeConfigsResource>;
        include_synonyms: bool;
        include_documentation: bool, in 3..;
    }

    DescribeConfigsResource {
        /// 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8;
        resource_name: String;
        configuration_keys: Option<Vec<String>> = Some(Vec::new());
    }

    DescribeConfigsResponse: 1..=4, flexible 4.. {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult>;
    }

    DescribeConfigsResult {
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        resource_type: i8;
        resource_name: String;
        configs: Vec<DescribeConfigsResourceResult>;
    }

    DescribeConfigsResourceResult {
        name: String;
        value: Option<String> = Some(String::new());
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym>;
        config_type: i8, in 3.., ignorable;
        documentation: Option<String> = Some(String::new()), in 3.., ignorable;
    }

    DescribeConfigsSynonym {
        name: String;
        value: Option<String> = Some(String::new());
        source: i8;
    }
}
