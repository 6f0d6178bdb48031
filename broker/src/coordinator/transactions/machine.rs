//! One transactional id: what each request makes of it. No clock, log or lock in here.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::record::ControlType;

/// Why a coordinator refuses; each is one of Kafka's error codes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TransactionError {
    /// INVALID_PRODUCER_ID_MAPPING
    #[error("the transactional id belongs to another producer id, or to none")]
    InvalidProducerIdMapping,
    /// PRODUCER_FENCED, INVALID_PRODUCER_EPOCH for versions that do not know it.
    #[error("a newer producer with this transactional id has taken over")]
    Fenced,
    /// INVALID_TXN_STATE
    #[error("there is no transaction that could end so")]
    InvalidState,
    /// TRANSACTION_ABORTABLE, INVALID_TXN_STATE for versions that do not know it.
    #[error("the partition is not part of the transaction")]
    NotAdded,
    /// INVALID_TRANSACTION_TIMEOUT
    #[error("the transaction timeout is not between 1 ms and transaction.max.timeout.ms")]
    InvalidTimeout,
    /// INVALID_REQUEST
    #[error("the transactional id is empty")]
    EmptyId,
    /// COORDINATOR_NOT_AVAILABLE
    #[error("the coordinator cannot keep its state: {0}")]
    Unavailable(String),
}

/// Where a transaction stands; the numbers are those of the stored record. Kafka has two more:
/// a dead id is a tombstone here, and fencing an epoch (PrepareEpochFence) is one step with the
/// decision to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
}

impl Status {
    pub const ALL: [Status; 6] = [
        Status::Empty,
        Status::Ongoing,
        Status::PrepareCommit,
        Status::PrepareAbort,
        Status::CompleteCommit,
        Status::CompleteAbort,
    ];

    /// Kafka's name, as DescribeTransactions and ListTransactions give it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Empty => "Empty",
            Status::Ongoing => "Ongoing",
            Status::PrepareCommit => "PrepareCommit",
            Status::PrepareAbort => "PrepareAbort",
            Status::CompleteCommit => "CompleteCommit",
            Status::CompleteAbort => "CompleteAbort",
        }
    }

    fn prepare(decision: ControlType) -> Status {
        match decision {
            ControlType::Commit => Status::PrepareCommit,
            ControlType::Abort => Status::PrepareAbort,
        }
    }

    fn complete(decision: ControlType) -> Status {
        match decision {
            ControlType::Commit => Status::CompleteCommit,
            ControlType::Abort => Status::CompleteAbort,
        }
    }
}

/// How a client does transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It adds partitions before it writes to them, and keeps its epoch.
    V1,
    /// Writing adds a partition, and each end raises the epoch (KIP-890), so that nothing that
    /// was on its way can fall into the next transaction.
    V2,
    /// Version 2, of a producer in the broker's own process: its open transaction ends with the
    /// process, so nothing is kept of it before it is decided.
    InProcess,
}

impl Protocol {
    /// The feature `transaction.version`.
    pub fn version(self) -> i16 {
        match self {
            Protocol::V1 => 0,
            Protocol::V2 | Protocol::InProcess => 2,
        }
    }
}

/// What a producer stamps its batches with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// What is known of one transactional id; kept as a whole at each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// The id before this one, whose epochs have run out.
    pub previous_id: ProducerId,
    /// The id to go on with when the transaction is complete, since epochs have run out.
    pub next_id: ProducerId,
    /// The epoch that the present one was raised from, as long as no successor has come: the
    /// producer names it when it has not heard of the new one. Not in the record.
    pub last_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub status: Status,
    /// Partitions with records or offsets of the open transaction.
    pub partitions: BTreeSet<TopicPartition>,
    /// Wall clock; −1 if none is open.
    pub started_ms: i64,
    pub updated_ms: i64,
    pub protocol: Protocol,
}

/// What must happen before the request can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to keep: answer.
    Answer,
    /// Keep this, then answer.
    Keep(Transaction),
    /// Answer, and keep this when there is time: were it lost, the partitions themselves would
    /// tell ([`orphaned`]).
    Remember(Transaction),
    /// Keep this decision, write its markers, keep [`Transaction::completed`], and ask again.
    End(Transaction),
}

/// An epoch that a producer may still be given; the last one is only for fencing.
const EPOCH_MAX: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

impl Transaction {
    pub fn identity(&self) -> ProducerIdentity {
        ProducerIdentity { producer_id: self.producer_id, epoch: self.epoch }
    }

    /// The decision of a transaction whose markers are yet to be written.
    pub fn decision(&self) -> Option<ControlType> {
        match self.status {
            Status::PrepareCommit => Some(ControlType::Commit),
            Status::PrepareAbort => Some(ControlType::Abort),
            _ => None,
        }
    }

    /// All partitions have their markers.
    pub fn completed(&self, decision: ControlType, now_ms: i64) -> Transaction {
        let done = Transaction {
            status: Status::complete(decision),
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: now_ms,
            ..self.clone()
        };
        if !self.next_id.is_some() {
            return done;
        }
        Transaction {
            producer_id: self.next_id,
            previous_id: self.producer_id,
            next_id: ProducerId::NONE,
            epoch: ProducerEpoch(0),
            ..done
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self.status, Status::CompleteCommit | Status::CompleteAbort)
    }

    fn decided(&self, decision: ControlType, epoch: ProducerEpoch, now_ms: i64) -> Transaction {
        let status = Status::prepare(decision);
        Transaction { status, epoch, updated_ms: now_ms, ..self.clone() }
    }

    /// Aborted, and with an epoch that fences the present producer: what it still has on its way
    /// is not to be trusted. It may come back itself, and is then given that very epoch.
    fn fenced(&self, now_ms: i64) -> Transaction {
        let last_epoch = self.epoch;
        let aborted = self.decided(ControlType::Abort, self.next_epoch(), now_ms);
        Transaction { last_epoch, ..aborted }
    }

    fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1))
    }

    fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_MAX
    }

    /// The producer must be the latest one.
    fn check(&self, producer: ProducerIdentity) -> Result<(), TransactionError> {
        if producer.producer_id != self.producer_id {
            Err(TransactionError::InvalidProducerIdMapping)
        } else if producer.epoch != self.epoch {
            Err(TransactionError::Fenced)
        } else {
            Ok(())
        }
    }
}

/// InitProducerId. `expected` is the identity of a producer that recovers from an error (KIP-360),
/// `fresh_id` an id that nobody has had. After [`Step::Keep`] the identity is the one kept.
pub fn init(
    found: Option<&Transaction>,
    expected: Option<ProducerIdentity>,
    timeout_ms: i32,
    fresh_id: ProducerId,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let none = ProducerId::NONE;
    let new = |producer_id, epoch, previous_id, last_epoch| Transaction {
        producer_id,
        epoch,
        previous_id,
        next_id: none,
        last_epoch,
        timeout_ms,
        status: Status::Empty,
        partitions: BTreeSet::new(),
        started_ms: -1,
        updated_ms: now_ms,
        protocol: Protocol::V1,
    };
    let Some(found) = found else {
        return Ok(Step::Keep(new(fresh_id, ProducerEpoch(0), none, ProducerEpoch::NONE)));
    };
    if let Some(expected) = expected
        && !recovers(found, expected)
    {
        return Err(TransactionError::Fenced);
    }
    match found.status {
        Status::PrepareCommit | Status::PrepareAbort => return Ok(Step::End(found.clone())),
        Status::Ongoing => return Ok(Step::End(found.fenced(now_ms))),
        Status::Empty | Status::CompleteCommit | Status::CompleteAbort => {}
    }
    let is_retry = expected.is_some_and(|expected| expected.epoch != found.epoch);
    let last_epoch = expected.map_or(ProducerEpoch::NONE, |_| found.epoch);
    Ok(Step::Keep(if is_retry && found.epoch <= EPOCH_MAX {
        // Its epoch has been raised for it already, and it has not heard of that.
        new(found.producer_id, found.epoch, found.previous_id, found.last_epoch)
    } else if found.is_exhausted() {
        new(fresh_id, ProducerEpoch(0), found.producer_id, last_epoch)
    } else {
        new(found.producer_id, found.next_epoch(), found.previous_id, last_epoch)
    }))
}

/// Whether a producer that recovers is the latest, or was until its epoch was raised for itself.
/// Kafka compares only the ids while a transaction is open, so that there a producer which has
/// been fenced can abort the transaction of its successor.
fn recovers(found: &Transaction, expected: ProducerIdentity) -> bool {
    let is_latest = expected == found.identity();
    let was_raised = expected.epoch == found.last_epoch && expected.epoch != ProducerEpoch::NONE;
    let of_same_id = expected.producer_id == found.producer_id
        || (expected.producer_id == found.previous_id && expected.epoch >= EPOCH_MAX);
    is_latest || (of_same_id && was_raised)
}

/// AddPartitionsToTxn and AddOffsetsToTxn, and what writing does in version 2: opens the
/// transaction if need be.
pub fn add(
    found: Option<&Transaction>,
    producer: ProducerIdentity,
    partitions: &[TopicPartition],
    protocol: Protocol,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let found = found.ok_or(TransactionError::InvalidProducerIdMapping)?;
    found.check(producer)?;
    if found.decision().is_some() {
        return Ok(Step::End(found.clone()));
    }
    let ongoing = found.status == Status::Ongoing;
    if ongoing && partitions.iter().all(|partition| found.partitions.contains(partition)) {
        return Ok(Step::Answer);
    }
    let mut next =
        Transaction { status: Status::Ongoing, updated_ms: now_ms, protocol, ..found.clone() };
    if !ongoing {
        next.started_ms = now_ms;
        next.partitions.clear();
    }
    next.partitions.extend(partitions.iter().cloned());
    // Where the epoch does not tell this transaction's records from those of the one before, what
    // is kept must.
    let same_epoch = found.protocol == Protocol::V1 && found.is_complete();
    let kept = protocol == Protocol::V1 || same_epoch;
    Ok(if kept { Step::Keep(next) } else { Step::Remember(next) })
}

/// After a restart: partitions that have records of this producer and epoch, which no marker has
/// ended and no decision names. Those of an open transaction are simply part of it. Else nothing
/// is known of their transaction, and perhaps not all of it is there: it is aborted, with an epoch
/// that fences whoever might go on with it.
pub fn orphaned(found: &Transaction, partitions: BTreeSet<TopicPartition>, now_ms: i64) -> Step {
    if partitions.is_subset(&found.partitions) && found.status == Status::Ongoing {
        return Step::Answer;
    }
    if found.status == Status::Ongoing {
        let partitions = found.partitions.union(&partitions).cloned().collect();
        return Step::Remember(Transaction { partitions, ..found.clone() });
    }
    Step::End(Transaction { partitions, started_ms: now_ms, ..found.fenced(now_ms) })
}

/// Whether a producer may write to these partitions, in the same order: they are part of its
/// open transaction. What is about to end is complete by the time the next request is looked at.
pub fn verify(
    found: Option<&Transaction>,
    producer: ProducerIdentity,
    partitions: &[TopicPartition],
) -> Result<Vec<bool>, TransactionError> {
    let found = found.ok_or(TransactionError::InvalidProducerIdMapping)?;
    found.check(producer)?;
    let is_added =
        |partition| found.status == Status::Ongoing && found.partitions.contains(partition);
    Ok(partitions.iter().map(is_added).collect())
}

/// EndTxn. A retry of what was done already is answered like the first try. `fresh_id` is taken
/// when epochs run out.
pub fn end(
    found: Option<&Transaction>,
    producer: ProducerIdentity,
    decision: ControlType,
    protocol: Protocol,
    fresh_id: ProducerId,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let found = found.ok_or(TransactionError::InvalidProducerIdMapping)?;
    match protocol {
        Protocol::V1 => end_v1(found, producer, decision, now_ms),
        Protocol::V2 | Protocol::InProcess => {
            end_v2(found, producer, decision, protocol, fresh_id, now_ms)
        }
    }
}

fn end_v1(
    found: &Transaction,
    producer: ProducerIdentity,
    decision: ControlType,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    found.check(producer)?;
    match (found.status, decision) {
        (Status::Ongoing, _) => {
            let protocol = Protocol::V1;
            let decided = found.decided(decision, found.epoch, now_ms);
            Ok(Step::End(Transaction { protocol, ..decided }))
        }
        (Status::PrepareCommit, ControlType::Commit)
        | (Status::PrepareAbort, ControlType::Abort) => Ok(Step::End(found.clone())),
        (Status::CompleteCommit, ControlType::Commit)
        | (Status::CompleteAbort, ControlType::Abort) => Ok(Step::Answer),
        _ => Err(TransactionError::InvalidState),
    }
}

/// The epoch grows with each end, so the same epoch means another end, and the one before a retry.
fn end_v2(
    found: &Transaction,
    producer: ProducerIdentity,
    decision: ControlType,
    protocol: Protocol,
    fresh_id: ProducerId,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let of_same_id = producer.producer_id == found.producer_id;
    let after_overflow = producer.producer_id == found.previous_id
        && producer.epoch == EPOCH_MAX
        && found.epoch == ProducerEpoch(0);
    let is_retry = (of_same_id && producer.epoch.0.checked_add(1) == Some(found.epoch.0))
        || (after_overflow && found.decision().is_none());
    if !of_same_id && !after_overflow {
        return Err(TransactionError::InvalidProducerIdMapping);
    }
    let may_retry = !matches!(found.status, Status::Empty | Status::Ongoing);
    if is_retry && may_retry {
        return match (found.status, decision) {
            (Status::PrepareCommit, ControlType::Commit)
            | (Status::PrepareAbort, ControlType::Abort) => Ok(Step::End(found.clone())),
            (Status::CompleteCommit, ControlType::Commit)
            | (Status::CompleteAbort, ControlType::Abort) => Ok(Step::Answer),
            _ => Err(TransactionError::InvalidState),
        };
    }
    if producer != found.identity() || found.decision().is_some() {
        return Err(TransactionError::Fenced);
    }
    let ongoing = found.status == Status::Ongoing;
    // Aborting what the coordinator has not heard of is how a client gets past an error: what it
    // sent may still be on its way, and the higher epoch keeps that out.
    if !ongoing && decision == ControlType::Commit {
        return Err(TransactionError::InvalidState);
    }
    Ok(Step::End(Transaction {
        next_id: if found.is_exhausted() { fresh_id } else { ProducerId::NONE },
        last_epoch: found.epoch,
        started_ms: if ongoing { found.started_ms } else { now_ms },
        protocol,
        ..found.decided(decision, found.next_epoch(), now_ms)
    }))
}

/// A transaction that has been open for too long is aborted, and its producer fenced: it may be
/// dead, or it may wake up and go on writing.
pub fn expire(found: &Transaction, started_ms: i64, now_ms: i64) -> Step {
    let same = found.status == Status::Ongoing && found.started_ms == started_ms;
    if same { Step::End(found.fenced(now_ms)) } else { Step::Answer }
}
