//! EndTxn, of transactions version 1: from v5 on the epoch grows with each end (KIP-890).

use std::ops::RangeInclusive;

use super::{Call, codes};
use crate::coordinator::transactions::ProducerIdentity;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k26_end_txn::*;
use crate::record::ControlType;

pub const VERSIONS: RangeInclusive<i16> = *EndTxnRequest::VERSIONS.start()..=4;

pub async fn handle(call: &Call, request: EndTxnRequest) -> EndTxnResponse {
    let producer = ProducerIdentity {
        producer_id: ProducerId(request.producer_id),
        epoch: ProducerEpoch(request.producer_epoch),
    };
    let decision = if request.committed { ControlType::Commit } else { ControlType::Abort };
    let ended = call.broker().transactions().end(&request.transactional_id, producer, decision);
    let error_code = ended
        .await
        .err()
        .map_or(ErrorCode::NONE, |error| codes::of_transaction(&error, call.version >= 2));
    EndTxnResponse { error_code, ..EndTxnResponse::default() }
}
