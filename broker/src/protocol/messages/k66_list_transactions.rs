//! ListTransactions: the transactional ids that this broker coordinates (KIP-664).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 by duration (KIP-994), v2 by a regular expression over the ids (KIP-1152).
    ListTransactionsRequest: 0..=2, flexible 0.. {
        state_filters: Vec<String>;
        producer_id_filters: Vec<i64>;
        duration_filter: i64 = -1, in 1..;
        transactional_id_pattern: Option<String>, in 2..;
    }

    ListTransactionsResponse: 0..=2, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        unknown_state_filters: Vec<String>;
        transaction_states: Vec<TransactionState>;
    }

    TransactionState {
        transactional_id: String;
        producer_id: i64;
        transaction_state: String;
    }
}
