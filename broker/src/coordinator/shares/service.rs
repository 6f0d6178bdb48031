//! The rim of share partitions: locks, clock, timers, sessions, and the log.
//!
//! Order of locks: `groups`, then a slot's cell. Sessions are locked alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::{BoxFuture, FutureExt, join_all, ready};
use tokio::sync::Notify;

use super::partition::{
    Acknowledgement, Acquired, Asking, Kept, Limits, Refused, SharePartition, Span,
};
use super::records::{self, Key, RecordError};
use super::sessions::{Named, Owner, Sessions};
use crate::coordinator::state_log::{SHARE_STATE_TOPIC, StateLog, StateLogError, partition_for};
use crate::ids::TopicPartition;
use crate::record::{BatchBuilder, ProducerStamp};

/// How share groups are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareConfig {
    pub limits: Limits,
    /// `group.share.record.lock.duration.ms`, for a group `share.record.lock.duration.ms`
    pub lock_ms: i32,
    /// `group.share.min.record.lock.duration.ms`
    pub lock_ms_min: i32,
    /// `group.share.max.record.lock.duration.ms`
    pub lock_ms_max: i32,
    /// `group.share.max.share.sessions`
    pub sessions_max: usize,
    /// `share.coordinator.state.topic.num.partitions`: of `__share_group_state`, when it is made.
    pub state_partitions: i32,
}

impl Default for ShareConfig {
    fn default() -> ShareConfig {
        ShareConfig {
            limits: Limits { locks_max: 2_000, deliveries_max: 5 },
            lock_ms: 30_000,
            lock_ms_min: 15_000,
            lock_ms_max: 60_000,
            sessions_max: 2_000,
            state_partitions: 1,
        }
    }
}

/// What share groups have read.
pub struct ShareService {
    log: Arc<dyn StateLog>,
    config: ShareConfig,
    started: Instant,
    groups: Mutex<HashMap<Arc<str>, Group>>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Group {
    slots: HashMap<Named, Arc<Slot>>,
    /// Something may be there to be given out.
    woken: Arc<Notify>,
}

/// A partition as a group shares it.
pub struct Slot {
    key: Key,
    /// Held by who reads the log for it, so that members are given different records.
    turn: tokio::sync::Mutex<()>,
    woken: Arc<Notify>,
    cell: Mutex<Cell>,
}

struct Cell {
    partition: SharePartition,
    /// As it is in the log for certain, and the number of that snapshot.
    durable: (Kept, i32),
    /// Of the last snapshot that was sent there.
    number: i32,
    timer_runs: bool,
    /// Deleted; what comes now comes too late.
    gone: bool,
}

/// Why records were not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcknowledgeError {
    Refused(Refused),
    /// It could not be kept, and so has not happened.
    NotKept(StateLogError),
}

type Keeping = BoxFuture<'static, Result<(), StateLogError>>;

/// No code panics with one of these locks held and the state half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for ShareService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareService").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ShareService {
    pub fn new(log: Arc<dyn StateLog>, config: ShareConfig) -> Arc<ShareService> {
        Arc::new(ShareService {
            log,
            config,
            started: Instant::now(),
            groups: Mutex::default(),
            sessions: Mutex::new(Sessions::new(config.sessions_max)),
        })
    }

    /// Reads `__share_group_state`. To be called once, before requests are taken.
    pub fn recover(&self) -> Result<(), StateLogError> {
        let mut known: HashMap<Key, (Kept, i32)> = HashMap::new();
        for partition in 0..self.log.partitions(SHARE_STATE_TOPIC).unwrap_or(0) {
            let from = TopicPartition::new(SHARE_STATE_TOPIC, partition);
            let mut failed = None;
            self.log.replay(&from, &mut |batch| {
                if failed.is_none() && !batch.is_control() {
                    failed = replay(&batch, &mut known).err();
                }
            })?;
            if let Some(reason) = failed {
                return Err(StateLogError::Unavailable { partition: from, reason });
            }
        }
        let mut groups = locked(&self.groups);
        for (key, (kept, number)) in known {
            let partition = SharePartition::restored(&kept, self.config.limits);
            let group = groups.entry(key.group.clone()).or_default();
            let (named, woken) = ((key.topic_id, key.partition), group.woken.clone());
            let slot = Slot::new(key, woken, partition, (kept, number));
            group.slots.insert(named, Arc::new(slot));
        }
        Ok(())
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        locked(&self.sessions)
    }

    /// What the group has of a partition; it begins at `start` if it has none yet.
    pub async fn begin(
        self: &Arc<Self>,
        group: &Arc<str>,
        named: Named,
        start: impl Future<Output = i64>,
    ) -> Result<Arc<Slot>, StateLogError> {
        if let Some(slot) = self.existing(group, named) {
            return Ok(slot);
        }
        let start = start.await;
        let (slot, is_new) = self.slot(group, named, start).await?;
        if is_new {
            let kept = self.keep(&slot, locked(&slot.cell));
            kept.await?;
        }
        Ok(slot)
    }

    /// The group begins anew at `start` in a partition, whatever it has had of it.
    pub async fn begin_anew(
        self: &Arc<Self>,
        group: &Arc<str>,
        named: Named,
        start: i64,
    ) -> Result<(), StateLogError> {
        let (slot, _) = self.slot(group, named, start).await?;
        let kept = {
            let mut cell = locked(&slot.cell);
            cell.partition = SharePartition::new(start, self.config.limits);
            self.keep(&slot, cell)
        };
        kept.await
    }

    /// And whether it was not there before.
    async fn slot(
        &self,
        group: &Arc<str>,
        named: Named,
        start: i64,
    ) -> Result<(Arc<Slot>, bool), StateLogError> {
        self.log.ensure_topic(SHARE_STATE_TOPIC, self.config.state_partitions).await?;
        let mut groups = locked(&self.groups);
        let group_of = groups.entry(group.clone()).or_default();
        if let Some(slot) = group_of.slots.get(&named) {
            return Ok((slot.clone(), false));
        }
        let partition = SharePartition::new(start, self.config.limits);
        let key = Key { group: group.clone(), topic_id: named.0, partition: named.1 };
        let kept = (partition.kept(), 0);
        let slot = Arc::new(Slot::new(key, group_of.woken.clone(), partition, kept));
        group_of.slots.insert(named, slot.clone());
        Ok((slot, true))
    }

    pub fn existing(&self, group: &str, named: Named) -> Option<Arc<Slot>> {
        locked(&self.groups).get(group)?.slots.get(&named).cloned()
    }

    /// Gives out what was read; see [`SharePartition::acquire`].
    pub fn acquire(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        asking: Asking,
        from: i64,
        read: &[Span],
    ) -> Vec<Acquired> {
        let asking = Asking { now_ms: self.elapsed_ms(), ..asking };
        let mut cell = locked(&slot.cell);
        if cell.gone {
            return Vec::new();
        }
        let acquired = cell.partition.acquire(&asking, from, read);
        self.run_timer(slot, &mut cell);
        acquired
    }

    /// See [`SharePartition::acknowledge`]. It is durable when this has ended; whoever does not
    /// wait leaves it to end by itself.
    pub fn acknowledge(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        member: &str,
        acknowledgements: &[Acknowledgement],
    ) -> BoxFuture<'static, Result<(), AcknowledgeError>> {
        let mut cell = locked(&slot.cell);
        let acknowledged = cell.partition.acknowledge(member, acknowledgements);
        // What is done already may be on its way to the log only.
        let is_durable = cell.durable.1 == cell.number;
        let kept = match acknowledged {
            Ok(has_changed) if !cell.gone && (has_changed || !is_durable) => self.keep(slot, cell),
            Ok(_) => return ready(Ok(())).boxed(),
            Err(refused) => return ready(Err(AcknowledgeError::Refused(refused))).boxed(),
        };
        slot.woken.notify_waiters();
        kept.map(|kept| kept.map_err(AcknowledgeError::NotKept)).boxed()
    }

    /// The member's session has ended: what it has is given to others.
    pub fn end_session(self: &Arc<Self>, owner: &Owner) -> bool {
        let ended = self.sessions().end(owner);
        self.release(owner);
        ended
    }

    /// A connection is gone, and the sessions that it was used by.
    pub fn disconnected(self: &Arc<Self>, connection: u64) {
        let gone = self.sessions().disconnected(connection);
        gone.iter().for_each(|owner| self.release(owner));
    }

    fn release(self: &Arc<Self>, owner: &Owner) {
        for slot in self.slots(&owner.group) {
            let mut cell = locked(&slot.cell);
            if cell.partition.release(&owner.member) && !cell.gone {
                drop(self.keep(&slot, cell));
                slot.woken.notify_waiters();
            }
        }
    }

    fn slots(&self, group: &str) -> Vec<Arc<Slot>> {
        let groups = locked(&self.groups);
        groups.get(group).map_or_else(Vec::new, |group| group.slots.values().cloned().collect())
    }

    /// Where the group has something left, by partition.
    pub fn offsets(&self, group: &str) -> Vec<(Named, i64)> {
        let offset = |slot: Arc<Slot>| {
            ((slot.key.topic_id, slot.key.partition), locked(&slot.cell).partition.start())
        };
        let mut offsets: Vec<_> = self.slots(group).into_iter().map(offset).collect();
        offsets.sort_unstable();
        offsets
    }

    /// Forgets what the group has of those partitions; it is durable when this returns.
    pub async fn forget(
        self: &Arc<Self>,
        group: &str,
        which: impl Fn(Named) -> bool,
    ) -> Result<(), StateLogError> {
        let slots = self.slots(group).into_iter();
        let slots: Vec<_> =
            slots.filter(|slot| which((slot.key.topic_id, slot.key.partition))).collect();
        let forgotten = slots.iter().map(|slot| {
            let mut cell = locked(&slot.cell);
            cell.gone = true;
            self.append(slot, None)
        });
        let forgotten = join_all(forgotten.collect::<Vec<_>>()).await;
        let mut groups = locked(&self.groups);
        if let Some(known) = groups.get_mut(group) {
            for slot in &slots {
                known.slots.remove(&(slot.key.topic_id, slot.key.partition));
            }
            if known.slots.is_empty() {
                groups.remove(group);
            }
        }
        slots.iter().for_each(|slot| slot.woken.notify_waiters());
        forgotten.into_iter().collect()
    }

    /// Forgets what groups have of partitions that there are no more, or that are not to be kept.
    pub async fn retain(
        self: &Arc<Self>,
        which: impl Fn(&str, Named) -> bool,
    ) -> Result<(), StateLogError> {
        let groups: Vec<Arc<str>> = locked(&self.groups).keys().cloned().collect();
        for group in groups {
            self.forget(&group, |named| !which(&group, named)).await?;
        }
        Ok(())
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Sends the state as it is now to the log. Should it not get there, it has not happened: all
    /// that was not kept before is given out again.
    fn keep(self: &Arc<Self>, slot: &Arc<Slot>, mut cell: MutexGuard<'_, Cell>) -> Keeping {
        cell.number = cell.number.wrapping_add(1);
        let (kept, number) = (cell.partition.kept(), cell.number);
        let appended = self.append(slot, Some((&kept, number)));
        drop(cell);
        let (slot, limits) = (slot.clone(), self.config.limits);
        let done = tokio::spawn(async move {
            let appended = appended.await;
            let mut cell = locked(&slot.cell);
            if let Err(error) = appended {
                tracing::warn!(group = %slot.key.group, topic_id = %slot.key.topic_id,
                    partition = slot.key.partition, %error,
                    "cannot keep what a share group has read");
                cell.partition = SharePartition::restored(&cell.durable.0, limits);
                drop(cell);
                slot.woken.notify_waiters();
                return Err(error);
            }
            if number.wrapping_sub(cell.durable.1) > 0 {
                cell.durable = (kept, number);
            }
            Ok(())
        });
        done.map(|done| {
            done.unwrap_or_else(|_| {
                let partition = TopicPartition::new(SHARE_STATE_TOPIC, 0);
                let reason = "the broker has stopped".to_owned();
                Err(StateLogError::Unavailable { partition, reason })
            })
        })
        .boxed()
    }

    fn append(&self, slot: &Slot, kept: Option<(&Kept, i32)>) -> Keeping {
        let count = self.log.partitions(SHARE_STATE_TOPIC).unwrap_or(1);
        let name = format!("{}:{}:{}", slot.key.group, slot.key.topic_id, slot.key.partition);
        let to = TopicPartition::new(SHARE_STATE_TOPIC, partition_for(&name, count));
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = wall.as_millis() as i64;
        let encoded = records::encode_key(&slot.key).and_then(|key| {
            let value = kept.map(|(kept, number)| records::encode_value(kept, number, now_ms));
            Ok((key, value.transpose()?))
        });
        let (key, value) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let reason = error.to_string();
                return ready(Err(StateLogError::Unavailable { partition: to, reason })).boxed();
            }
        };
        let mut batch = BatchBuilder::default();
        batch.append(now_ms, Some(&key), value.as_deref());
        let appended = self.log.append(&to, batch.build(ProducerStamp::NONE));
        appended.map(|appended| appended.map(|_| ())).boxed()
    }

    /// Sees to it that locks end.
    fn run_timer(self: &Arc<Self>, slot: &Arc<Slot>, cell: &mut Cell) {
        if cell.timer_runs || cell.partition.next_deadline_ms().is_none() {
            return;
        }
        cell.timer_runs = true;
        let (service, slot) = (Arc::downgrade(self), slot.clone());
        tokio::spawn(async move {
            while let Some(wait) = time_to_deadline(&service, &slot) {
                tokio::time::sleep(wait).await;
                let Some(service) = service.upgrade() else { return };
                let mut cell = locked(&slot.cell);
                if !cell.gone && cell.partition.expire(service.elapsed_ms()) {
                    drop(service.keep(&slot, cell));
                    slot.woken.notify_waiters();
                }
            }
        });
    }
}

/// `None` once nothing is locked, or nobody asks any more.
fn time_to_deadline(service: &Weak<ShareService>, slot: &Slot) -> Option<Duration> {
    let mut cell = locked(&slot.cell);
    let deadline = if cell.gone { None } else { cell.partition.next_deadline_ms() };
    let (Some(service), Some(deadline)) = (service.upgrade(), deadline) else {
        cell.timer_runs = false;
        return None;
    };
    Some(Duration::from_millis(deadline.saturating_sub(service.elapsed_ms())))
}

fn replay(
    batch: &crate::record::RecordBatch,
    known: &mut HashMap<Key, (Kept, i32)>,
) -> Result<(), String> {
    let read = batch.records().map_err(|error| error.to_string())?;
    for record in read.iter() {
        let record = record.map_err(|error| error.to_string())?;
        let at = |error: RecordError| format!("offset {}: {error}", record.offset);
        let Some(key) = record.key else { continue };
        let key = records::decode_key(&read.share(key)).map_err(at)?;
        match record.value {
            Some(value) => {
                let value = records::decode_value(&read.share(value)).map_err(at)?;
                known.insert(key, value);
            }
            None => _ = known.remove(&key),
        }
    }
    Ok(())
}

impl Slot {
    fn new(key: Key, woken: Arc<Notify>, partition: SharePartition, durable: (Kept, i32)) -> Slot {
        let number = durable.1;
        let cell = Cell { partition, durable, number, timer_runs: false, gone: false };
        Slot { key, turn: tokio::sync::Mutex::default(), woken, cell: Mutex::new(cell) }
    }

    /// Told when there may be something to give out to the group.
    pub fn woken(&self) -> &Arc<Notify> {
        &self.woken
    }

    /// Waits until nobody else reads the log for it.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Where to read on, if there may be something to give out, in a log from `log_start` to
    /// `log_end`.
    pub fn next_fetch(&self, log_start: i64, log_end: i64) -> Option<i64> {
        let mut cell = locked(&self.cell);
        if cell.gone {
            return None;
        }
        cell.partition.log_starts_at(log_start);
        cell.partition.log_ends_at(log_end);
        cell.partition.next_fetch()
    }

    /// What the member was given but will not be sent.
    pub fn take_back(&self, member: &str, acquired: &[Acquired]) {
        locked(&self.cell).partition.take_back(member, acquired);
        self.woken.notify_waiters();
    }
}
