//! How far a group has come in each partition, and who reads it.

use std::collections::BTreeMap;

use broker::client::Isolation;
use broker::client::admin::groups::{GroupDescription, MemberDescription};
use broker::client::admin::offsets::OffsetAt;
use broker::client::admin::{Admin, AdminError};
use broker::ids::{Offset, TopicPartition};

/// A group in one partition; what is not known is `None`.
#[derive(Clone, Debug)]
pub struct Progress {
    /// `None` for a member that is assigned nothing.
    pub partition: Option<TopicPartition>,
    pub committed: Option<Offset>,
    pub leader_epoch: Option<i32>,
    pub end: Option<Offset>,
    pub member: Option<MemberDescription>,
}

impl Progress {
    /// Records between what is committed and the end.
    pub fn lag(&self) -> Option<i64> {
        Some(self.end?.since(self.committed?))
    }
}

/// All that the group has committed or is assigned: by topic and partition, then members without
/// any.
pub async fn progress(
    admin: &Admin,
    group: &GroupDescription,
) -> Result<Vec<Progress>, AdminError> {
    let committed = admin.group_offsets(&group.id).await?;
    let mut found: BTreeMap<TopicPartition, Progress> = BTreeMap::new();
    let nothing = |partition: &TopicPartition| Progress {
        partition: Some(partition.clone()),
        committed: None,
        leader_epoch: None,
        end: None,
        member: None,
    };
    for (partition, offset) in committed {
        let progress = found.entry(partition.clone()).or_insert_with(|| nothing(&partition));
        progress.committed = Some(offset.offset);
        progress.leader_epoch = offset.leader_epoch;
    }
    let mut idle = Vec::new();
    for member in &group.members {
        for partition in &member.assigned {
            let progress = found.entry(partition.clone()).or_insert_with(|| nothing(partition));
            progress.member = Some(member.clone());
        }
        if member.assigned.is_empty() {
            idle.push(Progress {
                partition: None,
                committed: None,
                leader_epoch: None,
                end: None,
                member: Some(member.clone()),
            });
        }
    }
    let wanted: Vec<TopicPartition> = found.keys().cloned().collect();
    let ends = admin.list_offsets(&wanted, OffsetAt::Latest, Isolation::ReadUncommitted).await?;
    for (progress, end) in found.values_mut().zip(ends) {
        // The topic may have been deleted since.
        progress.end = end.ok().flatten();
    }
    Ok(found.into_values().chain(idle).collect())
}
