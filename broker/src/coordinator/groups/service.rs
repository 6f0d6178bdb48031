//! The rim of the group coordinator: locks, clock, timers, waiters, and the log.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot, watch};

use super::group::{Group, GroupConfig, GroupState};
use super::messages::{
    CommitRequest, GroupError, GroupSnapshot, JoinRefused, JoinRequest, Joined, LeavingMember,
    MemberClaim, Output, SyncRequest, Synced,
};
use super::offsets::{Offsets, StoredOffset};
use super::records;
use super::replay::Replay;
use crate::coordinator::state_log::{OFFSETS_TOPIC, StateLog, StateLogError, partition_for};
use crate::coordinator::{Now, Waiter};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::EncodeError;
use crate::record::{BatchBuilder, ControlType, ProducerStamp};

/// The group coordinator.
pub struct GroupService {
    log: Arc<dyn StateLog>,
    config: GroupConfig,
    started: Instant,
    slots: Mutex<HashMap<Arc<str>, Arc<Slot>>>,
    /// Groups with offsets of transactions that have not ended.
    undecided: Mutex<HashMap<ProducerId, HashSet<Arc<str>>>>,
}

impl fmt::Debug for GroupService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupService").field("config", &self.config).finish_non_exhaustive()
    }
}

struct Slot {
    name: Arc<str>,
    cell: Mutex<Cell>,
    /// The next deadline may have changed.
    changed: Notify,
    /// Counts requests and deadlines that may have begun a rebalance.
    rebalances: watch::Sender<u64>,
}

struct Cell {
    group: Group,
    offsets: Offsets,
    joins: HashMap<Waiter, oneshot::Sender<JoinAnswer>>,
    syncs: HashMap<Waiter, oneshot::Sender<SyncAnswer>>,
    waiters: u64,
    timer_runs: bool,
}

type JoinAnswer = Result<Joined, JoinRefused>;
type SyncAnswer = Result<Synced, GroupError>;
type Kept = BoxFuture<'static, Result<Offset, StateLogError>>;

/// A group as DescribeGroups and ListGroups show it.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    pub group: Arc<str>,
    pub state: GroupState,
    pub snapshot: GroupSnapshot,
}

/// No code panics with one of these locks held and the state half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupService {
    pub fn new(log: Arc<dyn StateLog>, config: GroupConfig) -> Arc<GroupService> {
        Arc::new(GroupService {
            log,
            config,
            started: Instant::now(),
            slots: Mutex::default(),
            undecided: Mutex::default(),
        })
    }

    /// Reads `__consumer_offsets`. To be called once, before requests are taken.
    pub fn recover(self: &Arc<Self>) -> Result<(), StateLogError> {
        for partition in 0..self.log.partitions(OFFSETS_TOPIC).unwrap_or(0) {
            let from = TopicPartition::new(OFFSETS_TOPIC, partition);
            let mut replay = Replay::default();
            let mut failed = None;
            self.log.replay(&from, &mut |batch| {
                if failed.is_none() {
                    failed = replay.batch(&batch).err();
                }
            })?;
            if let Some(reason) = failed {
                return Err(StateLogError::Unavailable { partition: from, reason });
            }
            for (name, kept) in replay.groups {
                if kept.snapshot.is_none() && kept.offsets.is_empty() {
                    continue;
                }
                let slot = self.slot(&name);
                let mut cell = locked(&slot.cell);
                if let Some(snapshot) = kept.snapshot {
                    cell.group = Group::restore(snapshot, self.now());
                }
                cell.offsets = kept.offsets;
                self.run_timer(&slot, &mut cell);
            }
            for (producer, groups) in replay.undecided {
                let groups = groups.into_iter().map(Arc::from).collect::<HashSet<Arc<str>>>();
                locked(&self.undecided).entry(producer).or_default().extend(groups);
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            elapsed_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.as_millis() as i64,
        }
    }

    fn slot(&self, group: &str) -> Arc<Slot> {
        let mut slots = locked(&self.slots);
        if let Some(slot) = slots.get(group) {
            return slot.clone();
        }
        let name: Arc<str> = group.into();
        let cell = Cell {
            group: Group::new(self.now()),
            offsets: Offsets::default(),
            joins: HashMap::new(),
            syncs: HashMap::new(),
            waiters: 0,
            timer_runs: false,
        };
        let slot = Slot {
            name: name.clone(),
            cell: Mutex::new(cell),
            changed: Notify::new(),
            rebalances: watch::Sender::new(0),
        };
        slots.entry(name).or_insert(Arc::new(slot)).clone()
    }

    fn existing(&self, group: &str) -> Option<Arc<Slot>> {
        locked(&self.slots).get(group).cloned()
    }

    async fn ensure_topic(&self) -> Result<i32, StateLogError> {
        self.log.ensure_topic(OFFSETS_TOPIC, self.config.offsets_partitions).await
    }
}

/// Membership.
impl GroupService {
    pub async fn join(self: &Arc<Self>, group: &str, request: JoinRequest) -> JoinAnswer {
        let member_id = request.member_id.clone();
        let refused = |error| JoinRefused { error, member_id: member_id.clone() };
        if group.is_empty() {
            return Err(refused(GroupError::InvalidGroupId));
        }
        self.ensure_topic().await.map_err(|error| refused(error.into()))?;
        let answer = {
            let slot = self.slot(group);
            let mut cell = locked(&slot.cell);
            let (waiter, answer) = cell.wait(|cell| &mut cell.joins);
            let mut out = Vec::new();
            cell.group.join(waiter, request, &self.config, self.now(), &mut out);
            self.carry_out(&slot, cell, out);
            answer
        };
        answer.await.unwrap_or_else(|_| Err(refused(GroupError::CoordinatorNotAvailable)))
    }

    pub async fn sync(self: &Arc<Self>, group: &str, request: SyncRequest) -> SyncAnswer {
        let answer = {
            let slot = self.existing(group).ok_or(GroupError::UnknownMemberId)?;
            let mut cell = locked(&slot.cell);
            let (waiter, answer) = cell.wait(|cell| &mut cell.syncs);
            let mut out = Vec::new();
            cell.group.sync(waiter, request, self.now(), &mut out);
            self.carry_out(&slot, cell, out);
            answer
        };
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    /// Changes its value when a rebalance may have begun: a member in this process need not wait
    /// for the time of its next heartbeat to learn of it.
    pub fn rebalances(&self, group: &str) -> watch::Receiver<u64> {
        self.slot(group).rebalances.subscribe()
    }

    pub fn heartbeat(self: &Arc<Self>, group: &str, claim: &MemberClaim) -> Result<(), GroupError> {
        let slot = self.existing(group).ok_or(GroupError::UnknownMemberId)?;
        locked(&slot.cell).group.heartbeat(claim, self.now())
    }

    /// One result per member, in the same order.
    pub fn leave(
        self: &Arc<Self>,
        group: &str,
        members: &[LeavingMember],
    ) -> Vec<Result<(), GroupError>> {
        let Some(slot) = self.existing(group) else {
            return vec![Err(GroupError::UnknownMemberId); members.len()];
        };
        let mut cell = locked(&slot.cell);
        let mut out = Vec::new();
        let now = self.now();
        let left = members.iter().map(|one| cell.group.leave(one, now, &mut out)).collect();
        self.carry_out(&slot, cell, out);
        left
    }

    /// Does what the machine asks: answers at once what comes before a record to keep, the rest
    /// once that is durable.
    fn carry_out(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        mut cell: MutexGuard<'_, Cell>,
        out: Vec<Output>,
    ) {
        let mut keeping: Option<Kept> = None;
        let mut held = Vec::new();
        for output in out {
            match (output, &keeping) {
                // A newer snapshot lies behind an older one in the log: the last is waited for.
                (Output::Persist(snapshot), _) => keeping = Some(self.keep(slot, &snapshot)),
                (output, None) => cell.answer(output),
                (output, Some(_)) => held.push(output),
            }
        }
        self.run_timer(slot, &mut cell);
        slot.changed.notify_one();
        slot.rebalances.send_modify(|count| *count += 1);
        drop(cell);
        if let Some(keeping) = keeping {
            let slot = slot.clone();
            tokio::spawn(async move {
                let kept = keeping.await;
                let mut cell = locked(&slot.cell);
                for output in held {
                    cell.answer(if_kept(output, &kept));
                }
            });
        }
    }

    fn keep(&self, slot: &Slot, snapshot: &GroupSnapshot) -> Kept {
        let mut batch = BatchBuilder::default();
        let encoded = records::encode_group_key(&slot.name)
            .and_then(|key| Ok((key, records::encode_group(snapshot)?)));
        let appended = encoded.map_err(|error| self.unencodable(&slot.name, &error)).and_then(
            |(key, value)| {
                batch.append(self.now().wall_ms, Some(&key), Some(&value));
                self.append(&slot.name, batch, ProducerStamp::NONE)
            },
        );
        appended.unwrap_or_else(|error| Box::pin(std::future::ready(Err(error))))
    }

    fn append(
        &self,
        group: &str,
        batch: BatchBuilder,
        stamp: ProducerStamp,
    ) -> Result<Kept, StateLogError> {
        let to = self.partition_of(group)?;
        Ok(self.log.append(&to, batch.build(stamp)))
    }

    fn partition_of(&self, group: &str) -> Result<TopicPartition, StateLogError> {
        let count = self.log.partitions(OFFSETS_TOPIC);
        let partition = partition_for(group, count.unwrap_or(1));
        let partition = TopicPartition::new(OFFSETS_TOPIC, partition);
        match count {
            Some(_) => Ok(partition),
            None => {
                let reason = "the topic does not exist".to_owned();
                Err(StateLogError::Unavailable { partition, reason })
            }
        }
    }

    fn unencodable(&self, group: &str, error: &EncodeError) -> StateLogError {
        let partition = TopicPartition::new(OFFSETS_TOPIC, partition_for(group, 1));
        StateLogError::Unavailable { partition, reason: error.to_string() }
    }

    /// Sees to it that the group's deadlines are kept, as long as it has any.
    fn run_timer(self: &Arc<Self>, slot: &Arc<Slot>, cell: &mut Cell) {
        if cell.timer_runs || cell.group.next_deadline_ms().is_none() {
            return;
        }
        cell.timer_runs = true;
        let (service, slot) = (Arc::downgrade(self), slot.clone());
        tokio::spawn(async move {
            while let Some(wait) = time_to_deadline(&service, &slot) {
                tokio::select! {
                    () = slot.changed.notified() => continue,
                    () = tokio::time::sleep(wait) => {}
                }
                let Some(service) = service.upgrade() else { return };
                let mut cell = locked(&slot.cell);
                let mut out = Vec::new();
                cell.group.tick(service.now(), &mut out);
                service.carry_out(&slot, cell, out);
            }
        });
    }
}

/// `None` once there is no deadline any more, or nobody to keep it for.
fn time_to_deadline(service: &Weak<GroupService>, slot: &Slot) -> Option<Duration> {
    let mut cell = locked(&slot.cell);
    let service = service.upgrade();
    let deadline = service.as_ref().and_then(|_| cell.group.next_deadline_ms());
    let (Some(service), Some(deadline)) = (service, deadline) else {
        cell.timer_runs = false;
        return None;
    };
    Some(Duration::from_millis(deadline.saturating_sub(service.now().elapsed_ms)))
}

fn if_kept(output: Output, kept: &Result<Offset, StateLogError>) -> Output {
    let Err(error) = kept else { return output };
    let error: GroupError = error.clone().into();
    match output {
        Output::Join(waiter, Ok(joined)) => {
            Output::Join(waiter, Err(JoinRefused { error, member_id: joined.member_id }))
        }
        Output::Sync(waiter, Ok(_)) => Output::Sync(waiter, Err(error)),
        other => other,
    }
}

impl Cell {
    fn wait<T>(
        &mut self,
        of: impl Fn(&mut Cell) -> &mut HashMap<Waiter, oneshot::Sender<T>>,
    ) -> (Waiter, oneshot::Receiver<T>) {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        let (sender, receiver) = oneshot::channel();
        of(self).insert(waiter, sender);
        (waiter, receiver)
    }

    fn answer(&mut self, output: Output) {
        // Who has gone away in the meantime needs no answer.
        match output {
            Output::Join(waiter, answer) => {
                self.joins.remove(&waiter).map(|sender| sender.send(answer));
            }
            Output::Sync(waiter, answer) => {
                self.syncs.remove(&waiter).map(|sender| sender.send(answer));
            }
            Output::Persist(_) => {}
        }
    }
}

/// Offsets.
impl GroupService {
    /// OffsetCommit and TxnOffsetCommit: one result per offset, in the same order.
    pub async fn commit_offsets(
        self: &Arc<Self>,
        group: &str,
        request: CommitRequest,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.ensure_topic().await?;
        let slot = self.slot(group);
        let now = self.now();
        let fits = |metadata: &str| metadata.len() <= self.config.offset_metadata_bytes_max;
        let results: Vec<Result<(), GroupError>> = request
            .offsets
            .iter()
            .map(|one| match fits(&one.metadata) {
                true => Ok(()),
                false => Err(GroupError::OffsetMetadataTooLarge),
            })
            .collect();
        let stored: Vec<(TopicPartition, StoredOffset)> = request
            .offsets
            .into_iter()
            .filter(|one| fits(&one.metadata))
            .map(|one| {
                let committed_ms = now.wall_ms;
                let (offset, leader_epoch) = (one.offset, one.leader_epoch);
                let metadata = one.metadata;
                (one.partition, StoredOffset { offset, leader_epoch, metadata, committed_ms })
            })
            .collect();
        let kept = {
            let mut cell = locked(&slot.cell);
            cell.group.check_commit(&request.member, request.producer.is_some(), now)?;
            slot.changed.notify_one();
            if stored.is_empty() {
                return Ok(results);
            }
            let batch = offsets_batch(group, &stored, now.wall_ms)
                .map_err(|error| GroupError::from(self.unencodable(group, &error)))?;
            self.append(group, batch, stamp_of(request.producer))?
        };
        // On a task of its own: what is in the log counts, even if the caller goes away.
        let service = self.clone();
        let producer = request.producer.map(|(producer, _)| producer);
        let applied = tokio::spawn(async move {
            let base = kept.await?;
            service.apply(&slot, stored, base, producer);
            Ok(results)
        });
        applied.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    fn apply(
        &self,
        slot: &Slot,
        stored: Vec<(TopicPartition, StoredOffset)>,
        base: Offset,
        producer: Option<ProducerId>,
    ) {
        if let Some(producer) = producer {
            let mut undecided = locked(&self.undecided);
            undecided.entry(producer).or_default().insert(slot.name.clone());
        }
        let mut cell = locked(&slot.cell);
        for (index, (partition, value)) in stored.into_iter().enumerate() {
            cell.offsets.commit(partition, Some(value), base.plus(index as i64), producer);
        }
    }

    /// OffsetFetch: committed offsets of these partitions, or of all. With `require_stable` a
    /// partition that an open transaction may change is an error (KIP-447).
    #[expect(clippy::type_complexity, reason = "a partition, and its offset, none or an error")]
    pub fn fetch_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Vec<(TopicPartition, Result<Option<StoredOffset>, GroupError>)> {
        let none = |of: &TopicPartition| (of.clone(), Ok(None));
        let Some(slot) = self.existing(group) else {
            return partitions.unwrap_or_default().iter().map(none).collect();
        };
        let cell = locked(&slot.cell);
        let fetch = |of: &TopicPartition| {
            if require_stable && cell.offsets.is_undecided(of) {
                return (of.clone(), Err(GroupError::UnstableOffsetCommit));
            }
            (of.clone(), Ok(cell.offsets.get(of).cloned()))
        };
        match partitions {
            Some(partitions) => partitions.iter().map(fetch).collect(),
            None => cell.offsets.iter().map(|(partition, _)| fetch(partition)).collect(),
        }
    }

    /// The markers of a transaction are in `__consumer_offsets`.
    pub fn transaction_ended(&self, producer: ProducerId, decision: ControlType) {
        let groups = locked(&self.undecided).remove(&producer).unwrap_or_default();
        for group in groups {
            if let Some(slot) = self.existing(&group) {
                locked(&slot.cell).offsets.end(producer, decision);
            }
        }
    }
}

fn stamp_of(producer: Option<(ProducerId, ProducerEpoch)>) -> ProducerStamp {
    match producer {
        None => ProducerStamp::NONE,
        Some((producer_id, epoch)) => {
            ProducerStamp { producer_id, epoch, base_sequence: -1, transactional: true }
        }
    }
}

fn offsets_batch(
    group: &str,
    offsets: &[(TopicPartition, StoredOffset)],
    now_ms: i64,
) -> Result<BatchBuilder, EncodeError> {
    let mut batch = BatchBuilder::default();
    for (partition, stored) in offsets {
        let key = records::encode_offset_key(group, partition)?;
        batch.append(now_ms, Some(&key), Some(&records::encode_offset(stored)?));
    }
    Ok(batch)
}

/// Looking at groups, and taking them away.
impl GroupService {
    pub fn list(&self) -> Vec<GroupDescription> {
        let slots: Vec<Arc<Slot>> = locked(&self.slots).values().cloned().collect();
        let mut groups: Vec<GroupDescription> =
            slots.iter().filter_map(|slot| describe(slot)).collect();
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        groups
    }

    /// `None` if there is no such group.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        describe(&*self.existing(group)?)
    }

    /// DeleteGroups: only groups without members can go.
    pub async fn delete(self: &Arc<Self>, group: &str) -> Result<(), GroupError> {
        let slot = self.existing(group).ok_or(GroupError::GroupIdNotFound)?;
        describe(&slot).ok_or(GroupError::GroupIdNotFound)?;
        let kept = {
            let cell = locked(&slot.cell);
            if cell.group.has_members() {
                return Err(GroupError::NonEmptyGroup);
            }
            let failed = |error| GroupError::from(self.unencodable(group, &error));
            let mut batch = BatchBuilder::default();
            let now_ms = self.now().wall_ms;
            for (partition, _) in cell.offsets.iter() {
                let key = records::encode_offset_key(group, partition).map_err(failed)?;
                batch.append(now_ms, Some(&key), None);
            }
            batch.append(now_ms, Some(&records::encode_group_key(group).map_err(failed)?), None);
            self.append(group, batch, ProducerStamp::NONE)?
        };
        kept.await?;
        let mut slots = locked(&self.slots);
        let cell = locked(&slot.cell);
        // Someone may have joined while the tombstones were on their way.
        if !cell.group.has_members() {
            slots.remove(group);
        }
        Ok(())
    }
}

/// `None` for a slot that a request has made but that nothing has come of.
fn describe(slot: &Slot) -> Option<GroupDescription> {
    let cell = locked(&slot.cell);
    let untouched = cell.group.snapshot().generation == 0
        && !cell.group.has_members()
        && cell.offsets.is_empty();
    (!untouched).then(|| GroupDescription {
        group: slot.name.clone(),
        state: cell.group.state(),
        snapshot: cell.group.snapshot(),
    })
}
