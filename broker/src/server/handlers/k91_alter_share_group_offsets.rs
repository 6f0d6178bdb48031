//! AlterShareGroupOffsets (KIP-932).

use super::Call;
use super::sharing::{idle_group, not_kept};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k91_alter_share_group_offsets::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    let refused = |error_code: ErrorCode, reason: String| AlterShareGroupOffsetsResponse {
        error_code,
        error_message: Some(reason),
        ..AlterShareGroupOffsetsResponse::default()
    };
    if !call.may_on_group(Operation::Read, &request.group_id) {
        let code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return refused(code, code.message().to_owned());
    }
    let group = match idle_group(call, &request.group_id) {
        Ok(group) => group,
        Err((code, reason)) => return refused(code, reason),
    };
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = match call.may_on_topic(Operation::Read, &topic.topic_name) {
            false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            true => {
                let known = call.broker().topic(&topic.topic_name);
                known.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            }
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for one in topic.partitions {
            let altered = match &known {
                Err(code) => Err(*code),
                Ok(known) if known.partition(one.partition_index).is_none() => {
                    Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
                }
                Ok(_) if one.start_offset < 0 => Err(ErrorCode::INVALID_REQUEST),
                Ok(known) => {
                    let named = (known.id, one.partition_index);
                    let begun = call.broker().shares().begin_anew(&group, named, one.start_offset);
                    begun.await.map_err(|error| not_kept(&group, &error))
                }
            };
            let error = altered.err();
            partitions.push(AlterShareGroupOffsetsResponsePartition {
                partition_index: one.partition_index,
                error_code: error.unwrap_or_default(),
                error_message: error.map(|code| code.message().to_owned()),
            });
        }
        responses.push(AlterShareGroupOffsetsResponseTopic {
            topic_id: known.map(|known| known.id).unwrap_or_default(),
            topic_name: topic.topic_name,
            partitions,
        });
    }
    AlterShareGroupOffsetsResponse { responses, ..AlterShareGroupOffsetsResponse::default() }
}
