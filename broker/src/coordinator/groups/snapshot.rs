//! A group as it is kept in the log, and back.

use super::group::{Group, GroupState, Member};
use super::messages::{GroupSnapshot, MemberId, MemberSnapshot};
use crate::coordinator::Now;

impl Group {
    /// The group as it is kept.
    pub fn snapshot(&self) -> GroupSnapshot {
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |(id, member): (&MemberId, &Member)| MemberSnapshot {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout_ms: member.session_timeout_ms,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            metadata: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        };
        GroupSnapshot {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since_ms: self.state_since_ms,
            members: self.members.iter().map(member).collect(),
        }
    }

    /// The group as it was kept; its members have their session's time to be heard of.
    pub fn restore(snapshot: GroupSnapshot, now: Now) -> Group {
        let mut group = Group::new(now);
        group.generation = snapshot.generation;
        group.protocol_type = snapshot.protocol_type;
        group.state_since_ms = snapshot.state_since_ms;
        let protocol = snapshot.protocol.clone().unwrap_or_default();
        for kept in snapshot.members {
            group.joins += 1;
            let mut member = Member {
                instance_id: kept.instance_id,
                client_id: kept.client_id,
                client_host: kept.client_host,
                session_timeout_ms: kept.session_timeout_ms,
                rebalance_timeout_ms: kept.rebalance_timeout_ms,
                protocols: vec![(protocol.clone(), kept.metadata)],
                assignment: kept.assignment,
                joining: None,
                syncing: None,
                silent_until_ms: 0,
                joined: group.joins,
            };
            member.heard_of(now);
            group.members.insert(kept.member_id, member);
        }
        if !group.members.is_empty() {
            group.state = GroupState::Stable;
            group.protocol = snapshot.protocol;
            group.leader = snapshot.leader;
        }
        group
    }
}
