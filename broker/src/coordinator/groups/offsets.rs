//! Committed offsets of a group: plain ones at once, those of a transaction when it commits.

use std::collections::{BTreeMap, HashMap};

use crate::ids::{Offset, ProducerId, TopicPartition};
use crate::record::ControlType;

/// A committed offset as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// The next record to read.
    pub offset: i64,
    /// −1 if unknown (KIP-320).
    pub leader_epoch: i32,
    pub metadata: String,
    pub committed_ms: i64,
}

/// A stored offset and its place in `__consumer_offsets`: of two commits the one further back in
/// the log is the later one, in whichever order they come to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    at: Offset,
    /// `None`: deleted.
    value: Option<StoredOffset>,
}

/// All offsets of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    committed: BTreeMap<TopicPartition, Placed>,
    pending: HashMap<ProducerId, BTreeMap<TopicPartition, Placed>>,
}

impl Offsets {
    /// Records a commit, or with `None` a deletion, that lies at `at` in the log.
    pub fn commit(
        &mut self,
        partition: TopicPartition,
        value: Option<StoredOffset>,
        at: Offset,
        producer: Option<ProducerId>,
    ) {
        let offsets = match producer {
            None => &mut self.committed,
            Some(producer) => self.pending.entry(producer).or_default(),
        };
        put(offsets, partition, Placed { at, value });
    }

    /// The transaction of `producer` has ended.
    pub fn end(&mut self, producer: ProducerId, decision: ControlType) {
        let pending = self.pending.remove(&producer).unwrap_or_default();
        if decision == ControlType::Commit {
            for (partition, placed) in pending {
                put(&mut self.committed, partition, placed);
            }
        }
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<&StoredOffset> {
        self.committed.get(partition)?.value.as_ref()
    }

    /// All partitions with a committed offset.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &StoredOffset)> {
        let all = self.committed.iter();
        all.filter_map(|(partition, placed)| Some((partition, placed.value.as_ref()?)))
    }

    /// Whether an undecided transaction may change the offset of this partition.
    pub fn is_undecided(&self, partition: &TopicPartition) -> bool {
        self.pending.values().any(|pending| pending.contains_key(partition))
    }

    /// Whether nothing is kept and nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.iter().next().is_none()
    }
}

fn put(offsets: &mut BTreeMap<TopicPartition, Placed>, of: TopicPartition, placed: Placed) {
    if offsets.get(&of).is_none_or(|known| known.at <= placed.at) {
        offsets.insert(of, placed);
    }
}
