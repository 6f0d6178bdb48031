//! A group and its members: what each request makes of it. No clock, lock or log in here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::messages::{
    GroupError, InstanceId, JoinRefused, JoinRequest, Joined, JoinedMember, LeavingMember,
    MemberClaim, MemberId, Output, SyncRequest, Synced,
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
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// Partitions of `__consumer_offsets` if it must be created. Kafka's 50 spread coordinators
    /// over brokers; here there is one, and each partition costs files and fsyncs.
    pub offsets_partitions: i32,
    /// `offsets.retention.minutes`: for how long offsets of a group without members are kept.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval: Duration,
}

/// Longer client ids are cut off within member ids, which must fit into a string of the wire.
const ID_PREFIX_CHARS_MAX: usize = 255;
/// The protocol type of consumers, whose metadata we understand.
const CONSUMER: &str = "consumer";

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            members_max: 10_000,
            offset_metadata_bytes_max: 4_096,
            offsets_partitions: 1,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            retention_check_interval: Duration::from_secs(600),
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
    /// Counts joins: the member that joined first leads.
    pub(super) joins: u64,
    pub(super) state_since_ms: i64,
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

    /// JoinGroup. The answer to `waiter` comes now or when the generation begins.
    pub fn join(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let member_id = request.member_id.clone();
        if let Err(error) = self.try_join(waiter, request, config, now, out) {
            let refused = match error {
                Refusal::Error(error) => JoinRefused { error, member_id },
                Refusal::JoinAgainAs(member_id) => {
                    JoinRefused { error: GroupError::MemberIdRequired, member_id }
                }
            };
            out.push(Output::Join(waiter, Err(refused)));
        }
    }

    fn try_join(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let bounds = config.session_timeout_ms_min..=config.session_timeout_ms_max;
        if !bounds.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout.into());
        }
        if !self.fits(&request) {
            return Err(GroupError::InconsistentGroupProtocol.into());
        }
        if request.member_id.is_none() {
            return self.join_new(waiter, request, config, now, out);
        }
        self.check_instance(&request.member_id, request.instance_id.as_ref())?;
        if self.members.contains_key(&request.member_id) {
            self.join_again(waiter, request, now, out);
            return Ok(());
        }
        if self.pending.remove(&request.member_id).is_none() {
            return Err(GroupError::UnknownMemberId.into());
        }
        let id = request.member_id.clone();
        self.add_member(id, waiter, request, now);
        self.prepare_rebalance(now, out);
        Ok(())
    }

    fn join_new(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let prefix = request.instance_id.as_ref().map_or(&*request.client_id, |id| &id.0);
        let prefix: String = prefix.chars().take(ID_PREFIX_CHARS_MAX).collect();
        let id = MemberId(format!("{prefix}-{}", request.fresh).into());
        if let Some(older) = request.instance_id.as_ref().and_then(|id| self.member_of(id)) {
            self.replace(&older, id, waiter, request, now, out);
            return Ok(());
        }
        if self.members.len() + self.pending.len() >= config.members_max {
            return Err(GroupError::GroupMaxSizeReached.into());
        }
        if request.instance_id.is_none() && request.requires_known_member {
            let until = now.elapsed_ms.saturating_add(request.session_timeout_ms as u64);
            self.pending.insert(id.clone(), until);
            return Err(Refusal::JoinAgainAs(id));
        }
        self.add_member(id, waiter, request, now);
        self.prepare_rebalance(now, out);
        Ok(())
    }

    /// A static member in a new life takes the place of the older one (KIP-345): without a
    /// rebalance if it says the same as before.
    fn replace(
        &mut self,
        older: &MemberId,
        id: MemberId,
        waiter: Waiter,
        request: JoinRequest,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(old) = self.members.remove(older) else { return };
        if let Some(waiter) = old.joining {
            let error = GroupError::FencedInstanceId;
            out.push(Output::Join(waiter, Err(JoinRefused { error, member_id: older.clone() })));
        }
        if let Some(waiter) = old.syncing {
            out.push(Output::Sync(waiter, Err(GroupError::FencedInstanceId)));
        }
        let led = self.leader.as_ref() == Some(older);
        if led {
            self.leader = Some(id.clone());
        }
        let can_skip = request.can_skip_assignment;
        self.add_member(id.clone(), waiter, request, now);
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = self.members.get_mut(&id).expect("the member was just added");
        member.assignment = old.assignment.clone();
        let unchanged = member.metadata(&protocol) == old.metadata(&protocol);
        if self.state != GroupState::Stable || !unchanged {
            self.prepare_rebalance(now, out);
            return;
        }
        member.joining = None;
        out.push(Output::Persist(self.snapshot()));
        let mut joined = self.joined(&id);
        if led && can_skip {
            joined.skip_assignment = true;
        } else if led {
            // An older client that finds itself leading would assign anew; the id that it no
            // longer has keeps it from that.
            joined.leader = older.clone();
            joined.members = Vec::new();
        }
        out.push(Output::Join(waiter, Ok(joined)));
    }

    fn join_again(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let id = request.member_id.clone();
        let leads = self.leader.as_ref() == Some(&id);
        let member = self.members.get_mut(&id).expect("the caller has found the member");
        if let Some(older) = member.joining.take() {
            let error = GroupError::UnknownMemberId;
            out.push(Output::Join(older, Err(JoinRefused { error, member_id: id.clone() })));
        }
        let unchanged = member.protocols == request.protocols;
        member.heard_of(now);
        let keeps_generation = match self.state {
            GroupState::CompletingRebalance => unchanged,
            GroupState::Stable => unchanged && !leads,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        if keeps_generation {
            // The answer to its join was lost: here it is again.
            out.push(Output::Join(waiter, Ok(self.joined(&id))));
            return;
        }
        member.protocols = request.protocols;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.joining = Some(waiter);
        self.prepare_rebalance(now, out);
    }

    fn add_member(&mut self, id: MemberId, waiter: Waiter, request: JoinRequest, now: Now) {
        if self.members.is_empty() {
            self.protocol_type = request.protocol_type;
        }
        self.joins += 1;
        let mut member = Member {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(waiter),
            syncing: None,
            silent_until_ms: 0,
            joined: self.joins,
        };
        member.heard_of(now);
        self.members.insert(id, member);
    }

    /// Whether a member with this protocol type and these protocols can work with the others.
    fn fits(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let others = || self.members.iter().filter(|(id, _)| **id != request.member_id);
        let mut names = request.protocols.iter().map(|(name, _)| name);
        self.protocol_type == request.protocol_type
            && names.any(|name| others().all(|(_, other)| other.speaks(name)))
    }

    pub(super) fn member_of(&self, instance: &InstanceId) -> Option<MemberId> {
        let mut members = self.members.iter();
        members
            .find(|(_, member)| member.instance_id.as_ref() == Some(instance))
            .map(|(id, _)| id.clone())
    }

    fn check_instance(
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

    /// SyncGroup.
    pub fn sync(&mut self, waiter: Waiter, request: SyncRequest, now: Now, out: &mut Vec<Output>) {
        if let Err(error) = self.check_sync(&request) {
            out.push(Output::Sync(waiter, Err(error)));
            return;
        }
        let id = request.member.member_id.clone();
        let leads = self.leader.as_ref() == Some(&id);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.heard_of(now);
        if self.state == GroupState::Stable {
            out.push(Output::Sync(waiter, Ok(self.synced(&id))));
            return;
        }
        if let Some(older) = member.syncing.replace(waiter) {
            out.push(Output::Sync(older, Err(GroupError::RebalanceInProgress)));
        }
        if leads {
            self.assign(request.assignments, now, out);
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&request.member)?;
        let differs = |given: &Option<Arc<str>>, own: Option<&Arc<str>>| {
            given.as_ref().is_some_and(|given| own.is_some_and(|own| own != given))
        };
        if differs(&request.protocol_type, Some(&self.protocol_type))
            || differs(&request.protocol, self.protocol.as_ref())
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty => Err(GroupError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
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
        let outside = claim.generation < 0 && claim.member_id.is_none();
        if outside && (transactional || self.members.is_empty()) {
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

    pub(super) fn joined(&self, id: &MemberId) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_default();
        let all = |(id, member): (&MemberId, &Member)| JoinedMember {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol),
        };
        let members =
            if leader == *id { self.members.iter().map(all).collect() } else { Vec::new() };
        Joined {
            member_id: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol,
            leader,
            skip_assignment: false,
            members,
        }
    }

    pub(super) fn synced(&self, id: &MemberId) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.members.get(id).map(|one| one.assignment.clone()).unwrap_or_default(),
        }
    }
}

impl Member {
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| &**name == protocol)
    }
}

/// Why a join is not taken.
enum Refusal {
    Error(GroupError),
    JoinAgainAs(MemberId),
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Refusal {
        Refusal::Error(error)
    }
}
