//! What groups look like.

use std::sync::Arc;

use super::super::any::Kind;
use super::super::consumer::assignment::Assignment;
use super::super::consumer::topics::Topics;
use super::super::consumer::{ConsumerGroup, ConsumerState};
use super::super::group::GroupState;
use super::super::messages::{GroupSnapshot, InstanceId, MemberId};
use super::{Cell, GroupService, Slot, locked};

/// A group as DescribeGroups, ConsumerGroupDescribe, ShareGroupDescribe and ListGroups show it.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    pub group: Arc<str>,
    pub described: Described,
}

#[derive(Clone, Debug)]
pub enum Described {
    Classic {
        state: GroupState,
        snapshot: GroupSnapshot,
    },
    /// Of the new protocol.
    Consumer {
        state: ConsumerState,
        epoch: i32,
        target_epoch: i32,
        assignor: &'static str,
        members: Vec<DescribedMember>,
    },
    Share {
        state: ConsumerState,
        epoch: i32,
        target_epoch: i32,
        members: Vec<DescribedMember>,
    },
}

/// A member of a group of the new protocol.
#[derive(Clone, Debug)]
pub struct DescribedMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub epoch: i32,
    pub topics: Vec<Arc<str>>,
    pub regex: Option<Arc<str>>,
    pub assigned: Assignment,
    pub target: Assignment,
    pub is_classic: bool,
}

impl GroupDescription {
    /// Kafka's name for the state.
    pub fn state(&self) -> &'static str {
        match &self.described {
            Described::Classic { state, .. } => state.name(),
            Described::Consumer { state, .. } | Described::Share { state, .. } => state.name(),
        }
    }

    /// Kafka's name for the protocol.
    pub fn kind(&self) -> &'static str {
        match &self.described {
            Described::Classic { .. } => "classic",
            Described::Consumer { .. } => "consumer",
            Described::Share { .. } => "share",
        }
    }

    pub fn protocol_type(&self) -> &str {
        match &self.described {
            Described::Classic { snapshot, .. } => &snapshot.protocol_type,
            Described::Consumer { .. } => "consumer",
            Described::Share { .. } => "share",
        }
    }

    /// All members, each with where it is.
    pub fn members(&self) -> Vec<(&MemberId, &str)> {
        match &self.described {
            Described::Classic { snapshot, .. } => {
                let members = snapshot.members.iter();
                members.map(|one| (&one.member_id, one.client_host.as_str())).collect()
            }
            Described::Consumer { members, .. } | Described::Share { members, .. } => {
                members.iter().map(|one| (&one.member_id, one.client_host.as_str())).collect()
            }
        }
    }
}

impl GroupService {
    /// Whether there is such a group, and members share partitions in it.
    pub fn is_share_group(&self, group: &str) -> bool {
        let of_share = |slot: Arc<Slot>| matches!(locked(&slot.cell).group.kind(), Kind::Share(_));
        self.existing(group).is_some_and(of_share)
    }

    pub fn list(&self) -> Vec<GroupDescription> {
        let mut groups: Vec<GroupDescription> =
            self.all().iter().filter_map(|slot| self.look(slot, &locked(&slot.cell))).collect();
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        groups
    }

    /// `None` if there is no such group.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        let slot = self.existing(group)?;
        let cell = locked(&slot.cell);
        self.look(&slot, &cell)
    }

    /// All topics, for the names of those that groups know by their ids.
    pub fn topics(&self) -> Arc<Topics> {
        self.host.topics()
    }

    /// `None` for a slot that a request has made but that nothing has come of.
    fn look(&self, slot: &Slot, cell: &Cell) -> Option<GroupDescription> {
        cell.exists().then(|| GroupDescription {
            group: slot.name.clone(),
            described: match cell.group.kind() {
                Kind::Classic(group) => {
                    Described::Classic { state: group.state(), snapshot: group.snapshot() }
                }
                Kind::Consumer(group) => Described::Consumer {
                    state: group.state(),
                    epoch: group.epoch(),
                    target_epoch: group.target_epoch(),
                    assignor: group.assignor(&self.config.consumer).name(),
                    members: members(group),
                },
                Kind::Share(group) => Described::Share {
                    state: group.state(),
                    epoch: group.epoch(),
                    target_epoch: group.target_epoch(),
                    members: members(group),
                },
            },
        })
    }
}

fn members(group: &ConsumerGroup) -> Vec<DescribedMember> {
    let members = group.members().iter().map(|(id, member)| DescribedMember {
        member_id: id.clone(),
        instance_id: member.facts.instance_id.clone(),
        rack_id: member.facts.rack_id.clone(),
        client_id: member.facts.client_id.clone(),
        client_host: member.facts.client_host.clone(),
        epoch: member.current.epoch,
        topics: member.facts.subscription.names.iter().cloned().collect(),
        regex: member.facts.subscription.regex.clone(),
        assigned: member.current.assigned.clone(),
        target: member.target.clone(),
        is_classic: member.is_classic(),
    });
    members.collect()
}
