//! AddOffsetsToTxn.

use super::{Call, codes};
use crate::coordinator::transactions::ProducerIdentity;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k25_add_offsets_to_txn::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let may_write = call.may_on_transactional_id(Operation::Write, &request.transactional_id);
    let denied = if !may_write {
        Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    } else if !call.may_on_group(Operation::Read, &request.group_id) {
        Some(ErrorCode::GROUP_AUTHORIZATION_FAILED)
    } else {
        None
    };
    if let Some(error_code) = denied {
        return AddOffsetsToTxnResponse { error_code, ..AddOffsetsToTxnResponse::default() };
    }
    let producer = ProducerIdentity {
        producer_id: ProducerId(request.producer_id),
        epoch: ProducerEpoch(request.producer_epoch),
    };
    let transactions = call.broker().transactions();
    let added = transactions.add_offsets(&request.transactional_id, producer, &request.group_id);
    let error_code = added
        .await
        .err()
        .map_or(ErrorCode::NONE, |error| codes::of_transaction(&error, call.version >= 2));
    AddOffsetsToTxnResponse { error_code, ..AddOffsetsToTxnResponse::default() }
}
