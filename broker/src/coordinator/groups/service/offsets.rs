//! Committing offsets, plain and within transactions, and fetching them.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use super::super::messages::{CommitRequest, GroupError, MemberId};
use super::super::offsets::{Place, StoredOffset};
use super::super::records;
use super::keeping::Kept;
use super::{Cell, GROUP_ID_BYTES_MAX, GroupService, Slot, locked};
use crate::coordinator::state_log::{OFFSETS_TOPIC, partition_for};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::EncodeError;
use crate::record::{BatchBuilder, ControlType, ProducerStamp};

/// Offsets with their partitions.
type Commits = Vec<(TopicPartition, StoredOffset)>;

impl GroupService {
    /// OffsetCommit and TxnOffsetCommit: one result per offset, in the same order.
    pub async fn commit_offsets(
        self: &Arc<Self>,
        group: &str,
        request: CommitRequest,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        if group.len() > GROUP_ID_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.ensure_topic().await?;
        let CommitRequest { member, producer, knows_epochs, offsets } = request;
        let now = self.now();
        let mut results = Vec::with_capacity(offsets.len());
        let mut commits: Commits = Vec::with_capacity(offsets.len());
        for one in offsets {
            if one.metadata.len() > self.config.offset_metadata_bytes_max {
                results.push(Err(GroupError::OffsetMetadataTooLarge));
                continue;
            }
            let (offset, leader_epoch, metadata) = (one.offset, one.leader_epoch, one.metadata);
            let committed_ms = now.wall_ms;
            let stored = StoredOffset { offset, leader_epoch, metadata, committed_ms };
            commits.push((one.partition, stored));
            results.push(Ok(()));
        }
        let batch = offsets_batch(group, &commits, now.wall_ms)
            .map_err(|error| GroupError::from(self.unencodable(group, &error)))?;
        let begun = self.enter(group, |slot, mut cell| {
            let untouched = cell.is_untouched();
            let (transactional, group) = (producer.is_some(), &mut cell.group);
            let checked = group.check_commit(&member, transactional, knows_epochs, now);
            if let Err(error) = checked {
                drop(cell);
                self.drop_untouched(slot);
                // Of a group that does not exist every generation has passed.
                let passed = untouched && member.generation >= 0;
                return Err(match passed {
                    true if knows_epochs => GroupError::GroupIdNotFound,
                    true => GroupError::IllegalGeneration,
                    false => error,
                });
            }
            slot.changed.notify_one();
            if commits.is_empty() {
                return Ok(None);
            }
            let begun = self.begin_commit(slot, cell, batch, &commits, producer)?;
            Ok(Some((slot.clone(), begun)))
        });
        let Some((slot, (kept, place))) = begun? else { return Ok(results) };
        // On a task of its own: what is in the log counts, even if the caller goes away.
        let producer = producer.map(|(producer, _)| producer);
        let done = tokio::spawn(async move {
            let kept = kept.await;
            let mut cell = locked(&slot.cell);
            cell.in_flight -= 1;
            match (&kept, producer) {
                (Ok(_), None) => {
                    for (partition, value) in commits {
                        cell.offsets.commit(partition, Some(value), place, None);
                    }
                }
                (Ok(_), Some(producer)) => cell.offsets.settle(producer, place),
                (Err(_), Some(producer)) => cell.offsets.withdraw(producer, place),
                (Err(_), None) => {}
            }
            kept.map(|_| results).map_err(GroupError::from)
        });
        done.await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))
    }

    /// Appends a commit. One of a transaction is pending from here on, and not only once it is
    /// durable: the transaction may end before that is known here.
    fn begin_commit(
        &self,
        slot: &Slot,
        mut cell: MutexGuard<'_, Cell>,
        batch: BatchBuilder,
        commits: &Commits,
        producer: Option<(ProducerId, ProducerEpoch)>,
    ) -> Result<(Kept, Place), GroupError> {
        let place = cell.offsets.place();
        if let Some((producer, _)) = producer {
            // Before the append: its marker, and so its end, can only come after that.
            let mut undecided = locked(&self.undecided);
            undecided.entry(producer).or_default().insert(slot.name.clone());
        }
        let kept = self.append(&slot.name, batch, stamp_of(producer))?;
        cell.in_flight += 1;
        if let Some((producer, _)) = producer {
            for (partition, value) in commits {
                let value = Some(value.clone());
                cell.offsets.commit(partition.clone(), value, place, Some(producer));
            }
        }
        Ok((kept, place))
    }

    /// Whether a member of this epoch may fetch the group's offsets. `None`: no such group.
    pub fn check_fetch(
        &self,
        group: &str,
        member: &MemberId,
        epoch: i32,
    ) -> Option<Result<(), GroupError>> {
        let slot = self.existing(group)?;
        let cell = locked(&slot.cell);
        cell.exists().then(|| cell.group.check_fetch(member, epoch))
    }

    /// OffsetFetch: committed offsets of these partitions, or of all. With `require_stable` a
    /// partition that an open transaction may change is an error (KIP-447).
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

    /// The markers of a transaction are in these partitions of `__consumer_offsets`.
    pub fn transaction_ended(
        &self,
        producer: ProducerId,
        decision: ControlType,
        partitions: &[i32],
    ) {
        let count = self.log.partitions(OFFSETS_TOPIC).unwrap_or(1);
        let is_ended = |group: &Arc<str>| partitions.contains(&partition_for(group, count));
        let ended = {
            let mut undecided = locked(&self.undecided);
            let groups = undecided.remove(&producer).unwrap_or_default();
            let (ended, left): (HashSet<_>, HashSet<_>) = groups.into_iter().partition(is_ended);
            if !left.is_empty() {
                undecided.insert(producer, left);
            }
            ended
        };
        for group in ended {
            if let Some(slot) = self.existing(&group) {
                locked(&slot.cell).offsets.end(producer, decision);
                self.drop_untouched(&slot);
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

fn offsets_batch(group: &str, commits: &Commits, now_ms: i64) -> Result<BatchBuilder, EncodeError> {
    let mut batch = BatchBuilder::default();
    for (partition, stored) in commits {
        let key = records::encode_offset_key(group, partition)?;
        batch.append(now_ms, Some(&key), Some(&records::encode_offset(stored)?));
    }
    Ok(batch)
}
