//! SaslAuthenticate: a message of the mechanism, each way.

use bytes::Bytes;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    SaslAuthenticateRequest: 0..=2, flexible 2.. {
        auth_bytes: Bytes;
    }

    /// v1 says for how long it holds (KIP-368).
    SaslAuthenticateResponse: 0..=2, flexible 2.. {
        error_code: ErrorCode;
        error_message: Option<String>;
        auth_bytes: Bytes;
        session_lifetime_ms: i64, in 1.., ignorable;
    }
}
