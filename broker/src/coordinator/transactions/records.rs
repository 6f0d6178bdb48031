//! Transactions as records of `__transaction_state`, in Kafka's form.

use std::collections::BTreeMap;

use bytes::Bytes;
use thiserror::Error;

use super::machine::{Status, Transaction};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::message::Message;
use crate::protocol::messages::transaction_state::{
    PartitionsSchema, TransactionLogKey, TransactionLogValue,
};
use crate::protocol::{DecodeError, EncodeError};

/// Version 0, which every Kafka reads; version 1 comes with KIP-890.
const VERSION: i16 = 0;

/// Why a record of `__transaction_state` was not understood.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("unknown transaction status {0}; a newer version may have written it")]
    Status(i8),
}

pub fn encode_key(transactional_id: &str) -> Result<Bytes, EncodeError> {
    TransactionLogKey { transactional_id: transactional_id.to_owned() }.encode_versioned(VERSION)
}

pub fn decode_key(bytes: &Bytes) -> Result<String, RecordError> {
    Ok(TransactionLogKey::decode_versioned(bytes)?.1.transactional_id)
}

pub fn encode_value(transaction: &Transaction) -> Result<Bytes, EncodeError> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &transaction.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partition_ids)| PartitionsSchema { topic: topic.to_owned(), partition_ids })
        .collect();
    let value = TransactionLogValue {
        producer_id: transaction.producer_id.0,
        producer_epoch: transaction.epoch.0,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.status as i8,
        // Kafka writes null for a transaction that never had any.
        transaction_partitions: (transaction.status != Status::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: transaction.updated_ms,
        transaction_start_timestamp_ms: transaction.started_ms,
        ..TransactionLogValue::default()
    };
    value.encode_versioned(VERSION)
}

pub fn decode_value(bytes: &Bytes) -> Result<Transaction, RecordError> {
    let (_, value) = TransactionLogValue::decode_versioned(bytes)?;
    let partitions = value.transaction_partitions.unwrap_or_default();
    Ok(Transaction {
        producer_id: ProducerId(value.producer_id),
        epoch: ProducerEpoch(value.producer_epoch),
        timeout_ms: value.transaction_timeout_ms,
        status: status(value.transaction_status)?,
        partitions: partitions
            .iter()
            .flat_map(|topic| {
                topic
                    .partition_ids
                    .iter()
                    .map(|partition| TopicPartition::new(topic.topic.as_str(), *partition))
            })
            .collect(),
        started_ms: value.transaction_start_timestamp_ms,
        updated_ms: value.transaction_last_update_timestamp_ms,
    })
}

fn status(number: i8) -> Result<Status, RecordError> {
    Ok(match number {
        0 => Status::Empty,
        1 => Status::Ongoing,
        2 => Status::PrepareCommit,
        3 => Status::PrepareAbort,
        4 => Status::CompleteCommit,
        5 => Status::CompleteAbort,
        6 => Status::Dead,
        other => return Err(RecordError::Status(other)),
    })
}
