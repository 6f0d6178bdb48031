//! SaslHandshake, where nobody has to say who it is, or not again: connections take it before it
//! comes here otherwise.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k17_sasl_handshake::*;

pub async fn handle(_: &Call, _: SaslHandshakeRequest) -> SaslHandshakeResponse {
    let error_code = ErrorCode::ILLEGAL_SASL_STATE;
    SaslHandshakeResponse { error_code, ..SaslHandshakeResponse::default() }
}
