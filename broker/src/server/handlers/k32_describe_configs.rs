//! DescribeConfigs, of topics and of this broker.

use super::Call;
use crate::broker::BrokerConfig;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k32_describe_configs::*;
use crate::topics::config::ConfigSource;
use crate::topics::{ConfigDefinition, ConfigKind, DEFINITIONS, TopicConfig};

/// Kafka's numbers for what has configs.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;

/// Kafka's numbers for who has set a value.
mod source {
    pub const TOPIC: i8 = 1;
    pub const STATIC_BROKER: i8 = 4;
    pub const DEFAULT: i8 = 5;
}

/// Kafka's numbers for types of values.
mod config_type {
    pub const BOOLEAN: i8 = 1;
    pub const STRING: i8 = 2;
    pub const INT: i8 = 3;
    pub const LONG: i8 = 5;
    pub const DOUBLE: i8 = 6;
    pub const LIST: i8 = 7;
}

pub async fn handle(call: &Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let describe = |wanted: DescribeConfigsResource| {
        let described = match wanted.resource_type {
            TOPIC => topic(call, &wanted.resource_name, &request),
            BROKER => broker(call, &wanted.resource_name, &request),
            other => {
                let why = format!("resources of type {other} have no configs here");
                Err((ErrorCode::INVALID_REQUEST, why))
            }
        };
        let mut result = DescribeConfigsResult {
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name,
            error_message: None,
            ..DescribeConfigsResult::default()
        };
        match described {
            Ok(mut configs) => {
                if let Some(keys) = wanted.configuration_keys {
                    configs.retain(|config| keys.contains(&config.name));
                }
                result.configs = configs;
            }
            Err((error_code, message)) => {
                (result.error_code, result.error_message) = (error_code, Some(message));
            }
        }
        result
    };
    let results = request.resources.iter().cloned().map(describe).collect();
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }
}

/// A topic config as it holds.
pub struct Entry<'a> {
    pub definition: &'static ConfigDefinition,
    pub value: String,
    pub source: i8,
    config: &'a TopicConfig,
}

/// All configs of a topic.
pub fn of_topic(config: &TopicConfig) -> impl Iterator<Item = Entry<'_>> {
    DEFINITIONS.iter().map(move |definition| {
        let (value, source) = config.get(definition);
        let source = match source {
            ConfigSource::Topic => source::TOPIC,
            ConfigSource::Broker => source::STATIC_BROKER,
            ConfigSource::Default => source::DEFAULT,
        };
        Entry { definition, value: value.to_owned(), source, config }
    })
}

fn topic(
    call: &Call,
    name: &str,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let topic = call.broker().topic(name).ok_or_else(|| {
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("topic '{name}' does not exist"))
    })?;
    let configs = of_topic(&topic.config).map(|entry| DescribeConfigsResourceResult {
        name: entry.definition.name.to_owned(),
        config_source: entry.source,
        synonyms: if request.include_synonyms { synonyms(&entry) } else { Vec::new() },
        config_type: type_of(entry.definition.kind),
        documentation: request.include_documentation.then(|| entry.definition.doc.to_owned()),
        value: Some(entry.value),
        read_only: false,
        is_sensitive: false,
    });
    Ok(configs.collect())
}

/// The value that holds, and below it Kafka's default if that is another.
fn synonyms(entry: &Entry<'_>) -> Vec<DescribeConfigsSynonym> {
    let name = entry.definition.name;
    let synonym = |value: &str, source| DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        source,
    };
    let own = entry.config.own().get(name).map(|value| synonym(value, source::TOPIC));
    let broker = (entry.source == source::STATIC_BROKER)
        .then(|| synonym(&entry.value, source::STATIC_BROKER));
    let default = synonym(entry.definition.default, source::DEFAULT);
    own.into_iter().chain(broker).chain([default]).collect()
}

fn type_of(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Int { .. } | ConfigKind::Level { .. } => config_type::INT,
        ConfigKind::Long { .. } => config_type::LONG,
        ConfigKind::Double { .. } => config_type::DOUBLE,
        ConfigKind::Boolean => config_type::BOOLEAN,
        ConfigKind::OneOf(_) => config_type::STRING,
        ConfigKind::List(_) | ConfigKind::Replicas => config_type::LIST,
    }
}

/// The broker's own settings that have names in Kafka; they hold while it runs.
fn broker(
    call: &Call,
    name: &str,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let broker = call.broker();
    let node_id = broker.node_id().to_string();
    if !name.is_empty() && name != node_id {
        let why = format!("this is node {node_id}, not '{name}'");
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let describe = |(name, config_type, value): (&str, i8, String)| DescribeConfigsResourceResult {
        name: name.to_owned(),
        read_only: true,
        config_source: source::STATIC_BROKER,
        is_sensitive: false,
        synonyms: if request.include_synonyms {
            let (name, value) = (name.to_owned(), Some(value.clone()));
            vec![DescribeConfigsSynonym { name, value, source: source::STATIC_BROKER }]
        } else {
            Vec::new()
        },
        config_type,
        documentation: None,
        value: Some(value),
    };
    Ok(settings(call).into_iter().chain(coordinators(broker.config())).map(describe).collect())
}

/// A setting by Kafka's name, with the number of its type.
type Setting = (&'static str, i8, String);

fn settings(call: &Call) -> Vec<Setting> {
    let (broker, server) = (call.broker(), &call.shared.config);
    let (settings, node_id) = (broker.config(), broker.node_id().to_string());
    let advertised = format!("PLAINTEXT://{}", call.advertised);
    let listeners = format!("PLAINTEXT://{}", server.listen);
    let idle_ms = server.idle_timeout.as_millis();
    let retention_ms = settings.retention_check_interval.as_millis();
    use config_type::*;
    vec![
        ("advertised.listeners", LIST, advertised),
        ("auto.create.topics.enable", BOOLEAN, settings.auto_create_topics.to_string()),
        ("connections.max.idle.ms", LONG, idle_ms.to_string()),
        ("default.replication.factor", INT, "1".to_owned()),
        ("fetch.max.bytes", INT, server.fetch_bytes_max.to_string()),
        ("listeners", LIST, listeners),
        ("log.dirs", LIST, settings.data_dir.display().to_string()),
        ("log.retention.check.interval.ms", LONG, retention_ms.to_string()),
        ("max.connections", INT, server.connections_max.to_string()),
        ("node.id", INT, node_id),
        ("num.partitions", INT, settings.partitions_default.to_string()),
        ("socket.request.max.bytes", INT, server.produce_bytes_max.to_string()),
    ]
}

fn coordinators(settings: &BrokerConfig) -> Vec<Setting> {
    let (groups, transactions) = (&settings.groups, &settings.transactions);
    let minutes = |ms: i64| ms / 60_000;
    use config_type::*;
    vec![
        ("group.initial.rebalance.delay.ms", INT, groups.initial_rebalance_delay_ms.to_string()),
        ("group.max.session.timeout.ms", INT, groups.session_timeout_ms_max.to_string()),
        ("group.max.size", INT, groups.members_max.to_string()),
        ("group.min.session.timeout.ms", INT, groups.session_timeout_ms_min.to_string()),
        ("offset.metadata.max.bytes", INT, groups.offset_metadata_bytes_max.to_string()),
        ("offsets.retention.minutes", INT, minutes(groups.offsets_retention_ms).to_string()),
        ("offsets.topic.num.partitions", INT, groups.offsets_partitions.to_string()),
        ("transaction.max.timeout.ms", INT, transactions.timeout_ms_max.to_string()),
        ("transaction.state.log.num.partitions", INT, transactions.partitions.to_string()),
        ("transactional.id.expiration.ms", INT, transactions.id_expiration_ms.to_string()),
    ]
}
