//! DeleteGroups.

use super::Call;
use super::sharing::not_kept;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k42_delete_groups::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        let error_code = if call.may_on_group(Operation::Delete, &group_id) {
            match call.broker().groups().delete(&group_id).await {
                Ok(()) => forget(call, &group_id).await,
                Err(error) => error.into(),
            }
        } else {
            ErrorCode::GROUP_AUTHORIZATION_FAILED
        };
        response.results.push(DeletableGroupResult { group_id, error_code });
    }
    response
}

/// With a share group goes what it has read.
async fn forget(call: &Call, group: &str) -> ErrorCode {
    match call.broker().shares().forget(group, |_| true).await {
        Ok(()) => ErrorCode::NONE,
        Err(error) => not_kept(group, &error),
    }
}
