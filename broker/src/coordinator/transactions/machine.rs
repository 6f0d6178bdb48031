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

/// Where a transaction stands; the numbers are those of the stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    /// Expired: its record is a tombstone.
    Dead = 6,
}

impl Status {
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

/// What is known of one transactional id; kept as a whole at each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub status: Status,
    /// Partitions with records or offsets of the open transaction.
    pub partitions: BTreeSet<TopicPartition>,
    /// Wall clock; −1 if none is open.
    pub started_ms: i64,
    pub updated_ms: i64,
}

/// What must happen before the request can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to keep: answer.
    Answer,
    /// Keep this, then answer.
    Keep(Transaction),
    /// Keep this decision, write its markers, keep [`Transaction::completed`], and ask again.
    End(Transaction),
}

/// An epoch that a producer may still be given; the last one is only for fencing.
const EPOCH_MAX: i16 = i16::MAX - 1;

impl Transaction {
    /// The decision of a transaction whose markers are yet to be written.
    pub fn decision(&self) -> Option<ControlType> {
        match self.status {
            Status::PrepareCommit => Some(ControlType::Commit),
            Status::PrepareAbort => Some(ControlType::Abort),
            _ => None,
        }
    }

    /// All markers are durable.
    pub fn completed(&self, decision: ControlType, now_ms: i64) -> Transaction {
        Transaction {
            status: Status::complete(decision),
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: now_ms,
            ..self.clone()
        }
    }

    fn decided(&self, decision: ControlType, epoch: ProducerEpoch, now_ms: i64) -> Transaction {
        let status = Status::prepare(decision);
        Transaction { status, epoch, updated_ms: now_ms, ..self.clone() }
    }

    /// The epoch that fences the present producer.
    fn next_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1))
    }

    /// The producer must be the latest one.
    fn check(&self, id: ProducerId, epoch: ProducerEpoch) -> Result<(), TransactionError> {
        if id != self.producer_id {
            Err(TransactionError::InvalidProducerIdMapping)
        } else if epoch != self.epoch {
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
    expected: Option<(ProducerId, ProducerEpoch)>,
    timeout_ms: i32,
    fresh_id: ProducerId,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let new = |producer_id, epoch| Transaction {
        producer_id,
        epoch,
        timeout_ms,
        status: Status::Empty,
        partitions: BTreeSet::new(),
        started_ms: -1,
        updated_ms: now_ms,
    };
    let Some(found) = found else {
        return Ok(Step::Keep(new(fresh_id, ProducerEpoch(0))));
    };
    if let Some((id, epoch)) = expected
        && (id != found.producer_id || epoch != found.epoch)
    {
        return Err(TransactionError::Fenced);
    }
    match found.status {
        Status::PrepareCommit | Status::PrepareAbort => Ok(Step::End(found.clone())),
        Status::Ongoing => {
            Ok(Step::End(found.decided(ControlType::Abort, found.next_epoch(), now_ms)))
        }
        _ if found.epoch.0 >= EPOCH_MAX => Ok(Step::Keep(new(fresh_id, ProducerEpoch(0)))),
        _ => Ok(Step::Keep(new(found.producer_id, found.next_epoch()))),
    }
}

/// AddPartitionsToTxn and AddOffsetsToTxn: opens the transaction if need be.
pub fn add(
    found: Option<&Transaction>,
    (id, epoch): (ProducerId, ProducerEpoch),
    partitions: &[TopicPartition],
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let found = found.ok_or(TransactionError::InvalidProducerIdMapping)?;
    found.check(id, epoch)?;
    if found.decision().is_some() {
        return Ok(Step::End(found.clone()));
    }
    let ongoing = found.status == Status::Ongoing;
    if ongoing && partitions.iter().all(|partition| found.partitions.contains(partition)) {
        return Ok(Step::Answer);
    }
    let mut next = Transaction { status: Status::Ongoing, updated_ms: now_ms, ..found.clone() };
    if !ongoing {
        next.started_ms = now_ms;
    }
    next.partitions.extend(partitions.iter().cloned());
    Ok(Step::Keep(next))
}

/// EndTxn. A retry of what was done already is answered like the first try.
pub fn end(
    found: Option<&Transaction>,
    (id, epoch): (ProducerId, ProducerEpoch),
    decision: ControlType,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let found = found.ok_or(TransactionError::InvalidProducerIdMapping)?;
    found.check(id, epoch)?;
    match (found.status, decision) {
        (Status::Ongoing, _) => Ok(Step::End(found.decided(decision, epoch, now_ms))),
        (Status::PrepareCommit, ControlType::Commit)
        | (Status::PrepareAbort, ControlType::Abort) => Ok(Step::End(found.clone())),
        (Status::CompleteCommit, ControlType::Commit)
        | (Status::CompleteAbort, ControlType::Abort) => Ok(Step::Answer),
        _ => Err(TransactionError::InvalidState),
    }
}

/// A transaction that has been open for too long is aborted, and its producer fenced: it may be
/// dead, or it may wake up and go on writing.
pub fn expire(found: &Transaction, started_ms: i64, now_ms: i64) -> Step {
    let same = found.status == Status::Ongoing && found.started_ms == started_ms;
    if same {
        Step::End(found.decided(ControlType::Abort, found.next_epoch(), now_ms))
    } else {
        Step::Answer
    }
}
