//! DescribeClientQuotas: which quotas there are (KIP-546).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeClientQuotasRequest: 0..=1, flexible 1.. {
        components: Vec<DescribeClientQuotasComponent>;
        /// Whether an entity must have no other parts than those that are named.
        strict: bool;
    }

    DescribeClientQuotasComponent {
        /// `user`, `client-id` or `ip`.
        entity_type: String;
        /// 0 the one of a name, 1 that for all others, 2 any.
        match_type: i8;
        /// The name; null with other types.
        matched: Option<String> = Some(String::new());
    }

    DescribeClientQuotasResponse: 0..=1, flexible 1.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        entries: Option<Vec<DescribeClientQuotasEntry>> = Some(Vec::new());
    }

    DescribeClientQuotasEntry {
        entity: Vec<DescribeClientQuotasEntity>;
        values: Vec<DescribeClientQuotasValue>;
    }

    DescribeClientQuotasEntity {
        entity_type: String;
        /// Null for all others.
        entity_name: Option<String> = Some(String::new());
    }

    DescribeClientQuotasValue {
        key: String;
        value: f64;
    }
}
