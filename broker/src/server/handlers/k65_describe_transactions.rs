//! DescribeTransactions.

use super::Call;
use crate::coordinator::transactions::TransactionDescription;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k65_describe_transactions::*;
use crate::security::acl::{Operation, ResourceType};

pub async fn handle(
    call: &Call,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for transactional_id in request.transactional_ids {
        if !call.may_on_transactional_id(Operation::Describe, &transactional_id) {
            response.transaction_states.push(TransactionState {
                transactional_id,
                error_code: ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                ..TransactionState::default()
            });
            continue;
        }
        let state = match call.broker().transactions().describe(&transactional_id).await {
            Some(mut found) => {
                found.partitions.retain(|of| {
                    call.may_quietly(Operation::Describe, ResourceType::Topic, &of.topic)
                });
                described(found)
            }
            None => TransactionState {
                error_code: match transactional_id.is_empty() {
                    true => ErrorCode::INVALID_REQUEST,
                    false => ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
                },
                ..TransactionState::default()
            },
        };
        response.transaction_states.push(TransactionState { transactional_id, ..state });
    }
    response
}

fn described(found: TransactionDescription) -> TransactionState {
    let mut topics: Vec<TopicData> = Vec::new();
    // In order of topics.
    for of in found.partitions {
        match topics.last_mut().filter(|topic| *topic.topic == *of.topic) {
            Some(topic) => topic.partitions.push(of.partition),
            None => topics
                .push(TopicData { topic: of.topic.to_string(), partitions: vec![of.partition] }),
        }
    }
    TransactionState {
        transaction_state: found.status.name().to_owned(),
        transaction_timeout_ms: found.timeout_ms,
        transaction_start_time_ms: found.started_ms,
        producer_id: found.producer.producer_id.0,
        producer_epoch: found.producer.epoch.0,
        topics,
        ..TransactionState::default()
    }
}
