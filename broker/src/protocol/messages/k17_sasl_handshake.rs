//! SaslHandshake: by which mechanism a client will say who it is.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 sends what follows within SaslAuthenticate, v0 as bare frames.
    SaslHandshakeRequest: 0..=1 {
        mechanism: String;
    }

    SaslHandshakeResponse: 0..=1 {
        error_code: ErrorCode;
        mechanisms: Vec<String>;
    }
}
