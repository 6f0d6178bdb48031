//! AddOffsetsToTxn.

use super::{Call, codes};
use crate::coordinator::transactions::ProducerIdentity;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k25_add_offsets_to_txn::*;

pub async fn handle(call: &Call, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
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
