//! OffsetCommit.

use super::Call;
use super::committing::{Asked, Committed, commit, refused};
use crate::coordinator::groups::{InstanceId, MemberClaim, MemberId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k08_offset_commit::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let offset = |partition: OffsetCommitRequestPartition| Committed {
        partition_index: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata,
    };
    let topics = request.topics.into_iter();
    let asked: Asked = topics
        .map(|topic| (topic.name, topic.partitions.into_iter().map(offset).collect()))
        .collect();
    let member = MemberClaim {
        member_id: MemberId::from(request.member_id.as_str()),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: request.generation_id_or_member_epoch,
    };
    let answered = match call.may_on_group(Operation::Read, &request.group_id) {
        true => commit(call, &request.group_id, member, None, asked).await,
        false => refused(asked, ErrorCode::GROUP_AUTHORIZATION_FAILED),
    };
    let answer = |(partition_index, error_code)| OffsetCommitResponsePartition {
        partition_index,
        error_code,
    };
    let topics = answered.into_iter().map(|(name, partitions)| OffsetCommitResponseTopic {
        name,
        partitions: partitions.into_iter().map(answer).collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
}
