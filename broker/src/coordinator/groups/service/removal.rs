//! Taking away: groups, offsets, and what has grown old.

use std::sync::{Arc, MutexGuard};

use futures::future::{BoxFuture, FutureExt, join_all};

use super::super::any::{AnyGroup, Kind};
use super::super::group::GroupState;
use super::super::messages::GroupError;
use super::super::records;
use super::keeping::Kept;
use super::{Cell, GroupService, Slot, locked};
use crate::ids::TopicPartition;
use crate::protocol::EncodeError;

/// What is taken away from a group.
struct Removal {
    offsets: Vec<TopicPartition>,
    /// The group itself, too.
    group: bool,
}

type Removed = BoxFuture<'static, Result<(), GroupError>>;

impl GroupService {
    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        locked(&self.slots).values().cloned().collect()
    }

    /// DeleteGroups: only groups without members can go.
    pub async fn delete(self: &Arc<Self>, group: &str) -> Result<(), GroupError> {
        let removed = {
            let slot = self.existing(group).ok_or(GroupError::GroupIdNotFound)?;
            let cell = locked(&slot.cell);
            cell.exists().then_some(()).ok_or(GroupError::GroupIdNotFound)?;
            if cell.group.has_members() {
                return Err(GroupError::NonEmptyGroup);
            }
            let offsets = cell.offsets.iter().map(|(partition, _)| partition.clone()).collect();
            self.remove(&slot, cell, Removal { offsets, group: true })
        };
        removed.await
    }

    /// OffsetDelete: one result per partition, in the same order (KIP-496).
    pub async fn delete_offsets(
        self: &Arc<Self>,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let (removed, results) = {
            let slot = self.existing(group).ok_or(GroupError::GroupIdNotFound)?;
            let cell = locked(&slot.cell);
            cell.exists().then_some(()).ok_or(GroupError::GroupIdNotFound)?;
            if matches!(cell.group.kind(), Kind::Share(_)) {
                return Err(GroupError::GroupIdNotFound);
            }
            let has_members = cell.group.has_members();
            if has_members && !cell.group.is_of_consumers() {
                return Err(GroupError::NonEmptyGroup);
            }
            let (mut offsets, mut results) = (Vec::new(), Vec::new());
            for of in partitions {
                let is_read = has_members && cell.group.may_read(&of.topic);
                results.push(if is_read {
                    Err(GroupError::GroupSubscribedToTopic)
                } else {
                    Ok(())
                });
                if !is_read && cell.offsets.get(of).is_some() {
                    offsets.push(of.clone());
                }
            }
            (self.remove(&slot, cell, Removal { offsets, group: false }), results)
        };
        removed.await.map(|()| results)
    }

    /// A topic is gone, and with it what its offsets mean: one that is created anew is another.
    pub async fn topic_deleted(self: &Arc<Self>, topic: &str) -> Result<(), GroupError> {
        let removed = self.all().into_iter().map(|slot| {
            let cell = locked(&slot.cell);
            let of_topic = cell.offsets.iter().filter(|(of, _)| &*of.topic == topic);
            let offsets = of_topic.map(|(of, _)| of.clone()).collect();
            self.remove(&slot, cell, Removal { offsets, group: false })
        });
        join_all(removed).await.into_iter().collect()
    }

    /// Takes away what is older than [`GroupConfig::offsets_retention_ms`], and groups that have
    /// nothing left: neither members nor offsets, whatever became of these.
    pub async fn expire(self: &Arc<Self>) {
        let now_ms = self.now().wall_ms;
        for slot in self.all() {
            let removed = {
                let cell = locked(&slot.cell);
                let offsets = cell.expired(now_ms - self.config.offsets_retention_ms);
                let left = cell.offsets.iter().count() - offsets.len();
                let is_decided = !cell.offsets.has_undecided();
                let group = left == 0
                    && is_decided
                    && cell.in_flight == 0
                    && !cell.group.has_members()
                    // Only who deletes a share group means what it has not accepted to be gone.
                    && !matches!(cell.group.kind(), Kind::Share(_))
                    && cell.exists();
                if offsets.is_empty() && !group {
                    continue;
                }
                self.remove(&slot, cell, Removal { offsets, group })
            };
            match removed.await {
                Ok(()) => tracing::info!(group = %slot.name, "forgot what nobody uses any more"),
                Err(error) => tracing::warn!(group = %slot.name, %error, "cannot expire offsets"),
            }
        }
    }

    pub(super) fn expire_now_and_then(self: &Arc<Self>) {
        let (service, interval) = (Arc::downgrade(self), self.config.retention_check_interval);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(service) = service.upgrade() else { return };
                service.expire().await;
            }
        });
    }

    /// Writes tombstones, and forgets once they are durable.
    fn remove(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        mut cell: MutexGuard<'_, Cell>,
        removal: Removal,
    ) -> Removed {
        if removal.offsets.is_empty() && !removal.group {
            return futures::future::ready(Ok(())).boxed();
        }
        let place = cell.offsets.place();
        let epoch = cell.group.epoch();
        let appended = match self.append_tombstones(slot, &cell, &removal) {
            Ok(appended) => appended,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        cell.in_flight += 1;
        let (service, slot) = (self.clone(), slot.clone());
        let done = tokio::spawn(async move {
            let appended = join_all(appended).await.into_iter().collect::<Result<Vec<_>, _>>();
            let mut cell = locked(&slot.cell);
            cell.in_flight -= 1;
            appended?;
            for partition in removal.offsets {
                cell.offsets.commit(partition, None, place, None);
            }
            if removal.group {
                cell.offsets.forget_group(place);
            }
            // Someone may have come while the tombstones were on their way.
            let unchanged = cell.group.epoch() == epoch && !cell.group.has_members();
            if removal.group && unchanged {
                cell.group = AnyGroup::new(service.now());
            }
            drop(cell);
            service.drop_untouched(&slot);
            Ok(())
        });
        done.map(|done| done.unwrap_or(Err(GroupError::CoordinatorNotAvailable))).boxed()
    }

    fn append_tombstones(
        &self,
        slot: &Slot,
        cell: &Cell,
        removal: &Removal,
    ) -> Result<Vec<Kept>, GroupError> {
        let group = removal.group.then(|| cell.group.removal()).unwrap_or_default();
        let offsets = removal.offsets.iter().map(|of| records::encode_offset_key(&slot.name, of));
        let group = group.iter().map(|change| records::encode_change(&slot.name, change));
        let records = offsets.map(|key| Ok((key?, None))).chain(group);
        let records = records.collect::<Result<Vec<_>, EncodeError>>();
        let records =
            records.map_err(|error| GroupError::from(self.unencodable(&slot.name, &error)))?;
        Ok(self.append_records(&slot.name, &records)?)
    }
}

impl Cell {
    /// Whether anything has come of this group.
    pub(super) fn exists(&self) -> bool {
        !self.group.is_untouched() || self.offsets.make_a_group()
    }

    /// Partitions whose offsets are no longer kept (KIP-211): of a group that once had members,
    /// for as long as it has none; of one that never had, since the commit; of one that has,
    /// topics that nobody reads.
    fn expired(&self, before_ms: i64) -> Vec<TopicPartition> {
        let is_expired = |of: &TopicPartition, committed_ms: i64| match self.group.kind() {
            Kind::Classic(group) => match group.state() {
                GroupState::Empty if group.is_untouched() => committed_ms <= before_ms,
                GroupState::Empty => group.state_since_ms().max(committed_ms) <= before_ms,
                GroupState::Stable if group.is_of_consumers() => {
                    committed_ms <= before_ms && !group.may_read(&of.topic)
                }
                _ => false,
            },
            Kind::Consumer(group) | Kind::Share(group) => {
                committed_ms <= before_ms && !group.reads(&of.topic)
            }
        };
        let offsets = self.offsets.iter();
        offsets
            .filter(|(of, stored)| {
                is_expired(of, stored.committed_ms) && !self.offsets.is_undecided(of)
            })
            .map(|(of, _)| of.clone())
            .collect()
    }
}
