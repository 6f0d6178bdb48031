//! The rim of the transaction coordinator: locks, clock, log, markers and timeouts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::machine::{self, Step, Transaction, TransactionError};
use super::records;
use crate::coordinator::state_log::{
    Marker, OFFSETS_TOPIC, StateLog, StateLogError, TRANSACTIONS_TOPIC, partition_for,
};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
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
}

impl Default for TransactionConfig {
    fn default() -> TransactionConfig {
        TransactionConfig { partitions: 1, offsets_partitions: 1, timeout_ms_max: 900_000 }
    }
}

/// What a producer stamps its batches with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// Told once all markers of a transaction are durable.
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
    log: Arc<dyn StateLog>,
    config: TransactionConfig,
    /// Milliseconds since 1970.
    now_ms: Clock,
    on_ended: OnEnded,
    slots: Mutex<HashMap<Arc<str>, Arc<AsyncMutex<Slot>>>>,
}

/// One transactional id. Its lock is held for a whole request, appends and markers included.
#[derive(Debug, Default)]
struct Slot {
    transaction: Option<Transaction>,
    timeout: Option<AbortHandle>,
}

impl fmt::Debug for TransactionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionService").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A request to one transactional id.
#[derive(Clone, Debug)]
enum Request {
    Init { expected: Option<ProducerIdentity>, timeout_ms: i32 },
    Add { producer: ProducerIdentity, partitions: Vec<TopicPartition> },
    End { producer: ProducerIdentity, decision: ControlType },
    Expire { started_ms: i64 },
}

impl TransactionService {
    /// `on_ended` hears of every transaction that has ended, before its producer does.
    pub fn new(
        log: Arc<dyn StateLog>,
        config: TransactionConfig,
        now_ms: Clock,
        on_ended: OnEnded,
    ) -> Arc<TransactionService> {
        Arc::new(TransactionService { log, config, now_ms, on_ended, slots: Mutex::default() })
    }

    /// Reads `__transaction_state`, completes what was decided before a crash, and lets time run
    /// for what is open. To be called once, before requests are taken.
    pub async fn recover(self: &Arc<Self>) -> Result<(), TransactionError> {
        for (id, transaction) in self.replay()? {
            let slot = self.slot(&id);
            let mut slot = slot.lock().await;
            let decided = transaction.decision().is_some();
            slot.transaction = Some(transaction.clone());
            if decided {
                self.finish(&id, &mut slot, transaction).await?;
            } else {
                self.arm_timeout(&id, &mut slot);
            }
        }
        Ok(())
    }

    fn replay(&self) -> Result<HashMap<String, Transaction>, TransactionError> {
        let mut found = HashMap::new();
        let mut failed = None;
        for partition in 0..self.log.partitions(TRANSACTIONS_TOPIC).unwrap_or(0) {
            let from = TopicPartition::new(TRANSACTIONS_TOPIC, partition);
            let mut each = |batch: RecordBatch| {
                if failed.is_none()
                    && !batch.is_control()
                    && let Err(reason) = replay_batch(&batch, &mut found)
                {
                    failed = Some(format!("{from}: {reason}"));
                }
            };
            self.log.replay(&from, &mut each).map_err(unavailable)?;
        }
        failed.map_or(Ok(found), |reason| Err(TransactionError::Unavailable(reason)))
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
        self.carry_out(id, Request::Init { expected, timeout_ms }).await
    }

    /// AddPartitionsToTxn: to be called before the first record in each partition.
    pub async fn add_partitions(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        partitions: Vec<TopicPartition>,
    ) -> Result<(), TransactionError> {
        self.carry_out(id, Request::Add { producer, partitions }).await.map(drop)
    }

    /// AddOffsetsToTxn: to be called before offsets of `group` are committed.
    pub async fn add_offsets(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        group: &str,
    ) -> Result<(), TransactionError> {
        let ensured = self.log.ensure_topic(OFFSETS_TOPIC, self.config.offsets_partitions);
        let partition = partition_for(group, ensured.await.map_err(unavailable)?);
        let partitions = vec![TopicPartition::new(OFFSETS_TOPIC, partition)];
        self.add_partitions(id, producer, partitions).await
    }

    /// EndTxn. Returns once the markers are durable: readers see the transaction or never will.
    pub async fn end(
        self: &Arc<Self>,
        id: &str,
        producer: ProducerIdentity,
        decision: ControlType,
    ) -> Result<(), TransactionError> {
        self.carry_out(id, Request::End { producer, decision }).await.map(drop)
    }

    /// On a task of its own, so that a caller who goes away leaves nothing half done.
    async fn carry_out(
        self: &Arc<Self>,
        id: &str,
        request: Request,
    ) -> Result<ProducerIdentity, TransactionError> {
        let service = self.clone();
        let id: Arc<str> = id.into();
        let task = tokio::spawn(async move { service.act(&id, request).await });
        task.await.unwrap_or_else(|error| Err(TransactionError::Unavailable(error.to_string())))
    }

    async fn act(
        self: &Arc<Self>,
        id: &Arc<str>,
        mut request: Request,
    ) -> Result<ProducerIdentity, TransactionError> {
        self.log
            .ensure_topic(TRANSACTIONS_TOPIC, self.config.partitions)
            .await
            .map_err(unavailable)?;
        let slot = self.slot(id);
        let mut slot = slot.lock().await;
        loop {
            match decide(slot.transaction.as_ref(), &request, (self.now_ms)())? {
                Step::Answer => break,
                Step::Keep(next) => {
                    self.keep(id, &next).await?;
                    slot.transaction = Some(next);
                    self.arm_timeout(id, &mut slot);
                    break;
                }
                Step::End(decided) => {
                    self.finish(id, &mut slot, decided).await?;
                    // Who asked is known to be the latest producer; its epoch may have been
                    // raised in fencing itself.
                    if let Request::Init { expected, .. } = &mut request {
                        *expected = None;
                    }
                }
            }
        }
        let found = slot.transaction.as_ref();
        found.map(identity).ok_or(TransactionError::InvalidProducerIdMapping)
    }

    /// Carries a decision through: the decision itself, then the markers, then that it is done.
    async fn finish(
        &self,
        id: &str,
        slot: &mut Slot,
        decided: Transaction,
    ) -> Result<(), TransactionError> {
        let Some(decision) = decided.decision() else {
            return Err(TransactionError::InvalidState);
        };
        if slot.transaction.as_ref() != Some(&decided) {
            self.keep(id, &decided).await?;
            slot.transaction = Some(decided.clone());
        }
        if let Some(timeout) = slot.timeout.take() {
            timeout.abort();
        }
        let Transaction { producer_id, epoch, .. } = decided;
        let marker = Marker { producer_id, epoch, control_type: decision };
        let markers = decided.partitions.iter().map(|to| self.log.append_marker(to, marker));
        for written in join_all(markers).await {
            written.map_err(unavailable)?;
        }
        let offsets = decided.partitions.iter().filter(|to| &*to.topic == OFFSETS_TOPIC);
        let offsets_partitions = offsets.map(|to| to.partition).collect();
        (self.on_ended)(EndedTransaction { producer_id, decision, offsets_partitions });
        let completed = decided.completed(decision, (self.now_ms)());
        // Not waited for: if it is lost the markers are written once more, which changes nothing,
        // and the next record of this id lands behind it in the same partition.
        let kept = self.append(id, &completed)?;
        tokio::spawn(async move {
            if let Err(error) = kept.await {
                tracing::warn!(%error, "a completed transaction could not be noted as such");
            }
        });
        slot.transaction = Some(completed);
        Ok(())
    }

    async fn keep(&self, id: &str, transaction: &Transaction) -> Result<(), TransactionError> {
        self.append(id, transaction)?.await.map(drop).map_err(unavailable)
    }

    fn append(
        &self,
        id: &str,
        transaction: &Transaction,
    ) -> Result<
        impl Future<Output = Result<crate::ids::Offset, StateLogError>> + Send + 'static,
        TransactionError,
    > {
        let refused = |reason: &dyn fmt::Display| TransactionError::Unavailable(reason.to_string());
        let key = records::encode_key(id).map_err(|error| refused(&error))?;
        let value = records::encode_value(transaction).map_err(|error| refused(&error))?;
        let mut batch = BatchBuilder::default();
        batch.append((self.now_ms)(), Some(&key), Some(&value));
        let partitions = self
            .log
            .partitions(TRANSACTIONS_TOPIC)
            .ok_or_else(|| refused(&"__transaction_state does not exist"))?;
        let to = TopicPartition::new(TRANSACTIONS_TOPIC, partition_for(id, partitions));
        Ok(self.log.append(&to, batch.build(ProducerStamp::NONE)))
    }

    fn slot(&self, id: &str) -> Arc<AsyncMutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(id) {
            return slot.clone();
        }
        slots.entry(id.into()).or_default().clone()
    }

    /// Lets the time of an open transaction run; a second call while it runs changes nothing.
    fn arm_timeout(self: &Arc<Self>, id: &str, slot: &mut Slot) {
        let Some(open) = &slot.transaction else { return };
        let running = slot.timeout.as_ref().is_some_and(|timeout| !timeout.is_finished());
        if open.status != machine::Status::Ongoing || running {
            return;
        }
        let started_ms = open.started_ms;
        let since_start = (self.now_ms)().saturating_sub(started_ms).max(0);
        let left = i64::from(open.timeout_ms).saturating_sub(since_start).max(0);
        let (service, id): (Weak<Self>, Arc<str>) = (Arc::downgrade(self), id.into());
        let timeout = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(left as u64)).await;
            let Some(service) = service.upgrade() else { return };
            tracing::warn!(transactional_id = %id, "a transaction took too long and is aborted");
            // Detached: ending the transaction also ends this very timer.
            tokio::spawn(async move { service.act(&id, Request::Expire { started_ms }).await });
        });
        slot.timeout = Some(timeout.abort_handle());
    }
}

fn decide(
    found: Option<&Transaction>,
    request: &Request,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    let pair = |producer: &ProducerIdentity| (producer.producer_id, producer.epoch);
    match request {
        Request::Init { expected, timeout_ms } => {
            let expected = expected.as_ref().map(pair);
            machine::init(found, expected, *timeout_ms, fresh_producer_id(), now_ms)
        }
        Request::Add { producer, partitions } => {
            machine::add(found, pair(producer), partitions, now_ms)
        }
        Request::End { producer, decision } => {
            machine::end(found, pair(producer), *decision, now_ms)
        }
        Request::Expire { started_ms } => {
            Ok(found.map_or(Step::Answer, |found| machine::expire(found, *started_ms, now_ms)))
        }
    }
}

fn identity(transaction: &Transaction) -> ProducerIdentity {
    ProducerIdentity { producer_id: transaction.producer_id, epoch: transaction.epoch }
}

fn fresh_producer_id() -> ProducerId {
    let (high, _) = Uuid::new_v4().as_u64_pair();
    // The version's fixed bits lie in the low half of `high`; shifting keeps 58 random ones.
    ProducerId((high >> 2) as i64)
}

fn unavailable(error: StateLogError) -> TransactionError {
    TransactionError::Unavailable(error.to_string())
}

fn replay_batch(
    batch: &RecordBatch,
    found: &mut HashMap<String, Transaction>,
) -> Result<(), String> {
    let records = batch.records().map_err(|error| error.to_string())?;
    for record in records.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: records::RecordError| format!("offset {}: {error}", record.offset);
        let Some(key) = record.key else { continue };
        let id = records::decode_key(&records.share(key)).map_err(at)?;
        match record.value {
            None => found.remove(&id),
            Some(value) => {
                found.insert(id, records::decode_value(&records.share(value)).map_err(at)?)
            }
        };
    }
    Ok(())
}
