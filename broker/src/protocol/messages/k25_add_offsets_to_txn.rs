//! AddOffsetsToTxn: the offsets of a group become part of a transaction.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v4 TRANSACTION_ABORTABLE (KIP-890).
    AddOffsetsToTxnRequest: 0..=4, flexible 3.. {
        transactional_id: String;
        producer_id: i64;
        producer_epoch: i16;
        group_id: String;
    }

    AddOffsetsToTxnResponse: 0..=4, flexible 3.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
    }
}
