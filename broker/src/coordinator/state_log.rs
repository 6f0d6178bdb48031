//! The seam between coordinators and the log: three internal topics and the markers of
//! transactions. The broker's topics implement it; simulations keep it in memory.

use futures::future::BoxFuture;
use thiserror::Error;

use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::record::{ControlType, RecordBatch};

/// Kafka's name for the topic that keeps groups and committed offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Kafka's name for the topic that keeps transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Kafka's name for the topic that keeps what share groups have read.
pub const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// Why a coordinator's records did not reach the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateLogError {
    #[error("{partition}: {reason}")]
    Unavailable { partition: TopicPartition, reason: String },
    #[error("{partition}: records of {size} bytes exceed max.message.bytes")]
    TooLarge { partition: TopicPartition, size: usize },
    /// A newer producer, or a marker, has fenced this epoch in the partition itself.
    #[error("{partition}: producer {producer_id} with epoch {epoch} is fenced")]
    Fenced { partition: TopicPartition, producer_id: ProducerId, epoch: ProducerEpoch },
}

/// A transaction's end, to be written to one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub control_type: ControlType,
}

/// Where coordinators keep their state.
pub trait StateLog: Send + Sync + 'static {
    /// Appends to a partition of an internal topic. Calls take effect in the order in which they
    /// are made, before the future is first polled; the future resolves to the base offset once
    /// the batch is durable.
    fn append(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>>;

    /// Ends a transaction in any partition, in the manner of [`StateLog::append`], but resolves as
    /// soon as the marker is in the log, durable or not: [`TransactionLog::synced`] waits for
    /// that. A partition that is gone counts as done: `Ok(None)`.
    fn append_marker(
        &self,
        to: &TopicPartition,
        marker: Marker,
    ) -> BoxFuture<'static, Result<Option<Offset>, StateLogError>>;

    /// Partitions of an internal topic; creates it with as many as `partitions` if there is none.
    fn ensure_topic(
        &self,
        topic: &'static str,
        partitions: i32,
    ) -> BoxFuture<'static, Result<i32, StateLogError>>;

    /// Partitions of an internal topic, or `None` if there is no such topic yet.
    fn partitions(&self, topic: &'static str) -> Option<i32>;

    /// Hands every batch of a partition to `each`, control batches included, in offset order.
    fn replay(
        &self,
        from: &TopicPartition,
        each: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), StateLogError>;
}

/// What the coordinator of transactions needs of the log beyond that.
pub trait TransactionLog: StateLog {
    /// Appends in the manner of [`StateLog::append`], but asks for no fsync: the batch becomes
    /// durable with whatever is next synced in that partition.
    fn append_unsynced(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> Result<Offset, StateLogError>;

    /// Waits until what lies at this offset of any partition is durable; sees to it that it
    /// becomes so. A partition that is gone counts as done.
    fn synced(
        &self,
        of: &TopicPartition,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), StateLogError>>;

    /// The newest epoch of a producer in a partition, as far as that remembers it.
    fn producer_epoch(&self, of: &TopicPartition, producer: ProducerId) -> Option<ProducerEpoch>;

    /// All transactions that are open in all partitions, as the partitions themselves see it.
    fn open_transactions(&self) -> Vec<OpenTransaction>;
}

/// Records in a partition that no marker has ended yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    pub partition: TopicPartition,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// The partition of an internal topic that keeps `key`: Kafka's own choice, Java's string hash.
pub fn partition_for(key: &str, partitions: i32) -> i32 {
    let hash = key
        .encode_utf16()
        .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Not `abs`: Kafka clears the sign bit by special-casing i32::MIN alone.
    let positive = if hash == i32::MIN { 0 } else { hash.abs() };
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_chosen_as_kafka_does() {
        // "my-group".hashCode() == -1228116230 and "é€".hashCode() == 15587 in Java.
        assert_eq!(partition_for("my-group", 50), hash_of("my-group") % 50);
        assert_eq!(partition_for("", 50), 0);
        // This string's Java hash is i32::MIN.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("hello", 50), 99162322 % 50);
    }

    fn hash_of(key: &str) -> i32 {
        key.bytes().fold(0i32, |h, b| h.wrapping_mul(31).wrapping_add(i32::from(b))).abs()
    }
}
