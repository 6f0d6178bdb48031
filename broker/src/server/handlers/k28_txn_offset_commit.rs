//! TxnOffsetCommit; from v5 on it adds the group to the transaction by itself (KIP-890).

use super::admission::{self, Admitting};
use super::committing::{Asked, Committed, commit, refused};
use super::{Call, codes};
use crate::coordinator::groups::{InstanceId, MemberClaim, MemberId};
use crate::coordinator::transactions::{Admission, ProducerIdentity};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k28_txn_offset_commit::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let producer = ProducerIdentity {
        producer_id: ProducerId(request.producer_id),
        epoch: ProducerEpoch(request.producer_epoch),
    };
    let member = MemberClaim {
        member_id: MemberId::from(request.member_id.as_str()),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: request.generation_id,
    };
    let offset = |partition: TxnOffsetCommitRequestPartition| Committed {
        partition_index: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata,
    };
    let topics = request.topics.into_iter();
    let asked: Asked = topics
        .map(|topic| (topic.name, topic.partitions.into_iter().map(offset).collect()))
        .collect();
    let answered = match admit(call, &request.transactional_id, producer, &request.group_id).await {
        // Held until the offsets are durable: the transaction must not end before.
        Ok(_admission) => {
            let producer = Some((producer.producer_id, producer.epoch));
            commit(call, &request.group_id, member, producer, asked).await
        }
        Err(error_code) => refused(asked, error_code),
    };
    let answer = |(partition_index, error_code)| TxnOffsetCommitResponsePartition {
        partition_index,
        error_code,
    };
    let topics = answered.into_iter().map(|(name, partitions)| TxnOffsetCommitResponseTopic {
        name,
        partitions: partitions.into_iter().map(answer).collect(),
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..TxnOffsetCommitResponse::default() }
}

/// Offsets that come when their transaction has ended would wait for its end for ever.
async fn admit(
    call: &Call,
    id: &str,
    producer: ProducerIdentity,
    group: &str,
) -> Result<Admission, ErrorCode> {
    if !call.may_on_transactional_id(Operation::Write, id) {
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    if !call.may_on_group(Operation::Read, group) {
        return Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    }
    if group.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let partition = call.broker().transactions().offsets_partition(group).await;
    let partition = partition.map_err(|error| codes::of_transaction(&error, false))?;
    let admitting = Admitting::of_offsets(call.version);
    let (admission, each) =
        admission::admit(call, id, producer, vec![partition], admitting).await?;
    each.into_iter().collect::<Result<Vec<()>, ErrorCode>>().map(|_| admission)
}
