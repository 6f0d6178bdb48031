//! Consumer groups: their members, and the offsets that they have committed.

use std::collections::BTreeMap;

use super::cluster::Node;
use super::offsets::Each;
use super::routing::To;
use super::{Admin, AdminError, check};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_protocol::{self, ConsumerProtocolAssignment};
use crate::protocol::messages::k08_offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::k09_offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use crate::protocol::messages::k15_describe_groups::{DescribeGroupsRequest, DescribedGroupMember};
use crate::protocol::messages::k16_list_groups::ListGroupsRequest;
use crate::protocol::messages::k42_delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::k47_offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::messages::k69_consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, Member,
};

/// A group among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub id: String,
    pub protocol_type: String,
    /// Such as `Stable`; empty from brokers older than KIP-518.
    pub state: String,
    /// `classic` or `consumer`; empty from brokers older than KIP-848.
    pub kind: String,
}

/// A group and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub id: String,
    pub state: String,
    pub protocol_type: String,
    /// The assignor that the members have agreed on.
    pub assignor: String,
    pub coordinator: Node,
    pub members: Vec<MemberDescription>,
    /// Of a group of KIP-848's protocol.
    pub epochs: Option<GroupEpochs>,
}

/// How far a group of KIP-848's protocol is with its assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpochs {
    pub group: i32,
    /// For which the assignment that is aimed at was made.
    pub target: i32,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    /// What it reads, in order.
    pub assigned: Vec<TopicPartition>,
    /// Of a member of a group of KIP-848's protocol.
    pub target: Option<MemberTarget>,
}

/// Where a member of a group of KIP-848's protocol is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberTarget {
    /// The epoch that it has reached.
    pub epoch: i32,
    /// What it shall read, in order.
    pub assigned: Vec<TopicPartition>,
    /// Whether it speaks the new protocol; a group may have members of both (KIP-1099).
    pub upgraded: Option<bool>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub offset: Offset,
    pub leader_epoch: Option<i32>,
    pub metadata: String,
}

impl Admin {
    /// All groups by name.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let mut groups = Vec::new();
        for node in self.cluster().await?.nodes {
            let what = format!("groups of broker {}", node.id);
            let listed = self.again(&what, async || {
                let answer = self.ask(To::Node(node.id), 0, ListGroupsRequest::default()).await?;
                check(answer.error_code, None, &what)?;
                Ok(answer.groups)
            });
            groups.extend(listed.await?.into_iter().map(|group| GroupListing {
                id: group.group_id,
                protocol_type: group.protocol_type,
                state: group.group_state,
                kind: group.group_type,
            }));
        }
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(groups)
    }

    /// One group; one that does not exist is an error or, from older brokers, in state `Dead`.
    pub async fn group(&self, id: &str) -> Result<GroupDescription, AdminError> {
        if self.serves::<ConsumerGroupDescribeRequest>().await? {
            match self.consumer_group(id).await {
                // One of the classic protocol, or none at all.
                Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
                // KIP-848 is turned off there.
                Err(error) if error.code() == Some(ErrorCode::UNSUPPORTED_VERSION) => {}
                described => return described,
            }
        }
        self.classic_group(id).await
    }

    /// A group of KIP-848's protocol.
    async fn consumer_group(&self, id: &str) -> Result<GroupDescription, AdminError> {
        let what = format!("group '{id}'");
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![id.to_owned()],
            include_authorized_operations: false,
        };
        self.again(&what, async || {
            let coordinator = self.coordinator(id, 0).await?;
            let answer = self.ask(To::Node(coordinator.id), 0, request.clone()).await?;
            let found = answer.groups.into_iter().next();
            let gone = || AdminError::refused(&what, ErrorCode::GROUP_ID_NOT_FOUND, None);
            let found = found.ok_or_else(gone)?;
            check(found.error_code, found.error_message, &what)?;
            Ok(GroupDescription {
                id: found.group_id,
                state: found.group_state,
                protocol_type: "consumer".to_owned(),
                assignor: found.assignor_name,
                coordinator,
                members: found.members.into_iter().map(consumer_member).collect(),
                epochs: Some(GroupEpochs {
                    group: found.group_epoch,
                    target: found.assignment_epoch,
                }),
            })
        })
        .await
    }

    async fn classic_group(&self, id: &str) -> Result<GroupDescription, AdminError> {
        let what = format!("group '{id}'");
        let request = DescribeGroupsRequest {
            groups: vec![id.to_owned()],
            include_authorized_operations: false,
        };
        self.again(&what, async || {
            let coordinator = self.coordinator(id, 0).await?;
            let answer = self.ask(To::Node(coordinator.id), 0, request.clone()).await?;
            let found = answer.groups.into_iter().next();
            let gone = || AdminError::refused(&what, ErrorCode::GROUP_ID_NOT_FOUND, None);
            let found = found.ok_or_else(gone)?;
            check(found.error_code, found.error_message, &what)?;
            Ok(GroupDescription {
                id: found.group_id,
                state: found.group_state,
                protocol_type: found.protocol_type,
                assignor: found.protocol_data,
                coordinator,
                members: found.members.into_iter().map(member).collect(),
                epochs: None,
            })
        })
        .await
    }

    /// Everything that a group has committed.
    pub async fn group_offsets(
        &self,
        id: &str,
    ) -> Result<BTreeMap<TopicPartition, GroupOffset>, AdminError> {
        let what = format!("offsets of group '{id}'");
        let group =
            OffsetFetchRequestGroup { group_id: id.to_owned(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        self.again(&what, async || {
            let answer = self.ask(To::Group(id), 8, request.clone()).await?;
            let mut found = BTreeMap::new();
            for group in answer.groups {
                check(group.error_code, None, &what)?;
                for topic in group.topics {
                    for partition in topic.partitions {
                        let number = partition.partition_index;
                        check(partition.error_code, None, &what)?;
                        if partition.committed_offset < 0 {
                            continue;
                        }
                        let epoch = partition.committed_leader_epoch;
                        let offset = GroupOffset {
                            offset: Offset(partition.committed_offset),
                            leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
                            metadata: partition.metadata.unwrap_or_default(),
                        };
                        found.insert(TopicPartition::new(topic.name.as_str(), number), offset);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Commits offsets in a group's stead; it must have no members.
    pub async fn set_group_offsets(
        &self,
        id: &str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), AdminError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (TopicPartition { topic, partition }, offset) in offsets {
            topics.entry(topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: *partition,
                committed_offset: offset.0,
                ..Default::default()
            });
        }
        let topic = |(name, partitions): (&str, _)| OffsetCommitRequestTopic {
            name: name.to_owned(),
            partitions,
        };
        let request = OffsetCommitRequest {
            group_id: id.to_owned(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let what = format!("group '{id}'");
        self.again(&what, async || {
            let answer = self.ask(To::Group(id), 2, request.clone()).await?;
            for topic in answer.topics {
                for partition in topic.partitions {
                    check(partition.error_code, None, &what)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Deletes a group without members and all that it has committed.
    pub async fn delete_group(&self, id: &str) -> Result<(), AdminError> {
        let request = DeleteGroupsRequest { groups_names: vec![id.to_owned()] };
        let what = format!("group '{id}'");
        self.again(&what, async || {
            let answer = self.ask(To::Group(id), 0, request.clone()).await?;
            for result in answer.results {
                check(result.error_code, None, &what)?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets what a group has committed for partitions of topics that it no longer reads.
    pub async fn delete_group_offsets(
        &self,
        id: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<()>, AdminError> {
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for TopicPartition { topic, partition } in partitions {
            let partition = OffsetDeleteRequestPartition { partition_index: *partition };
            topics.entry(topic).or_default().push(partition);
        }
        let topic = |(name, partitions): (&str, _)| OffsetDeleteRequestTopic {
            name: name.to_owned(),
            partitions,
        };
        let request = OffsetDeleteRequest {
            group_id: id.to_owned(),
            topics: topics.into_iter().map(topic).collect(),
        };
        let what = format!("group '{id}'");
        let codes = self.again(&what, async || {
            let answer = self.ask(To::Group(id), 0, request.clone()).await?;
            check(answer.error_code, None, &what)?;
            let mut codes = BTreeMap::new();
            for topic in answer.topics {
                for partition in topic.partitions {
                    let of = TopicPartition::new(topic.name.as_str(), partition.partition_index);
                    codes.insert(of, partition.error_code);
                }
            }
            Ok(codes)
        });
        let codes = codes.await?;
        let outcome = |of: &TopicPartition| {
            let code = codes.get(of).copied().unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            check(code, None, &format!("partition {of}"))
        };
        Ok(partitions.iter().map(outcome).collect())
    }
}

fn member(found: DescribedGroupMember) -> MemberDescription {
    // Groups of another protocol, such as Connect's, assign something else than partitions.
    let assigned =
        consumer_protocol::decode::<ConsumerProtocolAssignment>(&found.member_assignment);
    let assigned = assigned.map(|(_, assignment)| assignment).unwrap_or_default();
    let mut partitions = Vec::new();
    for topic in assigned.assigned_partitions {
        let of = |number| TopicPartition::new(topic.topic.as_str(), number);
        partitions.extend(topic.partitions.into_iter().map(of));
    }
    partitions.sort();
    MemberDescription {
        member_id: found.member_id,
        instance_id: found.group_instance_id,
        client_id: found.client_id,
        host: found.client_host,
        assigned: partitions,
        target: None,
    }
}

fn consumer_member(found: Member) -> MemberDescription {
    let partitions = |assignment: Assignment| {
        let mut partitions = Vec::new();
        for topic in assignment.topic_partitions {
            let of = |number| TopicPartition::new(topic.topic_name.as_str(), number);
            partitions.extend(topic.partitions.into_iter().map(of));
        }
        partitions.sort();
        partitions
    };
    MemberDescription {
        member_id: found.member_id,
        instance_id: found.instance_id,
        client_id: found.client_id,
        host: found.client_host,
        assigned: partitions(found.assignment),
        target: Some(MemberTarget {
            epoch: found.member_epoch,
            assigned: partitions(found.target_assignment),
            upgraded: match found.member_type {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
        }),
    }
}
