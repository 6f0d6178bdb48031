//! UnregisterBroker: forgetting a broker that has gone for good.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    UnregisterBrokerRequest: 0..=0, flexible 0.. {
        broker_id: i32;
    }

    UnregisterBrokerResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
    }
}
