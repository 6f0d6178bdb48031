//! OffsetCommit.

use std::ops::RangeInclusive;

use super::Call;
use crate::coordinator::groups::{
    CommitRequest, GroupError, InstanceId, MemberClaim, MemberId, OffsetToCommit,
};
use crate::ids::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k08_offset_commit::*;

pub const VERSIONS: RangeInclusive<i16> = OffsetCommitRequest::VERSIONS;

pub async fn handle(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut commits = Commits::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let metadata = partition.committed_metadata.clone().unwrap_or_default();
            commits.add(call, &topic.name, partition.partition_index, |of| OffsetToCommit {
                partition: of,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata,
            });
        }
    }
    let member = MemberClaim {
        member_id: MemberId::from(request.member_id.as_str()),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: request.generation_id_or_member_epoch,
    };
    let offsets = std::mem::take(&mut commits.offsets);
    let commit = CommitRequest { member, producer: None, offsets };
    let committed = call.broker().groups().commit_offsets(&request.group_id, commit).await;
    let mut codes = commits.codes(committed).into_iter();
    let topics = request.topics.into_iter().map(|topic| OffsetCommitResponseTopic {
        partitions: topic
            .partitions
            .iter()
            .zip(&mut codes)
            .map(|(partition, error_code)| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            })
            .collect(),
        name: topic.name,
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}

/// Offsets on their way to the coordinator, without those of partitions that do not exist.
#[derive(Default)]
pub struct Commits {
    pub offsets: Vec<OffsetToCommit>,
    exists: Vec<bool>,
}

impl Commits {
    pub fn add(
        &mut self,
        call: &Call,
        topic: &str,
        partition: i32,
        offset: impl FnOnce(TopicPartition) -> OffsetToCommit,
    ) {
        let exists = super::partition(call, topic, partition).is_ok();
        self.exists.push(exists);
        if exists {
            self.offsets.push(offset(TopicPartition::new(topic, partition)));
        }
    }

    /// One code for each offset that was added, in order.
    pub fn codes(
        self,
        committed: Result<Vec<Result<(), GroupError>>, GroupError>,
    ) -> Vec<ErrorCode> {
        let mut each = committed.as_ref().map(|each| each.iter()).ok();
        let of_all = committed.as_ref().err().map(|error| ErrorCode::from(*error));
        let code = |exists: bool| match (exists, of_all, &mut each) {
            (false, ..) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            (true, Some(error), _) => error,
            (true, None, Some(each)) => {
                each.next().and_then(|one| one.err()).map_or(ErrorCode::NONE, ErrorCode::from)
            }
            (true, None, None) => ErrorCode::NONE,
        };
        self.exists.iter().copied().map(code).collect()
    }
}
