//! SaslAuthenticate, where nobody has to say who it is, or not again: connections take it before
//! it comes here otherwise.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k36_sasl_authenticate::*;

pub async fn handle(_: &Call, _: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::ILLEGAL_SASL_STATE,
        error_message: Some("nobody is asked who it is by now".to_owned()),
        ..SaslAuthenticateResponse::default()
    }
}
