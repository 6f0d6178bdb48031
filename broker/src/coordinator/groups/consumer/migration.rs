//! Groups that go over from one protocol to the other with their members.

use std::sync::Arc;

use bytes::Bytes;

use super::assignment::Assignment;
use super::classic::{CONSUMER, read_subscription, write_assignment};
use super::member::{ClassicFacts, Current, Member, MemberFacts, Timers, after};
use super::topics::{Subscription, Topics};
use super::{ConsumerGroup, Surroundings};
use crate::coordinator::Now;
use crate::coordinator::groups::group::{self, Group, GroupConfig, GroupState};
use crate::coordinator::groups::messages::MemberId;
use crate::protocol::messages::consumer_protocol::{self, ConsumerProtocolAssignment};

impl ConsumerGroup {
    /// A classic group of consumers as one of the new protocol: all are where their last generation
    /// left them. `None` if that cannot be.
    pub fn upgraded(group: &Group, around: Surroundings<'_>) -> Option<ConsumerGroup> {
        let may = around.config.migration.upgrades()
            && group.is_of_consumers()
            && group.members.len() <= around.config.members_max;
        let read = |member: &group::Member| {
            let assigned = read_assignment(&member.assignment, around.topics)?;
            Some((read_subscription(&member.protocols).ok()?, assigned))
        };
        let said: Option<Vec<_>> = group.members.values().map(read).collect();
        let said = said.filter(|_| may)?;
        let mut upgraded = ConsumerGroup::following(group);
        for ((id, member), (said, assigned)) in group.members.iter().zip(said) {
            let names = said.topics.iter().map(|name| Arc::from(name.as_str())).collect();
            let facts = MemberFacts {
                instance_id: member.instance_id.clone(),
                rack_id: said.rack_id,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                assignor: None,
                subscription: Subscription { names, regex: None },
                classic: Some(ClassicFacts {
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                }),
            };
            let (epoch, assigned_now) = (upgraded.epoch, assigned.clone());
            let current = Current {
                epoch,
                previous_epoch: epoch,
                assigned: assigned_now,
                ..Current::default()
            };
            let session_ms = after(around.now, member.session_timeout_ms);
            let timers = Timers { session_ms, ..Timers::default() };
            upgraded.insert(id.clone(), Member { facts, current, target: assigned, timers });
        }
        Some(upgraded)
    }

    /// Whether only members of the classic protocol are left, and the group may go back to it.
    pub fn should_downgrade(&self, around: Surroundings<'_>, classic: &GroupConfig) -> bool {
        !self.members.is_empty()
            && around.config.migration.downgrades()
            && self.members.len() <= classic.members_max
            && self.members.values().all(Member::is_classic)
    }

    /// The group as a classic one in which everyone has its target.
    pub fn downgrade(&self, topics: &Topics, now: Now) -> Group {
        let mut group = Group::new(now);
        group.generation = self.epoch;
        group.protocol_type = CONSUMER.into();
        let mut members: Vec<(&MemberId, &Member)> = self.members.iter().collect();
        members.sort_by_key(|(_, member)| member.timers.session_ms);
        for (id, member) in members {
            let Some(classic) = &member.facts.classic else { continue };
            group.joins += 1;
            let assignment = write_assignment(&member.target, member, topics);
            let facts = &member.facts;
            let member = group::Member {
                instance_id: facts.instance_id.clone(),
                client_id: facts.client_id.clone(),
                client_host: facts.client_host.clone(),
                session_timeout_ms: classic.session_timeout_ms,
                rebalance_timeout_ms: facts.rebalance_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: assignment.unwrap_or_default(),
                joining: None,
                syncing: None,
                silent_until_ms: after(now, classic.session_timeout_ms),
                joined: group.joins,
            };
            group.members.insert(id.clone(), member);
        }
        group.state = GroupState::Stable;
        group.protocol = group.choose_protocol();
        group
    }
}

/// `None` for what is no assignment of consumers; a member that has none yet has nothing.
fn read_assignment(bytes: &Bytes, topics: &Topics) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment::default());
    }
    let read = consumer_protocol::decode::<ConsumerProtocolAssignment>(bytes);
    let (_, assignment) = read.ok()?;
    let named = assignment.assigned_partitions.iter();
    Some(topics.places(named.map(|topic| (topic.topic.as_str(), topic.partitions.as_slice()))))
}
