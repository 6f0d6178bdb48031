//! InitProducerId: an id and epoch for an idempotent or transactional producer, fencing its
//! predecessors.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 bumps the epoch of a known producer (KIP-360), v5 TRANSACTION_ABORTABLE (KIP-890).
    InitProducerIdRequest: 0..=5, flexible 2.. {
        transactional_id: Option<String> = Some(String::new());
        transaction_timeout_ms: i32;
        producer_id: i64 = -1, in 3..;
        producer_epoch: i16 = -1, in 3..;
    }

    InitProducerIdResponse: 0..=5, flexible 2.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        producer_id: i64 = -1;
        producer_epoch: i16;
    }
}
