//! IncrementalAlterConfigs: changes single configs of a topic and leaves the others.

use super::Call;
use super::altering::{Change, ConfigChange, Others, alter_all};
use crate::protocol::messages::k44_incremental_alter_configs::*;

pub async fn handle(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let config = |config: AlterableConfig| ConfigChange {
        name: config.name,
        operation: config.config_operation,
        value: config.value,
    };
    let change = |resource: AlterConfigsResource| Change {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: resource.configs.into_iter().map(config).collect(),
    };
    let changes = request.resources.into_iter().map(change).collect();
    let changed = alter_all(call, changes, request.validate_only, Others::Stay).await;
    let responses = changed.into_iter().map(|changed| AlterConfigsResourceResponse {
        error_code: changed.error_code,
        error_message: changed.error_message,
        resource_type: changed.resource_type,
        resource_name: changed.resource_name,
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
