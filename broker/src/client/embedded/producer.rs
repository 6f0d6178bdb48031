//! Producing in this process.
//!
//! An append is a write to the page cache, so there is no queue: a batch is in the log, in order,
//! when `send` returns. Sequence numbers are not needed, since nothing between here and the log
//! is ever sent twice.
//!
//! Without a transaction the fsync is under way by then, if `acks` asks for one, and `flush` waits
//! for it. Within one, nobody reads the records before the marker, so nothing is synced before
//! `commit`: it syncs every partition at once, the one with the offsets too, and only then lets
//! the coordinator decide. So a commit waits for two fsyncs one after the other, however many
//! partitions it has: that of all it writes, and that of the decision.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{try_join_all, try_join3};

use super::{append_error, existing, group_error, transaction_error};
use crate::broker::{Broker, now_ms};
use crate::client::{Acks, ClientError, Flushing, Producer, ProducerOptions, TransactionOffsets};
use crate::coordinator::groups::{
    CommitRequest, GroupError, GroupService, MemberClaim, OffsetToCommit,
};
use crate::coordinator::transactions::{ProducerIdentity, Protocol, TransactionService};
use crate::ids::{Offset, TopicPartition};
use crate::log::{AppendOptions, Origin, Partition, StorageError};
use crate::record::{BatchBuilder, ControlType, ProducerStamp};

/// Bytes that may wait for an fsync before `send` waits too.
const UNSYNCED_BYTES_MAX: usize = 32 << 20;

pub(super) struct EmbeddedProducer {
    broker: Arc<Broker>,
    acks: Acks,
    transactional: Option<Transactional>,
    partitions: HashMap<TopicPartition, Target>,
    unsynced_bytes: usize,
}

struct Target {
    partition: Arc<Partition>,
    /// The last record whose fsync the next flush waits for.
    unsynced: Option<Offset>,
    /// The open transaction has been told of this partition.
    added: bool,
}

struct Transactional {
    service: Arc<TransactionService>,
    groups: Arc<GroupService>,
    id: String,
    identity: ProducerIdentity,
    state: State,
    /// The coordinator may know of the open transaction, which it then must be told to end.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    /// Something was not written: it can only be aborted.
    Failed,
    /// A successor has taken over: nothing can be done any more.
    Fenced,
}

impl EmbeddedProducer {
    pub async fn new(
        broker: Arc<Broker>,
        options: ProducerOptions,
    ) -> Result<EmbeddedProducer, ClientError> {
        let mut transactional = None;
        if let Some(id) = options.transactional_id {
            let service = broker.transactions().clone();
            let timeout_ms = i32::try_from(options.transaction_timeout.as_millis());
            let timeout_ms = timeout_ms.unwrap_or(i32::MAX);
            let identity = service.init_producer(&id, timeout_ms, None).await;
            let identity = identity.map_err(|error| transaction_error(&id, error))?;
            let (groups, state) = (broker.groups().clone(), State::Idle);
            transactional =
                Some(Transactional { service, groups, id, identity, state, begun: false });
        }
        let (partitions, acks) = (HashMap::new(), options.acks);
        Ok(EmbeddedProducer { broker, acks, transactional, partitions, unsynced_bytes: 0 })
    }

    async fn append(
        &mut self,
        to: &TopicPartition,
        batch: BatchBuilder,
    ) -> Result<(), ClientError> {
        if self.unsynced_bytes > UNSYNCED_BYTES_MAX {
            self.flush().await?;
        }
        let target = match self.partitions.entry(to.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let partition = existing(&self.broker, to)?;
                new.insert(Target { partition, unsynced: None, added: false })
            }
        };
        let (mut stamp, mut acks) = (ProducerStamp::NONE, self.acks);
        if let Some(transactional) = &mut self.transactional {
            if !target.added {
                transactional.add(to).await?;
                target.added = true;
            }
            stamp = transactional.stamp();
            acks = Acks::Leader;
        }
        let id = self.transactional.as_ref().map(|transactional| transactional.id.as_str());
        let batch = batch.build(stamp).into_bytes();
        let size = batch.len();
        let options = AppendOptions { origin: Origin::Embedded, acks, now_ms: now_ms() };
        let appended = target.partition.append(batch, options);
        let appended = appended.map_err(|error| append_error(&self.broker, id, error))?;
        if appended.wait_for_sync || id.is_some() || self.acks == Acks::OnFlush {
            target.unsynced = Some(appended.last_offset);
            self.unsynced_bytes += size;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<&mut Transactional, ClientError> {
        let transactional = self.transactional.as_mut().ok_or_else(not_transactional)?;
        match transactional.state {
            State::Open => Ok(transactional),
            State::Idle => Err(refused("no transaction is open: call begin first")),
            State::Failed => Err(refused("something was not written: abort the transaction")),
            State::Fenced => Err(transactional.fenced()),
        }
    }

    async fn end(&mut self, decision: ControlType) -> Result<(), ClientError> {
        let transactional = self.transactional.as_mut().ok_or_else(not_transactional)?;
        if transactional.begun {
            // Until it is known to have ended, only an abort can follow.
            transactional.state = State::Failed;
            let ended = transactional.end(decision).await;
            ended.inspect_err(|error| transactional.failed(error))?;
        }
        transactional.state = State::Idle;
        transactional.begun = false;
        for target in self.partitions.values_mut() {
            target.added = false;
            target.unsynced = None;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}

impl Transactional {
    fn fenced(&self) -> ClientError {
        ClientError::Fenced { transactional_id: self.id.clone() }
    }

    fn failed(&mut self, error: &ClientError) {
        let fenced = matches!(error, ClientError::Fenced { .. });
        self.state = if fenced { State::Fenced } else { State::Failed };
    }

    fn stamp(&self) -> ProducerStamp {
        let ProducerIdentity { producer_id, epoch } = self.identity;
        ProducerStamp { producer_id, epoch, base_sequence: -1, transactional: true }
    }

    async fn add(&mut self, to: &TopicPartition) -> Result<(), ClientError> {
        self.begun = true;
        let (to, protocol) = (vec![to.clone()], Protocol::InProcess);
        let added = self.service.add_partitions(&self.id, self.identity, to, protocol);
        added.await.map_err(|error| transaction_error(&self.id, error))
    }

    /// The offsets become part of the transaction, before any is written.
    async fn add_offsets(&mut self, group: &str) -> Result<(), ClientError> {
        let to = self.service.offsets_partition(group).await;
        let to = to.map_err(|error| transaction_error(&self.id, error))?;
        self.add(&to).await
    }

    /// Writes offsets; they are durable when this returns.
    async fn commit_offsets(&self, offsets: &TransactionOffsets) -> Result<(), ClientError> {
        let group = &offsets.group;
        let member =
            offsets.membership.as_ref().map_or_else(MemberClaim::none, |membership| MemberClaim {
                member_id: membership.member_id.as_str().into(),
                instance_id: None,
                generation: membership.generation,
            });
        let to_commit = offsets.offsets.iter().map(|(partition, committed)| OffsetToCommit {
            partition: partition.clone(),
            offset: committed.offset.0,
            leader_epoch: -1,
            metadata: committed.metadata.clone(),
        });
        let producer = Some((self.identity.producer_id, self.identity.epoch));
        let request =
            CommitRequest { member, producer, knows_epochs: false, offsets: to_commit.collect() };
        let results = self.groups.commit_offsets(group, request).await;
        let failed = match results {
            Ok(results) => results.into_iter().find_map(Result::err),
            Err(error) => Some(error),
        };
        match failed {
            None => Ok(()),
            Some(GroupError::InvalidProducerEpoch) => Err(self.fenced()),
            Some(error) => Err(group_error(group, error)),
        }
    }

    /// The markers of the transaction before are durable.
    async fn settled(&self) -> Result<(), ClientError> {
        let settled = self.service.settled(&self.id).await;
        settled.map_err(|error| transaction_error(&self.id, error))
    }

    /// Each transaction has an epoch of its own (KIP-890).
    async fn end(&mut self, decision: ControlType) -> Result<(), ClientError> {
        let protocol = Protocol::InProcess;
        let ended = self.service.end(&self.id, self.identity, decision, protocol).await;
        self.identity = ended.map_err(|error| transaction_error(&self.id, error))?;
        Ok(())
    }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn send(&mut self, to: &TopicPartition, batch: BatchBuilder) -> Result<(), ClientError> {
        if self.transactional.is_some() {
            self.open()?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let sent = self.append(to, batch).await;
        if let (Err(error), Some(transactional)) = (&sent, &mut self.transactional) {
            transactional.failed(error);
        }
        sent
    }

    fn flushing(&mut self) -> Flushing {
        let ask = self.transactional.is_some() || self.acks == Acks::OnFlush;
        let syncs = syncs(&self.partitions, ask);
        self.partitions.values_mut().for_each(|target| target.unsynced = None);
        self.unsynced_bytes = 0;
        Box::pin(async move { try_join_all(syncs).await.map(drop) })
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        let transactional = self.transactional.as_mut().ok_or_else(not_transactional)?;
        match transactional.state {
            State::Idle => transactional.state = State::Open,
            State::Fenced => return Err(transactional.fenced()),
            State::Open | State::Failed => {
                return Err(refused("a transaction is open already: commit or abort it first"));
            }
        }
        Ok(())
    }

    async fn commit(&mut self, offsets: Option<&TransactionOffsets>) -> Result<(), ClientError> {
        self.open()?;
        let EmbeddedProducer { transactional, partitions, .. } = self;
        let transactional = transactional.as_mut().ok_or_else(not_transactional)?;
        // Cancelled in between, it can only be aborted.
        transactional.state = State::Failed;
        let prepared = prepare(transactional, partitions, offsets).await;
        prepared.inspect_err(|error| transactional.failed(error))?;
        self.end(ControlType::Commit).await
    }

    async fn abort(&mut self) -> Result<(), ClientError> {
        let transactional = self.transactional.as_ref().ok_or_else(not_transactional)?;
        match transactional.state {
            State::Idle => Err(refused("no transaction is open")),
            State::Fenced => Err(transactional.fenced()),
            State::Open | State::Failed => self.end(ControlType::Abort).await,
        }
    }
}

/// Aborts what is open, so that readers need not wait for its timeout. A successor, or the
/// timeout, does it if this one cannot.
impl Drop for EmbeddedProducer {
    fn drop(&mut self) {
        let (Some(transactional), Ok(runtime)) =
            (self.transactional.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if transactional.begun && matches!(transactional.state, State::Open | State::Failed) {
            runtime.spawn(async move {
                let mut transactional = transactional;
                transactional.end(ControlType::Abort).await
            });
        }
    }
}

/// Makes durable whatever the decision to commit will rest on, all at once. What waits for the
/// markers of the transaction before comes last: they lie before what is written here.
async fn prepare(
    transactional: &mut Transactional,
    partitions: &HashMap<TopicPartition, Target>,
    offsets: Option<&TransactionOffsets>,
) -> Result<(), ClientError> {
    if let Some(offsets) = offsets {
        transactional.add_offsets(&offsets.group).await?;
    }
    let transactional = &*transactional;
    let offsets = async {
        match offsets {
            Some(offsets) => transactional.commit_offsets(offsets).await,
            None => Ok(()),
        }
    };
    let syncs = try_join_all(syncs(partitions, true));
    try_join3(offsets, syncs, transactional.settled()).await.map(drop)
}

/// Every fsync that is owed, to be waited for; asked for first, if nobody has.
fn syncs(
    partitions: &HashMap<TopicPartition, Target>,
    ask: bool,
) -> Vec<impl Future<Output = Result<(), ClientError>> + Send + use<>> {
    let owed = partitions.values().filter_map(|target| {
        let (partition, offset) = (target.partition.clone(), target.unsynced?);
        Some(async move {
            let synced =
                if ask { partition.sync(offset).await } else { partition.synced(offset).await };
            synced.map_err(|error| storage_error(&partition, &error))
        })
    });
    owed.collect()
}

fn storage_error(partition: &Partition, error: &StorageError) -> ClientError {
    let (what, reason) = (format!("partition {}", partition.id()), error.to_string());
    ClientError::Storage { what, reason }
}

fn refused(reason: &str) -> ClientError {
    ClientError::Refused { what: "transaction".to_owned(), reason: reason.to_owned() }
}

fn not_transactional() -> ClientError {
    refused("the producer has no transactional id")
}
