//! AddPartitionsToTxn, as producers send it; from v4 on it is for brokers among themselves, with
//! several transactions at once, to add partitions or only to ask whether they were added.

use std::collections::HashMap;

use super::{Call, codes, partition};
use crate::coordinator::transactions::{ProducerIdentity, Protocol, TransactionError};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k24_add_partitions_to_txn::*;
use crate::security::acl::Operation;
use crate::topics::is_internal;

/// The first version that has several transactions.
const TRANSACTIONS_FROM: i16 = 4;

pub async fn handle(call: &Call, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    if call.version < TRANSACTIONS_FROM {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        };
        return AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: add(call, transaction).await,
            ..AddPartitionsToTxnResponse::default()
        };
    }
    if !call.may_on_cluster(Operation::ClusterAction) {
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return AddPartitionsToTxnResponse { error_code, ..Default::default() };
    }
    let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let transactional_id = transaction.transactional_id.clone();
        let topic_results = add(call, transaction).await;
        results_by_transaction.push(AddPartitionsToTxnResult { transactional_id, topic_results });
    }
    AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() }
}

async fn add(
    call: &Call,
    transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = &transaction.topics;
    let all = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|index| TopicPartition::new(topic.name.as_str(), *index))
    });
    let all: Vec<TopicPartition> = all.collect();
    let checked: Vec<Option<ErrorCode>> = check(call, &transaction, &all);
    // All or none: a producer told of one failure takes the whole request for failed.
    let codes = if checked.iter().any(Option::is_some) {
        let code = |code: Option<ErrorCode>| code.unwrap_or(ErrorCode::OPERATION_NOT_ATTEMPTED);
        checked.into_iter().map(code).collect()
    } else {
        added(call, &transaction, all).await
    };
    let mut codes = codes.into_iter();
    let results = transaction.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(&mut codes);
        let result = |(index, code): (&i32, ErrorCode)| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: code,
        };
        let results_by_partition = partitions.map(result).collect();
        AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition }
    });
    results.collect()
}

/// What there is against each partition.
fn check(
    call: &Call,
    transaction: &AddPartitionsToTxnTransaction,
    partitions: &[TopicPartition],
) -> Vec<Option<ErrorCode>> {
    let by_producer = call.version < TRANSACTIONS_FROM;
    let id = &transaction.transactional_id;
    if by_producer && !call.may_on_transactional_id(Operation::Write, id) {
        let denied = Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return vec![denied; partitions.len()];
    }
    // Asked once for each topic: the audit has a line for each denial.
    let mut permitted: HashMap<&str, bool> = HashMap::new();
    let mut codes = Vec::with_capacity(partitions.len());
    for of in partitions {
        // The broker's own topics are no producer's, whoever it is.
        let may = permitted.entry(&of.topic).or_insert_with(|| {
            let own = is_internal(&of.topic);
            !by_producer || (!own && call.may_on_topic(Operation::Write, &of.topic))
        });
        codes.push(match may {
            true => partition(call, &of.topic, of.partition).err(),
            false => Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        });
    }
    codes
}

/// One code for each partition.
async fn added(
    call: &Call,
    transaction: &AddPartitionsToTxnTransaction,
    partitions: Vec<TopicPartition>,
) -> Vec<ErrorCode> {
    let (id, count) = (&transaction.transactional_id, partitions.len());
    let producer = ProducerIdentity {
        producer_id: ProducerId(transaction.producer_id),
        epoch: ProducerEpoch(transaction.producer_epoch),
    };
    let code = |error: &TransactionError| codes::of_transaction(error, call.version >= 2);
    let transactions = call.broker().transactions();
    if transaction.verify_only {
        return match transactions.verify(id, producer, &partitions).await {
            Ok((_, added)) => {
                let not_added = code(&TransactionError::NotAdded);
                added.into_iter().map(|ok| if ok { ErrorCode::NONE } else { not_added }).collect()
            }
            Err(error) => vec![code(&error); count],
        };
    }
    // A broker adds what is being written to, for a client of version 2.
    let by_broker = call.version >= TRANSACTIONS_FROM;
    let protocol = if by_broker { Protocol::V2 } else { Protocol::V1 };
    let added = transactions.add_partitions(id, producer, partitions, protocol).await;
    vec![added.err().map_or(ErrorCode::NONE, |error| code(&error)); count]
}
