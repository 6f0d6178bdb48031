//! Members of the classic protocol in a group of the new one: to them each of their steps is a
//! generation of its own, whose number is their epoch. They are told to join again by their
//! heartbeats, get their part at once, and never lead.

use std::sync::Arc;

use bytes::Bytes;

use super::assignment::Assignment;
use super::heartbeat::Comer;
use super::member::{ClassicFacts, Member, MemberFacts, MemberState, after};
use super::topics::{Subscription, Topics};
use super::{ConsumerGroup, Surroundings};
use crate::coordinator::Now;
use crate::coordinator::groups::messages::{
    GroupError, JoinRefused, JoinRequest, Joined, LeavingMember, MemberClaim, MemberId,
    SyncRequest, Synced,
};
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

impl ConsumerGroup {
    /// JoinGroup, answered at once.
    pub fn join(
        &mut self,
        request: JoinRequest,
        around: Surroundings<'_>,
    ) -> Result<Joined, JoinRefused> {
        let id = match request.member_id.is_none() {
            true => MemberId(request.fresh.to_string().into()),
            false => request.member_id.clone(),
        };
        let given = request.member_id.clone();
        self.try_join(&id, request, around).map_err(|error| {
            let member_id = if error == GroupError::MemberIdRequired { id } else { given };
            JoinRefused { error, member_id }
        })
    }

    fn try_join(
        &mut self,
        id: &MemberId,
        request: JoinRequest,
        around: Surroundings<'_>,
    ) -> Result<Joined, GroupError> {
        let comer = self.find_classic(id, &request)?;
        self.check_room(&comer, around.config.members_max).map_err(|refusal| refusal.error)?;
        if !self.fits(&request, id) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        let said = read_subscription(&request.protocols)?;
        let is_new = request.member_id.is_none() && request.instance_id.is_none();
        if is_new && request.requires_known_member {
            return Err(GroupError::MemberIdRequired);
        }
        let owned = said.owned_partitions.iter();
        let owned = owned.map(|topic| (topic.topic.as_str(), topic.partitions.as_slice()));
        let owned = around.topics.places(owned);
        self.admit(id, comer);
        let has_new_wishes = self.set_facts(id, facts_of(&request, said));
        self.move_on(has_new_wishes, around);
        self.reconcile(id, Some(&owned), around.now);
        let member = self.members.get_mut(id).expect("it was admitted");
        member.timers.session_ms = after(around.now, request.session_timeout_ms);
        member.timers.join_ms = None;
        member.timers.sync_ms = Some(after(around.now, request.rebalance_timeout_ms));
        Ok(Joined {
            member_id: id.clone(),
            generation: member.current.epoch,
            protocol_type: CONSUMER.into(),
            protocol: member.classic_protocol(),
            leader: MemberId::default(),
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    fn find_classic(&self, id: &MemberId, request: &JoinRequest) -> Result<Comer, GroupError> {
        let is_known = self.members.contains_key(id);
        let Some(instance) = &request.instance_id else {
            return Ok(if is_known { Comer::Known } else { Comer::New });
        };
        match self.instances.get(instance) {
            Some(owner) if owner == id => Ok(Comer::Known),
            Some(owner) if request.member_id.is_none() => Ok(Comer::InPlaceOf(owner.clone())),
            Some(_) => Err(GroupError::FencedInstanceId),
            None if request.member_id.is_none() => Ok(Comer::New),
            None => Err(GroupError::UnknownMemberId),
        }
    }

    /// Whether it speaks a protocol that all others of its kind speak.
    fn fits(&self, request: &JoinRequest, id: &MemberId) -> bool {
        if &*request.protocol_type != CONSUMER || request.protocols.is_empty() {
            return false;
        }
        let others = || {
            let others = self.members.iter().filter(|(other, _)| *other != id);
            others.filter_map(|(_, member)| member.facts.classic.as_ref())
        };
        let speaks = |one: &ClassicFacts, name: &str| {
            one.protocols.iter().any(|(other, _)| &**other == name)
        };
        let mut names = request.protocols.iter().map(|(name, _)| name);
        names.any(|name| others().all(|other| speaks(other, name)))
    }

    /// SyncGroup.
    pub fn sync(
        &mut self,
        request: &SyncRequest,
        topics: &Topics,
        now: Now,
    ) -> Result<Synced, GroupError> {
        let epoch = self.epoch;
        let member = self.claimed(&request.member)?;
        let protocol = member.classic_protocol();
        let differs = |given: &Option<Arc<str>>, own: &str| {
            given.as_ref().is_some_and(|given| &**given != own)
        };
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol, &protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if epoch > member.current.epoch && member.current.state != MemberState::Revoking {
            member.call_back(now);
            return Err(GroupError::RebalanceInProgress);
        }
        member.timers.sync_ms = None;
        member.heard_of(now);
        let assignment = write_assignment(&member.current.assigned, member, topics)?;
        Ok(Synced { protocol_type: CONSUMER.into(), protocol, assignment })
    }

    /// Heartbeat.
    pub fn classic_heartbeat(&mut self, claim: &MemberClaim, now: Now) -> Result<(), GroupError> {
        self.claimed(claim)?;
        let member = &self.members[&claim.member_id];
        let waits_for_others = member.target.iter().any(|place| {
            !member.current.assigned.contains(place) && self.owners.contains_key(&place)
        });
        let has_to_come = member.current.epoch < self.epoch
            || match member.current.state {
                MemberState::Stable => false,
                MemberState::Revoking => true,
                MemberState::Waiting => !waits_for_others,
            };
        let member = self.claimed(claim)?;
        member.heard_of(now);
        if has_to_come {
            member.call_back(now);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// LeaveGroup, for one member of either protocol: administrators take members out so.
    pub fn take_out(
        &mut self,
        leaving: &LeavingMember,
        around: Surroundings<'_>,
    ) -> Result<(), GroupError> {
        let id = match &leaving.instance_id {
            Some(instance) => {
                let owner = self.instances.get(instance).ok_or(GroupError::UnknownMemberId)?;
                if !leaving.member_id.is_none() && leaving.member_id != *owner {
                    return Err(GroupError::FencedInstanceId);
                }
                owner.clone()
            }
            None => leaving.member_id.clone(),
        };
        if !self.members.contains_key(&id) {
            return Err(GroupError::UnknownMemberId);
        }
        self.fence(&[id], around);
        Ok(())
    }

    /// The member of the classic protocol that a request is of.
    fn claimed(&mut self, claim: &MemberClaim) -> Result<&mut Member, GroupError> {
        if let Some(instance) = &claim.instance_id {
            match self.instances.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(owner) if *owner != claim.member_id => {
                    return Err(GroupError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        let member = self.members.get_mut(&claim.member_id);
        let member = member.filter(|member| member.is_classic());
        let member = member.ok_or(GroupError::UnknownMemberId)?;
        if member.current.epoch != claim.generation {
            return Err(GroupError::IllegalGeneration);
        }
        Ok(member)
    }

    /// Whether offsets may be committed so. `knows_epochs`: by a request that can be told
    /// STALE_MEMBER_EPOCH.
    pub fn check_commit(
        &self,
        claim: &MemberClaim,
        transactional: bool,
        knows_epochs: bool,
    ) -> Result<(), GroupError> {
        if claim.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let is_nobody = claim.generation == -1 && claim.member_id.is_none();
        if transactional && is_nobody && claim.instance_id.is_none() {
            return Ok(());
        }
        let member = self.members.get(&claim.member_id).ok_or(GroupError::UnknownMemberId)?;
        if !transactional && !member.is_classic() && !knows_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        match self.check_epoch(member, claim.generation) {
            Err(GroupError::StaleMemberEpoch) if transactional => {
                Err(GroupError::IllegalGeneration)
            }
            checked => checked,
        }
    }

    /// OffsetFetch from version 9 on, in the name of a member.
    pub fn check_fetch(&self, id: &MemberId, epoch: i32) -> Result<(), GroupError> {
        let member = self.members.get(id).ok_or(GroupError::UnknownMemberId)?;
        self.check_epoch(member, epoch)
    }

    fn check_epoch(&self, member: &Member, epoch: i32) -> Result<(), GroupError> {
        match epoch == member.current.epoch {
            true => Ok(()),
            false if member.is_classic() => Err(GroupError::IllegalGeneration),
            false => Err(GroupError::StaleMemberEpoch),
        }
    }
}

impl Member {
    fn heard_of(&mut self, now: Now) {
        if let Some(classic) = &self.facts.classic {
            self.timers.session_ms = after(now, classic.session_timeout_ms);
        }
    }

    /// It is told to join again, and has the time of a rebalance for that.
    fn call_back(&mut self, now: Now) {
        let patience = after(now, self.facts.rebalance_timeout_ms);
        self.timers.join_ms.get_or_insert(patience);
    }
}

fn facts_of(request: &JoinRequest, said: ConsumerProtocolSubscription) -> MemberFacts {
    let names = said.topics.iter().map(|name| Arc::from(name.as_str())).collect();
    MemberFacts {
        instance_id: request.instance_id.clone(),
        rack_id: said.rack_id,
        client_id: request.client_id.clone(),
        client_host: request.client_host.clone(),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        assignor: None,
        subscription: Subscription { names, regex: None },
        classic: Some(ClassicFacts {
            session_timeout_ms: request.session_timeout_ms,
            protocols: request.protocols.clone(),
        }),
    }
}

/// What a consumer says in the first of its protocols.
pub(super) fn read_subscription(
    protocols: &[(Arc<str>, Bytes)],
) -> Result<ConsumerProtocolSubscription, GroupError> {
    let (_, first) = protocols.first().ok_or(GroupError::InconsistentGroupProtocol)?;
    let read = consumer_protocol::decode::<ConsumerProtocolSubscription>(first);
    read.map(|(_, said)| said).map_err(|_| GroupError::InconsistentGroupProtocol)
}

/// Partitions in the embedded protocol, in the version that the member speaks.
pub(super) fn write_assignment(
    partitions: &Assignment,
    of: &Member,
    topics: &Topics,
) -> Result<Bytes, GroupError> {
    let protocols = of.facts.classic.iter().flat_map(|classic| &classic.protocols);
    let first = protocols.map(|(_, metadata)| metadata).next();
    let version = first.and_then(|bytes| bytes.first_chunk::<2>());
    let version = version.map_or(0, |bytes| i16::from_be_bytes(*bytes));
    let assigned_partitions = topics.named(partitions).into_iter();
    let assigned_partitions = assigned_partitions
        .map(|(topic, _, partitions)| TopicPartition { topic: topic.to_string(), partitions });
    let assigned_partitions = assigned_partitions.collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    let version = version.clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    assignment.encode_versioned(version).map_err(|_| GroupError::InconsistentGroupProtocol)
}
