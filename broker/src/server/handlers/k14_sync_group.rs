//! SyncGroup: answered when the leader's assignment is there, and durable.

use bytes::Bytes;

use super::Call;
use crate::coordinator::groups::{GroupError, InstanceId, MemberClaim, MemberId, SyncRequest};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k14_sync_group::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: SyncGroupRequest) -> SyncGroupResponse {
    if !call.may_on_group(Operation::Read, &request.group_id) {
        let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return SyncGroupResponse { error_code, ..SyncGroupResponse::default() };
    }
    match sync(call, &request).await {
        Ok(response) => response,
        Err(error) => {
            SyncGroupResponse { error_code: error.into(), ..SyncGroupResponse::default() }
        }
    }
}

async fn sync(call: &Call, request: &SyncGroupRequest) -> Result<SyncGroupResponse, GroupError> {
    if request.group_id.is_empty() {
        return Err(GroupError::InvalidGroupId);
    }
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.version >= 5 && !named {
        return Err(GroupError::InconsistentGroupProtocol);
    }
    let assignments = request.assignments.iter().map(|one| {
        // Copied, since the group keeps it: as a slice it would keep the whole frame.
        (MemberId::from(one.member_id.as_str()), Bytes::copy_from_slice(&one.assignment))
    });
    let sync = SyncRequest {
        member: MemberClaim {
            member_id: MemberId::from(request.member_id.as_str()),
            instance_id: request.group_instance_id.as_deref().map(InstanceId::from),
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type.as_deref().map(Into::into),
        protocol: request.protocol_name.as_deref().map(Into::into),
        assignments: assignments.collect(),
    };
    let synced = call.broker().groups().sync(&request.group_id, sync);
    let synced =
        call.before_shutdown(synced).await.unwrap_or(Err(GroupError::CoordinatorNotAvailable))?;
    Ok(SyncGroupResponse {
        protocol_type: Some(synced.protocol_type.to_string()),
        protocol_name: Some(synced.protocol.to_string()),
        assignment: synced.assignment,
        ..SyncGroupResponse::default()
    })
}
