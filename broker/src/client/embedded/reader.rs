//! Reading in this process.
//!
//! Invariants: nothing is held across an await that cancelling would lose. A reader sleeps until
//! one of its partitions has more for it; it never polls. Partitions are looked at in turn,
//! beginning after the one served last.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{existing, read_error};
use crate::broker::Broker;
use crate::client::{ClientError, FetchedBatches, GroupMembership, Isolation, Reader, ReaderEvent};
use crate::ids::{Offset, ProducerId, TopicPartition};
use crate::log::{LogSlice, Partition, ReadOptions, Subscription};
use crate::record::{ControlType, RecordBatch};

pub(super) struct EmbeddedReader {
    broker: Arc<Broker>,
    options: ReadOptions,
    /// Woken by whichever partition has more.
    notify: Arc<Notify>,
    partitions: Vec<Reading>,
    /// The one to look at first.
    turn: usize,
}

struct Reading {
    partition: Arc<Partition>,
    offset: Offset,
    /// Ends with the assignment.
    _subscription: Subscription,
}

impl EmbeddedReader {
    pub fn new(broker: Arc<Broker>, isolation: Isolation, bytes_max: usize) -> EmbeddedReader {
        EmbeddedReader {
            broker,
            options: ReadOptions { isolation, bytes_max, at_least_one: true },
            notify: Arc::new(Notify::new()),
            partitions: Vec::new(),
            turn: 0,
        }
    }

    /// What is there without waiting.
    pub fn poll(&mut self) -> Result<Option<FetchedBatches>, ClientError> {
        for index in 0..self.partitions.len() {
            let index = (self.turn + index) % self.partitions.len();
            let reading = &mut self.partitions[index];
            if let Some(fetched) = reading.fetch(&self.broker, self.options)? {
                self.turn = index + 1;
                return Ok(Some(fetched));
            }
        }
        Ok(None)
    }

    /// Waits for something that [`EmbeddedReader::poll`] may find.
    pub async fn woken(&self) -> Result<(), ClientError> {
        tokio::select! {
            () = self.notify.notified() => Ok(()),
            () = self.broker.stopping() => Err(ClientError::ShuttingDown),
        }
    }

    /// See [`Reader::assign`].
    pub fn set_partitions(
        &mut self,
        partitions: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        let read = |(partition, offset): (TopicPartition, Offset)| {
            let partition = existing(&self.broker, &partition)?;
            let _subscription = partition.subscribe(&self.notify);
            Ok(Reading { partition, offset, _subscription })
        };
        self.partitions = partitions.into_iter().map(read).collect::<Result<_, _>>()?;
        self.turn = 0;
        Ok(())
    }
}

impl Reading {
    fn fetch(
        &mut self,
        broker: &Broker,
        options: ReadOptions,
    ) -> Result<Option<FetchedBatches>, ClientError> {
        let slice = self.partition.read(self.offset, options).map_err(|error| {
            let id = self.partition.id();
            match existing(broker, id) {
                Ok(now) if Arc::ptr_eq(&now, &self.partition) => read_error(&self.partition, error),
                // Deleted, or deleted and created anew.
                _ => ClientError::UnknownPartition(id.clone()),
            }
        })?;
        if slice.records.is_empty() {
            return Ok(None);
        }
        let (next_offset, end_offset) = (slice.next_offset, slice.end_offset);
        let batches = visible_batches(&self.partition, slice, options.isolation)?;
        self.offset = next_offset;
        let partition = self.partition.id().clone();
        Ok(Some(FetchedBatches { partition, batches, next_offset, end_offset }))
    }
}

/// The batches of a slice without markers and, for read_committed, without aborted records.
fn visible_batches(
    partition: &Partition,
    slice: LogSlice,
    isolation: Isolation,
) -> Result<Vec<RecordBatch>, ClientError> {
    let mut batches =
        RecordBatch::split_all(slice.records).map_err(|error| ClientError::Storage {
            what: format!("partition {}", partition.id()),
            reason: error.to_string(),
        })?;
    let mut aborted = slice.aborted;
    aborted.sort_unstable_by_key(|transaction| transaction.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut aborting: HashSet<ProducerId> = HashSet::new();
    batches.retain(|batch| {
        while let Some(begun) =
            aborted.next_if(|transaction| transaction.first_offset <= batch.last_offset())
        {
            aborting.insert(begun.producer_id);
        }
        if batch.is_control() {
            if is_abort(batch) {
                aborting.remove(&batch.producer_id());
            }
            return false;
        }
        isolation == Isolation::ReadUncommitted
            || !(batch.is_transactional() && aborting.contains(&batch.producer_id()))
    });
    Ok(batches)
}

fn is_abort(batch: &RecordBatch) -> bool {
    batch.records().is_ok_and(|records| {
        let first = records.iter().next();
        let kind = first.and_then(|record| record.ok().and_then(|record| record.control_type()));
        kind == Some(ControlType::Abort)
    })
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self) -> Result<ReaderEvent, ClientError> {
        loop {
            if let Some(fetched) = self.poll()? {
                return Ok(ReaderEvent::Batches(fetched));
            }
            self.woken().await?;
        }
    }

    async fn assign(
        &mut self,
        partitions: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError> {
        self.set_partitions(partitions)
    }

    async fn commit(&mut self, _: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let reason = "this reader is not in a group".to_owned();
        Err(ClientError::Refused { what: "commit of offsets".to_owned(), reason })
    }

    fn group(&self) -> Option<GroupMembership> {
        None
    }
}
