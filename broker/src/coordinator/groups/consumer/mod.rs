//! Groups of the new consumer group protocol (KIP-848): the coordinator itself decides who reads
//! what, and each member comes there by its own heartbeats, without waiting for the others.
//!
//! ```text
//!   heartbeat ─► member, what it wants ─► group epoch + 1 ─► assignor: a target for each member
//!                                                                │
//!   answer ◄─ what it may use now ◄─ one step towards its target ◄┘   (revoke before assign)
//! ```
//!
//! The epochs: that of the group grows whenever what is read changes, or who reads; that of the
//! target follows once it was computed for it; that of a member follows once it has let go of all
//! that is not in its target. So a group is `Empty`, `Assigning` (the target is behind),
//! `Reconciling` (members are behind) or `Stable`.
//!
//! - [`assignment`]: sets of partitions; [`topics`]: what there is and what is read;
//!   [`assignor`]: `uniform` and `range`;
//! - [`member`]: a member and its steps; [`heartbeat`]: its requests; here: the group, time;
//! - [`classic`]: members that speak the classic protocol; [`migration`]: whole groups that go
//!   over from one protocol to the other;
//! - [`changes`]: what is kept, record by record.
//!
//! A share group (KIP-932) is the same machine with less to do: each member has all partitions of
//! what it reads, at once, since none of them is its own. There are no static members in it, no
//! expressions, and no choice of an assignor.
//!
//! Invariants: a partition is held by one member at most, from when it is given to it until it is
//! known to have let it go or is out of the group. Epochs only grow. A request that is refused
//! changes nothing. What an answer rests on is told to the log before it.

pub mod assignment;
pub mod assignor;
pub mod changes;
mod classic;
pub mod heartbeat;
pub mod member;
mod migration;
pub mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use self::assignment::{Assignment, Place};
use self::assignor::{Assignor, Reader};
use self::changes::{Changed, KeptGroup};
use self::member::{Current, Member, MemberFacts, Timers, after};
use self::topics::{Subscribed, Topics};
use super::group::Group;
use super::messages::{InstanceId, MemberId};
use crate::coordinator::Now;

/// Settings of groups of the new protocol, by Kafka's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `group.consumer.session.timeout.ms`, for a group `consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms`: the least that a group can be set to.
    pub session_timeout_ms_min: i32,
    /// `group.consumer.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.consumer.heartbeat.interval.ms`, for a group `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms`
    pub heartbeat_interval_ms_min: i32,
    /// `group.consumer.max.heartbeat.interval.ms`
    pub heartbeat_interval_ms_max: i32,
    /// `group.consumer.max.size`; Kafka's is unbounded.
    pub members_max: usize,
    /// `group.consumer.assignors`: the first is taken where members have no wish.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            session_timeout_ms: 45_000,
            session_timeout_ms_min: 45_000,
            session_timeout_ms_max: 60_000,
            heartbeat_interval_ms: 5_000,
            heartbeat_interval_ms_min: 5_000,
            heartbeat_interval_ms_max: 15_000,
            members_max: 10_000,
            assignors: Assignor::ALL.to_vec(),
            migration: MigrationPolicy::Bidirectional,
        }
    }
}

impl ConsumerConfig {
    /// Those of share groups, of which some settings mean nothing: `group.share.session.timeout.ms`
    /// and so on, and for a group `share.session.timeout.ms`, `share.heartbeat.interval.ms`.
    pub fn of_share_groups() -> ConsumerConfig {
        ConsumerConfig { members_max: 200, ..ConsumerConfig::default() }
    }

    /// With what is set for one group.
    pub fn with(
        &self,
        session_timeout_ms: Option<i32>,
        heartbeat_interval_ms: Option<i32>,
    ) -> ConsumerConfig {
        ConsumerConfig {
            session_timeout_ms: session_timeout_ms.unwrap_or(self.session_timeout_ms),
            heartbeat_interval_ms: heartbeat_interval_ms.unwrap_or(self.heartbeat_interval_ms),
            ..self.clone()
        }
    }
}

/// Whether groups with members go over from one protocol to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    pub const ALL: [MigrationPolicy; 4] = [
        MigrationPolicy::Disabled,
        MigrationPolicy::Upgrade,
        MigrationPolicy::Downgrade,
        MigrationPolicy::Bidirectional,
    ];

    pub fn name(self) -> &'static str {
        match self {
            MigrationPolicy::Disabled => "disabled",
            MigrationPolicy::Upgrade => "upgrade",
            MigrationPolicy::Downgrade => "downgrade",
            MigrationPolicy::Bidirectional => "bidirectional",
        }
    }

    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

impl FromStr for MigrationPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<MigrationPolicy, String> {
        let found = MigrationPolicy::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| "disabled, upgrade, downgrade or bidirectional".to_owned())
    }
}

impl fmt::Display for MigrationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a group's machine is told with each input.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// As they hold for this group.
    pub config: &'a ConsumerConfig,
    pub topics: &'a Topics,
    pub now: Now,
}

/// Kafka's names for the states of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl ConsumerState {
    pub fn name(self) -> &'static str {
        match self {
            ConsumerState::Empty => "Empty",
            ConsumerState::Assigning => "Assigning",
            ConsumerState::Reconciling => "Reconciling",
            ConsumerState::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// A share group: its members share all partitions.
    is_shared: bool,
    epoch: i32,
    target_epoch: i32,
    members: BTreeMap<MemberId, Member>,
    /// Static members by their names.
    instances: BTreeMap<InstanceId, MemberId>,
    /// Who holds what: [`Current::held`] of all members. In a share group nobody holds anything.
    owners: BTreeMap<Place, MemberId>,
    subscribed: Subscribed,
    changed: Changed,
}

impl ConsumerGroup {
    /// A group without members in place of a classic one: it goes on from the last generation, or
    /// begins anew if that has no members either.
    pub fn following(group: &Group) -> ConsumerGroup {
        let epoch = if group.members.is_empty() { 0 } else { group.generation() };
        let changed = Changed {
            was_classic: !group.is_untouched(),
            epoch: true,
            target_epoch: true,
            ..Changed::default()
        };
        ConsumerGroup { epoch, target_epoch: epoch, changed, ..ConsumerGroup::default() }
    }

    /// A share group without members.
    pub fn shared() -> ConsumerGroup {
        let changed = Changed { epoch: true, target_epoch: true, ..Changed::default() };
        ConsumerGroup { is_shared: true, changed, ..ConsumerGroup::default() }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    pub fn state(&self) -> ConsumerState {
        let at_target = |member: &Member| member.current.is_at(self.target_epoch);
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.is_shared {
            ConsumerState::Stable
        } else if self.epoch > self.target_epoch {
            ConsumerState::Assigning
        } else if self.members.values().all(at_target) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    /// The assignor that most members want, of those that are there.
    pub fn assignor(&self, config: &ConsumerConfig) -> Assignor {
        let votes = |assignor: &Assignor| {
            let wanted = |one: &&Member| one.facts.assignor.as_deref() == Some(assignor.name());
            self.members.values().filter(wanted).count()
        };
        let first_wins = config.assignors.iter().rev();
        first_wins.max_by_key(|assignor| votes(assignor)).copied().unwrap_or(Assignor::Uniform)
    }

    /// Whether members read this topic.
    pub fn reads(&self, topic: &str) -> bool {
        let mut wants = self.members.values().map(|member| &member.facts.subscription);
        wants.any(|member| self.subscribed.reads(member, topic))
    }

    /// Lets time pass: to be called when [`ConsumerGroup::next_deadline_ms`] has come.
    pub fn tick(&mut self, around: Surroundings<'_>) {
        let overdue = |member: &Member| member.timers.next_ms() <= around.now.elapsed_ms;
        let gone = self.members.iter().filter(|(_, member)| overdue(member));
        let gone: Vec<MemberId> = gone.map(|(id, _)| id.clone()).collect();
        if !gone.is_empty() {
            self.fence(&gone, around);
        }
    }

    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.members.values().map(|member| member.timers.next_ms()).min()
    }

    /// Takes members out; the others hear of it by their next heartbeats.
    fn fence(&mut self, gone: &[MemberId], around: Surroundings<'_>) {
        for id in gone {
            self.remove(id);
        }
        self.look_at_topics(around.topics);
        self.raise_epoch();
    }

    fn raise_epoch(&mut self) {
        self.epoch += 1;
        self.changed.epoch = true;
    }

    /// What is read, of what there is; says whether it has changed.
    fn look_at_topics(&mut self, topics: &Topics) -> bool {
        let wants = self.members.values().map(|member| &member.facts.subscription);
        let changed = self.subscribed.update(wants, topics);
        self.changed.subscribed |= changed;
        changed
    }

    fn remove(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        for place in member.current.held() {
            self.owners.remove(&place);
        }
        if let Some(instance) = &member.facts.instance_id
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        self.changed.all_of(id);
        Some(member)
    }

    /// Puts a member in. What another holds already it does not get.
    fn insert(&mut self, id: MemberId, mut member: Member) {
        if let Some(instance) = &member.facts.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.is_shared {
            self.changed.all_of(&id);
            self.members.insert(id, member);
            return;
        }
        let taken = |place: &Place| self.owners.contains_key(place);
        for part in [&mut member.current.assigned, &mut member.current.revoking] {
            let (_, free): (Assignment, Assignment) = part.iter().partition(taken);
            *part = free;
        }
        self.owners.extend(member.current.held().map(|place| (place, id.clone())));
        self.changed.all_of(&id);
        self.members.insert(id, member);
    }

    fn set_current(&mut self, id: &MemberId, next: Current) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.current, next);
        for place in before.held() {
            self.owners.remove(&place);
        }
        for place in member.current.held().filter(|_| !self.is_shared) {
            let other = self.owners.insert(place, id.clone());
            debug_assert_eq!(other, None, "{place:?} was given out twice");
        }
        self.changed.currents.insert(id.clone());
    }

    /// Computes the target anew if the group has moved on.
    fn aim(&mut self, config: &ConsumerConfig) {
        if self.epoch <= self.target_epoch {
            return;
        }
        let subscribed = &self.subscribed;
        let topics = self.members.values().map(|member| {
            let topics = subscribed.of(&member.facts.subscription);
            topics.map(|facts| (facts.id, facts.partitions)).collect()
        });
        let topics: Vec<BTreeMap<_, _>> = topics.collect();
        let readers = self.members.iter().zip(topics).map(|((id, member), topics)| {
            let instance = member.facts.instance_id.as_ref();
            let order = instance.map_or((true, &*id.0), |instance| (false, &*instance.0));
            Reader { order, topics, before: &member.target }
        });
        let readers: Vec<Reader<'_>> = readers.collect();
        let targets = match self.is_shared {
            true => readers.iter().map(Reader::all).collect(),
            false => self.assignor(config).assign(&readers),
        };
        for ((id, member), target) in self.members.iter_mut().zip(targets) {
            if member.target != target {
                member.target = target;
                self.changed.targets.insert(id.clone());
            }
        }
        self.target_epoch = self.epoch;
        self.changed.target_epoch = true;
    }

    /// Takes a member one step towards its target; says whether what it may use has changed.
    fn reconcile(&mut self, id: &MemberId, owned: Option<&Assignment>, now: Now) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let is_free = |place: Place| !self.owners.contains_key(&place);
        // What is shared need not be let go of first.
        let nothing = Assignment::default();
        let owned = if self.is_shared { Some(&nothing) } else { owned };
        let next = member.current.step(self.target_epoch, &member.target, owned, is_free);
        let Some(next) = next else { return false };
        let has_changed = next.assigned != member.current.assigned;
        let is_revoking = next.state == member::MemberState::Revoking;
        self.set_current(id, next);
        if let Some(member) = self.members.get_mut(id) {
            // One of the classic protocol is asked to join again instead.
            let patience = after(now, member.facts.rebalance_timeout_ms);
            member.timers.revoke_ms = (is_revoking && !member.is_classic()).then_some(patience);
        }
        has_changed
    }

    /// A share group as it was kept. What topics it read is not: members get what there is now with
    /// a new epoch.
    pub fn restore_shared(kept: KeptGroup, config: &ConsumerConfig, now: Now) -> ConsumerGroup {
        let mut group = ConsumerGroup::restored(ConsumerGroup::shared(), kept, config, now);
        if !group.members.is_empty() {
            group.raise_epoch();
        }
        group
    }

    /// The group as it was kept; its members have their session's time to be heard of.
    pub fn restore(kept: KeptGroup, config: &ConsumerConfig, now: Now) -> ConsumerGroup {
        ConsumerGroup::restored(ConsumerGroup::default(), kept, config, now)
    }

    fn restored(
        empty: ConsumerGroup,
        kept: KeptGroup,
        config: &ConsumerConfig,
        now: Now,
    ) -> ConsumerGroup {
        let KeptGroup { epoch, target_epoch, subscribed, members, mut targets, mut currents } =
            kept;
        let mut group = ConsumerGroup {
            epoch: epoch.unwrap_or_default(),
            target_epoch,
            subscribed: Subscribed::restore(subscribed),
            ..empty
        };
        for (id, facts) in members {
            let current = currents.remove(&id).unwrap_or_default();
            let target = targets.remove(&id).unwrap_or_default();
            let timers = restored_timers(&facts, &current, config, now);
            group.insert(id, Member { facts, current, target, timers });
        }
        group.changed = Changed::default();
        // Left behind by a list of changes that was cut short.
        for id in currents.into_keys().chain(targets.into_keys()) {
            group.changed.all_of(&id);
        }
        group
    }

    /// All that is kept, as a restart would find it.
    #[cfg(test)]
    pub fn kept(&self) -> KeptGroup {
        let members = || self.members.iter();
        KeptGroup {
            epoch: Some(self.epoch),
            target_epoch: self.target_epoch,
            subscribed: self.subscribed.topics.clone(),
            members: members().map(|(id, one)| (id.clone(), one.facts.clone())).collect(),
            targets: members().map(|(id, one)| (id.clone(), one.target.clone())).collect(),
            currents: members().map(|(id, one)| (id.clone(), one.current.clone())).collect(),
        }
    }
}

fn restored_timers(
    facts: &MemberFacts,
    current: &Current,
    config: &ConsumerConfig,
    now: Now,
) -> Timers {
    let is_revoking = current.state == member::MemberState::Revoking;
    let (session_ms, is_classic) = match &facts.classic {
        Some(classic) => (classic.session_timeout_ms, true),
        None => (config.session_timeout_ms, false),
    };
    let patience = after(now, facts.rebalance_timeout_ms);
    Timers {
        session_ms: after(now, session_ms),
        revoke_ms: (is_revoking && !is_classic).then_some(patience),
        ..Timers::default()
    }
}

#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
