//! ShareGroupHeartbeat (KIP-932).

use std::sync::Arc;

use super::Call;
use crate::coordinator::groups::GroupError;
use crate::coordinator::groups::consumer::heartbeat::{Beat, Refusal};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k76_share_group_heartbeat::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    request: ShareGroupHeartbeatRequest,
) -> ShareGroupHeartbeatResponse {
    if let Err(error_code) = check(call, &request) {
        return ShareGroupHeartbeatResponse { error_code, ..Default::default() };
    }
    match beat(call, request).await {
        Ok(response) => response,
        Err(refused) => ShareGroupHeartbeatResponse {
            error_code: refused.error.into(),
            error_message: Some(refused.reason),
            ..ShareGroupHeartbeatResponse::default()
        },
    }
}

/// Whether the client may be in the group, and know the topics that it names.
fn check(call: &Call, request: &ShareGroupHeartbeatRequest) -> Result<(), ErrorCode> {
    if !call.may_on_group(Operation::Read, &request.group_id) {
        return Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    }
    let mut topics = request.subscribed_topic_names.iter().flatten();
    match topics.all(|topic| call.may_on_topic(Operation::Describe, topic)) {
        true => Ok(()),
        false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
    }
}

async fn beat(
    call: &Call,
    request: ShareGroupHeartbeatRequest,
) -> Result<ShareGroupHeartbeatResponse, Refusal> {
    let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
    let beat = Beat {
        member_id: request.member_id.as_str().into(),
        epoch: request.member_epoch,
        rack_id: request.rack_id,
        client_id: call.client_id.clone().unwrap_or_default(),
        client_host: call.client_host(),
        topics: request.subscribed_topic_names.map(names),
        ..Beat::default()
    };
    let beaten = call.broker().groups().beat_shared(&request.group_id, beat);
    let stopping = || Err(GroupError::CoordinatorNotAvailable.into());
    let beaten = call.before_shutdown(beaten).await.unwrap_or_else(stopping)?;
    let assignment = beaten.assignment.map(|assigned| Assignment {
        topic_partitions: assigned
            .topics()
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions: partitions.iter().copied().collect(),
            })
            .collect(),
    });
    Ok(ShareGroupHeartbeatResponse {
        member_id: Some(beaten.member_id.to_string()),
        member_epoch: beaten.epoch,
        heartbeat_interval_ms: beaten.heartbeat_interval_ms,
        assignment,
        ..ShareGroupHeartbeatResponse::default()
    })
}
