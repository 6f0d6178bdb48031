//! AlterConfigs: what a request does not name goes back to its default.

use super::Call;
use super::altering::{Change, ConfigChange, Others, SET, alter_all};
use crate::protocol::messages::k33_alter_configs::*;

pub async fn handle(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let config = |config: AlterableConfig| ConfigChange {
        name: config.name,
        operation: SET,
        value: config.value,
    };
    let change = |resource: AlterConfigsResource| Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: resource.configs.into_iter().map(config).collect(),
    };
    let changes = request.resources.into_iter().map(change).collect();
    let changed = alter_all(call, changes, request.validate_only, Others::GoBackToDefaults).await;
    let responses = changed.into_iter().map(|changed| AlterConfigsResourceResponse {
        error_code: changed.error_code,
        error_message: changed.error_message,
        resource_type: changed.resource_type,
        resource_name: changed.resource_name,
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
