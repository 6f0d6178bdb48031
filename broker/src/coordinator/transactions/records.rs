//! Transactions as records of `__transaction_state`, in Kafka's form.

use std::collections::BTreeMap;

use bytes::Bytes;
use thiserror::Error;

use super::machine::{Protocol, Status, Transaction};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::message::Message;
use crate::protocol::messages::transaction_state::{
    PartitionsSchema, TransactionLogKey, TransactionLogValue,
};
use crate::protocol::{DecodeError, EncodeError};

const KEY_VERSION: i16 = 0;
/// Remembers producer ids before and after (KIP-890); Kafka writes it since 4.0.
const VALUE_VERSION: i16 = 1;

/// Why a record of `__transaction_state` was not understood.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("unknown transaction status {0}; a newer version may have written it")]
    Status(i8),
}

pub fn encode_key(transactional_id: &str) -> Result<Bytes, EncodeError> {
    let key = TransactionLogKey { transactional_id: transactional_id.to_owned() };
    key.encode_versioned(KEY_VERSION)
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
        previous_producer_id: transaction.previous_id.0,
        next_producer_id: transaction.next_id.0,
        producer_epoch: transaction.epoch.0,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.status as i8,
        // Kafka writes null for a transaction that never had any.
        transaction_partitions: (transaction.status != Status::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: transaction.updated_ms,
        transaction_start_timestamp_ms: transaction.started_ms,
        client_transaction_version: transaction.protocol.version(),
    };
    value.encode_versioned(VALUE_VERSION)
}

pub fn decode_value(bytes: &Bytes) -> Result<Transaction, RecordError> {
    let (_, value) = TransactionLogValue::decode_versioned(bytes)?;
    let partitions = value.transaction_partitions.unwrap_or_default();
    Ok(Transaction {
        producer_id: ProducerId(value.producer_id),
        epoch: ProducerEpoch(value.producer_epoch),
        previous_id: ProducerId(value.previous_producer_id),
        next_id: ProducerId(value.next_producer_id),
        last_epoch: ProducerEpoch::NONE,
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
        protocol: match value.client_transaction_version {
            ..2 => Protocol::V1,
            2.. => Protocol::V2,
        },
    })
}

fn status(number: i8) -> Result<Status, RecordError> {
    let found = Status::ALL.into_iter().find(|status| *status as i8 == number);
    found.ok_or(RecordError::Status(number))
}
