//! ListPartitionReassignments: with one broker none is ever under way.

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k46_list_partition_reassignments::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    _: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let (error_code, error_message) = match call.may_on_cluster(Operation::Describe) {
        true => (ErrorCode::NONE, None),
        false => {
            let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
            (code, Some(code.message().to_owned()))
        }
    };
    ListPartitionReassignmentsResponse { error_code, error_message, ..Default::default() }
}
