//! Producing in this process.
//!
//! An append is a write to the page cache, so there is no queue: a batch is in the log, in order,
//! when `send` returns, and its fsync is under way if `acks` asks for one. Sequence numbers are not
//! needed, since nothing between here and the log is ever sent twice.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{append_error, existing};
use crate::broker::{Broker, now_ms};
use crate::client::{Acks, ClientError, Producer, TransactionOffsets};
use crate::ids::{Offset, TopicPartition};
use crate::log::{AppendOptions, Origin, Partition};
use crate::record::{BatchBuilder, ProducerStamp};

/// Bytes that may wait for an fsync before `send` waits too.
const UNSYNCED_BYTES_MAX: usize = 32 << 20;

pub(super) struct EmbeddedProducer {
    broker: Arc<Broker>,
    acks: Acks,
    partitions: HashMap<TopicPartition, Target>,
    unsynced_bytes: usize,
}

struct Target {
    partition: Arc<Partition>,
    /// The last record whose fsync the next flush waits for.
    unsynced: Option<Offset>,
}

impl EmbeddedProducer {
    pub fn new(broker: Arc<Broker>, acks: Acks) -> EmbeddedProducer {
        EmbeddedProducer { broker, acks, partitions: HashMap::new(), unsynced_bytes: 0 }
    }

    fn target(&mut self, to: &TopicPartition) -> Result<&mut Target, ClientError> {
        if !self.partitions.contains_key(to) {
            let partition = existing(&self.broker, to)?;
            self.partitions.insert(to.clone(), Target { partition, unsynced: None });
        }
        Ok(self.partitions.get_mut(to).expect("inserted above"))
    }

    async fn sync(&mut self) -> Result<(), ClientError> {
        for target in self.partitions.values_mut() {
            let Some(offset) = target.unsynced else { continue };
            target.partition.synced(offset).await.map_err(|error| ClientError::Storage {
                what: format!("partition {}", target.partition.id()),
                reason: error.to_string(),
            })?;
            target.unsynced = None;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn send(&mut self, to: &TopicPartition, batch: BatchBuilder) -> Result<(), ClientError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX {
            self.sync().await?;
        }
        let (broker, acks) = (self.broker.clone(), self.acks);
        let target = self.target(to)?;
        let batch = batch.build(ProducerStamp::NONE).into_bytes();
        let size = batch.len();
        let options = AppendOptions { origin: Origin::Embedded, acks, now_ms: now_ms() };
        let appended = target.partition.append(batch, options);
        let appended = appended.map_err(|error| append_error(&broker, None, error))?;
        if appended.wait_for_sync {
            target.unsynced = Some(appended.last_offset);
            self.unsynced_bytes += size;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        self.sync().await
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        Err(not_transactional())
    }

    async fn commit(&mut self, _: Option<&TransactionOffsets>) -> Result<(), ClientError> {
        Err(not_transactional())
    }

    async fn abort(&mut self) -> Result<(), ClientError> {
        Err(not_transactional())
    }
}

fn not_transactional() -> ClientError {
    let reason = "the producer has no transactional id".to_owned();
    ClientError::Refused { what: "transaction".to_owned(), reason }
}
