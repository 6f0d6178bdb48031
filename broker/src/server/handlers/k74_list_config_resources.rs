//! ListConfigResources.

use super::Call;
use super::k32_describe_configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k74_list_config_resources::*;
use crate::security::acl::Operation;

/// In the order in which Kafka tells them.
const TYPES: [i8; 5] = [GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC];

pub async fn handle(
    call: &Call,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let refused = |error_code| ListConfigResourcesResponse { error_code, ..Default::default() };
    if !call.may_on_cluster(Operation::DescribeConfigs) {
        return refused(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    }
    let wanted = match (call.version, request.resource_types) {
        // It asks for client metrics alone.
        (0, _) => vec![CLIENT_METRICS],
        (_, types) if types.is_empty() => TYPES.to_vec(),
        (_, types) => types,
    };
    if wanted.iter().any(|kind| !TYPES.contains(kind)) {
        return refused(ErrorCode::UNSUPPORTED_VERSION);
    }
    let resources = TYPES.into_iter().filter(|kind| wanted.contains(kind)).flat_map(|kind| {
        let named = move |resource_name| ConfigResource { resource_name, resource_type: kind };
        names(call, kind).into_iter().map(named)
    });
    ListConfigResourcesResponse { config_resources: resources.collect(), ..Default::default() }
}

/// What has configs. Groups and client metrics have them once some are set.
fn names(call: &Call, kind: i8) -> Vec<String> {
    let broker = call.broker();
    match kind {
        GROUP => broker.dynamic_configs().of_groups.into_keys().collect(),
        CLIENT_METRICS => broker.dynamic_configs().of_client_metrics.into_keys().collect(),
        TOPIC => broker.topics().iter().map(|topic| topic.name.to_string()).collect(),
        _ => vec![broker.node_id().to_string()],
    }
}
