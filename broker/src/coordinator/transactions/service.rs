//! The rim of the transaction coordinator: locks, clock, log and timeouts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::ending::Unsettled;
use super::machine::{self, ProducerIdentity, Protocol, Step, Transaction, TransactionError};
use super::records;
use crate::coordinator::state_log::{
    OFFSETS_TOPIC, StateLogError, TRANSACTIONS_TOPIC, TransactionLog, partition_for,
};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::EncodeError;
use crate::record::{BatchBuilder, ControlType, ProducerStamp, RecordBatch};

/// How transactions are kept.
#[derive(Clone, Debug)]
pub struct TransactionConfig {
    /// Partitions of `__transaction_state` if it must be created. Kafka's 50 spread coordinators
    /// over brokers; here there is one, and each partition costs files and fsyncs.
    pub partitions: i32,
    /// Partitions of `__consumer_offsets` if it must be created.
    pub offsets_partitions: i32,
    /// `transaction.max.timeout.ms`
    pub timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`: ids that nobody has used for so long are forgotten.
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiration_check_interval: Duration,
}

impl Default for TransactionConfig {
    fn default() -> TransactionConfig {
        TransactionConfig {
            partitions: 1,
            offsets_partitions: 1,
            timeout_ms_max: 900_000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            expiration_check_interval: Duration::from_secs(60 * 60),
        }
    }
}

/// Told once the markers of a decided transaction are in all its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedTransaction {
    pub producer_id: ProducerId,
    pub decision: ControlType,
    /// Partitions of `__consumer_offsets` that hold offsets of it.
    pub offsets_partitions: Vec<i32>,
}

type OnEnded = Box<dyn Fn(EndedTransaction) + Send + Sync>;
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The transaction coordinator.
pub struct TransactionService {
    pub(super) log: Arc<dyn TransactionLog>,
    pub(super) config: TransactionConfig,
    /// Milliseconds since 1970.
    pub(super) now_ms: Clock,
    pub(super) on_ended: OnEnded,
    pub(super) slots: Mutex<HashMap<Arc<str>, Arc<AsyncMutex<Slot>>>>,
}

/// One transactional id. Its lock is held for a whole request, appends and markers included.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub transaction: Option<Transaction>,
    pub timeout: Option<AbortHandle>,
    /// Of the decided transaction, partitions that have their marker: a marker that one partition
    /// does not take is tried again, without writing those of the others once more.
    pub marked: Unsettled,
    /// Markers of the transaction before that may not be durable yet.
    pub unsettled: Unsettled,
    /// Somebody sees to it that they become so.
    pub settling: bool,
    /// Transactions that have ended.
    pub ends: u64,
    /// No longer among the slots; whoever has come too late looks again.
    pub gone: bool,
}

/// Permission to write to partitions of an open transaction. As long as it is held the
/// transaction does not end, neither by request nor by timeout.
#[derive(Debug)]
pub struct Admission {
    _slot: OwnedMutexGuard<Slot>,
}

impl fmt::Debug for TransactionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionService").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A request to one transactional id.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Init {
        expected: Option<ProducerIdentity>,
        timeout_ms: i32,
    },
    Add {
        producer: ProducerIdentity,
        partitions: Vec<TopicPartition>,
        protocol: Protocol,
    },
    End {
        producer: ProducerIdentity,
        decision: ControlType,
        protocol: Protocol,
    },
    Expire {
        started_ms: i64,
    },
    /// Once more the markers that could not be written.
    Finish,
}

impl TransactionService {
    /// `on_ended` hears of every transaction that has ended, before its producer does.
    pub fn new(
        log: Arc<dyn TransactionLog>,
        config: TransactionConfig,
        now_ms: Clock,
        on_ended: OnEnded,
    ) -> Arc<TransactionService> {
        Arc::new(TransactionService { log, config, now_ms, on_ended, slots: Mutex::default() })
    }

    /// An identity for a producer without a transactional id.
    ///
    /// Producer ids are random numbers: unique without a counter to keep durable, and as opaque
    /// to clients as Kafka's consecutive ones.
    pub fn fresh_producer(&self) -> ProducerIdentity {
        ProducerIdentity { producer_id: fresh_producer_id(), epoch: ProducerEpoch(0) }
    }

    /// InitProducerId with a transactional id: aborts what a predecessor left open, and fences
    /// it. `expected` is set by a producer that recovers from an error (KIP-360).
    pub async fn init_producer(
        self: &Arc<Self>,
        id: &str,
        timeout_ms: i32,
        expected: Option<ProducerIdentity>,
    ) -> Result<ProducerIdentity, TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        if !(1..=self.config.timeout_ms_max).contains(&timeout_ms) {
            return Err(TransactionError::InvalidTimeout);
        }
        let initialized = self.carry_out(id, Request::Init { expected, timeout_ms });
        initialized.await.map(|(identity, _)| identity)
    }

    /// AddPartitionsToTxn: to be called before the first record in each partition.
    pub async fn add_partitions(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        partitions: Vec<TopicPartition>,
        protocol: Protocol,
    ) -> Result<(), TransactionError> {
        self.admit(id, producer, partitions, protocol).await.map(drop)
    }

    /// AddOffsetsToTxn: to be called before offsets of `group` are committed.
    pub async fn add_offsets(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        group: &str,
    ) -> Result<(), TransactionError> {
        let partition = self.offsets_partition(group).await?;
        self.add_partitions(id, producer, vec![partition], Protocol::V1).await
    }

    /// Creates `__transaction_state` if need be; says how many partitions it has.
    pub async fn ensure_topic(&self) -> Result<i32, StateLogError> {
        self.log.ensure_topic(TRANSACTIONS_TOPIC, self.config.partitions).await
    }

    /// The partition of `__consumer_offsets` that keeps a group.
    pub async fn offsets_partition(&self, group: &str) -> Result<TopicPartition, TransactionError> {
        let ensured = self.log.ensure_topic(OFFSETS_TOPIC, self.config.offsets_partitions);
        let partition = partition_for(group, ensured.await.map_err(unavailable)?);
        Ok(TopicPartition::new(OFFSETS_TOPIC, partition))
    }

    /// Lets a producer write to partitions, which become part of its transaction if they are not
    /// already.
    pub async fn admit(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        partitions: Vec<TopicPartition>,
        protocol: Protocol,
    ) -> Result<Admission, TransactionError> {
        let request = Request::Add { producer, partitions, protocol };
        if protocol == Protocol::InProcess
            && let Some(slot) = self.add_at_once(id, &request).await?
        {
            return Ok(Admission { _slot: slot });
        }
        self.carry_out(id, request).await.map(|(_, slot)| Admission { _slot: slot })
    }

    /// Carries out what needs no waiting, and so no task of its own; `None` if there is more to it.
    async fn add_at_once(
        self: &Arc<Self>,
        id: &str,
        request: &Request,
    ) -> Result<Option<OwnedMutexGuard<Slot>>, TransactionError> {
        let mut slot = self.existing(id).await?;
        match decide(slot.transaction.as_ref(), request, (self.now_ms)())? {
            Step::Answer => {}
            Step::Remember(next) => {
                self.remember(id, &slot, &next)?;
                slot.transaction = Some(next);
                self.arm_timeout(id, &mut slot);
            }
            Step::Keep(_) | Step::End(_) => return Ok(None),
        }
        Ok(Some(slot))
    }

    /// Lets a producer write to those partitions that are part of its transaction, as the second
    /// list says of each.
    pub async fn verify(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        partitions: &[TopicPartition],
    ) -> Result<(Admission, Vec<bool>), TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        let slot = self.existing(id).await?;
        let added = machine::verify(slot.transaction.as_ref(), producer, partitions)?;
        Ok((Admission { _slot: slot }, added))
    }

    /// EndTxn. Returns once the decision is durable and all partitions have their markers: readers
    /// see the transaction or never will. Gives the identity for the next transaction.
    pub async fn end(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        decision: ControlType,
        protocol: Protocol,
    ) -> Result<ProducerIdentity, TransactionError> {
        let request = Request::End { producer, decision, protocol };
        self.carry_out(id, request).await.map(|(identity, _)| identity)
    }

    /// On a task of its own, so that a caller who goes away leaves nothing half done.
    async fn carry_out(
        self: &Arc<Self>,
        id: &str,
        request: Request,
    ) -> Result<(ProducerIdentity, OwnedMutexGuard<Slot>), TransactionError> {
        if id.is_empty() {
            return Err(TransactionError::EmptyId);
        }
        let service = self.clone();
        let id: Arc<str> = id.into();
        let task = tokio::spawn(async move { service.act(&id, request).await });
        task.await.unwrap_or_else(|error| Err(TransactionError::Unavailable(error.to_string())))
    }

    async fn act(
        self: &Arc<Self>,
        id: &Arc<str>,
        request: Request,
    ) -> Result<(ProducerIdentity, OwnedMutexGuard<Slot>), TransactionError> {
        let mut slot = match request {
            Request::Init { .. } => {
                self.ensure_topic().await.map_err(unavailable)?;
                self.enter(id).await
            }
            // Of an id that nobody has taken there is nothing to change.
            _ => self.existing(id).await?,
        };
        loop {
            match decide(slot.transaction.as_ref(), &request, (self.now_ms)())? {
                Step::Answer => break,
                Step::Keep(next) => {
                    if let Err(error) = self.keep(id, &mut slot, &next).await {
                        self.drop_untouched(id, &mut slot);
                        return Err(error);
                    }
                    slot.transaction = Some(next);
                    self.arm_timeout(id, &mut slot);
                    break;
                }
                Step::Remember(next) => {
                    self.remember(id, &slot, &next)?;
                    slot.transaction = Some(next);
                    self.arm_timeout(id, &mut slot);
                    break;
                }
                Step::End(decided) => {
                    if let Err(error) = self.finish(id, &mut slot, decided).await {
                        self.arm_retry(id, &mut slot);
                        return Err(error);
                    }
                }
            }
        }
        let found = slot.transaction.as_ref();
        let identity = found.map(Transaction::identity);
        Ok((identity.ok_or(TransactionError::InvalidProducerIdMapping)?, slot))
    }

    /// Appends the record of an id, or with `None` a tombstone.
    pub(super) fn append(
        &self,
        id: &str,
        transaction: Option<&Transaction>,
    ) -> Result<
        impl Future<Output = Result<Offset, StateLogError>> + Send + 'static,
        TransactionError,
    > {
        let (to, batch) = self.record(id, transaction)?;
        Ok(self.log.append(&to, batch))
    }

    /// The record of an id, or with `None` a tombstone, and where it is kept.
    pub(super) fn record(
        &self,
        id: &str,
        transaction: Option<&Transaction>,
    ) -> Result<(TopicPartition, RecordBatch), TransactionError> {
        let unencodable = |error: EncodeError| TransactionError::Unavailable(error.to_string());
        let key = records::encode_key(id).map_err(unencodable)?;
        let value = transaction.map(records::encode_value).transpose().map_err(unencodable)?;
        let mut batch = BatchBuilder::default();
        batch.append((self.now_ms)(), Some(&key), value.as_deref());
        let partitions = self.log.partitions(TRANSACTIONS_TOPIC).ok_or_else(|| {
            TransactionError::Unavailable("__transaction_state does not exist".to_owned())
        })?;
        let to = TopicPartition::new(TRANSACTIONS_TOPIC, partition_for(id, partitions));
        Ok((to, batch.build(ProducerStamp::NONE)))
    }

    /// The slot of an id, locked; it is made if there is none.
    pub(super) async fn enter(&self, id: &Arc<str>) -> OwnedMutexGuard<Slot> {
        loop {
            let slot = {
                let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                slots.entry(id.clone()).or_default().clone()
            };
            let slot = slot.lock_owned().await;
            if !slot.gone {
                return slot;
            }
        }
    }

    /// The slot of an id that somebody has taken, locked.
    pub(super) async fn existing(
        &self,
        id: &str,
    ) -> Result<OwnedMutexGuard<Slot>, TransactionError> {
        let slot = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(id).cloned().ok_or(TransactionError::InvalidProducerIdMapping)?
        };
        Ok(slot.lock_owned().await)
    }

    /// Drops a slot that nothing has come of.
    pub(super) fn drop_untouched(&self, id: &str, slot: &mut Slot) {
        if slot.transaction.is_none() {
            slot.gone = true;
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        }
    }

    /// Lets the time of an open transaction run; a second call while it runs changes nothing.
    pub(super) fn arm_timeout(self: &Arc<Self>, id: &str, slot: &mut Slot) {
        let Some(open) = &slot.transaction else { return };
        let running = slot.timeout.as_ref().is_some_and(|timeout| !timeout.is_finished());
        if open.status != machine::Status::Ongoing || running {
            return;
        }
        let started_ms = open.started_ms;
        let since_start = (self.now_ms)().saturating_sub(started_ms).max(0);
        let left = i64::from(open.timeout_ms).saturating_sub(since_start).max(0);
        let wait = Duration::from_millis(left as u64);
        slot.timeout = Some(self.later(id, wait, Request::Expire { started_ms }));
    }

    pub(super) fn later(
        self: &Arc<Self>,
        id: &str,
        wait: Duration,
        request: Request,
    ) -> AbortHandle {
        let (service, id): (Weak<Self>, Arc<str>) = (Arc::downgrade(self), id.into());
        let timer = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(service) = service.upgrade() else { return };
            // Detached: ending the transaction also ends this very timer.
            tokio::spawn(async move {
                let timed_out = matches!(request, Request::Expire { .. });
                match service.act(&id, request).await {
                    Ok(_) if timed_out => tracing::warn!(transactional_id = %id,
                        "a transaction took too long and was aborted"),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(transactional_id = %id, %error,
                        "a transaction cannot be ended"),
                }
            });
        });
        timer.abort_handle()
    }
}

fn decide(
    found: Option<&Transaction>,
    request: &Request,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    match request {
        Request::Init { expected, timeout_ms } => {
            machine::init(found, *expected, *timeout_ms, fresh_producer_id(), now_ms)
        }
        Request::Add { producer, partitions, protocol } => {
            machine::add(found, *producer, partitions, *protocol, now_ms)
        }
        Request::End { producer, decision, protocol } => {
            let fresh_id = fresh_producer_id();
            machine::end(found, *producer, *decision, *protocol, fresh_id, now_ms)
        }
        Request::Expire { started_ms } => {
            Ok(found.map_or(Step::Answer, |found| machine::expire(found, *started_ms, now_ms)))
        }
        Request::Finish => Ok(match found {
            Some(found) if found.decision().is_some() => Step::End(found.clone()),
            _ => Step::Answer,
        }),
    }
}

fn fresh_producer_id() -> ProducerId {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The version's fixed bits lie in the low half of `high`; shifting keeps 58 random ones.
    ProducerId((high >> 2) as i64)
}

pub(super) fn unavailable(error: StateLogError) -> TransactionError {
    TransactionError::Unavailable(error.to_string())
}
