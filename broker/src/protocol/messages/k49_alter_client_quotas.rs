//! AlterClientQuotas (KIP-546).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    AlterClientQuotasRequest: 0..=1, flexible 1.. {
        entries: Vec<AlterClientQuotasEntry>;
        validate_only: bool;
    }

    AlterClientQuotasEntry {
        entity: Vec<AlterClientQuotasEntity>;
        ops: Vec<AlterClientQuotasOp>;
    }

    AlterClientQuotasEntity {
        /// `user`, `client-id` or `ip`.
        entity_type: String;
        /// Null for all others.
        entity_name: Option<String> = Some(String::new());
    }

    AlterClientQuotasOp {
        key: String;
        value: f64;
        /// In the place of a value.
        remove: bool;
    }

    AlterClientQuotasResponse: 0..=1, flexible 1.. {
        throttle_time_ms: i32;
        entries: Vec<AlterClientQuotasResult>;
    }

    AlterClientQuotasResult {
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        entity: Vec<AlterClientQuotasResultEntity>;
    }

    AlterClientQuotasResultEntity {
        entity_type: String;
        entity_name: Option<String> = Some(String::new());
    }
}
