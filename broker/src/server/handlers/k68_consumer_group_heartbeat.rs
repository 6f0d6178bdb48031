//! ConsumerGroupHeartbeat (KIP-848).

use std::sync::Arc;

use uuid::Uuid;

use super::Call;
use crate::coordinator::groups::consumer::assignment::Assignment as Partitions;
use crate::coordinator::groups::consumer::heartbeat::{Beat, Refusal};
use crate::coordinator::groups::consumer::member::{JOINING, LEAVING};
use crate::coordinator::groups::{GroupError, InstanceId, MemberId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k68_consumer_group_heartbeat::*;
use crate::security::acl::Operation;

/// The first version whose clients make their member ids themselves (KIP-1082).
const OWN_IDS_FROM: i16 = 1;

pub async fn handle(
    call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if let Err(error_code) = check(call, &request) {
        return ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
    }
    match beat(call, request).await {
        Ok(response) => response,
        Err(refused) => ConsumerGroupHeartbeatResponse {
            error_code: refused.error.into(),
            error_message: Some(refused.reason),
            ..ConsumerGroupHeartbeatResponse::default()
        },
    }
}

/// Whether the client may be in the group, and know the topics that it names.
fn check(call: &Call, request: &ConsumerGroupHeartbeatRequest) -> Result<(), ErrorCode> {
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
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let epoch = request.member_epoch;
    let has_an_id = call.version >= OWN_IDS_FROM || epoch > JOINING || epoch == LEAVING;
    let member_id = match request.member_id.as_str() {
        "" if has_an_id => {
            let reason = "MemberId can't be empty.";
            return Err(Refusal::new(GroupError::InvalidRequest, reason));
        }
        "" => MemberId(Uuid::new_v4().to_string().into()),
        id => id.into(),
    };
    let places = |topics: Vec<TopicPartitions>| {
        Partitions::of_topics(topics.into_iter().map(|topic| (topic.topic_id, topic.partitions)))
    };
    let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
    let beat = Beat {
        member_id,
        epoch,
        instance_id: request.instance_id.as_deref().map(InstanceId::from),
        rack_id: request.rack_id,
        client_id: call.client_id.clone().unwrap_or_default(),
        client_host: call.client_host(),
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1),
        topics: request.subscribed_topic_names.map(names),
        regex: request.subscribed_topic_regex.map(Arc::from),
        assignor: request.server_assignor.map(Arc::from),
        owned: request.topic_partitions.map(places),
    };
    let beaten = call.broker().groups().beat(&request.group_id, beat);
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
    Ok(ConsumerGroupHeartbeatResponse {
        member_id: Some(beaten.member_id.to_string()),
        member_epoch: beaten.epoch,
        heartbeat_interval_ms: beaten.heartbeat_interval_ms,
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    })
}
