//! The rim of the group coordinator: locks, clock, timers, waiters, and the log.
//!
//! - here: groups by name, and membership; [`keeping`]: what goes into the log before answers;
//!   [`offsets`]: committing and fetching; [`removal`]: what is taken away, by request or by age;
//!   [`describing`]: what groups look like.
//!
//! Order of locks: `slots`, then a group's cell, then `undecided`.

mod describing;
mod keeping;
mod offsets;
mod removal;

#[cfg(test)]
pub use describing::GroupDescription;
pub use describing::{Described, DescribedMember};

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot, watch};

use super::any::{AnyGroup, Around};
use super::consumer::heartbeat::{Beat, Beaten, Refusal};
use super::consumer::member::JOINING;
use super::consumer::topics::Topics;
use super::consumer::{ConsumerConfig, Surroundings};
use super::group::GroupConfig;
use super::messages::{
    GroupError, JoinRefused, JoinRequest, Joined, LeavingMember, MemberClaim, Output, SyncRequest,
    Synced,
};
use super::offsets::Offsets;
use super::replay::Replay;
use crate::coordinator::state_log::{OFFSETS_TOPIC, StateLog, StateLogError};
use crate::coordinator::{Now, Waiter};
use crate::ids::{ProducerId, TopicPartition};

/// The longest group id that the records of `__consumer_offsets` can hold.
const GROUP_ID_BYTES_MAX: usize = i16::MAX as usize;

/// What the coordinator has to know of the rest of the broker.
pub trait Host: Send + Sync + 'static {
    /// All topics as they are now.
    fn topics(&self) -> Arc<Topics>;

    /// What was set for this group alone.
    fn group_settings(&self, group: &str) -> GroupSettings;
}

/// Settings of a single group; the broker's hold for what is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// `consumer.session.timeout.ms`
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Option<i32>,
    /// `share.session.timeout.ms`
    pub share_session_timeout_ms: Option<i32>,
    /// `share.heartbeat.interval.ms`
    pub share_heartbeat_interval_ms: Option<i32>,
}

/// The group coordinator.
pub struct GroupService {
    log: Arc<dyn StateLog>,
    host: Arc<dyn Host>,
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
    group: AnyGroup,
    offsets: Offsets,
    joins: HashMap<Waiter, oneshot::Sender<JoinAnswer>>,
    syncs: HashMap<Waiter, oneshot::Sender<SyncAnswer>>,
    beats: HashMap<Waiter, oneshot::Sender<BeatAnswer>>,
    waiters: u64,
    timer_runs: bool,
    /// Appends on their way into the log, and the answers that wait for them.
    keeping: usize,
    held: Vec<Output>,
    /// Commits and deletions of offsets on their way into the log.
    in_flight: usize,
    /// No longer among the slots; whoever has come too late looks again.
    gone: bool,
}

type JoinAnswer = Result<Joined, JoinRefused>;
type SyncAnswer = Result<Synced, GroupError>;
type BeatAnswer = Result<Beaten, Refusal>;

/// No code panics with one of these locks held and the state half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupService {
    pub fn new(
        log: Arc<dyn StateLog>,
        host: Arc<dyn Host>,
        config: GroupConfig,
    ) -> Arc<GroupService> {
        Arc::new(GroupService {
            log,
            host,
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
            for (name, mut kept) in replay.groups {
                if !kept.makes_a_group() {
                    continue;
                }
                let slot = self.slot(&name);
                let mut cell = locked(&slot.cell);
                let of_share = self.share_config(&name);
                cell.group = kept.group(&self.consumer_config(&name), &of_share, self.now());
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
            group: AnyGroup::new(self.now()),
            offsets: Offsets::default(),
            joins: HashMap::new(),
            syncs: HashMap::new(),
            beats: HashMap::new(),
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

    /// The settings of groups of the new protocol as they hold for this one.
    fn consumer_config(&self, group: &str) -> ConsumerConfig {
        let set = self.host.group_settings(group);
        self.config.consumer.with(set.session_timeout_ms, set.heartbeat_interval_ms)
    }

    /// The settings of share groups as they hold for this one.
    fn share_config(&self, group: &str) -> ConsumerConfig {
        let set = self.host.group_settings(group);
        self.config.share.with(set.share_session_timeout_ms, set.share_heartbeat_interval_ms)
    }

    /// Hands a group's machine what it has to know.
    fn around<T>(&self, group: &str, work: impl FnOnce(Around<'_>) -> T) -> T {
        let (config, topics) = (self.consumer_config(group), self.host.topics());
        let consumer = Surroundings { config: &config, topics: &topics, now: self.now() };
        let share = &self.share_config(group);
        work(Around { classic: &self.config, consumer, share })
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
            self.around(group, |around| cell.group.join(waiter, request, around, &mut out));
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
            self.around(group, |around| cell.group.sync(waiter, request, around, &mut out));
            self.carry_out(&slot, cell, out);
            answer
        };
        answer.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    /// ConsumerGroupHeartbeat.
    pub async fn beat(self: &Arc<Self>, group: &str, beat: Beat) -> BeatAnswer {
        if group.is_empty() || group.len() > GROUP_ID_BYTES_MAX {
            return Err(Refusal::new(GroupError::InvalidRequest, "GroupId can't be empty."));
        }
        if beat.epoch == JOINING {
            self.ensure_topic().await.map_err(|error| Refusal::from(GroupError::from(error)))?;
        } else if self.existing(group).is_none() {
            beat.check(&self.config.consumer.assignors)?;
            let reason = format!("Group {group} not found.");
            return Err(Refusal::new(GroupError::GroupIdNotFound, reason));
        }
        let answer = self.enter(group, |slot, mut cell| {
            let (waiter, answer) = cell.wait(|cell| &mut cell.beats);
            let mut out = Vec::new();
            self.around(group, |around| cell.group.beat(waiter, beat, around, &mut out));
            self.carry_out(slot, cell, out);
            self.drop_untouched(slot);
            answer
        });
        answer.await.unwrap_or_else(|_| Err(GroupError::CoordinatorNotAvailable.into()))
    }

    /// ShareGroupHeartbeat.
    pub async fn beat_shared(self: &Arc<Self>, group: &str, beat: Beat) -> BeatAnswer {
        if group.is_empty() || group.len() > GROUP_ID_BYTES_MAX {
            return Err(Refusal::new(GroupError::InvalidRequest, "GroupId can't be empty."));
        }
        beat.check_shared()?;
        if beat.epoch == JOINING {
            self.ensure_topic().await.map_err(|error| Refusal::from(GroupError::from(error)))?;
        } else if self.existing(group).is_none() {
            let reason = format!("Group {group} not found.");
            return Err(Refusal::new(GroupError::GroupIdNotFound, reason));
        }
        let answer = self.enter(group, |slot, mut cell| {
            let (waiter, answer) = cell.wait(|cell| &mut cell.beats);
            let has_offsets = cell.offsets.make_a_group();
            let mut out = Vec::new();
            self.around(group, |around| {
                cell.group.beat_shared(waiter, beat, has_offsets, around, &mut out);
            });
            self.carry_out(slot, cell, out);
            self.drop_untouched(slot);
            answer
        });
        answer.await.unwrap_or_else(|_| Err(GroupError::CoordinatorNotAvailable.into()))
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
        let left = self.around(group, |around| {
            members.iter().map(|one| cell.group.leave(one, around, &mut out)).collect()
        });
        self.carry_out(&slot, cell, out);
        left
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
                service.around(&slot.name, |around| cell.group.tick(around, &mut out));
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
            Output::Beat(waiter, answer) => {
                self.beats.remove(&waiter).map(|sender| sender.send(answer));
            }
            Output::Persist(_) | Output::Keep(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
