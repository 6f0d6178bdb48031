//! The two seams that connectors are written against.
//!
//! # Writing a connector
//!
//! ```text
//! Plugin ─► name, keys, how tasks are made     declared once: checks and documentation are this
//! SourceTask ─► start, poll, wait, committed   from outside into topics
//! SinkTask   ─► open, put, flush, close        from topics to the outside
//! ```
//!
//! 1. Declare a [`Plugin`](crate::Plugin): its name, one sentence about it, its properties as
//!    [`ConfigKey`](crate::config::ConfigKey)s, and a function that makes its tasks.
//! 2. Write the task. A source appends records and sets the offsets to go on from: both become
//!    durable in one transaction, so no record is lost or written twice. A sink says in `flush`
//!    up to which offsets it is safe: those get committed.
//! 3. [`register`](crate::plugin::register) the plugin, [`validate`](crate::validate) the
//!    properties of a connector, and hand it to a [`Worker`](crate::Worker), or to a
//!    [`Standalone`](crate::Standalone) for its REST API.
//!
//! A program that does all of that, with a source and a sink, is
//! [examples/connector/weather.rs](../../../examples/connector/weather.rs). What to keep in mind:
//!
//! - A task is asked one thing at a time. `poll` returns soon; what takes long is waited for in
//!   `wait`, which may be dropped at any time. Work that blocks belongs on a thread of its own.
//! - An error says on what, and what to do: people read it. One that may be gone at a later
//!   attempt is a [`Retriable`](crate::errors::Retriable). Secrets stand in no error.
//! - A record that cannot be handled is not an error of the task: a sink says so by
//!   [`Put::refused`], and `errors.tolerance` says what becomes of it.
//! - Whatever comes from outside is bounded before it is kept: lines, bodies, queues.
//!
//! # How tasks are driven
//!
//! A worker drives a [`SourceTask`] by turns: [`poll`](SourceTask::poll) for what is at hand,
//! commit, [`wait`](SourceTask::wait) for more. While the worker is busy writing, nothing is
//! polled, or no more than fits into memory where the task [polls
//! ahead](SourceTask::polls_ahead): that is the back pressure. It drives a [`SinkTask`] by
//! [`put`](SinkTask::put) and, now and then, [`flush`](SinkTask::flush).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use broker::client::{Client, ClientError, FetchedBatches, NewTopic};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use broker::record::batch::BatchError;
use broker::record::records::Record;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::creation::TopicCreation;
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::convert::value_to_string;
use crate::data::{ConnectRecord, Value};
use crate::offsets::{SourceOffset, SourcePartition, StoredOffsets};
use crate::records::SourceRecords;
use crate::status::Trouble;
use crate::topics;

/// Why a task cannot go on: any error, whose text says on what and what to do.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Brings records in.
#[async_trait]
pub trait SourceTask: Send {
    /// Takes up where the stored offsets say.
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError>;

    /// Adds what is at hand to `out`, with the offsets to go on from after it, and returns soon:
    /// it does not wait for more to come. If it fails, what is in `out` still gets committed, so
    /// offsets must agree with records at that moment too.
    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError>;

    /// Waits until there may be more. Dropped and called again at any time.
    async fn wait(&mut self) -> Result<(), TaskError>;

    /// These offsets and all their records are durable: the outside may forget them.
    async fn committed(
        &mut self,
        _offsets: &[(SourcePartition, SourceOffset)],
    ) -> Result<(), TaskError> {
        Ok(())
    }

    /// Whether, after the last poll, it may be polled again while what it gave is still being
    /// committed. What [`committed`](SourceTask::committed) then names is durable, but not what
    /// was polled since.
    fn polls_ahead(&self) -> bool {
        false
    }

    /// Ends in order, once nothing more is asked of it. A task that fails, or whose worker is
    /// dropped, is not told.
    async fn stop(&mut self) {}

    /// Whether what it reads from is out of reach: it tries again by itself, and although it has
    /// nothing to do for now, it is not well.
    fn out_of_reach(&self) -> bool {
        false
    }

    /// Whether there is more that it knows of, though nothing can be polled for now: rows of a
    /// snapshot, or changes that were made before it came. Until then it has not caught up.
    fn is_behind(&self) -> bool {
        false
    }

    /// What keeps it from its work, as of its last attempt: it is DEGRADED meanwhile, and tries
    /// again by itself.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Bytes of input known to be there and not yet read, for progress.
    fn remaining_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a poll left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There is more at hand.
    More,
    /// All that is there was read: it gets committed at once.
    Drained,
    /// The input has ended, in the mode that reads up to the end.
    End,
}

/// What a source task gets to know at its start.
#[derive(Debug)]
pub struct SourceContext {
    pub(crate) client: Arc<dyn Client>,
    pub(crate) stored: StoredOffsets,
    pub(crate) until_end: bool,
    pub(crate) alone: bool,
    pub(crate) creation: TopicCreation,
}

impl SourceContext {
    /// The offset that was committed last for a part of the input.
    pub fn offset(&self, partition: &SourcePartition) -> Option<&SourceOffset> {
        self.stored.get(partition)
    }

    /// All offsets of the connector that were committed last, those of its other tasks too.
    pub fn offsets(&self) -> &BTreeMap<SourcePartition, SourceOffset> {
        self.stored.all()
    }

    /// Whether all tasks of the connector run in this process, with one
    /// [`ConnectorConfig`](crate::ConnectorConfig).
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether to stop at the end of the input that is there.
    pub fn until_end(&self) -> bool {
        self.until_end
    }

    /// The topic to write to, created if it does not exist: so, but for what the connector's
    /// `topic.creation` says otherwise.
    pub async fn topic(&self, topic: &NewTopic) -> Result<Topic, ClientError> {
        let info = topics::ensure(&*self.client, &self.creation.of(topic)).await?;
        Ok(Topic { name: info.name.into(), partitions: info.partitions })
    }
}

/// A topic that records go to; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: Arc<str>,
    pub partitions: i32,
}

/// A record on its way in.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceRecord<'a> {
    /// In ms since 1970.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// `None`: by the key's hash as Kafka's own producers do; without a key, batch by batch.
    pub partition: Option<i32>,
}

/// Takes records out.
///
/// An error that may be gone at a later attempt is a [`Retriable`](crate::errors::Retriable): the
/// same records are put again.
#[async_trait]
pub trait SinkTask: Send {
    /// Takes what it gets to know at its start, before all else.
    async fn start(&mut self, _context: &SinkContext) -> Result<(), TaskError> {
        Ok(())
    }

    /// Whether it asks for [values](SinkRecords::values). Otherwise records are read as values
    /// only where transforms or converters have to.
    fn wants_values(&self) -> bool {
        false
    }

    /// Partitions were given to this task. A sink that keeps offsets together with its output
    /// returns them: records before them are there already and will not be put again.
    async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError>;

    /// Takes records, in order per partition. Waits while it has too much under way.
    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError>;

    /// The records that the last put refused are where they belong, durably: what it has done with
    /// the others may count now. An error that may be gone later has the same records put again.
    async fn disposed(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// Makes what was put durable, and returns the offset up to which each partition now is:
    /// those get committed to the group.
    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError>;

    /// Up to where each partition is delivered for good although nothing more is flushed: that gets
    /// committed when the task fails, so that it does not come again at each start. What the last
    /// put has refused, and all after it, counts as not delivered, whatever is said here. A sink
    /// that takes back what it did not flush has nothing to say.
    fn delivered(&self) -> Vec<(TopicPartition, Offset)> {
        Vec::new()
    }

    /// When it wants to be flushed although nothing is put until then.
    fn flush_at(&self) -> Option<Instant> {
        None
    }

    /// All that there was to do was put: it ends what it would otherwise leave open for more. A
    /// flush follows.
    async fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// Partitions were taken away, after a flush.
    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError>;

    /// Ends in order, once nothing more is asked of it. A task that fails, or whose worker is
    /// dropped, is not told.
    async fn stop(&mut self) {}
}

/// What a sink task gets to know at its start.
#[derive(Clone, Debug)]
pub struct SinkContext {
    pub(crate) stop: CancellationToken,
    pub(crate) trouble: Trouble,
}

impl SinkContext {
    /// Cancelled when the task is to stop. A put that may take long returns then, and says where
    /// to go on by [`Put::next`].
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Where to say what keeps it from its work, in the midst of a put.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

/// A partition that a sink is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkPartition {
    pub partition: TopicPartition,
    /// Which topic of that name it is; a topic that is deleted and created anew has another.
    pub topic_id: Option<Uuid>,
}

/// What became of the records that were put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    pub records: u64,
    pub bytes: u64,
    /// Records left out on purpose, such as tombstones.
    pub skipped: u64,
    /// Where to go on with these records; `None`: all of them were taken. A sink that is slow
    /// returns now and then, so that what it has done is committed. The rest is put again at once,
    /// unless the task is to stop.
    pub next: Option<Offset>,
    /// Records before `next` that the outside would not have, in their order. Whether the task goes
    /// on without them, and where they go, is for `errors.tolerance` to say.
    pub refused: Vec<Refused>,
}

/// A record that the outside would not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub offset: Offset,
    pub reason: String,
}

/// Records of one partition for a sink; cheap to clone.
#[derive(Clone, Debug)]
pub struct SinkRecords {
    pub(crate) fetched: FetchedBatches,
    /// Records before this one are none of the sink's.
    pub(crate) from: Offset,
    /// What converters and transforms have made of them, if they were asked to.
    pub(crate) values: Option<Arc<[ConnectRecord]>>,
    /// How many of these are done with.
    pub(crate) values_done: usize,
}

/// A record batch from a topic that cannot be read.
#[derive(Debug, Error)]
#[error("partition {partition}: {error}")]
pub struct UnreadableBatch {
    pub partition: TopicPartition,
    pub error: BatchError,
}

impl SinkRecords {
    pub fn new(fetched: FetchedBatches, from: Offset) -> SinkRecords {
        SinkRecords { fetched, from, values: None, values_done: 0 }
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.fetched.partition
    }

    /// The offset to go on from after these.
    pub fn next_offset(&self) -> Offset {
        self.fetched.next_offset
    }

    /// The same without those before an offset.
    pub(crate) fn after(&self, from: Offset) -> SinkRecords {
        let from = from.max(self.from);
        let mut left = self.clone();
        left.from = from;
        if let Some(values) = &self.values {
            // They are in the order of their offsets.
            let done = |one: &ConnectRecord| one.kafka_offset.is_some_and(|at| at < from);
            left.values_done = values.partition_point(done);
        }
        left
    }

    /// What converters and transforms have made of the records: for sinks that
    /// [want values](SinkTask::wants_values).
    pub fn values(&self) -> &[ConnectRecord] {
        let values = self.values.as_deref();
        &values.expect("the worker gives values to those who want them")[self.values_done..]
    }

    /// The same, where they were asked for or something has made them.
    pub(crate) fn given_values(&self) -> Option<&[ConnectRecord]> {
        self.values.as_deref()
    }

    /// Hands over the text of each record's value: what stands in the topic, or what converters
    /// and transforms have made of it, as text where it is text and else as JSON.
    pub fn for_each_text<E: From<UnreadableBatch>>(
        &self,
        mut take: impl FnMut(Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(values) = &self.values else { return self.for_each(|record| take(record.value)) };
        let options = JsonOptions { schemas: false, ..JsonOptions::default() };
        let mut json = JsonConverter::new(options);
        let mut text = Vec::new();
        for record in &values[self.values_done..] {
            match &record.value.value {
                Value::Null => take(None)?,
                Value::String(value) => take(Some(value.as_bytes()))?,
                Value::Bytes(value) => take(Some(value))?,
                value => {
                    text.clear();
                    // What has no form in JSON has one as text.
                    if json.write(&record.value, &mut text).is_err() {
                        text = value_to_string(value).into_bytes();
                    }
                    take(Some(&text))?;
                }
            }
        }
        Ok(())
    }

    /// Hands each record over in turn, as it stands in the topic.
    pub fn for_each<E: From<UnreadableBatch>>(
        &self,
        mut take: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let unreadable =
            |error| UnreadableBatch { partition: self.fetched.partition.clone(), error };
        for batch in &self.fetched.batches {
            if batch.last_offset() < self.from {
                continue;
            }
            for record in batch.records().map_err(unreadable)?.iter() {
                let record = record.map_err(unreadable)?;
                if record.offset >= self.from {
                    take(&record)?;
                }
            }
        }
        Ok(())
    }
}

/// One batch on its way to one partition.
pub type OutgoingBatch = (TopicPartition, BatchBuilder);
