//! SaslAuthenticate, where nobody has to say who it is: connections of other listeners take it
//! before it comes here.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k36_sasl_authenticate::*;

pub async fn handle(_: &Call, _: SaslAuthenticateRequest) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::ILLEGAL_SASL_STATE,
        error_message: Some("this listener asks nobody who it is".to_owned()),
        ..SaslAuthenticateResponse::default()
    }
}
