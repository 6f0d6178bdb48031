//! A task's producer, and whether it is in a transaction.

use std::time::Duration;

use broker::client::{
    Client, ClientError, CommittedOffset, Producer, ProducerOptions, TransactionOffsets,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

use super::{Planned, now};
use crate::state::changelog::Change;

/// Changes of state go out in batches of about this size.
const CHANGELOG_BATCH_BYTES: usize = 256 << 10;
/// A transaction lives no longer than a few commit intervals; this is the least that is asked for.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(60);

pub struct Writer {
    producer: Box<dyn Producer>,
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
            transaction_timeout: TRANSACTION_TIMEOUT_MIN.max(planned.commit_interval * 4),
            ..ProducerOptions::default()
        };
        Ok(Writer {
            producer: client.producer(options).await?,
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

    pub async fn send(
        &mut self,
        batches: Vec<(TopicPartition, BatchBuilder)>,
    ) -> Result<(), ClientError> {
        for (to, batch) in batches {
            self.begin().await?;
            self.producer.send(&to, batch).await?;
        }
        Ok(())
    }

    pub async fn send_changes(&mut self, changes: &[Change]) -> Result<(), ClientError> {
        let now = now();
        let mut batch = BatchBuilder::default();
        for change in changes {
            batch.append(now.0, Some(&change.key), change.value.as_deref());
            if batch.size() >= CHANGELOG_BATCH_BYTES {
                let full = std::mem::take(&mut batch);
                self.send(vec![(self.changelog.clone(), full)]).await?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.send(vec![(self.changelog.clone(), batch)]).await
    }

    pub async fn write(
        &mut self,
        outputs: Vec<(TopicPartition, BatchBuilder)>,
        changes: &[Change],
        offsets: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        self.send(outputs).await?;
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
