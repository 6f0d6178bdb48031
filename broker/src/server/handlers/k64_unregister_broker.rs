//! UnregisterBroker: there is one broker, and it answers.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k64_unregister_broker::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
    let id = request.broker_id;
    let (error_code, why) = if !call.may_on_cluster(Operation::Alter) {
        let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        (code, code.message().to_owned())
    } else if id == call.broker().node_id() {
        (ErrorCode::INVALID_REQUEST, format!("broker {id} is the only one, and serves you"))
    } else {
        let why = format!("Broker ID {id} is not currently registered");
        (ErrorCode::BROKER_ID_NOT_REGISTERED, why)
    };
    UnregisterBrokerResponse { error_code, error_message: Some(why), ..Default::default() }
}
