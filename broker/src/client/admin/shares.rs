//! Share groups (KIP-932): their members, and from where they have records left.

use std::collections::BTreeMap;

use super::cluster::Node;
use super::routing::To;
use super::{Admin, AdminError, check};
use crate::ids::{Offset, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k77_share_group_describe::{Member, ShareGroupDescribeRequest};
use crate::protocol::messages::k90_describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
};
use crate::protocol::messages::k91_alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition,
    AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::k92_delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};

/// A share group and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupDescription {
    pub id: String,
    pub state: String,
    pub coordinator: Node,
    pub epoch: i32,
    /// For which the members were told their partitions.
    pub assignment_epoch: i32,
    /// By their ids.
    pub members: Vec<ShareMember>,
}

/// One member of a share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareMember {
    pub member_id: String,
    pub client_id: String,
    pub host: String,
    pub epoch: i32,
    /// What it fetches, in order.
    pub assigned: Vec<TopicPartition>,
}

/// Where a share group stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareOffset {
    /// All before is done; `None` where it has not begun.
    pub start: Option<Offset>,
    pub leader_epoch: i32,
}

impl Admin {
    /// One share group; any other is [`ErrorCode::GROUP_ID_NOT_FOUND`].
    pub async fn share_group(&self, id: &str) -> Result<ShareGroupDescription, AdminError> {
        let what = format!("group '{id}'");
        let request = ShareGroupDescribeRequest {
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
            let mut members: Vec<ShareMember> = found.members.into_iter().map(member).collect();
            members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
            Ok(ShareGroupDescription {
                id: found.group_id,
                state: found.group_state,
                coordinator,
                epoch: found.group_epoch,
                assignment_epoch: found.assignment_epoch,
                members,
            })
        })
        .await
    }

    /// Where a share group stands in all topics that it has.
    pub async fn share_group_offsets(
        &self,
        id: &str,
    ) -> Result<BTreeMap<TopicPartition, ShareOffset>, AdminError> {
        let what = format!("offsets of group '{id}'");
        let asked = DescribeShareGroupOffsetsRequestGroup { group_id: id.to_owned(), topics: None };
        let request = DescribeShareGroupOffsetsRequest { groups: vec![asked] };
        self.again(&what, async || {
            let answer = self.ask(To::Group(id), 0, request.clone()).await?;
            let mut found = BTreeMap::new();
            for group in answer.groups {
                check(group.error_code, group.error_message, &what)?;
                for topic in group.topics {
                    for partition in topic.partitions {
                        check(partition.error_code, partition.error_message, &what)?;
                        let number = partition.partition_index;
                        let start = Some(partition.start_offset).filter(|start| *start >= 0);
                        let offset = ShareOffset {
                            start: start.map(Offset),
                            leader_epoch: partition.leader_epoch,
                        };
                        found.insert(TopicPartition::new(&*topic.topic_name, number), offset);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Has a share group without members begin anew; all that it had under way is forgotten.
    pub async fn set_share_group_offsets(
        &self,
        id: &str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), AdminError> {
        let mut topics: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> =
            BTreeMap::new();
        for (TopicPartition { topic, partition }, offset) in offsets {
            topics.entry(topic).or_default().push(AlterShareGroupOffsetsRequestPartition {
                partition_index: *partition,
                start_offset: offset.0,
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let topic_name = name.to_owned();
            AlterShareGroupOffsetsRequestTopic { topic_name, partitions }
        });
        let group_id = id.to_owned();
        let request = AlterShareGroupOffsetsRequest { group_id, topics: topics.collect() };
        let what = format!("group '{id}'");
        self.again(&what, async || {
            let answer = self.ask(To::Group(id), 0, request.clone()).await?;
            check(answer.error_code, answer.error_message, &what)?;
            for topic in answer.responses {
                for partition in topic.partitions {
                    let number = partition.partition_index;
                    let what = format!("partition '{}-{number}'", topic.topic_name);
                    check(partition.error_code, partition.error_message, &what)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Has a share group without members forget topics: one outcome for each, in the same order.
    pub async fn delete_share_group_offsets(
        &self,
        id: &str,
        topics: &[String],
    ) -> Result<Vec<Result<(), AdminError>>, AdminError> {
        let asked = topics
            .iter()
            .map(|topic| DeleteShareGroupOffsetsRequestTopic { topic_name: topic.clone() });
        let group_id = id.to_owned();
        let request = DeleteShareGroupOffsetsRequest { group_id, topics: asked.collect() };
        let what = format!("group '{id}'");
        let answer = self.again(&what, async || {
            let answer = self.ask(To::Group(id), 0, request.clone()).await?;
            check(answer.error_code, answer.error_message, &what)?;
            Ok(answer.responses)
        });
        let answer = answer.await?;
        let outcome = |topic: &String| {
            let what = format!("topic '{topic}'");
            match answer.iter().find(|told| told.topic_name == *topic) {
                Some(told) => check(told.error_code, told.error_message.clone(), &what),
                None => check(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None, &what),
            }
        };
        Ok(topics.iter().map(outcome).collect())
    }
}

fn member(found: Member) -> ShareMember {
    let mut assigned = Vec::new();
    for topic in found.assignment.topic_partitions {
        let of = |number| TopicPartition::new(topic.topic_name.as_str(), number);
        assigned.extend(topic.partitions.into_iter().map(of));
    }
    assigned.sort();
    ShareMember {
        member_id: found.member_id,
        client_id: found.client_id,
        host: found.client_host,
        epoch: found.member_epoch,
        assigned,
    }
}
