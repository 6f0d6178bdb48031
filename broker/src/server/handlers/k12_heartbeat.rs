//! Heartbeat.

use super::Call;
use crate::coordinator::groups::{GroupError, InstanceId, MemberClaim, MemberId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k12_heartbeat::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
    if !call.may_on_group(Operation::Read, &request.group_id) {
        let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return HeartbeatResponse { error_code, ..HeartbeatResponse::default() };
    }
    let claim = MemberClaim {
        member_id: MemberId::from(request.member_id.as_str()),
        instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
        generation: request.generation_id,
    };
    let beaten = match request.group_id.as_str() {
        "" => Err(GroupError::InvalidGroupId),
        group => call.broker().groups().heartbeat(group, &claim),
    };
    let error_code = beaten.err().map_or(ErrorCode::NONE, ErrorCode::from);
    HeartbeatResponse { error_code, ..HeartbeatResponse::default() }
}
