//! Heartbeat.

use super::Call;
use crate::coordinator::groups::{GroupError, InstanceId, MemberClaim, MemberId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k12_heartbeat::*;

pub async fn handle(call: &Call, request: HeartbeatRequest) -> HeartbeatResponse {
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
