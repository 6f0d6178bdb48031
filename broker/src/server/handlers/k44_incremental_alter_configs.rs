//! IncrementalAlterConfigs: changes single configs of a topic and leaves the others.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use super::Call;
use super::k32_describe_configs::{BROKER, TOPIC};
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k44_incremental_alter_configs::*;
use crate::topics::{ConfigDefinition, ConfigKind, TopicConfig, config};

pub const VERSIONS: RangeInclusive<i16> = IncrementalAlterConfigsRequest::VERSIONS;

/// Kafka's numbers for what to do with a config.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// A code and what to say with it.
pub type Refused = (ErrorCode, String);

pub async fn handle(
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    let resources =
        request.resources.iter().map(|one| (one.resource_type, one.resource_name.clone()));
    let repeated = refuse_repeated(resources);
    for (resource, once) in request.resources.into_iter().zip(repeated) {
        let AlterConfigsResource { resource_type, resource_name, configs } = resource;
        let change = move |own: &BTreeMap<String, String>| changed(own, configs);
        let altered = match once {
            Ok(()) => {
                alter(call, resource_type, &resource_name, request.validate_only, change).await
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

/// For each resource whether it is named only once.
pub fn refuse_repeated(
    resources: impl Iterator<Item = (i8, String)> + Clone,
) -> Vec<Result<(), Refused>> {
    let mut times: HashMap<(i8, String), usize> = HashMap::new();
    for resource in resources.clone() {
        *times.entry(resource).or_default() += 1;
    }
    let why = || (ErrorCode::INVALID_REQUEST, "the resource is named more than once".to_owned());
    resources.map(|one| if times[&one] == 1 { Ok(()) } else { Err(why()) }).collect()
}

/// Changes what is set for a topic itself.
pub async fn alter(
    call: &Call,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
) -> Result<(), Refused> {
    match resource_type {
        TOPIC => {}
        BROKER => {
            let why = "the broker's own settings are given when it starts".to_owned();
            return Err((ErrorCode::INVALID_CONFIG, why));
        }
        other => {
            let why = format!("resources of type {other} have no configs here");
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
    }
    // From reading to writing, so that of two changes none is lost.
    let _one_at_a_time = call.shared.config_changes.lock().await;
    let topic = call.broker().topic(name).ok_or_else(|| {
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("topic '{name}' does not exist"))
    })?;
    let own = change(TopicConfig::own(&topic.config))?;
    config::check(&own).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    if validate_only {
        return Ok(());
    }
    let set = call.broker().set_topic_configs(name, own).await;
    set.map_err(|error| (ErrorCode(error.code()), error.to_string()))?;
    tracing::info!(topic = name, "changed the configs of a topic");
    Ok(())
}

fn changed(
    own: &BTreeMap<String, String>,
    configs: Vec<AlterableConfig>,
) -> Result<BTreeMap<String, String>, Refused> {
    let mut own = own.clone();
    for AlterableConfig { name, config_operation, value } in configs {
        if config_operation == DELETE {
            own.remove(&name);
            continue;
        }
        let no_value = || (ErrorCode::INVALID_REQUEST, format!("'{name}' has no value"));
        let value = value.ok_or_else(no_value)?;
        let value = match config_operation {
            SET => value,
            APPEND | SUBTRACT => {
                let definition = ConfigDefinition::find(&name)
                    .filter(|definition| matches!(definition.kind, ConfigKind::List(_)));
                let not_a_list =
                    || (ErrorCode::INVALID_CONFIG, format!("topic config '{name}' is no list"));
                let before = definition.ok_or_else(not_a_list)?.default;
                let before = own.get(&name).map_or(before, String::as_str);
                merged(before, &value, config_operation == APPEND)
            }
            other => {
                let why = format!("there is no operation {other}");
                return Err((ErrorCode::INVALID_REQUEST, why));
            }
        };
        own.insert(name, value);
    }
    Ok(own)
}

/// A list with others added to it, or taken away.
fn merged(list: &str, others: &str, add: bool) -> String {
    let split = |text: &'_ str| -> Vec<String> {
        let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
        elements.map(str::to_owned).collect()
    };
    let (mut list, others) = (split(list), split(others));
    list.retain(|element| !others.contains(element));
    if add {
        list.extend(others);
    }
    list.join(",")
}
