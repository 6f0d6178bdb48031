//! A task's producers.
//!
//! A transaction is committed while the task goes on: what it writes meanwhile waits for the next.

use std::time::Duration;

use broker::client::{
    Acks, Client, ClientError, CommittedOffset, Committing, PipelinedProducer, Producer,
    ProducerOptions, TransactionOffsets,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;

use super::now;
use super::planned::Planned;
use super::restore::Note;
use crate::pipeline::Guarantee;
use crate::state::changelog::Change;

/// Changes of state go out in batches of about this size.
const CHANGELOG_BATCH_BYTES: usize = 256 << 10;
/// What waits for the transaction before it to be committed.
const QUEUED_BYTES_MAX: u32 = 8 << 20;
/// A transaction lives no longer than a few commit intervals; this is the least that is asked for.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(60);

pub struct Writer {
    transactions: PipelinedProducer,
    /// What writes rows that are to be seen before they are committed, if they are.
    at_once: Option<Box<dyn Producer>>,
    group: String,
    changelog: TopicPartition,
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
                let options = ProducerOptions { acks: Acks::OnFlush, ..ProducerOptions::default() };
                Some(client.producer(options).await?)
            }
            _ => None,
        };
        Ok(Writer {
            transactions: PipelinedProducer::new(producer, QUEUED_BYTES_MAX),
            at_once,
            group: planned.group(),
            changelog: planned.changelog(),
        })
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
                None => self.transactions.send(to, batch).await?,
            }
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
                self.transactions.send(self.changelog.clone(), full).await?;
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.transactions.send(self.changelog.clone(), batch).await
    }

    /// Begins to commit all that was sent since the last time.
    pub async fn commit(
        &mut self,
        offsets: impl Iterator<Item = (TopicPartition, Offset, Note)>,
    ) -> Result<Committing, ClientError> {
        let committed = |offset, note: Note| CommittedOffset { offset, metadata: note.to_string() };
        let offsets = TransactionOffsets {
            group: self.group.clone(),
            membership: None,
            offsets: offsets.map(|(at, offset, note)| (at, committed(offset, note))).collect(),
        };
        // The place in the input moves on only behind rows that are there for good.
        let flushing = self.at_once.as_mut().map(|producer| producer.flushing());
        let offsets = Some(offsets).filter(|offsets| !offsets.offsets.is_empty());
        self.transactions.commit(offsets, flushing).await
    }

    /// Waits for what is being committed; what was sent since is thrown away.
    pub async fn close(self) {
        self.transactions.close().await;
    }
}
