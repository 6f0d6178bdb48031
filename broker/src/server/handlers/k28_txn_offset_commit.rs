//! TxnOffsetCommit; from v5 on it would add the group to the transaction by itself (KIP-890).

use std::ops::RangeInclusive;

use super::Call;
use super::k08_offset_commit::Commits;
use crate::coordinator::groups::{
    CommitRequest, InstanceId, MemberClaim, MemberId, OffsetToCommit,
};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::message::Message;
use crate::protocol::messages::k28_txn_offset_commit::*;

pub const VERSIONS: RangeInclusive<i16> = *TxnOffsetCommitRequest::VERSIONS.start()..=4;

pub async fn handle(call: &Call, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
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
    let commit = CommitRequest {
        member: MemberClaim {
            member_id: MemberId::from(request.member_id.as_str()),
            instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
            generation: request.generation_id,
        },
        producer: Some((ProducerId(request.producer_id), ProducerEpoch(request.producer_epoch))),
        offsets: std::mem::take(&mut commits.offsets),
    };
    let committed = call.broker().groups().commit_offsets(&request.group_id, commit).await;
    let mut codes = commits.codes(committed).into_iter();
    let topics = request.topics.into_iter().map(|topic| TxnOffsetCommitResponseTopic {
        partitions: topic
            .partitions
            .iter()
            .zip(&mut codes)
            .map(|(partition, error_code)| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            })
            .collect(),
        name: topic.name,
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}
