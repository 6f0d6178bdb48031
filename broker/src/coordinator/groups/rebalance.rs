//! How a group comes from one generation to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::group::{Group, GroupState};
use super::messages::{GroupError, JoinRefused, MemberId, Output};
use crate::coordinator::Now;

impl Group {
    /// Calls the members together. They hear of it by their heartbeats and join again.
    ///
    /// There is no `group.initial.rebalance.delay.ms`: a first member starts at once, and those
    /// that come right behind it are taken in by the next generation.
    pub(super) fn prepare_rebalance(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.state != GroupState::PreparingRebalance {
            for member in self.members.values_mut() {
                if let Some(waiter) = member.syncing.take() {
                    out.push(Output::Sync(waiter, Err(GroupError::RebalanceInProgress)));
                }
            }
            self.enter(GroupState::PreparingRebalance, now);
            self.wait_for_all(now);
        }
        self.try_begin_generation(now, out);
    }

    /// Sets the time until which all must have come.
    fn wait_for_all(&mut self, now: Now) {
        let patience = self.members.values().map(|member| member.rebalance_timeout_ms.max(0));
        let patience = patience.max().unwrap_or(0) as u64;
        self.rebalance_deadline_ms = Some(now.elapsed_ms.saturating_add(patience));
    }

    /// Begins the next generation if all have joined.
    pub(super) fn try_begin_generation(&mut self, now: Now, out: &mut Vec<Output>) {
        let all_here = self.members.values().all(|member| member.joining.is_some());
        if self.state == GroupState::PreparingRebalance && all_here && self.pending.is_empty() {
            self.begin_generation(now, out);
        }
    }

    /// Time is up: goes on without those who are missing.
    pub(super) fn stop_waiting(&mut self, now: Now, out: &mut Vec<Output>) {
        match self.state {
            GroupState::PreparingRebalance => {
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
    fn choose_protocol(&self) -> Option<Arc<str>> {
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
            let error = GroupError::UnknownMemberId;
            out.push(Output::Join(waiter, Err(JoinRefused { error, member_id: id.clone() })));
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
}
