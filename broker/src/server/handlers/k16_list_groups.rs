//! ListGroups.

use super::Call;
use crate::protocol::messages::k16_list_groups::*;
use crate::security::acl::{Operation, ResourceType};

pub async fn handle(call: &Call, request: ListGroupsRequest) -> ListGroupsResponse {
    // An empty filter lets all through.
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let may_see_all = call.may_on_cluster_quietly(Operation::Describe);
    let groups = call.broker().groups().list().into_iter().filter_map(|group| {
        let (state, kind) = (group.state(), group.kind());
        let passes = passes(&request.states_filter, state) && passes(&request.types_filter, kind);
        let passes = passes
            && (may_see_all
                || call.may_quietly(Operation::Describe, ResourceType::Group, &group.group));
        passes.then(|| ListedGroup {
            group_id: group.group.to_string(),
            protocol_type: group.protocol_type().to_owned(),
            group_state: state.to_owned(),
            group_type: kind.to_owned(),
        })
    });
    ListGroupsResponse { groups: groups.collect(), ..ListGroupsResponse::default() }
}
