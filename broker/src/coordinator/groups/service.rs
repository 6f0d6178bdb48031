//! The rim of the group coordinator: locks, clock, timers, waiters, and the log.
//!
//! - here: groups by name, and membership; [`offsets`]: committing and fetching;
//!   [`removal`]: what is taken away, by request or by age, and what groups look like.
//!
//! Order of locks: `slots`, then a group's cell, then `undecided`.

mod offsets;
mod removal;

pub use removal::GroupDescription;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::sync::{Notify, oneshot, watch};

use super::group::{Group, GroupConfig};
use super::messages::{
    GroupError, GroupSnapshot, JoinRefused, JoinRequest, Joined, LeavingMember, MemberClaim,
    Output, SyncRequest, Synced,
};
use super::offsets::Offsets;
use super::records;
use super::replay::Replay;
use crate::coordinator::state_log::{OFFSETS_TOPIC, StateLog, StateLogError, partition_for};
use crate::coordinator::{Now, Waiter};
use crate::ids::{Offset, ProducerId, TopicPartition};
use crate::protocol::EncodeError;
use crate::record::{BatchBuilder, ProducerStamp};

/// The longest group id that the records of `__consumer_offsets` can hold.
const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

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
    /// Snapshots on their way into the log, and the answers that wait for them.
    keeping: usize,
    held: Vec<Output>,
    /// Commits and deletions of offsets on their way into the log.
    in_flight: usize,
    /// No longer among the slots; whoever has come too late looks again.
    gone: bool,
}

type JoinAnswer = Result<Joined, JoinRefused>;
type SyncAnswer = Result<Synced, GroupError>;
type Kept = BoxFuture<'static, Result<Offset, StateLogError>>;

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
                if kept.snapshot.is_none() && !kept.offsets.make_a_group() {
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
        self.expire_now_and_then();
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
            keeping: 0,
            held: Vec::new(),
            in_flight: 0,
            gone: false,
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

    /// Does something under the lock of a group, which is made if there is none.
    fn enter<T>(&self, group: &str, work: impl FnOnce(&Arc<Slot>, MutexGuard<'_, Cell>) -> T) -> T {
        loop {
            let slot = self.slot(group);
            let cell = locked(&slot.cell);
            if !cell.gone {
                return work(&slot, cell);
            }
        }
    }

    /// Drops a slot that nothing has come of, so that refused requests leave nothing behind.
    fn drop_untouched(&self, slot: &Slot) {
        let mut slots = locked(&self.slots);
        let mut cell = locked(&slot.cell);
        let is_watched = slot.rebalances.receiver_count() > 0;
        if cell.is_untouched() && !is_watched && !cell.gone {
            cell.gone = true;
            slots.remove(&slot.name);
        }
    }

    /// Creates `__consumer_offsets` if need be; says how many partitions it has.
    pub async fn ensure_topic(&self) -> Result<i32, StateLogError> {
        self.log.ensure_topic(OFFSETS_TOPIC, self.config.offsets_partitions).await
    }
}

/// Membership.
impl GroupService {
    pub async fn join(self: &Arc<Self>, group: &str, request: JoinRequest) -> JoinAnswer {
        let member_id = request.member_id.clone();
        let refused = |error| JoinRefused { error, member_id: member_id.clone() };
        if group.is_empty() || group.len() > GROUP_ID_BYTES_MAX {
            return Err(refused(GroupError::InvalidGroupId));
        }
        self.ensure_topic().await.map_err(|error| refused(error.into()))?;
        let answer = self.enter(group, |slot, mut cell| {
            let (waiter, answer) = cell.wait(|cell| &mut cell.joins);
            let mut out = Vec::new();
            cell.group.join(waiter, request, &self.config, self.now(), &mut out);
            self.carry_out(slot, cell, out);
            self.drop_untouched(slot);
            answer
        });
        answer.await.unwrap_or_else(|_| Err(refused(GroupError::CoordinatorNotAvailable)))
    }

    pub async fn sync(self: &Arc<Self>, group: &str, request: SyncRequest) -> SyncAnswer {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
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
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
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

    /// Does what the machine asks. An answer that rests on a record waits until that is durable.
    fn carry_out(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        mut cell: MutexGuard<'_, Cell>,
        out: Vec<Output>,
    ) {
        let mut newest = None;
        for output in out {
            match output {
                // A newer snapshot lies behind an older one in the log: the last is waited for.
                Output::Persist(snapshot) => {
                    cell.keeping += usize::from(newest.is_none());
                    newest = Some(self.keep(slot, &snapshot));
                }
                output if cell.keeping > 0 && output.is_success() => cell.held.push(output),
                output => cell.answer(output),
            }
        }
        self.run_timer(slot, &mut cell);
        slot.changed.notify_one();
        slot.rebalances.send_modify(|count| *count += 1);
        drop(cell);
        let Some(newest) = newest else { return };
        let (service, slot) = (self.clone(), slot.clone());
        tokio::spawn(async move {
            let kept = newest.await;
            let mut cell = locked(&slot.cell);
            cell.keeping -= 1;
            if let Err(error) = kept {
                tracing::warn!(group = %slot.name, %error, "cannot keep a group's state");
                for output in std::mem::take(&mut cell.held) {
                    cell.answer(output.failed(error.clone().into()));
                }
                let mut out = Vec::new();
                cell.group.not_kept(service.now(), &mut out);
                service.carry_out(&slot, cell, out);
            } else if cell.keeping == 0 {
                for output in std::mem::take(&mut cell.held) {
                    cell.answer(output);
                }
            }
        });
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
            if let Some(service) = service.upgrade() {
                service.drop_untouched(&slot);
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

impl Output {
    fn is_success(&self) -> bool {
        matches!(self, Output::Join(_, Ok(_)) | Output::Sync(_, Ok(_)))
    }

    fn failed(self, error: GroupError) -> Output {
        match self {
            Output::Join(waiter, Ok(joined)) => {
                Output::Join(waiter, Err(JoinRefused { error, member_id: joined.member_id }))
            }
            Output::Sync(waiter, Ok(_)) => Output::Sync(waiter, Err(error)),
            other => other,
        }
    }
}

impl Cell {
    /// Whether nothing has ever come of this group, and nothing is under way.
    fn is_untouched(&self) -> bool {
        self.group.is_untouched()
            && !self.offsets.make_a_group()
            && self.keeping == 0
            && self.in_flight == 0
    }

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

#[cfg(test)]
mod tests;
