//! DeleteGroups.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k42_delete_groups::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        let error_code = if call.may_on_group(Operation::Delete, &group_id) {
            let deleted = call.broker().groups().delete(&group_id).await;
            deleted.err().map_or(ErrorCode::NONE, ErrorCode::from)
        } else {
            ErrorCode::GROUP_AUTHORIZATION_FAILED
        };
        response.results.push(DeletableGroupResult { group_id, error_code });
    }
    response
}
