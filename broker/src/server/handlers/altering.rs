//! Changing configs: what AlterConfigs and IncrementalAlterConfigs have in common.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Call;
use super::k32_describe_configs::{
    BROKER, CLIENT_METRICS, GROUP, TOPIC, check_node, check_permitted,
};
use crate::broker::{DynamicConfigError, Scope};
use crate::protocol::ErrorCode;
use crate::security::acl::Operation;
use crate::topics::{ConfigDefinition, ConfigKind, TopicConfig, config};

/// A code and what to say with it.
type Refused = (ErrorCode, String);

/// Kafka's numbers for what to do with a config.
pub const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What is to be changed of one resource.
pub struct Change {
    pub resource_type: i8,
    pub resource_name: String,
    pub configs: Vec<ConfigChange>,
}

pub struct ConfigChange {
    pub name: String,
    pub operation: i8,
    pub value: Option<String>,
}

/// What becomes of configs that a request does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Stay,
    GoBackToDefaults,
}

/// What has come of it.
pub struct Changed {
    pub resource_type: i8,
    pub resource_name: String,
    pub error_code: ErrorCode,
    pub error_message: Option<String>,
}

/// Changes resources one after the other.
pub async fn alter_all(
    call: &Call,
    changes: Vec<Change>,
    validate_only: bool,
    others: Others,
) -> Vec<Changed> {
    let mut times: HashMap<(i8, String), usize> = HashMap::new();
    for change in &changes {
        *times.entry((change.resource_type, change.resource_name.clone())).or_default() += 1;
    }
    let mut all = Vec::with_capacity(changes.len());
    for Change { resource_type, resource_name, configs } in changes {
        let mut names = HashSet::new();
        let invalid = |why: &str| Err((ErrorCode::INVALID_REQUEST, why.to_owned()));
        let altered = if times[&(resource_type, resource_name.clone())] > 1 {
            invalid("the resource is named more than once")
        } else if !configs.iter().all(|config| names.insert(config.name.clone())) {
            invalid("a config is named more than once")
        } else {
            let change = |own: &BTreeMap<String, String>| match others {
                Others::Stay => changed(own.clone(), configs),
                Others::GoBackToDefaults => changed(BTreeMap::new(), configs),
            };
            let operation = Operation::AlterConfigs;
            match check_permitted(call, operation, resource_type, &resource_name) {
                Ok(()) => alter(call, resource_type, &resource_name, validate_only, change).await,
                Err(denied) => Err(denied),
            }
        };
        let (error_code, error_message) = match altered {
            Ok(()) => (ErrorCode::NONE, None),
            Err((error_code, message)) => (error_code, Some(message)),
        };
        all.push(Changed { resource_type, resource_name, error_code, error_message });
    }
    all
}

/// Changes what is set for a topic itself.
async fn alter(
    call: &Call,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
) -> Result<(), Refused> {
    match resource_type {
        TOPIC => {}
        BROKER => return alter_broker(call, name, validate_only, change).await,
        GROUP if !name.is_empty() => return alter_group(call, name, validate_only, change).await,
        CLIENT_METRICS => return alter_client_metrics(call, name, validate_only, change).await,
        other => {
            let why = format!("resources of type {other} have no configs here");
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
    }
    if name.is_empty() {
        let why = "there are no defaults for all topics to change; name a topic".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, why));
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

/// Changes what is set for this node, or without a name for all.
async fn alter_broker(
    call: &Call,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
) -> Result<(), Refused> {
    let scope = if name.is_empty() { Scope::Cluster } else { Scope::Node };
    if scope == Scope::Node {
        check_node(call, name)?;
    }
    let _one_at_a_time = call.shared.config_changes.lock().await;
    let broker = call.broker();
    let configs = change(scope.of(&broker.dynamic_configs()))?;
    let refused = |error: DynamicConfigError| match error {
        DynamicConfigError::Topics(error) => (ErrorCode(error.code()), error.to_string()),
        // Kafka's code here, although the request is well-formed (KAFKA-13609).
        error => (ErrorCode::INVALID_REQUEST, error.to_string()),
    };
    if validate_only {
        return broker.check_dynamic_configs(scope, &configs).map_err(refused);
    }
    broker.set_dynamic_configs(scope, configs).await.map_err(refused)?;
    tracing::info!(?scope, "changed the configs of the broker");
    Ok(())
}

/// Changes what is set for a group, which need not be there yet.
async fn alter_group(
    call: &Call,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
) -> Result<(), Refused> {
    let _one_at_a_time = call.shared.config_changes.lock().await;
    let broker = call.broker();
    let configs = change(&broker.group_configs(name))?;
    let refused = |error: DynamicConfigError| match error {
        DynamicConfigError::Topics(error) => (ErrorCode(error.code()), error.to_string()),
        error => (ErrorCode::INVALID_CONFIG, error.to_string()),
    };
    if validate_only {
        return broker.check_group_configs(&configs).map_err(refused);
    }
    broker.set_group_configs(name, configs).await.map_err(refused)?;
    tracing::info!(group = name, "changed the configs of a group");
    Ok(())
}

/// Changes a subscription to metrics of clients, which need not be there yet.
async fn alter_client_metrics(
    call: &Call,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Refused>,
) -> Result<(), Refused> {
    if name.is_empty() {
        let why = "Subscription name can't be empty".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let _one_at_a_time = call.shared.config_changes.lock().await;
    let broker = call.broker();
    let configs = change(&broker.client_metrics_configs(name))?;
    let refused = |error: DynamicConfigError| match error {
        DynamicConfigError::Topics(error) => (ErrorCode(error.code()), error.to_string()),
        error @ DynamicConfigError::TooManySubscriptions(_) => {
            (ErrorCode::POLICY_VIOLATION, error.to_string())
        }
        error @ (DynamicConfigError::UnknownOfClientMetrics(_)
        | DynamicConfigError::ClientMetricsInterval(_)) => {
            (ErrorCode::INVALID_REQUEST, error.to_string())
        }
        error => (ErrorCode::INVALID_CONFIG, error.to_string()),
    };
    if validate_only {
        return broker.check_client_metrics_configs(&configs).map_err(refused);
    }
    broker.set_client_metrics_configs(name, configs).await.map_err(refused)?;
    tracing::info!(subscription = name, "changed a subscription to metrics of clients");
    Ok(())
}

fn changed(
    mut own: BTreeMap<String, String>,
    configs: Vec<ConfigChange>,
) -> Result<BTreeMap<String, String>, Refused> {
    for ConfigChange { name, operation, value } in configs {
        if operation == DELETE {
            own.remove(&name);
            continue;
        }
        let no_value = || (ErrorCode::INVALID_REQUEST, format!("'{name}' has no value"));
        let value = value.ok_or_else(no_value)?;
        let value = match operation {
            SET => value,
            APPEND | SUBTRACT => {
                let definition = ConfigDefinition::find(&name)
                    .or_else(|| ConfigDefinition::of_broker(&name))
                    .filter(|definition| matches!(definition.kind, ConfigKind::List(_)));
                let not_a_list =
                    || (ErrorCode::INVALID_CONFIG, format!("config '{name}' is no list"));
                let before = definition.ok_or_else(not_a_list)?.default;
                let before = own.get(&name).map_or(before, String::as_str);
                merged(before, &value, operation == APPEND)
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
