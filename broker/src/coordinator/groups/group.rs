//! A group and its members: what each request makes of it. No clock, lock or log in here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::consumer::ConsumerConfig;
use super::messages::{
    GroupError, InstanceId, JoinRefused, LeavingMember, MemberClaim, MemberId, Output,
};
use crate::coordinator::{Now, Waiter};
use crate::protocol::messages::consumer_protocol::{self, ConsumerProtocolSubscription};

/// The broker's settings for groups, by Kafka's names and defaults.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.max.size`; Kafka's is unbounded.
    pub members_max: usize,
    /// `group.initial.rebalance.delay.ms`: how long a group that was empty waits for further
    /// members. Kafka's 3 s spare a rebalance or two to groups that start as one; here nobody
    /// waits for them unless told to.
    pub initial_rebalance_delay_ms: u64,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// Partitions of `__consumer_offsets` if it must be created. Kafka's 50 spread coordinators
    /// over brokers; here there is one, and each partition costs files and fsyncs.
    pub offsets_partitions: i32,
    /// `offsets.retention.minutes`: for how long offsets of a group without members are kept.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// Of groups of the new protocol.
    pub consumer: ConsumerConfig,
    /// Of share groups.
    pub share: ConsumerConfig,
}

/// The protocol type of consumers, whose metadata we understand.
const CONSUMER: &str = "consumer";

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            members_max: 10_000,
            initial_rebalance_delay_ms: 0,
            offset_metadata_bytes_max: 4_096,
            offsets_partitions: 1,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            retention_check_interval: Duration::from_secs(600),
            consumer: ConsumerConfig::default(),
            share: ConsumerConfig::of_share_groups(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl GroupState {
    /// Kafka's name, as DescribeGroups and ListGroups give it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: Arc<str>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Ids given out to members that have yet to join with them (KIP-394), until when.
    pub(super) pending: BTreeMap<MemberId, u64>,
    /// When the rebalance goes on without those who are missing.
    pub(super) rebalance_deadline_ms: Option<u64>,
    /// Set while the first generation waits for more members than the first.
    pub(super) gathering: Option<Gathering>,
    /// Counts joins: the member that joined first leads.
    pub(super) joins: u64,
    pub(super) state_since_ms: i64,
}

/// The wait for further members of a group that was empty, within the rebalance deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    pub delay_ms: u64,
    /// How much longer it may go on if others come.
    pub left_ms: u64,
    pub others_came: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub instance_id: Option<InstanceId>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// By preference: name, and what the member has to say to the leader.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    pub assignment: Bytes,
    /// Who waits for the next generation.
    pub joining: Option<Waiter>,
    /// Who waits for the assignment.
    pub syncing: Option<Waiter>,
    /// A member that is silent for longer is gone. Does not hold while it waits here.
    pub silent_until_ms: u64,
    pub joined: u64,
}

impl Member {
    pub fn heard_of(&mut self, now: Now) {
        self.silent_until_ms = now.elapsed_ms.saturating_add(self.session_timeout_ms as u64);
    }

    fn is_overdue(&self, now: Now) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.silent_until_ms <= now.elapsed_ms
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| &**name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}

impl Group {
    pub fn new(now: Now) -> Group {
        Group {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: "".into(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            rebalance_deadline_ms: None,
            gathering: None,
            joins: 0,
            state_since_ms: now.wall_ms,
        }
    }

    pub fn state(&self) -> GroupState {
        self.state
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn state_since_ms(&self) -> i64 {
        self.state_since_ms
    }

    pub fn has_members(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    pub(super) fn member_of(&self, instance: &InstanceId) -> Option<MemberId> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| member.instance_id.as_ref() == Some(instance))
            .map(|(id, _)| id.clone())
    }

    pub(super) fn check_instance(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
    ) -> Result<(), GroupError> {
        match instance.map(|instance| self.member_of(instance)) {
            Some(None) => Err(GroupError::UnknownMemberId),
            Some(Some(owner)) if owner != *id => Err(GroupError::FencedInstanceId),
            _ => Ok(()),
        }
    }

    /// Whether the claim is that of a member of the current generation.
    pub fn check_member(&self, claim: &MemberClaim) -> Result<(), GroupError> {
        self.check_instance(&claim.member_id, claim.instance_id.as_ref())?;
        if !self.members.contains_key(&claim.member_id) {
            return Err(GroupError::UnknownMemberId);
        }
        if claim.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        Ok(())
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, claim: &MemberClaim, now: Now) -> Result<(), GroupError> {
        self.check_member(claim)?;
        if let Some(member) = self.members.get_mut(&claim.member_id) {
            member.heard_of(now);
        }
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// LeaveGroup, for one member.
    pub fn leave(
        &mut self,
        leaving: &LeavingMember,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), GroupError> {
        let id = match &leaving.instance_id {
            Some(instance) => {
                let owner = self.member_of(instance).ok_or(GroupError::UnknownMemberId)?;
                if !leaving.member_id.is_none() && leaving.member_id != owner {
                    return Err(GroupError::FencedInstanceId);
                }
                owner
            }
            None => leaving.member_id.clone(),
        };
        if self.pending.remove(&id).is_some() {
            self.try_begin_generation(now, out);
            return Ok(());
        }
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMemberId);
        }
        self.remove(&id, out);
        self.prepare_rebalance(now, out);
        Ok(())
    }

    /// Whether offsets may be committed so; a member that commits is alive.
    pub fn check_commit(
        &mut self,
        claim: &MemberClaim,
        transactional: bool,
        now: Now,
    ) -> Result<(), GroupError> {
        // Whatever somebody calls himself, where there is no member he stands in no one's way.
        let outside = claim.generation < 0;
        if outside && (self.members.is_empty() || transactional && claim.member_id.is_none()) {
            return Ok(());
        }
        self.check_member(claim)?;
        if let Some(member) = self.members.get_mut(&claim.member_id) {
            member.heard_of(now);
        }
        match self.state {
            // The next generation has begun; what this member had may be another's by now.
            GroupState::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// The log has refused what [`Output::Persist`] asked for: the members must agree anew.
    pub fn not_kept(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.state == GroupState::Stable {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.prepare_rebalance(now, out);
        }
    }

    /// The group goes over to the new protocol: who waits has to join again, into that.
    pub fn turn_away(&mut self, out: &mut Vec<Output>) {
        for (id, member) in &mut self.members {
            let error = GroupError::RebalanceInProgress;
            if let Some(waiter) = member.joining.take() {
                let refused = JoinRefused { error, member_id: id.clone() };
                out.push(Output::Join(waiter, Err(refused)));
            }
            if let Some(waiter) = member.syncing.take() {
                out.push(Output::Sync(waiter, Err(error)));
            }
        }
    }

    pub fn is_of_consumers(&self) -> bool {
        &*self.protocol_type == CONSUMER
    }

    /// Whether members may be reading this topic; what is not understood counts as yes.
    pub fn may_read(&self, topic: &str) -> bool {
        let protocol = self.protocol.clone().unwrap_or_default();
        let mut metadata = self.members.values().map(|member| member.metadata(&protocol));
        metadata.any(|metadata| {
            let decoded = consumer_protocol::decode::<ConsumerProtocolSubscription>(&metadata);
            decoded.map_or(true, |(_, read)| read.topics.iter().any(|one| one == topic))
        })
    }

    /// Whether nothing has ever come of this group.
    pub fn is_untouched(&self) -> bool {
        self.generation == 0 && !self.has_members()
    }

    /// Lets time pass: to be called when [`Group::next_deadline_ms`] has come.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.pending.retain(|_, until| *until > now.elapsed_ms);
        let overdue = self.members.iter().filter(|(_, member)| member.is_overdue(now));
        let gone: Vec<MemberId> = overdue.map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.remove(id, out);
        }
        if !gone.is_empty() {
            self.prepare_rebalance(now, out);
        }
        self.try_begin_generation(now, out);
        if self.rebalance_deadline_ms.is_some_and(|deadline| deadline <= now.elapsed_ms) {
            self.stop_waiting(now, out);
        }
    }

    /// When [`Group::tick`] has something to do, in ms since the broker started.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let waiting = |member: &&Member| member.joining.is_none() && member.syncing.is_none();
        let sessions = self.members.values().filter(waiting).map(|member| member.silent_until_ms);
        sessions.chain(self.pending.values().copied()).chain(self.rebalance_deadline_ms).min()
    }
}

impl Member {
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| &**name == protocol)
    }
}
