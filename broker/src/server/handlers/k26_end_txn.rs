//! EndTxn; from v5 on the epoch grows with each end (KIP-890).

use super::{Call, codes};
use crate::coordinator::transactions::{ProducerIdentity, Protocol};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k26_end_txn::*;
use crate::record::ControlType;
use crate::security::acl::Operation;

/// The first version of clients whose epoch grows.
const GROWING_FROM: i16 = 5;

pub async fn handle(call: &Call, request: EndTxnRequest) -> EndTxnResponse {
    if !call.may_on_transactional_id(Operation::Write, &request.transactional_id) {
        let error_code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return EndTxnResponse { error_code, ..EndTxnResponse::default() };
    }
    let producer = ProducerIdentity {
        producer_id: ProducerId(request.producer_id),
        epoch: ProducerEpoch(request.producer_epoch),
    };
    let decision = if request.committed { ControlType::Commit } else { ControlType::Abort };
    let protocol = if call.version >= GROWING_FROM { Protocol::V2 } else { Protocol::V1 };
    let transactions = call.broker().transactions();
    let ended = transactions.end(&request.transactional_id, producer, decision, protocol).await;
    match ended {
        Ok(next) => EndTxnResponse {
            error_code: ErrorCode::NONE,
            producer_id: next.producer_id.0,
            producer_epoch: next.epoch.0,
            ..EndTxnResponse::default()
        },
        Err(error) => EndTxnResponse {
            error_code: codes::of_transaction(&error, call.version >= 2),
            ..EndTxnResponse::default()
        },
    }
}
