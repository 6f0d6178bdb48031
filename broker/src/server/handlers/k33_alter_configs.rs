//! AlterConfigs: what a request does not name goes back to its default.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Call;
use super::k44_incremental_alter_configs::{alter, refuse_repeated};
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k33_alter_configs::*;

pub const VERSIONS: RangeInclusive<i16> = AlterConfigsRequest::VERSIONS;

pub async fn handle(call: &Call, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut response = AlterConfigsResponse::default();
    let resources =
        request.resources.iter().map(|one| (one.resource_type, one.resource_name.clone()));
    let repeated = refuse_repeated(resources);
    for (resource, once) in request.resources.into_iter().zip(repeated) {
        let AlterConfigsResource { resource_type, resource_name, configs } = resource;
        let replace = move |_: &BTreeMap<String, String>| {
            let mut own = BTreeMap::new();
            for AlterableConfig { name, value } in configs {
                let no_value = || (ErrorCode::INVALID_REQUEST, format!("'{name}' has no value"));
                let value = value.ok_or_else(no_value)?;
                own.insert(name, value);
            }
            Ok(own)
        };
        let altered = match once {
            Ok(()) => {
                alter(call, resource_type, &resource_name, request.validate_only, replace).await
            }
            Err(refused) => Err(refused),
        };
        let (error_code, error_message) = match altered {
            Ok(()) => (ErrorCode::NONE, None),
            Err((error_code, message)) => (error_code, Some(message)),
        };
        response.responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type,
            resource_name,
        });
    }
    response
}
