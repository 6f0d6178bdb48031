//! What of a group is to be kept: one change for each record of `__consumer_offsets`, told by the
//! machine and applied again after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ConsumerGroup;
use super::assignment::Assignment;
use super::member::{Current, MemberFacts};
use super::topics::TopicFacts;
use crate::coordinator::groups::messages::{GroupSnapshot, MemberId};

/// One record: `None` takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The whole of a group of the classic protocol.
    Classic(Option<GroupSnapshot>),
    Epoch(Option<i32>),
    Subscribed(Option<BTreeMap<Arc<str>, TopicFacts>>),
    Member(MemberId, Option<MemberFacts>),
    TargetEpoch(Option<i32>),
    Target(MemberId, Option<Assignment>),
    Current(MemberId, Option<Current>),
    /// The same of a share group, whose records are others.
    Shared(Box<Change>),
}

impl Change {
    /// The same record taken away; of a group that is classic again it must not stay.
    pub fn taken_away(&self) -> Option<Change> {
        Some(match self {
            Change::Classic(_) => return None,
            Change::Epoch(_) => Change::Epoch(None),
            Change::Subscribed(_) => Change::Subscribed(None),
            Change::Member(id, _) => Change::Member(id.clone(), None),
            Change::TargetEpoch(_) => Change::TargetEpoch(None),
            Change::Target(id, _) => Change::Target(id.clone(), None),
            Change::Current(id, _) => Change::Current(id.clone(), None),
            Change::Shared(change) => Change::Shared(Box::new(change.taken_away()?)),
        })
    }
}

/// What has changed since it was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// The group was one of the classic protocol, and its record is still there.
    pub was_classic: bool,
    pub epoch: bool,
    pub subscribed: bool,
    pub target_epoch: bool,
    pub members: BTreeSet<MemberId>,
    pub targets: BTreeSet<MemberId>,
    pub currents: BTreeSet<MemberId>,
}

impl Changed {
    pub fn all_of(&mut self, member: &MemberId) {
        self.members.insert(member.clone());
        self.targets.insert(member.clone());
        self.currents.insert(member.clone());
    }
}

impl ConsumerGroup {
    /// What is to be kept of what has changed. The order is such that of a long list its beginning
    /// alone does no harm: what each member has comes last, what nobody has any more first.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        let mut out = Vec::new();
        if changed.was_classic {
            out.push(Change::Classic(None));
        }
        let (there, gone): (Vec<_>, Vec<_>) =
            changed.currents.into_iter().partition(|id| self.members.contains_key(id));
        out.extend(gone.into_iter().map(|id| Change::Current(id, None)));
        for id in changed.members {
            let facts = self.members.get(&id).map(|member| member.facts.clone());
            out.push(Change::Member(id, facts));
        }
        // Of a share group it is looked at anew after a restart.
        if changed.subscribed && !self.is_shared {
            out.push(Change::Subscribed(Some(self.subscribed.topics.clone())));
        }
        if changed.epoch {
            out.push(Change::Epoch(Some(self.epoch)));
        }
        for id in changed.targets {
            let target = self.members.get(&id).map(|member| member.target.clone());
            out.push(Change::Target(id, target));
        }
        if changed.target_epoch {
            out.push(Change::TargetEpoch(Some(self.target_epoch)));
        }
        for id in there {
            let current = self.members.get(&id).map(|member| member.current.clone());
            out.push(Change::Current(id, current));
        }
        self.as_own(out)
    }

    /// Changes as those of a group of this kind.
    fn as_own(&self, changes: Vec<Change>) -> Vec<Change> {
        if !self.is_shared {
            return changes;
        }
        changes.into_iter().map(|change| Change::Shared(Box::new(change))).collect()
    }

    /// The log has refused these: they are told again with what changes next.
    pub fn not_kept(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Shared(change) => self.not_kept(std::slice::from_ref(change)),
                Change::Classic(_) => self.changed.was_classic = true,
                Change::Epoch(_) => self.changed.epoch = true,
                Change::Subscribed(_) => self.changed.subscribed = true,
                Change::TargetEpoch(_) => self.changed.target_epoch = true,
                Change::Member(id, _) => _ = self.changed.members.insert(id.clone()),
                Change::Target(id, _) => _ = self.changed.targets.insert(id.clone()),
                Change::Current(id, _) => _ = self.changed.currents.insert(id.clone()),
            }
        }
    }

    /// What takes away all that is kept of this group.
    pub fn removal(&self) -> Vec<Change> {
        let mut out: Vec<Change> = Vec::new();
        // Those of members that are gone, but whose end has not reached the log, too.
        let unkept = &self.changed;
        let ids = self.members.keys().chain(&unkept.members).chain(&unkept.currents);
        let ids: BTreeSet<&MemberId> = ids.chain(&unkept.targets).collect();
        for id in ids {
            out.push(Change::Current(id.clone(), None));
            out.push(Change::Target(id.clone(), None));
            out.push(Change::Member(id.clone(), None));
        }
        out.push(Change::TargetEpoch(None));
        out.extend((!self.is_shared).then_some(Change::Subscribed(None)));
        out.push(Change::Epoch(None));
        self.as_own(out)
    }
}

/// A group of the new protocol as the log tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptGroup {
    /// `None`: there is no such group.
    pub epoch: Option<i32>,
    pub target_epoch: i32,
    pub subscribed: BTreeMap<Arc<str>, TopicFacts>,
    pub members: BTreeMap<MemberId, MemberFacts>,
    pub targets: BTreeMap<MemberId, Assignment>,
    pub currents: BTreeMap<MemberId, Current>,
}

impl KeptGroup {
    pub fn apply(&mut self, change: Change) {
        match change {
            // A group that went over to the other protocol leaves nothing behind.
            Change::Classic(Some(_)) => *self = KeptGroup::default(),
            Change::Classic(None) | Change::Shared(_) => {}
            Change::Epoch(epoch) => self.epoch = epoch,
            Change::Subscribed(topics) => self.subscribed = topics.unwrap_or_default(),
            Change::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or_default(),
            Change::Member(id, facts) => put(&mut self.members, id, facts),
            Change::Target(id, target) => put(&mut self.targets, id, target),
            Change::Current(id, current) => put(&mut self.currents, id, current),
        }
    }
}

fn put<T>(map: &mut BTreeMap<MemberId, T>, id: MemberId, value: Option<T>) {
    match value {
        Some(value) => _ = map.insert(id, value),
        None => _ = map.remove(&id),
    }
}
