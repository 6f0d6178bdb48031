//! Groups and their offsets from `__consumer_offsets`, after a restart.

use std::collections::HashMap;

use super::any::{AnyGroup, Kind};
use super::consumer::changes::{Change, KeptGroup};
use super::consumer::{ConsumerConfig, ConsumerGroup};
use super::group::Group;
use super::messages::GroupSnapshot;
use super::offsets::Offsets;
use super::records::{self, Key, RecordError};
use crate::coordinator::Now;
use crate::ids::ProducerId;
use crate::record::{ControlType, RecordBatch};

/// What the topic says of one group.
#[derive(Debug, Default)]
pub struct Kept {
    pub snapshot: Option<GroupSnapshot>,
    /// Of the new protocol.
    pub consumer: KeptGroup,
    /// A share group.
    pub share: KeptGroup,
    pub offsets: Offsets,
}

impl Kept {
    /// The group was deleted, or one of the other protocol begins: what is of it alone is gone.
    fn forget(&mut self) {
        let place = self.offsets.place();
        self.offsets.forget_group(place);
    }

    /// Whether there is a group.
    pub fn makes_a_group(&self) -> bool {
        let epochs = self.consumer.epoch.or(self.share.epoch);
        self.snapshot.is_some() || epochs.is_some() || self.offsets.make_a_group()
    }

    /// The group as it was kept.
    pub fn group(
        &mut self,
        config: &ConsumerConfig,
        of_share: &ConsumerConfig,
        now: Now,
    ) -> AnyGroup {
        let share = std::mem::take(&mut self.share);
        let consumer = std::mem::take(&mut self.consumer);
        match self.snapshot.take() {
            Some(snapshot) => AnyGroup::of(Kind::Classic(Group::restore(snapshot, now))),
            None if consumer.epoch.is_some() => {
                let group = ConsumerGroup::restore(consumer, config, now);
                AnyGroup::of(Kind::Consumer(Box::new(group)))
            }
            None if share.epoch.is_some() => {
                let group = ConsumerGroup::restore_shared(share, of_share, now);
                AnyGroup::of(Kind::Share(Box::new(group)))
            }
            None => AnyGroup::new(now),
        }
    }
}

/// All groups, batch by batch in the order of the log.
#[derive(Debug, Default)]
pub struct Replay {
    pub groups: HashMap<String, Kept>,
    /// Groups with offsets of transactions that have not ended.
    pub undecided: HashMap<ProducerId, Vec<String>>,
}

impl Replay {
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let records = batch.records().map_err(|error| error.to_string())?;
        for record in records.iter() {
            let record = record.map_err(|error| error.to_string())?;
            if batch.is_control() {
                if let Some(decision) = record.control_type() {
                    self.ended(batch.producer_id(), decision);
                }
                continue;
            }
            let at = |error: RecordError| format!("offset {}: {error}", record.offset);
            let Some(key) = record.key else { continue };
            let value = record.value.map(|value| records.share(value));
            match records::decode_key(&records.share(key)).map_err(at)? {
                Key::Offset { group, partition } => {
                    let value = value.as_ref().map(records::decode_offset).transpose();
                    let producer = batch.is_transactional().then(|| batch.producer_id());
                    if let Some(producer) = producer {
                        self.undecided.entry(producer).or_default().push(group.clone());
                    }
                    let kept = self.groups.entry(group).or_default();
                    let place = kept.offsets.place();
                    kept.offsets.commit(partition, value.map_err(at)?, place, producer);
                    if let Some(producer) = producer {
                        kept.offsets.settle(producer, place);
                    }
                }
                Key::Group { group } => {
                    let value = value.as_ref().map(records::decode_group).transpose();
                    let kept = self.groups.entry(group).or_default();
                    kept.snapshot = value.map_err(at)?;
                    match &kept.snapshot {
                        Some(_) => kept.consumer = KeptGroup::default(),
                        None => kept.forget(),
                    }
                }
                Key::Consumer { group, part } => {
                    let change = records::decode_part(part, value.as_ref()).map_err(at)?;
                    let kept = self.groups.entry(group).or_default();
                    match change {
                        Change::Epoch(Some(_)) => kept.snapshot = None,
                        Change::Epoch(None) => kept.forget(),
                        _ => {}
                    }
                    kept.consumer.apply(change);
                }
                Key::Share { group, part } => {
                    let change = records::decode_share_part(part, value.as_ref()).map_err(at)?;
                    self.groups.entry(group).or_default().share.apply(change);
                }
                Key::Unknown => {}
            }
        }
        Ok(())
    }

    fn ended(&mut self, producer: ProducerId, decision: ControlType) {
        for group in self.undecided.remove(&producer).unwrap_or_default() {
            if let Some(kept) = self.groups.get_mut(&group) {
                kept.offsets.end(producer, decision);
            }
        }
    }
}
