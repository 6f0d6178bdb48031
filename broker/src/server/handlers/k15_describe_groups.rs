//! DescribeGroups, of the classic protocol.

use bytes::Bytes;

use super::{Call, OPERATIONS_NOT_ASKED};
use crate::coordinator::groups::{Described, GroupSnapshot, GroupState};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k15_describe_groups::*;
use crate::security::acl::{Operation, ResourceType};

/// Kafka's name for the state of a group that there is not.
const DEAD: &str = "Dead";

pub async fn handle(call: &Call, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let describe = |group_id: String| {
        if !call.may_on_group(Operation::Describe, &group_id) {
            let error_code = ErrorCode::GROUP_AUTHORIZATION_FAILED;
            return DescribedGroup { group_id, error_code, ..DescribedGroup::default() };
        }
        let authorized_operations = match request.include_authorized_operations {
            true => call.operations(ResourceType::Group, &group_id),
            false => OPERATIONS_NOT_ASKED,
        };
        let found = call.broker().groups().describe(&group_id).map(|group| group.described);
        let error_message = match found {
            Some(Described::Classic { state, snapshot }) => {
                let described = describe(state, snapshot);
                return DescribedGroup { group_id, authorized_operations, ..described };
            }
            Some(_) => format!("Group {group_id} is not a classic group."),
            None => format!("Group {group_id} not found."),
        };
        // Before v6 absence was a state, not an error.
        let described = if call.version < 6 {
            let group_state = DEAD.to_owned();
            DescribedGroup { group_state, authorized_operations, ..DescribedGroup::default() }
        } else {
            DescribedGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND,
                error_message: Some(error_message),
                group_state: DEAD.to_owned(),
                ..DescribedGroup::default()
            }
        };
        DescribedGroup { group_id, ..described }
    };
    let groups = request.groups.into_iter().map(describe).collect();
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

fn describe(state: GroupState, snapshot: GroupSnapshot) -> DescribedGroup {
    // Only then is it certain what each member has.
    let is_stable = state == GroupState::Stable;
    let if_stable = |bytes: Bytes| if is_stable { bytes } else { Bytes::new() };
    let members = snapshot.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id.to_string(),
        group_instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: if_stable(member.metadata),
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_state: state.name().to_owned(),
        protocol_type: snapshot.protocol_type.to_string(),
        protocol_data: snapshot.protocol.filter(|_| is_stable).as_deref().unwrap_or("").to_owned(),
        members: members.collect(),
        ..DescribedGroup::default()
    }
}
