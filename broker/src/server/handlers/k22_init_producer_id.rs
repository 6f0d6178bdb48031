//! InitProducerId.

use super::{Call, codes};
use crate::coordinator::transactions::ProducerIdentity;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k22_init_producer_id::*;
use crate::security::acl::{Operation, ResourceType};

pub async fn handle(call: &Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match init(call, request).await {
        Ok(identity) => InitProducerIdResponse {
            producer_id: identity.producer_id.0,
            producer_epoch: identity.epoch.0,
            ..InitProducerIdResponse::default()
        },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn init(call: &Call, request: InitProducerIdRequest) -> Result<ProducerIdentity, ErrorCode> {
    match &request.transactional_id {
        Some(id) if !call.may_on_transactional_id(Operation::Write, id) => {
            return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        // Whoever may write anywhere may do so idempotently (KIP-679).
        None if !call.may_on_any(Operation::Write, ResourceType::Topic)
            && !call.may_on_cluster(Operation::IdempotentWrite) =>
        {
            return Err(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
        }
        _ => {}
    }
    let transactions = call.broker().transactions();
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::INVALID_REQUEST),
        (producer_id, epoch) => Some(ProducerIdentity {
            producer_id: ProducerId(producer_id),
            epoch: ProducerEpoch(epoch),
        }),
    };
    let Some(id) = request.transactional_id else {
        return Ok(transactions.fresh_producer());
    };
    let timeout_ms = request.transaction_timeout_ms;
    let identity = transactions.init_producer(&id, timeout_ms, expected).await;
    identity.map_err(|error| codes::of_transaction(&error, call.version >= 4))
}
