//! OffsetForLeaderEpoch.

use super::{Call, check_leader_epoch, opened, partition};
use crate::ids::LeaderEpoch;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k23_offset_for_leader_epoch::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    // Followers of a cluster ask so; consumers since KIP-320.
    let may_all = call.may_on_cluster_quietly(Operation::ClusterAction);
    let topics = request.topics.into_iter().map(|topic| {
        let may = may_all || call.may_on_topic(Operation::Describe, &topic.topic);
        let partitions = topic.partitions.iter().map(|wanted| match may {
            true => end(call, &topic.topic, wanted),
            false => EpochEndOffset {
                partition: wanted.partition,
                error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED,
                ..EpochEndOffset::default()
            },
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end(call: &Call, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = partition(call, topic, wanted.partition).and_then(opened).and_then(|partition| {
        check_leader_epoch(&partition, wanted.current_leader_epoch)?;
        // An epoch that has not begun is unknown, not ended.
        if wanted.leader_epoch > partition.leader_epoch().0 {
            return Ok(None);
        }
        Ok(partition.epoch_end(LeaderEpoch(wanted.leader_epoch)))
    });
    let mut response = EpochEndOffset { partition: wanted.partition, ..Default::default() };
    match found {
        Ok(Some((epoch, end))) => {
            (response.leader_epoch, response.end_offset) = (epoch.0, end.0);
        }
        Ok(None) => {}
        Err(error_code) => response.error_code = error_code,
    }
    response
}
