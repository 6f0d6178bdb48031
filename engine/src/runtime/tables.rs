//! Reading the topics of the tables that a query joins: from their beginnings at each start, then
//! on and on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::client::{Client, ClientError, OffsetSpec, Reader, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};

use super::ends::ends;
use crate::task::{Task, TaskError};

pub struct TableReader {
    reader: Box<dyn Reader>,
    next: BTreeMap<TopicPartition, Offset>,
    /// Where the partitions ended when they were opened.
    loaded_at: BTreeMap<TopicPartition, Offset>,
}

impl TableReader {
    /// Opens topics, each with as many partitions as said. `fed`: those that this run writes.
    pub async fn open(
        client: &dyn Client,
        topics: Vec<(String, i32)>,
        fed: &BTreeSet<String>,
    ) -> Result<TableReader, ClientError> {
        let mut partitions = Vec::new();
        for (topic, count) in topics {
            let topic: Arc<str> = topic.into();
            partitions.extend((0..count).map(|at| TopicPartition::new(topic.clone(), at)));
        }
        let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
        let starts = starts.into_iter().map(Option::unwrap_or_default);
        let next: BTreeMap<_, _> = partitions.iter().cloned().zip(starts).collect();
        let loaded_at = ends(client, partitions, fed).await?;
        let from = next.iter().map(|(partition, offset)| (partition.clone(), *offset)).collect();
        let reader = client.reader(ReaderOptions::partitions(from)).await?;
        Ok(TableReader { reader, next, loaded_at })
    }

    /// Whether all has been read that was there when it was opened.
    pub fn is_loaded(&self) -> bool {
        self.next.iter().all(|(partition, next)| *next >= self.loaded_at[partition])
    }

    /// Waits for the next event. Safe to cancel.
    pub async fn next(&mut self) -> Result<ReaderEvent, ClientError> {
        self.reader.next().await
    }

    pub fn process(&mut self, event: ReaderEvent, task: &mut Task) -> Result<(), TaskError> {
        // A reader of given partitions has no group that could move them.
        let ReaderEvent::Batches(fetched) = event else { return Ok(()) };
        let Some(next) = self.next.get_mut(&fetched.partition) else { return Ok(()) };
        task.process_table(&fetched, *next)?;
        *next = fetched.next_offset.max(*next);
        Ok(())
    }
}
