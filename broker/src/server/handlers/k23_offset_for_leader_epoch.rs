//! OffsetForLeaderEpoch.

use super::{Call, check_leader_epoch, partition};
use crate::ids::LeaderEpoch;
use crate::protocol::messages::k23_offset_for_leader_epoch::*;

pub async fn handle(
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| end(call, &topic.topic, wanted));
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn end(call: &Call, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = partition(call, topic, wanted.partition).and_then(|partition| {
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
