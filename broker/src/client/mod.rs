//! The one door to a log.
//!
//! Engine, connectors and commands reach records through [`Client`] alone, never through sockets
//! or files. It has two implementations: embedded, straight to the log of the
//! broker in this process (no socket, no copy of a batch), and remote, an existing Kafka cluster
//! through librdkafka. The same pipeline runs on either.
//!
//! - [`Client`] creates, lists and looks up; it hands out readers and producers.
//! - [`Reader`] delivers raw record batches from partitions that it was given, or that a consumer
//!   group assigns to it.
//! - [`Producer`] sends batches in order, and can make them one transaction together with the
//!   offsets that they were computed from (KIP-98, KIP-447).
//! - [`PipelinedProducer`] takes one over, and takes records of the next transaction while one is
//!   being committed.
//! - [`member`] is in a group whose members share something else than partitions; [`shares`] is the
//!   rule by which they share tasks.
//! - [`secured`]: TLS, and who one is, for whatever leaves this process.
//! - [`admin`] asks and orders what only people who look after a cluster need, of any broker.
//!
//! Invariants: a reader delivers each partition's batches in offset order, and under
//! [`Isolation::ReadCommitted`] never one of an open or aborted transaction. What
//! [`Producer::flush`] or [`Producer::commit`] has returned for is durable. A producer that was
//! fenced never writes again.

pub mod admin;
pub mod embedded;
pub mod member;
mod partitioner;
mod pipelined;
#[cfg(feature = "kafka")]
pub mod remote;
pub mod secured;
pub mod shares;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use uuid::Uuid;

use crate::ids::{Offset, TopicPartition};
use crate::record::{BatchBuilder, RecordBatch};
use member::GroupCoordinator;

pub use partitioner::partition_for_key;
pub use pipelined::{Committing, PipelinedProducer};
#[cfg(feature = "kafka")]
pub use remote::{RemoteClient, RemoteOptions};

/// A broker, wherever it runs. Cheap to share: all methods take `&self`.
#[async_trait]
pub trait Client: Send + Sync + Debug {
    /// Where this client leads, for messages: `127.0.0.1:9092`.
    fn address(&self) -> String;

    /// Creates a topic; [`ClientError::TopicExists`] if there is one of that name.
    async fn create_topic(&self, topic: &NewTopic) -> Result<(), ClientError>;

    /// Deletes a topic and its records; [`ClientError::UnknownTopic`] if there is none.
    async fn delete_topic(&self, name: &str) -> Result<(), ClientError>;

    /// All topics, by name, internal ones included.
    async fn topics(&self) -> Result<Vec<TopicInfo>, ClientError>;

    /// One topic, or `None`. Never creates it.
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError>;

    /// What records of a topic must be like, as far as that is known.
    async fn topic_rules(&self, topic: &str) -> Result<TopicRules, ClientError>;

    /// One offset per partition asked for, in the same order; `None` where a timestamp lies
    /// beyond the last record.
    async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetSpec,
    ) -> Result<Vec<Option<Offset>>, ClientError>;

    /// Deletes what lies before these offsets, for good; nothing happens where that is gone
    /// already. Only of topics that delete (`cleanup.policy`), and none of the broker's own; no
    /// offset may lie beyond the end ([`ClientError::OffsetOutOfRange`]). If one partition fails,
    /// others may have been done.
    async fn delete_records(&self, up_to: &[(TopicPartition, Offset)]) -> Result<(), ClientError>;

    /// What a group has committed, one per partition asked for, in the same order. Waits for
    /// transactions that are about to change the answer (KIP-447's `require_stable`).
    async fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>, ClientError>;

    /// Starts reading.
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>, ClientError>;

    /// Starts producing. With a transactional id this fences every earlier producer of that id
    /// and aborts what it left open.
    async fn producer(&self, options: ProducerOptions) -> Result<Box<dyn Producer>, ClientError>;

    /// Who looks after groups, for [`member::GroupMember`]s.
    async fn coordinator(&self) -> Result<Arc<dyn GroupCoordinator>, ClientError>;
}

/// Delivers record batches. Dropping it leaves its group, if it is in one.
#[async_trait]
pub trait Reader: Send {
    /// Waits for the next event. Safe to cancel: nothing is lost. Partitions with records are
    /// served in turn, so that none starves.
    async fn next(&mut self) -> Result<ReaderEvent, ClientError>;

    /// Replaces the partitions read and where to go on in each. Only for readers that are not in
    /// a group; a partition that stays keeps what was fetched ahead only if its offset fits.
    async fn assign(
        &mut self,
        partitions: Vec<(TopicPartition, Offset)>,
    ) -> Result<(), ClientError>;

    /// Commits offsets of the next records to read, for readers in a group.
    async fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError>;

    /// Membership in the group, which a transaction needs in order to fence zombies (KIP-447).
    fn group(&self) -> Option<GroupMembership>;
}

/// Sends record batches in order.
///
/// Without a transactional id: [`send`](Producer::send), now and then
/// [`flush`](Producer::flush). With one: [`begin`](Producer::begin), `send`,
/// [`commit`](Producer::commit) or [`abort`](Producer::abort).
#[async_trait]
pub trait Producer: Send {
    /// Takes a batch for one partition. Waits while too much is under way. An error may be of an
    /// earlier batch; after one, nothing sent since the last flush can be taken as written.
    async fn send(&mut self, to: &TopicPartition, batch: BatchBuilder) -> Result<(), ClientError>;

    /// Waits until all that was sent is acknowledged as the options ask.
    async fn flush(&mut self) -> Result<(), ClientError> {
        self.flushing().await
    }

    /// Begins a flush, which resolves when all that was sent before it is acknowledged. More may be
    /// sent meanwhile, though a remote producer makes that wait.
    fn flushing(&mut self) -> Flushing;

    /// Opens a transaction.
    async fn begin(&mut self) -> Result<(), ClientError>;

    /// Ends the transaction: its records become visible and the offsets committed, all or
    /// nothing, durably.
    async fn commit(&mut self, offsets: Option<&TransactionOffsets>) -> Result<(), ClientError>;

    /// Ends the transaction and takes its records back.
    async fn abort(&mut self) -> Result<(), ClientError>;
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// Partitions, at least 1; `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// Kafka's topic configs, such as `cleanup.policy`.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<String>, partitions: i32) -> NewTopic {
        NewTopic { name: name.into(), partitions: Some(partitions), configs: BTreeMap::new() }
    }

    pub fn with_config(mut self, key: &str, value: impl ToString) -> NewTopic {
        self.configs.insert(key.to_owned(), value.to_string());
        self
    }
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    /// `None` from clusters older than KIP-516.
    pub id: Option<Uuid>,
    pub partitions: i32,
    /// Kept by the broker itself, such as `__consumer_offsets`.
    pub internal: bool,
}

/// What records of a topic must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRules {
    /// The bytes that a batch has at most (`max.message.bytes`), compressed if it is.
    pub batch_bytes_max: Option<usize>,
    /// Each has a key (`cleanup.policy`).
    pub is_compacted: bool,
}

/// Which offset to look up (KIP-79, KIP-734).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record kept.
    Earliest,
    /// One past the last record that a reader of this isolation can see.
    Latest(Isolation),
    /// The first record with this timestamp or a later one, in ms since 1970.
    AtTimestamp(i64),
}

/// Whether a reader sees records of open and aborted transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    #[default]
    ReadCommitted,
}

/// A committed offset: the next record to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    /// Whatever was stored beside it.
    pub metadata: String,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    pub from: ReadFrom,
    pub isolation: Isolation,
    /// About how many bytes one event may bring; a larger single batch still comes whole.
    pub event_bytes_max: usize,
}

impl ReaderOptions {
    /// Committed records of these partitions from these offsets, at most 1 MiB at a time.
    pub fn partitions(partitions: Vec<(TopicPartition, Offset)>) -> ReaderOptions {
        ReaderOptions {
            from: ReadFrom::Partitions(partitions),
            isolation: Isolation::ReadCommitted,
            event_bytes_max: 1 << 20,
        }
    }

    /// Committed records of these topics, shared among the members of a group.
    pub fn group(group: impl Into<String>, topics: Vec<String>) -> ReaderOptions {
        ReaderOptions {
            from: ReadFrom::Group(GroupOptions {
                group: group.into(),
                topics,
                session_timeout: Duration::from_secs(45),
                without_offset: WithoutOffset::Earliest,
            }),
            isolation: Isolation::ReadCommitted,
            event_bytes_max: 1 << 20,
        }
    }
}

/// What is read.
#[derive(Clone, Debug)]
pub enum ReadFrom {
    /// These partitions, each from its offset.
    Partitions(Vec<(TopicPartition, Offset)>),
    /// What the group assigns, from what the group has committed.
    Group(GroupOptions),
}

/// How to take part in a consumer group.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    pub group: String,
    pub topics: Vec<String>,
    /// Silence after which a member is taken for dead.
    pub session_timeout: Duration,
    pub without_offset: WithoutOffset,
}

/// Where a group starts in a partition that it has no committed offset for
/// (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutOffset {
    Earliest,
    Latest,
}

/// What a reader has to say.
#[derive(Clone, Debug)]
pub enum ReaderEvent {
    Batches(FetchedBatches),
    /// The group gave these partitions to this reader, perhaps none; their batches follow.
    Assigned(Vec<TopicPartition>),
    /// The group takes these partitions away. Commit what was done before the next call: it lets
    /// them go.
    Revoked(Vec<TopicPartition>),
}

/// Batches of one partition, in offset order, none of them a control batch. A batch may begin
/// with records before the offset that was asked for: skip them.
#[derive(Clone, Debug)]
pub struct FetchedBatches {
    pub partition: TopicPartition,
    /// Empty where only markers or aborted records lay between, or to say that the end is here.
    pub batches: Vec<RecordBatch>,
    /// The offset to go on from.
    pub next_offset: Offset,
    /// One past the last record that could be read when this was fetched, markers included: at
    /// `next_offset == end_offset` the reader has caught up.
    pub end_offset: Offset,
}

/// A reader's place in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMembership {
    pub group: String,
    pub member_id: String,
    pub generation: i32,
}

/// How to produce.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Names the producer across restarts and makes it transactional.
    pub transactional_id: Option<String>,
    /// A transaction open for longer is aborted by the broker.
    pub transaction_timeout: Duration,
    pub acks: Acks,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            acks: Acks::All,
        }
    }
}

/// A flush under way (see [`Producer::flushing`]). Dropped, what it would have waited for is not
/// known to be written.
pub type Flushing = Pin<Box<dyn Future<Output = Result<(), ClientError>> + Send>>;

/// When a batch counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// In the page cache: survives the process, not the machine.
    Leader,
    /// In the page cache and to be seen once it is sent, on disk once it is flushed. A cluster,
    /// which may lose what one machine has, is asked for `All`.
    OnFlush,
    /// On disk.
    #[default]
    All,
}

/// Offsets that a transaction commits with its records.
#[derive(Clone, Debug)]
pub struct TransactionOffsets {
    pub group: String,
    /// Set if a reader in that group read the records: it fences members of older generations.
    pub membership: Option<GroupMembership>,
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// Why a broker did not do as asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClientError {
    #[error("topic '{0}' exists already")]
    TopicExists(String),
    #[error("topic '{0}' does not exist; create it with `millstream topics create {0}`")]
    UnknownTopic(String),
    #[error("partition {0} does not exist")]
    UnknownPartition(TopicPartition),
    #[error("partition {partition}: offset {offset} is not in the log, which has {start}..{end}")]
    OffsetOutOfRange { partition: TopicPartition, offset: Offset, start: Offset, end: Offset },
    #[error(
        "another producer with transactional id '{transactional_id}' has taken over; \
         only one instance of it can run at a time"
    )]
    Fenced { transactional_id: String },
    #[error(
        "{to}: a record batch of {size} bytes exceeds max.message.bytes = {size_max}; \
         a topic takes longer ones when that is raised (`millstream configs alter`)"
    )]
    BatchTooLarge { to: TopicPartition, size: usize, size_max: usize },
    #[error("group '{group}': {reason}")]
    Group { group: String, reason: String },
    #[error("{what}: {reason}")]
    Refused { what: String, reason: String },
    #[error("{what}: storage failed: {reason}")]
    Storage { what: String, reason: String },
    #[error("{address}: no answer from the broker: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address}: the broker does not let us in: {reason}")]
    NotLetIn { address: String, reason: String },
    #[error("the broker is shutting down")]
    ShuttingDown,
}
