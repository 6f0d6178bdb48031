//! How a group comes from one generation to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::group::{Gathering, Group, GroupConfig, GroupState, Member};
use super::messages::{
    GroupError, JoinRefused, Joined, JoinedMember, MemberId, Output, SyncRequest, Synced,
};
use crate::coordinator::{Now, Waiter};

impl Group {
    /// Calls the members together. They hear of it by their heartbeats and join again.
    pub(super) fn prepare_rebalance(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.state != GroupState::PreparingRebalance {
            for member in self.members.values_mut() {
                if let Some(waiter) = member.syncing.take() {
                    out.push(Output::Sync(waiter, Err(GroupError::RebalanceInProgress)));
                }
            }
            let was_empty = self.state == GroupState::Empty;
            self.enter(GroupState::PreparingRebalance, now);
            self.wait_for_all(now);
            if was_empty {
                // Whoever was only given an id may never come, and there is nothing to hand over.
                return self.begin_generation(now, out);
            }
        }
        self.try_begin_generation(now, out);
    }

    /// A member has come: lets a group that was empty wait for others.
    pub(super) fn gather(&mut self, config: &GroupConfig, now: Now) {
        if let Some(gathering) = &mut self.gathering {
            gathering.others_came = true;
        } else if self.state == GroupState::Empty && config.initial_rebalance_delay_ms > 0 {
            self.enter(GroupState::PreparingRebalance, now);
            let delay_ms = config.initial_rebalance_delay_ms;
            let left_ms = self.patience_ms().saturating_sub(delay_ms);
            self.gathering = Some(Gathering { delay_ms, left_ms, others_came: false });
            self.rebalance_deadline_ms = Some(now.elapsed_ms.saturating_add(delay_ms));
        }
    }

    /// Whether the wait for others goes on, since some have come in the meantime.
    fn gathers_on(&mut self, now: Now) -> bool {
        let Some(gathering) = &mut self.gathering else { return false };
        if !gathering.others_came || gathering.left_ms == 0 {
            return false;
        }
        let more_ms = gathering.delay_ms.min(gathering.left_ms);
        gathering.left_ms -= more_ms;
        gathering.others_came = false;
        self.rebalance_deadline_ms = Some(now.elapsed_ms.saturating_add(more_ms));
        true
    }

    /// How long the members allow each other for coming back.
    fn patience_ms(&self) -> u64 {
        let patience = self.members.values().map(|member| member.rebalance_timeout_ms.max(0));
        patience.max().unwrap_or(0) as u64
    }

    /// Sets the time until which all must have come.
    fn wait_for_all(&mut self, now: Now) {
        self.rebalance_deadline_ms = Some(now.elapsed_ms.saturating_add(self.patience_ms()));
    }

    /// Begins the next generation if all have joined.
    pub(super) fn try_begin_generation(&mut self, now: Now, out: &mut Vec<Output>) {
        let all_here = self.members.values().all(|member| member.joining.is_some());
        let waits = self.gathering.is_some() && !self.members.is_empty();
        let complete = all_here && (self.pending.is_empty() || self.members.is_empty()) && !waits;
        if self.state == GroupState::PreparingRebalance && complete {
            self.begin_generation(now, out);
        }
    }

    /// Time is up: goes on without those who are missing.
    pub(super) fn stop_waiting(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.gathers_on(now) {
            return;
        }
        match self.state {
            GroupState::PreparingRebalance => {
                self.gathering = None;
                // A static member may be restarting: its place is kept for its session's time.
                let missing = self
                    .members
                    .iter()
                    .filter(|(_, member)| member.joining.is_none() && member.instance_id.is_none());
                let missing: Vec<MemberId> = missing.map(|(id, _)| id.clone()).collect();
                for id in &missing {
                    self.remove(id, out);
                }
                let nobody_here = self.members.values().all(|member| member.joining.is_none());
                if nobody_here && !self.members.is_empty() {
                    self.wait_for_all(now);
                    // Without patience there would be no end of waiting.
                    let later = now.elapsed_ms + 1;
                    self.rebalance_deadline_ms = self.rebalance_deadline_ms.map(|d| d.max(later));
                } else {
                    self.begin_generation(now, out);
                }
            }
            GroupState::CompletingRebalance => {
                let silent = self.members.iter().filter(|(_, member)| member.syncing.is_none());
                let silent: Vec<MemberId> = silent.map(|(id, _)| id.clone()).collect();
                for id in &silent {
                    self.remove(id, out);
                }
                self.prepare_rebalance(now, out);
            }
            GroupState::Empty | GroupState::Stable => self.rebalance_deadline_ms = None,
        }
    }

    fn begin_generation(&mut self, now: Now, out: &mut Vec<Output>) {
        // Generations are positive; they start over rather than wrap to a negative one.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.rebalance_deadline_ms = None;
        self.gathering = None;
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.enter(GroupState::Empty, now);
            out.push(Output::Persist(self.snapshot()));
            return;
        }
        self.protocol = self.choose_protocol();
        self.choose_leader();
        self.enter(GroupState::CompletingRebalance, now);
        self.wait_for_all(now);
        let joining: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in joining {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.heard_of(now);
            if let Some(waiter) = member.joining.take() {
                out.push(Output::Join(waiter, Ok(joined)));
            }
        }
    }

    /// Each member votes for the first of its protocols that all members speak.
    pub(super) fn choose_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let spoken_by_all = |name: &str| self.members.values().all(|one| one.speaks(name));
            let vote = member.protocols.iter().find(|(name, _)| spoken_by_all(name));
            if let Some((name, _)) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    /// The leader stays if it has joined; else the member that was first to come leads.
    fn choose_leader(&mut self) {
        let is_here =
            |id: &MemberId| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(is_here) {
            let here = self.members.iter().filter(|(_, member)| member.joining.is_some());
            self.leader = here.min_by_key(|(_, member)| member.joined).map(|(id, _)| id.clone());
        }
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

    /// The leader has decided who gets what. A member that it left out gets nothing.
    pub(super) fn assign(
        &mut self,
        assignments: Vec<(MemberId, Bytes)>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let mut assignments: BTreeMap<MemberId, Bytes> = assignments.into_iter().collect();
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
        }
        self.rebalance_deadline_ms = None;
        self.enter(GroupState::Stable, now);
        out.push(Output::Persist(self.snapshot()));
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let Some(waiter) = member.syncing.take() {
                member.heard_of(now);
                out.push(Output::Sync(waiter, Ok(synced)));
            }
        }
    }

    /// Takes a member out, answering whoever waits for it.
    pub(super) fn remove(&mut self, id: &MemberId, out: &mut Vec<Output>) {
        let Some(member) = self.members.remove(id) else { return };
        if let Some(waiter) = member.joining {
            let (error, member_id) = (GroupError::UnknownMemberId, MemberId::default());
            out.push(Output::Join(waiter, Err(JoinRefused { error, member_id })));
        }
        if let Some(waiter) = member.syncing {
            out.push(Output::Sync(waiter, Err(GroupError::UnknownMemberId)));
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = None;
        }
    }

    fn enter(&mut self, state: GroupState, now: Now) {
        self.state = state;
        self.state_since_ms = now.wall_ms;
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
