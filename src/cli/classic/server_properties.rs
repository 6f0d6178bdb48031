//! What Kafka's `server.properties` says of a broker, as far as it means something here.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use broker::broker::{Assignor, BrokerConfig, ConsumerConfig};
use broker::server::{QuotaConfig, ServerConfig, Windows};
use thiserror::Error;

use super::server_security;
use crate::cli::Failure;
use crate::cli::metrics::Metrics;
use crate::cli::properties::Properties;

/// A broker as its properties describe it.
#[derive(Debug)]
pub struct ServerProperties {
    pub broker: BrokerConfig,
    pub server: ServerConfig,
    /// `millstream.metrics.listen` and `.config`, which Kafka has not: where metrics are served
    /// over HTTP, and to whom.
    pub metrics: Metrics,
    /// Names that no broker of Kafka's knows either.
    unknown: Vec<String>,
    /// What else is to be said.
    notes: Vec<String>,
}

/// A property that cannot be followed.
#[derive(Debug, Error)]
#[error("{name} = {value}: {reason}")]
pub struct PropertyError {
    name: String,
    value: String,
    reason: String,
}

impl PropertyError {
    pub fn in_file(&self, file: Option<&Path>) -> Failure {
        match file {
            Some(file) => Failure::usage(format!("{}: {self}", file.display())),
            None => Failure::usage(self),
        }
    }
}

/// Kafka's name for the broker's default, and the topic's config that it is the default of.
const TOPIC_DEFAULTS: &[(&str, &str)] = &[
    ("compression.type", "compression.type"),
    ("log.cleaner.delete.retention.ms", "delete.retention.ms"),
    ("log.cleaner.max.compaction.lag.ms", "max.compaction.lag.ms"),
    ("log.cleaner.min.cleanable.ratio", "min.cleanable.dirty.ratio"),
    ("log.cleaner.min.compaction.lag.ms", "min.compaction.lag.ms"),
    ("log.cleanup.policy", "cleanup.policy"),
    ("log.flush.interval.messages", "flush.messages"),
    ("log.flush.interval.ms", "flush.ms"),
    ("log.index.interval.bytes", "index.interval.bytes"),
    ("log.index.size.max.bytes", "segment.index.bytes"),
    ("log.message.timestamp.after.max.ms", "message.timestamp.after.max.ms"),
    ("log.message.timestamp.before.max.ms", "message.timestamp.before.max.ms"),
    ("log.message.timestamp.type", "message.timestamp.type"),
    ("log.preallocate", "preallocate"),
    ("log.retention.bytes", "retention.bytes"),
    ("log.segment.bytes", "segment.bytes"),
    ("log.segment.delete.delay.ms", "file.delete.delay.ms"),
    ("message.max.bytes", "max.message.bytes"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
];

/// A topic's config in ms by what may set it, the first winning: name and ms in one of its units.
const TOPIC_TIMES: &[(&str, &[(&str, i64)])] = &[
    (
        "retention.ms",
        &[
            ("log.retention.ms", 1),
            ("log.retention.minutes", 60_000),
            ("log.retention.hours", 3_600_000),
        ],
    ),
    ("segment.ms", &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    ("segment.jitter.ms", &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]),
];

const METRICS_LISTEN: &str = "millstream.metrics.listen";
const METRICS_CONFIG: &str = "millstream.metrics.config";

/// Read below, each where it is needed.
const READ: &[&str] = &[
    "auto.create.topics.enable",
    "broker.id",
    "connections.max.idle.ms",
    "fetch.max.bytes",
    "log.dir",
    "log.dirs",
    "log.retention.check.interval.ms",
    "node.id",
    "num.partitions",
    "socket.request.max.bytes",
];

/// What Kafka needs for threads, replicas and controllers, of which there are none here; by the
/// beginnings of their names.
const NEEDLESS: &[&str] = &[
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.",
    "compression.",
    "control",
    "default.replication.factor",
    "delete.",
    "fetch.purgatory.",
    "group.",
    "initial.broker.",
    "inter.broker.",
    "kafka.metrics.",
    "leader.imbalance.",
    "log.",
    "max.incremental.fetch.session.",
    "metadata.",
    "metric",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.",
    "num.replica",
    "offset",
    "process.roles",
    "producer.",
    "queued.max.",
    "quota.",
    "remote.",
    "replica.",
    "request.timeout.ms",
    "reserved.broker.max.id",
    "share.coordinator.",
    "socket.",
    "telemetry.",
    "transaction",
    "zookeeper.",
];

impl ServerProperties {
    /// `data_dir` wins over what the properties say.
    pub fn new(
        properties: &Properties,
        data_dir: Option<PathBuf>,
    ) -> Result<ServerProperties, PropertyError> {
        let mut notes = Vec::new();
        let data_dir = match data_dir {
            None => log_dir(properties, &mut notes),
            Some(dir) => {
                let said = properties.get("log.dirs").or_else(|| properties.get("log.dir"));
                if let Some(said) = said.filter(|said| Path::new(said.trim()) != dir) {
                    let dir = dir.display();
                    notes.push(format!("log.dirs = {said} is not followed: --data-dir is {dir}"));
                }
                dir
            }
        };
        let mut broker = BrokerConfig::new(data_dir);
        for name in ["broker.id", "node.id"] {
            broker.node_id = number(properties, name)?.unwrap_or(broker.node_id);
        }
        let partitions = number(properties, "num.partitions")?;
        broker.partitions_default = partitions.unwrap_or(broker.partitions_default);
        if let Some(enabled) = properties.get("auto.create.topics.enable") {
            broker.auto_create_topics = enabled.trim().eq_ignore_ascii_case("true");
        }
        if let Some(ms) = number(properties, "log.retention.check.interval.ms")? {
            broker.retention_check_interval = Duration::from_millis(ms);
        }
        topic_defaults(properties, &mut broker)?;
        coordinators(properties, &mut broker)?;
        let mut server = ServerConfig::new(String::new());
        server_security::apply(properties, &mut server, &mut notes)?;
        if let Some(ms) = number(properties, "connections.max.idle.ms")? {
            server.idle_timeout = Duration::from_millis(ms);
        }
        let request = number(properties, "socket.request.max.bytes")?;
        server.produce_bytes_max = request.unwrap_or(server.produce_bytes_max);
        let fetch = number(properties, "fetch.max.bytes")?;
        server.fetch_bytes_max = fetch.unwrap_or(server.fetch_bytes_max);
        server.quotas = QuotaConfig {
            windows: windows(properties, "quota.window")?,
            mutation_windows: windows(properties, "controller.quota.window")?,
        };
        let unknown = properties.keys().filter(|name| !is_known(name)).cloned().collect();
        let text = |name| properties.get(name).map(|value| value.trim().to_owned());
        let config = text(METRICS_CONFIG).map(PathBuf::from);
        let metrics = Metrics { listen: text(METRICS_LISTEN), config };
        Ok(ServerProperties { broker, server, metrics, unknown, notes })
    }

    /// Where Kafka would listen on all addresses because nothing is said of listeners, listens at
    /// one that is.
    pub fn listen_by_default(&mut self, properties: &Properties, listen: &str) {
        if !properties.contains_key("listeners") {
            for listener in &mut self.server.listeners {
                listener.listen = listen.to_owned();
            }
        }
    }

    /// Says what is not followed, in a line each.
    pub fn tell(&self, file: Option<&Path>) {
        let file = file.map_or_else(|| "properties".to_owned(), |file| file.display().to_string());
        for note in &self.notes {
            eprintln!("{file}: {note}");
        }
        if !self.unknown.is_empty() {
            eprintln!("{file}: unknown and ignored: {}", self.unknown.join(", "));
        }
    }
}

fn is_known(name: &str) -> bool {
    [METRICS_LISTEN, METRICS_CONFIG].contains(&name)
        || READ.contains(&name)
        || server_security::is_read(name)
        || TOPIC_DEFAULTS.iter().any(|(default, _)| *default == name)
        || NEEDLESS.iter().any(|beginning| name.starts_with(beginning))
        // Settings of one listener, and of connections between brokers.
        || ["listener.name.", "ssl.", "sasl.", "security."]
            .iter()
            .any(|beginning| name.starts_with(beginning))
}

pub fn wrong(name: &str, value: &str, reason: impl ToString) -> PropertyError {
    PropertyError { name: name.to_owned(), value: value.to_owned(), reason: reason.to_string() }
}

pub fn number<T: FromStr>(properties: &Properties, name: &str) -> Result<Option<T>, PropertyError> {
    let Some(value) = properties.get(name) else { return Ok(None) };
    let parsed = value.trim().parse();
    parsed.map(Some).map_err(|_| wrong(name, value, "expected a number, and not so large a one"))
}

/// `….num` windows of `….size.seconds` each.
fn windows(properties: &Properties, name: &str) -> Result<Windows, PropertyError> {
    let mut windows = Windows::default();
    let number = |end: &str, range: std::ops::RangeInclusive<u64>| {
        let name = format!("{name}.{end}");
        let found = number::<u64>(properties, &name)?;
        match found.filter(|number| !range.contains(number)) {
            None => Ok(found),
            Some(number) => {
                let reason = format!("expected {} to {}", range.start(), range.end());
                Err(wrong(&name, &number.to_string(), reason))
            }
        }
    };
    if let Some(count) = number("num", 1..=1_000)? {
        windows.number = count as usize;
    }
    if let Some(seconds) = number("size.seconds", 1..=86_400)? {
        windows.size_ms = seconds * 1_000;
    }
    Ok(windows)
}

fn log_dir(properties: &Properties, notes: &mut Vec<String>) -> PathBuf {
    let dirs = properties.get("log.dirs").or_else(|| properties.get("log.dir"));
    let dirs = dirs.map_or("/tmp/kafka-logs", String::as_str);
    let mut dirs = dirs.split(',').map(str::trim).filter(|dir| !dir.is_empty());
    let first = dirs.next().unwrap_or("/tmp/kafka-logs");
    if dirs.next().is_some() {
        notes.push(format!("of log.dirs only {first} is used"));
    }
    PathBuf::from(first)
}

fn topic_defaults(properties: &Properties, broker: &mut BrokerConfig) -> Result<(), PropertyError> {
    for (name, config) in TOPIC_DEFAULTS {
        if let Some(value) = properties.get(*name) {
            broker.topic_defaults.insert((*config).to_owned(), value.trim().to_owned());
        }
    }
    for (config, units) in TOPIC_TIMES {
        for (name, unit_ms) in *units {
            if let Some(count) = number::<i64>(properties, name)? {
                // Negative stands for "without limit".
                let ms = if count < 0 { -1 } else { count.saturating_mul(*unit_ms) };
                broker.topic_defaults.insert((*config).to_owned(), ms.to_string());
                break;
            }
        }
    }
    Ok(())
}

/// That a setting of groups is positive and within what they may set it to, by which Kafka's broker
/// does not start either.
fn within(name: &str, value: i32, (min, max): (i32, i32)) -> Result<(), PropertyError> {
    if min > 0 && (min..=max).contains(&value) {
        return Ok(());
    }
    let reason =
        format!("expected {min} to {max}, by its own `min` and `max`, which are at least 1");
    Err(wrong(name, &value.to_string(), reason))
}

/// Settings that groups of the new protocol and share groups both have.
fn group_members(
    properties: &Properties,
    kind: &str,
    config: &mut ConsumerConfig,
) -> Result<(), PropertyError> {
    let times = [
        ("session.timeout.ms", &mut config.session_timeout_ms),
        ("min.session.timeout.ms", &mut config.session_timeout_ms_min),
        ("max.session.timeout.ms", &mut config.session_timeout_ms_max),
        ("heartbeat.interval.ms", &mut config.heartbeat_interval_ms),
        ("min.heartbeat.interval.ms", &mut config.heartbeat_interval_ms_min),
        ("max.heartbeat.interval.ms", &mut config.heartbeat_interval_ms_max),
    ];
    for (name, setting) in times {
        let name = format!("group.{kind}.{name}");
        *setting = number(properties, &name)?.unwrap_or(*setting);
    }
    let members_max = number(properties, &format!("group.{kind}.max.size"))?;
    config.members_max = members_max.unwrap_or(config.members_max);
    let session = (config.session_timeout_ms_min, config.session_timeout_ms_max);
    within(&format!("group.{kind}.session.timeout.ms"), config.session_timeout_ms, session)?;
    let heartbeat = (config.heartbeat_interval_ms_min, config.heartbeat_interval_ms_max);
    within(&format!("group.{kind}.heartbeat.interval.ms"), config.heartbeat_interval_ms, heartbeat)
}

/// Settings of groups of the new protocol.
fn consumer_groups(
    properties: &Properties,
    config: &mut ConsumerConfig,
) -> Result<(), PropertyError> {
    group_members(properties, "consumer", config)?;
    let policy = "group.consumer.migration.policy";
    if let Some(value) = properties.get(policy) {
        let read = value.trim().to_lowercase().parse();
        config.migration =
            read.map_err(|reason| wrong(policy, value, format!("expected {reason}")))?;
    }
    let assignors = "group.consumer.assignors";
    if let Some(value) = properties.get(assignors) {
        // Kafka's own by the names of their classes, too.
        let find = |one: &str| {
            let class = one.trim().rsplit('.').next().unwrap_or_default();
            Assignor::find(&class.trim_end_matches("Assignor").to_lowercase())
        };
        let found: Option<Vec<Assignor>> = value.split(',').map(find).collect();
        let found = found.filter(|found| !found.is_empty());
        let expected = "expected uniform, range, or both";
        config.assignors = found.ok_or_else(|| wrong(assignors, value, expected))?;
    }
    Ok(())
}

/// Settings of groups, transactions and the cleaner.
fn coordinators(properties: &Properties, broker: &mut BrokerConfig) -> Result<(), PropertyError> {
    fn set<T: FromStr>(
        properties: &Properties,
        name: &str,
        setting: &mut T,
    ) -> Result<(), PropertyError> {
        if let Some(value) = number(properties, name)? {
            *setting = value;
        }
        Ok(())
    }
    let groups = &mut broker.groups;
    consumer_groups(properties, &mut groups.consumer)?;
    group_members(properties, "share", &mut groups.share)?;
    set(properties, "group.min.session.timeout.ms", &mut groups.session_timeout_ms_min)?;
    set(properties, "group.max.session.timeout.ms", &mut groups.session_timeout_ms_max)?;
    set(properties, "group.initial.rebalance.delay.ms", &mut groups.initial_rebalance_delay_ms)?;
    set(properties, "group.max.size", &mut groups.members_max)?;
    set(properties, "offset.metadata.max.bytes", &mut groups.offset_metadata_bytes_max)?;
    if let Some(minutes) = number::<i64>(properties, "offsets.retention.minutes")? {
        groups.offsets_retention_ms = minutes.saturating_mul(60_000);
    }
    if let Some(ms) = number::<u64>(properties, "offsets.retention.check.interval.ms")? {
        groups.retention_check_interval = Duration::from_millis(ms.max(1));
    }
    let shares = &mut broker.shares;
    let limits = &mut shares.limits;
    set(properties, "group.share.partition.max.record.locks", &mut limits.locks_max)?;
    set(properties, "group.share.delivery.count.limit", &mut limits.deliveries_max)?;
    set(properties, "group.share.record.lock.duration.ms", &mut shares.lock_ms)?;
    set(properties, "group.share.min.record.lock.duration.ms", &mut shares.lock_ms_min)?;
    set(properties, "group.share.max.record.lock.duration.ms", &mut shares.lock_ms_max)?;
    let lock = (shares.lock_ms_min, shares.lock_ms_max);
    within("group.share.record.lock.duration.ms", shares.lock_ms, lock)?;
    set(properties, "group.share.max.share.sessions", &mut shares.sessions_max)?;
    let transactions = &mut broker.transactions;
    set(properties, "transaction.max.timeout.ms", &mut transactions.timeout_ms_max)?;
    set(properties, "transactional.id.expiration.ms", &mut transactions.id_expiration_ms)?;
    if let Some(ms) = number::<u64>(properties, "log.cleaner.backoff.ms")? {
        broker.cleaner_backoff = Duration::from_millis(ms.max(1));
    }
    set(properties, "log.cleaner.dedupe.buffer.size", &mut broker.cleaner_dedupe_bytes)?;
    if let Some(rate) = number::<f64>(properties, "log.cleaner.io.max.bytes.per.second")?
        && rate > 0.0
    {
        broker.cleaner_bytes_per_second_max = rate;
    }
    set(properties, "producer.id.expiration.ms", &mut broker.producer_id_expiration_ms)?;
    if let Some(enabled) = properties.get("log.cleaner.enable") {
        broker.cleaner_enabled = enabled.trim().eq_ignore_ascii_case("true");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::properties::parse;

    fn read(text: &str) -> Result<ServerProperties, String> {
        ServerProperties::new(&parse(text), None).map_err(|error| error.to_string())
    }

    #[test]
    fn listeners_that_are_not_named_are_where_they_are_said_to_be() {
        for (text, expected) in
            [("num.partitions=3", "127.0.0.1:1"), ("listeners=PLAINTEXT://:9092", "0.0.0.0:9092")]
        {
            let properties = parse(text);
            let mut read = ServerProperties::new(&properties, None).unwrap();
            assert_eq!(read.server.listeners[0].listen, "0.0.0.0:9092", "as Kafka does");
            read.listen_by_default(&properties, "127.0.0.1:1");
            assert_eq!(read.server.listeners[0].listen, expected, "{text}");
        }
    }

    #[test]
    fn kafkas_own_file_is_understood() {
        let server = read(
            "process.roles=broker,controller\nnode.id=7\n\
             listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
             advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
             controller.listener.names=CONTROLLER\nnum.network.threads=3\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             socket.request.max.bytes=104857600\nlog.dirs=/tmp/kraft-combined-logs\n\
             num.partitions=3\nnum.recovery.threads.per.data.dir=1\n\
             offsets.topic.replication.factor=1\nlog.retention.hours=168\n\
             log.segment.bytes=1073741824\nlog.retention.check.interval.ms=300000\n\
             auto.create.topics.enable=false\n",
        )
        .unwrap();
        let listener = &server.server.listeners[0];
        assert_eq!((server.server.listeners.len(), listener.listen.as_str()), (1, "0.0.0.0:9092"));
        assert_eq!(listener.advertised.as_ref().unwrap().to_string(), "localhost:9092");
        assert_eq!(server.broker.data_dir, Path::new("/tmp/kraft-combined-logs"));
        assert_eq!((server.broker.node_id, server.broker.partitions_default), (7, 3));
        assert!(!server.broker.auto_create_topics);
        assert_eq!(server.broker.topic_defaults["retention.ms"], "604800000");
        assert_eq!(server.broker.topic_defaults["segment.bytes"], "1073741824");
        assert!(server.unknown.is_empty() && server.notes.is_empty(), "{:?}", server.unknown);
    }

    #[test]
    fn groups_transactions_and_the_cleaner_are_set() {
        let server = read(
            "group.min.session.timeout.ms=7\noffsets.retention.minutes=2\n\
             transaction.max.timeout.ms=9\nlog.cleaner.enable=false\nlog.cleaner.backoff.ms=5\n\
             log.cleaner.io.max.bytes.per.second=1.5E6\nproducer.id.expiration.ms=11\n\
             group.max.size=3\nmillstream.metrics.listen=127.0.0.1:9644\n",
        )
        .unwrap();
        assert_eq!(server.broker.cleaner_bytes_per_second_max, 1_500_000.0);
        assert_eq!(server.broker.producer_id_expiration_ms, 11);
        assert_eq!(server.broker.groups.members_max, 3);
        assert_eq!(server.metrics.listen.as_deref(), Some("127.0.0.1:9644"));
        assert_eq!(server.broker.groups.session_timeout_ms_min, 7);
        assert_eq!(server.broker.groups.offsets_retention_ms, 120_000);
        assert_eq!(server.broker.transactions.timeout_ms_max, 9);
        assert_eq!(server.broker.cleaner_backoff, Duration::from_millis(5));
        assert!(!server.broker.cleaner_enabled && server.unknown.is_empty());
    }

    #[test]
    fn groups_of_the_new_protocol_are_set() {
        let server = read(
            "group.consumer.session.timeout.ms=6000\ngroup.consumer.max.size=3\n\
             group.consumer.min.session.timeout.ms=6000\ngroup.consumer.migration.policy=UPGRADE\n\
             group.share.session.timeout.ms=46000\ngroup.share.max.size=4\n\
             group.consumer.assignors=range, org.apache.kafka.coordinator.group.UniformAssignor\n",
        )
        .unwrap();
        let share = &server.broker.groups.share;
        assert_eq!((share.session_timeout_ms, share.members_max), (46_000, 4));
        let config = server.broker.groups.consumer;
        assert_eq!((config.session_timeout_ms, config.members_max), (6_000, 3));
        assert_eq!(config.migration.name(), "upgrade");
        assert_eq!(config.assignors, [Assignor::Range, Assignor::Uniform]);
        assert!(read("group.consumer.assignors=best").is_err());
        assert!(read("group.consumer.migration.policy=maybe").is_err());
        // As Kafka's broker, which does not start.
        for refused in [
            "group.consumer.session.timeout.ms=6000",
            "group.share.heartbeat.interval.ms=0\ngroup.share.min.heartbeat.interval.ms=0",
            "group.share.record.lock.duration.ms=999999999",
        ] {
            let error = read(refused).unwrap_err();
            assert!(error.contains("by its own `min` and `max`"), "{error}");
        }
    }

    #[test]
    fn quotas_are_measured_over_windows() {
        let text = "quota.window.num=21\ncontroller.quota.window.size.seconds=3\n";
        let quotas = read(text).unwrap().server.quotas;
        assert_eq!(quotas.windows, Windows { number: 21, size_ms: 1_000 });
        assert_eq!(quotas.mutation_windows, Windows { number: 11, size_ms: 3_000 });
        let error = read("quota.window.num=0").unwrap_err();
        assert_eq!(error, "quota.window.num = 0: expected 1 to 1000");
    }

    #[test]
    fn the_finest_unit_wins() {
        let server = read("log.retention.hours=1\nlog.retention.minutes=5").unwrap();
        assert_eq!(server.broker.topic_defaults["retention.ms"], "300000");
        let server = read("log.retention.hours=-1").unwrap();
        assert_eq!(server.broker.topic_defaults["retention.ms"], "-1");
    }

    #[test]
    fn what_is_not_followed_is_named() {
        let server = read("foo.bar=1\nlog.dirs=/a,/b\nlisteners=PLAINTEXT://h:2").unwrap();
        assert_eq!(server.unknown, ["foo.bar"]);
        assert_eq!(server.notes.len(), 1);
        assert_eq!(server.server.listeners[0].listen, "h:2");
        assert!(read("listeners=nonsense").unwrap_err().contains("NAME://HOST:PORT"));
        let error = read("num.partitions=many").unwrap_err();
        assert_eq!(error, "num.partitions = many: expected a number, and not so large a one");
    }
}
