//! DescribeConfigs, of topics, of groups and of this broker.

use std::time::Duration;

use super::Call;
use crate::broker::client_metrics::CLIENT_METRICS_CONFIGS;
use crate::broker::group_configs::GROUP_CONFIGS;
use crate::broker::{BrokerConfig, ConsumerConfig, ShareConfig, is_dynamic};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k32_describe_configs::*;
use crate::security::acl::Operation;
use crate::server::{HostPort, ListenerConfig, ServerConfig};
use crate::topics::config::ConfigSource;
use crate::topics::{ConfigDefinition, ConfigKind, DEFINITIONS, TopicConfig};

/// Kafka's numbers for what has configs.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// Kafka's numbers for who has set a value.
mod source {
    pub const TOPIC: i8 = 1;
    pub const DYNAMIC_BROKER: i8 = 2;
    pub const DYNAMIC_DEFAULT_BROKER: i8 = 3;
    pub const STATIC_BROKER: i8 = 4;
    pub const DEFAULT: i8 = 5;
    pub const CLIENT_METRICS: i8 = 7;
    pub const GROUP: i8 = 8;
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
        let (kind, name) = (wanted.resource_type, wanted.resource_name.as_str());
        let permitted = check_permitted(call, Operation::DescribeConfigs, kind, name);
        let described = permitted.and_then(|()| match kind {
            TOPIC => topic(call, &wanted.resource_name, &request),
            BROKER => broker(call, &wanted.resource_name, &request),
            GROUP => group(call, &wanted.resource_name, &request),
            CLIENT_METRICS => client_metrics(call, &wanted.resource_name, &request),
            BROKER_LOGGER => without_configs(call, &wanted.resource_name),
            other => {
                let why = format!("resources of type {other} have no configs here");
                Err((ErrorCode::INVALID_REQUEST, why))
            }
        });
        let mut result = DescribeConfigsResult {
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name,
            // Kafka has nothing to say, but says it.
            error_message: Some(String::new()),
            ..DescribeConfigsResult::default()
        };
        match described {
            Ok(mut configs) => {
                // No keys are all keys.
                if let Some(keys) = wanted.configuration_keys.filter(|keys| !keys.is_empty()) {
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

/// Whether the client may do something to the configs of a resource; of a type that has none,
/// nothing is said here.
pub fn check_permitted(
    call: &Call,
    operation: Operation,
    resource_type: i8,
    name: &str,
) -> Result<(), (ErrorCode, String)> {
    let (may, code) = match resource_type {
        TOPIC => (call.may_on_topic(operation, name), ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        GROUP => (call.may_on_group(operation, name), ErrorCode::GROUP_AUTHORIZATION_FAILED),
        BROKER | BROKER_LOGGER | CLIENT_METRICS => {
            (call.may_on_cluster(operation), ErrorCode::CLUSTER_AUTHORIZATION_FAILED)
        }
        _ => return Ok(()),
    };
    if may { Ok(()) } else { Err((code, code.message().to_owned())) }
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
        let value = shown(type_of(definition.kind), value);
        Entry { definition, value, source: number(source), config }
    })
}

/// A value of a topic or a group as Kafka writes back what it has understood, whatever was typed.
/// What is set for brokers it repeats.
fn shown(config_type: i8, value: &str) -> String {
    let value = value.trim();
    let understood = match config_type {
        config_type::INT | config_type::LONG => value.parse::<i64>().ok().map(|n| n.to_string()),
        config_type::DOUBLE => value.parse().ok().map(java_double),
        config_type::BOOLEAN => Some(value.to_ascii_lowercase()),
        config_type::LIST => Some(value.split(',').map(str::trim).collect::<Vec<_>>().join(",")),
        _ => None,
    };
    understood.unwrap_or_else(|| value.to_owned())
}

fn number(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => source::TOPIC,
        ConfigSource::Node => source::DYNAMIC_BROKER,
        ConfigSource::Cluster => source::DYNAMIC_DEFAULT_BROKER,
        ConfigSource::Broker => source::STATIC_BROKER,
        ConfigSource::Default => source::DEFAULT,
    }
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

/// The value that holds, and those that would if it did not; the broker's under their own names.
fn synonyms(entry: &Entry<'_>) -> Vec<DescribeConfigsSynonym> {
    let name = entry.definition.name;
    let config_type = type_of(entry.definition.kind);
    let synonym = |name: &str, value: &str, source| DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(shown(config_type, value)),
        source,
    };
    let own = entry.config.own().get(name).map(|value| synonym(name, value, source::TOPIC));
    let broker = entry.definition.broker_synonym();
    let set = broker.into_iter().flat_map(|broker| {
        let values = entry.config.of_broker().get(name);
        values.map(move |(value, source)| synonym(broker.name, value, number(source)))
    });
    let default = broker
        .filter(|broker| broker.has_default)
        .map(|broker| synonym(broker.name, entry.definition.default, source::DEFAULT));
    own.into_iter().chain(set).chain(default).collect()
}

/// The settings of a group, whether there is one or not.
fn group(
    call: &Call,
    name: &str,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    if name.is_empty() {
        let why = "the group name must not be empty".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let own = call.broker().group_configs(name);
    let given = call.broker().config();
    let configs = GROUP_CONFIGS.iter().map(|known| {
        let config_type = if known.is_number() { config_type::INT } else { config_type::STRING };
        // What the broker has for all groups is a default, wherever that comes from.
        let (value, config_source) = match own.get(known.name) {
            Some(value) => (shown(config_type, value), source::GROUP),
            None => (known.given(given), source::DEFAULT),
        };
        let synonym = DescribeConfigsSynonym {
            name: known.name.to_owned(),
            value: Some(value.clone()),
            source: config_source,
        };
        let synonyms = Some(synonym).into_iter().filter(|_| request.include_synonyms);
        DescribeConfigsResourceResult {
            name: known.name.to_owned(),
            value: Some(value),
            read_only: false,
            config_source,
            is_sensitive: false,
            synonyms: synonyms.collect(),
            config_type,
            documentation: request.include_documentation.then(|| known.doc.to_owned()),
        }
    });
    Ok(configs.collect())
}

/// A subscription to metrics of clients, whether there is one or not.
fn client_metrics(
    call: &Call,
    name: &str,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    if name.is_empty() {
        let why = "the client metrics subscription name must not be empty".to_owned();
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let own = call.broker().client_metrics_configs(name);
    let configs = CLIENT_METRICS_CONFIGS.iter().map(|known| {
        let (value, config_source) = match own.get(known.name) {
            Some(value) => (value.clone(), source::CLIENT_METRICS),
            None => (known.default.to_owned(), source::DEFAULT),
        };
        // What was set, and not the default, as at Kafka.
        let synonyms = own.get(known.name).map(|value| DescribeConfigsSynonym {
            name: known.name.to_owned(),
            value: Some(value.clone()),
            source: source::CLIENT_METRICS,
        });
        DescribeConfigsResourceResult {
            name: known.name.to_owned(),
            value: Some(value),
            read_only: false,
            config_source,
            is_sensitive: false,
            synonyms: synonyms.into_iter().filter(|_| request.include_synonyms).collect(),
            config_type: if known.is_list { config_type::LIST } else { config_type::INT },
            documentation: request.include_documentation.then(|| known.doc.to_owned()),
        }
    });
    Ok(configs.collect())
}

/// Loggers by class, of which there are none here.
fn without_configs(
    call: &Call,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    if name.is_empty() {
        return Err((ErrorCode::INVALID_REQUEST, "the broker id must not be empty".to_owned()));
    }
    check_node(call, name)?;
    Ok(Vec::new())
}

pub fn check_node(call: &Call, name: &str) -> Result<(), (ErrorCode, String)> {
    let node_id = call.broker().node_id();
    if name.parse() == Ok(node_id) {
        return Ok(());
    }
    Err((ErrorCode::INVALID_REQUEST, format!("this is node {node_id}, not '{name}'")))
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

/// The broker's own settings that have names in Kafka. Without a name: those that were changed for
/// all brokers while they run.
fn broker(
    call: &Call,
    name: &str,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let (broker, server) = (call.broker(), &call.shared.config);
    let dynamic = broker.dynamic_configs();
    let settings = settings(broker.config(), server);
    if name.is_empty() {
        let set = settings.into_iter().filter_map(|setting| {
            let value = dynamic.of_cluster.get(setting.0)?.clone();
            let values = vec![(value, source::DYNAMIC_DEFAULT_BROKER)];
            Some(described(setting, values, request))
        });
        return Ok(sorted(set.collect()));
    }
    check_node(call, name)?;
    let defaults = self::settings(&BrokerConfig::new(""), &ServerConfig::new(""));
    let describe = |setting: Setting, default: Option<String>| {
        let (name, _, given, _) = &setting;
        let mut values = Vec::new();
        let changed = [
            (&dynamic.of_node, source::DYNAMIC_BROKER),
            (&dynamic.of_cluster, source::DYNAMIC_DEFAULT_BROKER),
        ];
        for (layer, source) in changed {
            values.extend(layer.get(*name).map(|value| (value.clone(), source)));
        }
        if default.as_ref() != Some(given) {
            values.push((given.clone(), source::STATIC_BROKER));
        }
        values.extend(default.map(|default| (default, source::DEFAULT)));
        described(setting, values, request)
    };
    let with_defaults = settings.into_iter().zip(defaults);
    let own = identity(call).into_iter().map(|setting| describe(setting, None));
    let set = with_defaults.map(|(setting, (_, _, default, _))| describe(setting, Some(default)));
    Ok(sorted(own.chain(set).collect()))
}

fn sorted(mut all: Vec<DescribeConfigsResourceResult>) -> Vec<DescribeConfigsResourceResult> {
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// A setting of the broker with its values, the one that holds first.
fn described(
    (name, config_type, _, doc): Setting,
    values: Vec<(String, i8)>,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    let (value, config_source) = values.first().cloned().unwrap_or_default();
    let synonym = |(value, source)| DescribeConfigsSynonym {
        name: name.to_owned(),
        value: Some(value),
        source,
    };
    let synonyms = values.into_iter().map(synonym).filter(|_| request.include_synonyms);
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(value),
        read_only: !is_dynamic(name),
        config_source,
        is_sensitive: false,
        synonyms: synonyms.collect(),
        config_type,
        documentation: request.include_documentation.then(|| doc.to_owned()),
    }
}

/// A setting by Kafka's name, with the number of its type, its value, and what it is for.
type Setting = (&'static str, i8, String, &'static str);

/// What no two brokers share, and which therefore has no default.
fn identity(call: &Call) -> Vec<Setting> {
    let (broker, server) = (call.broker(), &call.shared.config);
    use config_type::*;
    let each = |address: fn(&ListenerConfig, &HostPort) -> String| {
        let all = server.listeners.iter();
        let texts = all
            .map(|listener| format!("{}://{}", listener.name, address(listener, &call.advertised)));
        texts.collect::<Vec<String>>().join(",")
    };
    let listen = each(|listener, _| listener.listen.clone());
    // What a listener does not say, this client has found out for the one by which it came.
    let told = each(|listener, come_by| {
        let advertised = listener.advertised.as_ref();
        match listener.advertised.is_none() && listener.listen.ends_with(":0") {
            true => come_by.to_string(),
            false => advertised.map_or_else(|| listener.listen.clone(), HostPort::to_string),
        }
    });
    let dir = broker.config().data_dir.display().to_string();
    vec![
        ("advertised.listeners", LIST, told, "where clients are told to connect to"),
        ("listeners", LIST, listen, "where the broker listens"),
        ("log.dirs", LIST, dir, "the directory of topics and state"),
        ("node.id", INT, broker.node_id().to_string(), "the number of this broker"),
    ]
}

/// All others, in the same order whatever their values.
fn settings(broker: &BrokerConfig, server: &ServerConfig) -> Vec<Setting> {
    let mut settings = of_server(broker, server);
    settings.extend(of_log(broker));
    settings.extend(of_groups(broker));
    settings.extend(of_transactions(broker));
    // The defaults of topics.
    settings.extend(DEFINITIONS.iter().filter_map(|definition| {
        let name = definition.broker_synonym()?.name;
        let value = broker.topic_defaults.get(definition.name);
        let value = value.map_or(definition.default, |value| value.trim());
        Some((name, type_of(definition.kind), value.to_owned(), definition.doc))
    }));
    settings
}

/// As Java writes it.
fn java_double(number: f64) -> String {
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) || !number.is_finite() {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    let (digits, exponent) = text.split_once('E').expect("it was written so");
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

fn of_server(broker: &BrokerConfig, server: &ServerConfig) -> Vec<Setting> {
    use config_type::*;
    vec![
        (
            "auto.create.topics.enable",
            BOOLEAN,
            broker.auto_create_topics.to_string(),
            "whether a topic is created when a client asks for one that is not there",
        ),
        (
            "connections.max.idle.ms",
            LONG,
            ms(server.idle_timeout),
            "how long a connection may be silent before it is closed",
        ),
        (
            "default.replication.factor",
            INT,
            "1".to_owned(),
            "copies of what is written: one, since there is one broker",
        ),
        (
            "fetch.max.bytes",
            INT,
            server.fetch_bytes_max.to_string(),
            "the most bytes of records that one fetch is answered with",
        ),
        (
            "max.connections",
            INT,
            server.connections.connections_max.to_string(),
            "the most connections at a time",
        ),
        (
            "max.connections.per.ip",
            INT,
            i32::try_from(server.connections.per_address_max).unwrap_or(i32::MAX).to_string(),
            "the most connections of one address at a time",
        ),
        (
            "num.partitions",
            INT,
            broker.partitions_default.to_string(),
            "partitions of a topic that is created without their number",
        ),
        (
            "socket.request.max.bytes",
            INT,
            server.produce_bytes_max.to_string(),
            "the largest request that is taken",
        ),
    ]
}

fn of_log(broker: &BrokerConfig) -> Vec<Setting> {
    let rate = java_double(broker.cleaner_bytes_per_second_max);
    use config_type::*;
    vec![
        (
            "log.cleaner.backoff.ms",
            LONG,
            ms(broker.cleaner_backoff),
            "how often compacted topics are looked at",
        ),
        (
            "log.cleaner.dedupe.buffer.size",
            LONG,
            broker.cleaner_dedupe_bytes.to_string(),
            "memory for the latest offset of each key while a log is compacted",
        ),
        (
            "log.cleaner.io.max.bytes.per.second",
            DOUBLE,
            rate,
            "the most bytes per second that compaction reads and writes",
        ),
        (
            "log.cleaner.enable",
            BOOLEAN,
            broker.cleaner_enabled.to_string(),
            "whether compacted topics are compacted",
        ),
        (
            "log.retention.check.interval.ms",
            LONG,
            ms(broker.retention_check_interval),
            "how often old segments are looked for",
        ),
        (
            "producer.id.expiration.ms",
            INT,
            broker.producer_id_expiration_ms.to_string(),
            "how long a silent producer's last batches are remembered",
        ),
    ]
}

fn of_groups(broker: &BrokerConfig) -> Vec<Setting> {
    let groups = &broker.groups;
    let minutes = groups.offsets_retention_ms / 60_000;
    use config_type::*;
    let mut settings = of_consumer_groups(&groups.consumer);
    settings.extend(of_share_groups(&groups.share, &broker.shares));
    settings.extend([
        (
            "group.initial.rebalance.delay.ms",
            INT,
            groups.initial_rebalance_delay_ms.to_string(),
            "how long an empty group waits for more members before its first rebalance",
        ),
        (
            "group.max.session.timeout.ms",
            INT,
            groups.session_timeout_ms_max.to_string(),
            "the longest session timeout that a member may ask for",
        ),
        ("group.max.size", INT, groups.members_max.to_string(), "the most members of a group"),
        (
            "group.min.session.timeout.ms",
            INT,
            groups.session_timeout_ms_min.to_string(),
            "the shortest session timeout that a member may ask for",
        ),
        (
            "offset.metadata.max.bytes",
            INT,
            groups.offset_metadata_bytes_max.to_string(),
            "the longest text that may be committed beside an offset",
        ),
        (
            "offsets.retention.check.interval.ms",
            LONG,
            ms(groups.retention_check_interval),
            "how often expired offsets are looked for",
        ),
        (
            "offsets.retention.minutes",
            INT,
            minutes.to_string(),
            "how long offsets are kept of a group without members",
        ),
        (
            "offsets.topic.num.partitions",
            INT,
            groups.offsets_partitions.to_string(),
            "partitions of __consumer_offsets, once it is created",
        ),
    ]);
    settings
}

/// Of groups of the new protocol.
fn of_consumer_groups(config: &ConsumerConfig) -> Vec<Setting> {
    let assignors: Vec<&str> = config.assignors.iter().map(|assignor| assignor.name()).collect();
    let number = |name, value: i32, doc| (name, config_type::INT, value.to_string(), doc);
    use config_type::*;
    vec![
        (
            "group.consumer.assignors",
            LIST,
            assignors.join(","),
            "how partitions are shared out; the first where members have no wish",
        ),
        number(
            "group.consumer.heartbeat.interval.ms",
            config.heartbeat_interval_ms,
            "how often members of the new group protocol are told to be heard of",
        ),
        number(
            "group.consumer.max.heartbeat.interval.ms",
            config.heartbeat_interval_ms_max,
            "the longest interval of heartbeats that a group can be set to",
        ),
        number(
            "group.consumer.max.session.timeout.ms",
            config.session_timeout_ms_max,
            "the longest session timeout that a group can be set to",
        ),
        (
            "group.consumer.max.size",
            INT,
            config.members_max.to_string(),
            "the most members of a group of the new protocol",
        ),
        (
            "group.consumer.migration.policy",
            STRING,
            config.migration.to_string(),
            "whether groups with members go over from one protocol to the other",
        ),
        number(
            "group.consumer.min.heartbeat.interval.ms",
            config.heartbeat_interval_ms_min,
            "the shortest interval of heartbeats that a group can be set to",
        ),
        number(
            "group.consumer.min.session.timeout.ms",
            config.session_timeout_ms_min,
            "the shortest session timeout that a group can be set to",
        ),
        number(
            "group.consumer.session.timeout.ms",
            config.session_timeout_ms,
            "how long a member of the new group protocol may be silent before it is gone",
        ),
    ]
}

fn of_share_groups(config: &ConsumerConfig, shares: &ShareConfig) -> Vec<Setting> {
    let number = |name, value: i32, doc| (name, config_type::INT, value.to_string(), doc);
    let mut settings = of_shared_records(shares);
    settings.extend([
        number(
            "group.share.heartbeat.interval.ms",
            config.heartbeat_interval_ms,
            "how often members of share groups are told to be heard of",
        ),
        number(
            "group.share.max.heartbeat.interval.ms",
            config.heartbeat_interval_ms_max,
            "the longest interval of heartbeats that a share group can be set to",
        ),
        number(
            "group.share.max.session.timeout.ms",
            config.session_timeout_ms_max,
            "the longest session timeout that a share group can be set to",
        ),
        (
            "group.share.max.size",
            config_type::INT,
            config.members_max.to_string(),
            "the most members of a share group",
        ),
        number(
            "group.share.min.heartbeat.interval.ms",
            config.heartbeat_interval_ms_min,
            "the shortest interval of heartbeats that a share group can be set to",
        ),
        number(
            "group.share.min.session.timeout.ms",
            config.session_timeout_ms_min,
            "the shortest session timeout that a share group can be set to",
        ),
        number(
            "group.share.session.timeout.ms",
            config.session_timeout_ms,
            "how long a member of a share group may be silent before it is gone",
        ),
    ]);
    settings
}

fn of_shared_records(shares: &ShareConfig) -> Vec<Setting> {
    let number = |name, value: i64, doc| (name, config_type::INT, value.to_string(), doc);
    vec![
        number(
            "group.share.delivery.count.limit",
            shares.limits.deliveries_max.into(),
            "how often a record is given out that nobody accepts",
        ),
        number(
            "group.share.max.record.lock.duration.ms",
            shares.lock_ms_max.into(),
            "the longest time that a share group can be set to have a record locked",
        ),
        number(
            "group.share.max.share.sessions",
            shares.sessions_max as i64,
            "the most members of share groups that fetch",
        ),
        number(
            "group.share.min.record.lock.duration.ms",
            shares.lock_ms_min.into(),
            "the shortest time that a share group can be set to have a record locked",
        ),
        number(
            "group.share.partition.max.record.locks",
            shares.limits.locks_max,
            "the most records of a partition that a share group has under way",
        ),
        number(
            "group.share.record.lock.duration.ms",
            shares.lock_ms.into(),
            "how long a member has a record before that is given to another",
        ),
        number(
            "share.coordinator.state.topic.num.partitions",
            shares.state_partitions.into(),
            "partitions of __share_group_state, once it is created",
        ),
    ]
}

fn of_transactions(broker: &BrokerConfig) -> Vec<Setting> {
    let transactions = &broker.transactions;
    use config_type::*;
    vec![
        (
            "transaction.max.timeout.ms",
            INT,
            transactions.timeout_ms_max.to_string(),
            "the longest timeout that a transactional producer may ask for",
        ),
        (
            "transaction.remove.expired.transaction.cleanup.interval.ms",
            INT,
            ms(transactions.expiration_check_interval),
            "how often expired transactional ids are looked for",
        ),
        (
            "transaction.state.log.num.partitions",
            INT,
            transactions.partitions.to_string(),
            "partitions of __transaction_state, once it is created",
        ),
        (
            "transactional.id.expiration.ms",
            INT,
            transactions.id_expiration_ms.to_string(),
            "how long a transactional id is remembered that is not used",
        ),
    ]
}
