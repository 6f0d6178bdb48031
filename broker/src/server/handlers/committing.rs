//! Committing offsets: what OffsetCommit and TxnOffsetCommit have in common.

use super::Call;
use crate::coordinator::groups::{CommitRequest, MemberClaim, OffsetToCommit};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::protocol::ErrorCode;
use crate::security::acl::Operation;

/// The first version of OffsetCommit with the epochs of members (KIP-848).
const EPOCHS_FROM: i16 = 9;

/// An offset as a request brings it.
pub struct Committed {
    pub partition_index: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// Offsets by topic, and by topic what is to be answered for each partition.
pub type Asked = Vec<(String, Vec<Committed>)>;
pub type Answered = Vec<(String, Vec<(i32, ErrorCode)>)>;

/// Commits the offsets of partitions that exist and that the client may read; whether it may for
/// the group has been asked.
pub async fn commit(
    call: &Call,
    group: &str,
    member: MemberClaim,
    producer: Option<(ProducerId, ProducerEpoch)>,
    asked: Asked,
) -> Answered {
    let mut offsets = Vec::new();
    let mut answered: Answered = Vec::with_capacity(asked.len());
    for (topic, partitions) in asked {
        let mut answers = Vec::with_capacity(partitions.len());
        let may_read = call.may_on_topic(Operation::Read, &topic);
        for Committed { partition_index, offset, leader_epoch, metadata } in partitions {
            let exists = match may_read {
                true => super::partition(call, &topic, partition_index),
                false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            };
            if exists.is_ok() {
                let partition = TopicPartition::new(topic.as_str(), partition_index);
                let metadata = metadata.unwrap_or_default();
                offsets.push(OffsetToCommit { partition, offset, leader_epoch, metadata });
            }
            answers.push((partition_index, exists.err().unwrap_or(ErrorCode::NONE)));
        }
        answered.push((topic, answers));
    }
    if offsets.is_empty() && !answered.is_empty() && call.has_rules() {
        return answered;
    }
    let knows_epochs = producer.is_none() && call.version >= EPOCHS_FROM;
    let commit = CommitRequest { member, producer, knows_epochs, offsets };
    let committed = call.broker().groups().commit_offsets(group, commit).await;
    let (mut each, of_all) = match committed {
        Ok(each) => (each.into_iter(), None),
        Err(error) => (Vec::new().into_iter(), Some(ErrorCode::from(error))),
    };
    let taken = answered.iter_mut().flat_map(|(_, answers)| answers);
    for (_, code) in taken.filter(|(_, code)| *code == ErrorCode::NONE) {
        let of_one = || each.next().and_then(Result::err).map(ErrorCode::from);
        *code = of_all.or_else(of_one).unwrap_or(ErrorCode::NONE);
    }
    answered
}

/// The same answer for all.
pub fn refused(asked: Asked, code: ErrorCode) -> Answered {
    let refuse = |partitions: Vec<Committed>| {
        partitions.into_iter().map(|partition| (partition.partition_index, code)).collect()
    };
    asked.into_iter().map(|(topic, partitions)| (topic, refuse(partitions))).collect()
}
