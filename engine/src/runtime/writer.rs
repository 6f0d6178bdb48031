//! A task's producers, and whether it is in a transaction.

use std::time::Duration;

use broker::client::{
    Client, ClientError, CommittedOffset, Producer, ProducerOptions, TransactionOffsets,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

use super::now;
use super::planned::Planned;
use crate::pipeline::Guarantee;
use crate::state::changelog::Change;

/// Changes of state go out in batches of about this size.
const CHANGELOG_BATCH_BYTES: usize = 256 << 10;
/// A transaction lives no longer than a few commit intervals; this is the least that is asked for.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(60);

pub struct Writer {
    producer: Box<dyn Producer>,
    /// What writes rows that are to be seen before they are committed, if they are.
    at_once: Option<Box<dyn Producer>>,
    pub open: bool,
    group: String,
    changelog: TopicPartition,
    /// Stands beside each offset: how many tasks shared the query.
    metadata: String,
}

impl Writer {
    /// Fences earlier instances of the task.
    pub async fn open(client: &dyn Client, planned: &Planned) -> Result<Writer, ClientError> {
        let options = ProducerOptions {
            transactional_id: Some(planned.id()),
            transaction_timeout: TRANSACTION_TIMEOUT_MIN.max(planned.commit_interval * 3),
            ..ProducerOptions::default()
        };
        let producer = client.producer(options).await?;
        // Tasks behind an exchange count what they are told, so that is told once.
        let is_last = planned.topology.writes.is_none();
        let at_once = match planned.guarantee {
            Guarantee::AtLeastOnce if is_last => {
                Some(client.producer(ProducerOptions::default()).await?)
            }
            _ => None,
        };
        Ok(Writer {
            producer,
            at_once,
            open: false,
            group: planned.group(),
            changelog: planned.changelog(),
            metadata: planned.offset_metadata(),
        })
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        if !self.open {
            self.producer.begin().await?;
            self.open = true;
        }
        Ok(())
    }

    /// Whether rows are to be seen before they are committed.
    pub fn writes_at_once(&self) -> bool {
        self.at_once.is_some()
    }

    /// Rows for the sink, or for other tasks.
    pub async fn send(
        &mut self,
        batches: Vec<(TopicPartition, BatchBuilder)>,
    ) -> Result<(), ClientError> {
        for (to, batch) in batches {
            match &mut self.at_once {
                Some(producer) => producer.send(&to, batch).await?,
                None => self.send_in_transaction(to, batch).await?,
            }
        }
        Ok(())
    }

    async fn send_in_transaction(
        &mut self,
        to: TopicPartition,
        batch: BatchBuilder,
    ) -> Result<(), ClientError> {
        self.begin().await?;
        self.producer.send(&to, batch).await
    }

    pub async fn send_changes(&mut self, changes: &[Change]) -> Result<(), ClientError> {
        let now = now();
        let mut batch = BatchBuilder::default();
        for change in changes {
            batch.append(now.0, Some(&change.key), change.value.as_deref());
            if batch.size() >= CHANGELOG_BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                self.send_in_transaction(self.changelog.clone(), full).await?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.send_in_transaction(self.changelog.clone(), batch).await
    }

    pub async fn write(
        &mut self,
        outputs: Vec<(TopicPartition, BatchBuilder)>,
        changes: &[Change],
        offsets: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        self.send(outputs).await?;
        if let Some(producer) = &mut self.at_once {
            // The place in the input moves on only behind rows that are there for good.
            producer.flush().await?;
        }
        self.send_changes(changes).await?;
        self.commit(offsets).await
    }

    pub async fn commit(
        &mut self,
        offsets: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        self.begin().await?;
        let committed = |offset| CommittedOffset { offset, metadata: self.metadata.clone() };
        let offsets = TransactionOffsets {
            group: self.group.clone(),
            membership: None,
            offsets: offsets.into_iter().map(|(at, offset)| (at, committed(offset))).collect(),
        };
        self.producer.commit(Some(&offsets)).await?;
        self.open = false;
        Ok(())
    }

    pub async fn abort(&mut self) -> Result<(), ClientError> {
        self.producer.abort().await
    }
}
