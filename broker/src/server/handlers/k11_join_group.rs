//! JoinGroup: answered when all members have joined, or their time is up.

use bytes::Bytes;
use uuid::Uuid;

use super::Call;
use crate::coordinator::groups::{
    GroupError, InstanceId, JoinRefused, JoinRequest, Joined, MemberId,
};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k11_join_group::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    if !call.may_on_group(Operation::Read, &request.group_id) {
        return JoinGroupResponse {
            error_code: ErrorCode::GROUP_AUTHORIZATION_FAILED,
            protocol_name: (call.version < 7).then(String::new),
            ..JoinGroupResponse::default()
        };
    }
    let member_id = MemberId::from(request.member_id.as_str());
    let protocols = request.protocols.iter().map(|protocol| {
        // Copied, since the group keeps it: as a slice it would keep the whole frame.
        (protocol.name.as_str().into(), Bytes::copy_from_slice(&protocol.metadata))
    });
    let join = JoinRequest {
        member_id: member_id.clone(),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        client_id: call.client_id.clone().unwrap_or_default(),
        client_host: call.client_host(),
        session_timeout_ms: request.session_timeout_ms,
        // Before v1 there was one timeout for both.
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            0.. => request.rebalance_timeout_ms,
            _ => request.session_timeout_ms,
        },
        protocol_type: request.protocol_type.as_str().into(),
        protocols: protocols.collect(),
        requires_known_member: call.version >= 4,
        can_skip_assignment: call.version >= 9,
        fresh: Uuid::new_v4(),
    };
    let joined = call.broker().groups().join(&request.group_id, join);
    let refused = JoinRefused { error: GroupError::CoordinatorNotAvailable, member_id };
    match call.before_shutdown(joined).await.unwrap_or(Err(refused)) {
        Ok(joined) => response(call, joined),
        Err(JoinRefused { error, member_id }) => JoinGroupResponse {
            error_code: error.into(),
            member_id: member_id.to_string(),
            protocol_name: (call.version < 7).then(String::new),
            ..JoinGroupResponse::default()
        },
    }
}

fn response(call: &Call, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.map(|id| id.to_string()),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type.to_string()),
        protocol_name: Some(joined.protocol.to_string()),
        leader: joined.leader.to_string(),
        skip_assignment: call.version >= 9 && joined.skip_assignment,
        member_id: joined.member_id.to_string(),
        members: members.collect(),
        ..JoinGroupResponse::default()
    }
}
