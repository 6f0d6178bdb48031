//! DeleteShareGroupOffsets (KIP-932).

use uuid::Uuid;

use super::Call;
use super::sharing::{idle_group, not_kept};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k92_delete_share_group_offsets::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    request: DeleteShareGroupOffsetsRequest,
) -> DeleteShareGroupOffsetsResponse {
    let refused = |error_code: ErrorCode, reason: String| DeleteShareGroupOffsetsResponse {
        error_code,
        error_message: Some(reason),
        ..DeleteShareGroupOffsetsResponse::default()
    };
    if !call.may_on_group(Operation::Delete, &request.group_id) {
        let code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return refused(code, code.message().to_owned());
    }
    if let Err((code, reason)) = idle_group(call, &request.group_id) {
        return refused(code, reason);
    }
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let deleted = delete(call, &request.group_id, &topic.topic_name).await;
        let (topic_id, error) = match deleted {
            Ok(topic_id) => (topic_id, None),
            Err(error) => (Uuid::nil(), Some(error)),
        };
        responses.push(DeleteShareGroupOffsetsResponseTopic {
            topic_name: topic.topic_name,
            topic_id,
            error_code: error.as_ref().map(|(code, _)| *code).unwrap_or_default(),
            error_message: error.map(|(_, reason)| reason),
        });
    }
    DeleteShareGroupOffsetsResponse { responses, ..DeleteShareGroupOffsetsResponse::default() }
}

async fn delete(call: &Call, group: &str, topic: &str) -> Result<Uuid, (ErrorCode, String)> {
    let plain = |code: ErrorCode| (code, code.message().to_owned());
    if !call.may_on_topic(Operation::Read, topic) {
        return Err(plain(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    }
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topic = call.broker().topic(topic).ok_or(plain(unknown))?;
    let shares = call.broker().shares();
    if !shares.offsets(group).iter().any(|((topic_id, _), _)| *topic_id == topic.id) {
        return Err((unknown, "The group has nothing of the topic.".to_owned()));
    }
    let forgotten = shares.forget(group, |(topic_id, _)| topic_id == topic.id).await;
    forgotten.map_err(|error| plain(not_kept(group, &error)))?;
    Ok(topic.id)
}
