//! EndTxn: commits or aborts a transaction.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v5 bumps the epoch with each transaction (transactions v2, KIP-890).
    EndTxnRequest: 0..=5, flexible 3.. {
        transactional_id: String;
        producer_id: i64;
        producer_epoch: i16;
        committed: bool;
    }

    /// v5 gives the producer its id and epoch for the next transaction.
    EndTxnResponse: 0..=5, flexible 3.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        producer_id: i64 = -1, in 5.., ignorable;
        producer_epoch: i16 = -1, in 5.., ignorable;
    }
}
