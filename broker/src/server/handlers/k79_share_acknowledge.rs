//! ShareAcknowledge (KIP-932).

use futures::future::join_all;

use super::{Call, sharing};
use crate::coordinator::shares::sessions::FINAL_EPOCH;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k79_share_acknowledge::*;

pub async fn handle(call: &Call, request: ShareAcknowledgeRequest) -> ShareAcknowledgeResponse {
    match acknowledge(call, request).await {
        Ok(response) => response,
        Err(error_code) => {
            ShareAcknowledgeResponse { error_code, ..ShareAcknowledgeResponse::default() }
        }
    }
}

async fn acknowledge(
    call: &Call,
    request: ShareAcknowledgeRequest,
) -> Result<ShareAcknowledgeResponse, ErrorCode> {
    let (group, member) = (request.group_id.as_deref(), request.member_id.as_deref());
    let owner = sharing::owner(call, group, member)?;
    let (shares, epoch) = (call.broker().shares(), request.share_session_epoch);
    shares.sessions().acknowledge(&owner, epoch, call.connection)?;
    let mut responses = Vec::with_capacity(request.topics.len());
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    // Where nothing is said of any, Kafka names none.
    let says_nothing = partitions.into_iter().all(|one| one.acknowledgement_batches.is_empty());
    for topic in request.topics.into_iter().filter(|_| !says_nothing) {
        let each = topic.partitions.into_iter().map(|one| {
            let said = one.acknowledgement_batches.into_iter();
            let said = said.map(|it| (it.first_offset, it.last_offset, it.acknowledge_types));
            let index = one.partition_index;
            let done = sharing::acknowledge(call, &owner, topic.topic_id, index, said.collect());
            async move { partition(index, done.await) }
        });
        let partitions = join_all(each.collect::<Vec<_>>()).await;
        responses.push(ShareAcknowledgeTopicResponse { topic_id: topic.topic_id, partitions });
    }
    if epoch == FINAL_EPOCH {
        shares.end_session(&owner);
    }
    Ok(ShareAcknowledgeResponse { responses, ..ShareAcknowledgeResponse::default() })
}

fn partition(partition_index: i32, outcome: sharing::Outcome) -> PartitionData {
    let (error_code, error_message) = match outcome {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, message)) => (code, message),
    };
    PartitionData { partition_index, error_code, error_message, ..PartitionData::default() }
}
