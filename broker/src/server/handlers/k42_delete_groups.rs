//! DeleteGroups.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k42_delete_groups::*;

pub async fn handle(call: &Call, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        let deleted = call.broker().groups().delete(&group_id).await;
        let error_code = deleted.err().map_or(ErrorCode::NONE, ErrorCode::from);
        response.results.push(DeletableGroupResult { group_id, error_code });
    }
    response
}
