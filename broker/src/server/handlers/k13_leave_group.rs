//! LeaveGroup: of one member, or of several.

use super::Call;
use crate::coordinator::groups::{GroupError, InstanceId, LeavingMember, MemberId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k13_leave_group::*;
use crate::security::acl::Operation;

/// The first version that names several members.
const MEMBERS_FROM: i16 = 3;

pub async fn handle(call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    if !call.may_on_group(Operation::Read, &request.group_id) {
        let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    }
    if request.group_id.is_empty() {
        let error_code = GroupError::InvalidGroupId.into();
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    }
    let members = if call.version >= MEMBERS_FROM {
        request.members
    } else {
        vec![MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() }]
    };
    let leaving: Vec<LeavingMember> = members
        .iter()
        .map(|member| LeavingMember {
            member_id: MemberId::from(member.member_id.as_str()),
            instance_id: member.group_instance_id.as_deref().map(InstanceId::from),
        })
        .collect();
    let left = call.broker().groups().leave(&request.group_id, &leaving);
    let mut codes =
        left.into_iter().map(|left| left.err().map_or(ErrorCode::NONE, ErrorCode::from));
    if call.version < MEMBERS_FROM {
        let error_code = codes.next().unwrap_or(ErrorCode::NONE);
        return LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() };
    }
    let members = members.into_iter().zip(codes).map(|(member, error_code)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code,
    });
    LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
}
