//! Committed offsets of a group: plain ones at once, those of a transaction when it commits.

use std::collections::{BTreeMap, HashMap};

use crate::ids::{ProducerId, TopicPartition};
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

/// The order of a group's commits in `__consumer_offsets`. It is known when an append is made, and
/// so before its offset in the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// A stored offset and its place: of two commits the one further back in the log is the later
/// one, in whichever order they come to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    at: Place,
    /// `None`: deleted.
    value: Option<StoredOffset>,
}

/// All offsets of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    committed: BTreeMap<TopicPartition, Placed>,
    /// Of each partition also what came before, for as long as the last is not durable.
    pending: HashMap<ProducerId, BTreeMap<TopicPartition, Vec<Placed>>>,
    places: u64,
    /// Of the last commit, and of the last deletion of the group itself.
    last_commit: Option<Place>,
    last_end: Option<Place>,
}

impl Offsets {
    /// The place behind all others, for what is about to be appended to the log.
    pub fn place(&mut self) -> Place {
        self.places += 1;
        Place(self.places)
    }

    /// Records a commit, or with `None` a deletion, that lies at `at` in the log.
    pub fn commit(
        &mut self,
        partition: TopicPartition,
        value: Option<StoredOffset>,
        at: Place,
        producer: Option<ProducerId>,
    ) {
        // That of a transaction counts once it is durable.
        if value.is_some() && producer.is_none() {
            self.last_commit = self.last_commit.max(Some(at));
        }
        let placed = Placed { at, value };
        match producer {
            None => put(&mut self.committed, partition, placed),
            Some(producer) => {
                let pending = self.pending.entry(producer).or_default();
                pending.entry(partition).or_default().push(placed);
            }
        }
    }

    /// The group was deleted as such, at this place.
    pub fn forget_group(&mut self, at: Place) {
        self.last_end = self.last_end.max(Some(at));
    }

    /// Whether there is a group because of its offsets, those included that it has no longer: it
    /// stays, empty, until groups that have nothing left are next looked for.
    pub fn make_a_group(&self) -> bool {
        self.last_commit > self.last_end || !self.is_empty()
    }

    /// A pending commit is durable: what came before it no longer matters.
    pub fn settle(&mut self, producer: ProducerId, at: Place) {
        self.last_commit = self.last_commit.max(Some(at));
        for commits in self.pending.get_mut(&producer).into_iter().flat_map(BTreeMap::values_mut) {
            if commits.iter().any(|placed| placed.at == at) {
                commits.retain(|placed| placed.at >= at);
            }
        }
    }

    /// A pending commit has not reached the log.
    pub fn withdraw(&mut self, producer: ProducerId, at: Place) {
        let Some(pending) = self.pending.get_mut(&producer) else { return };
        pending.retain(|_, commits| {
            commits.retain(|placed| placed.at != at);
            !commits.is_empty()
        });
        if pending.is_empty() {
            self.pending.remove(&producer);
        }
    }

    /// The transaction of `producer` has ended.
    pub fn end(&mut self, producer: ProducerId, decision: ControlType) {
        let pending = self.pending.remove(&producer).unwrap_or_default();
        if decision == ControlType::Commit {
            for (partition, commits) in pending {
                for placed in commits {
                    put(&mut self.committed, partition.clone(), placed);
                }
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

    /// Whether transactions with offsets of this group are open.
    pub fn has_undecided(&self) -> bool {
        !self.pending.is_empty()
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
