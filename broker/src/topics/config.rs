//! Topic configs under Kafka's names: definitions, validation, and the form the log works with.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::log::{Cleanup, Compaction, LogConfig};
use crate::record::TimestampType;

/// What values a config takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConfigKind {
    Int {
        min: i64,
        max: i64,
    },
    Long {
        min: i64,
        max: i64,
    },
    Double {
        min: f64,
        max: f64,
    },
    Boolean,
    OneOf(&'static [&'static str]),
    /// A comma-separated choice of these.
    List(&'static [&'static str]),
    /// −1 for the codec's own, or a level in this range.
    Level {
        min: i64,
        max: i64,
    },
    /// `partition:broker,…`, or `*` for all.
    Replicas,
}

/// One topic config.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigDefinition {
    pub name: &'static str,
    pub kind: ConfigKind,
    pub default: &'static str,
    pub doc: &'static str,
    /// Why it is taken and shown but changes nothing here; `None` if it has its effect.
    pub without_effect: Option<&'static str>,
}

/// Why configs were refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("unknown topic config '{0}'")]
    Unknown(String),
    #[error("invalid value '{value}' for topic config '{name}': expected {expected}")]
    Invalid { name: String, value: String, expected: String },
}

const INT_MAX: i64 = i32::MAX as i64;
const ONE_NODE: &str = "there is one node, hence no replication";
const NOT_TIERED: &str = "there is no tiered storage";
const LEVEL: &str = "the broker compresses only where compression.type differs from the batch's, \
                     and then at the codec's default level";

const fn effective(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    doc: &'static str,
) -> ConfigDefinition {
    ConfigDefinition { name, kind, default, doc, without_effect: None }
}

const fn accepted(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    why: &'static str,
) -> ConfigDefinition {
    ConfigDefinition { name, kind, default, doc: why, without_effect: Some(why) }
}

const fn int(min: i64) -> ConfigKind {
    ConfigKind::Int { min, max: INT_MAX }
}

const fn long(min: i64) -> ConfigKind {
    ConfigKind::Long { min, max: i64::MAX }
}

const LONG_MAX: &str = "9223372036854775807";
const RATIO: ConfigKind = ConfigKind::Double { min: 0.0, max: 1.0 };
const CODECS: &[&str] = &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

/// Every topic config of Kafka 4, by name.
pub const DEFINITIONS: &[ConfigDefinition] = &[
    effective(
        "cleanup.policy",
        ConfigKind::List(&["delete", "compact"]),
        "delete",
        "delete: old segments go by retention; compact: of each key the latest record stays, and \
         every record needs a key",
    ),
    accepted("compression.gzip.level", ConfigKind::Level { min: 1, max: 9 }, "-1", LEVEL),
    accepted("compression.lz4.level", ConfigKind::Int { min: 1, max: 17 }, "9", LEVEL),
    effective(
        "compression.type",
        ConfigKind::OneOf(CODECS),
        "producer",
        "the codec of batches on disk; producer: as they came",
    ),
    accepted("compression.zstd.level", ConfigKind::Int { min: -131_072, max: 22 }, "3", LEVEL),
    effective(
        "delete.retention.ms",
        long(0),
        "86400000",
        "how long compaction keeps the null that deletes a key, from when it first meets it",
    ),
    accepted("file.delete.delay.ms", long(0), "60000", "readers hold their files open themselves"),
    effective(
        "flush.messages",
        long(1),
        LONG_MAX,
        "if set: how many records may be lost in a power cut, whatever the producer's acks; \
         unset: acks=all waits for the disk",
    ),
    effective(
        "flush.ms",
        long(0),
        LONG_MAX,
        "if set: for how long records may be only in memory, whatever the producer's acks; \
         unset: acks=all waits for the disk",
    ),
    accepted("follower.replication.throttled.replicas", ConfigKind::Replicas, "", ONE_NODE),
    effective("index.interval.bytes", int(0), "4096", "bytes of log between two index entries"),
    accepted("leader.replication.throttled.replicas", ConfigKind::Replicas, "", ONE_NODE),
    accepted("local.retention.bytes", long(-2), "-2", NOT_TIERED),
    accepted("local.retention.ms", long(-2), "-2", NOT_TIERED),
    effective(
        "max.compaction.lag.ms",
        long(1),
        LONG_MAX,
        "how long a record waits for compaction at most, however little there is to gain",
    ),
    effective("max.message.bytes", int(0), "1048588", "the largest record batch"),
    effective(
        "message.timestamp.after.max.ms",
        long(0),
        "3600000",
        "how far a producer's timestamps may be ahead of the broker's clock",
    ),
    effective(
        "message.timestamp.before.max.ms",
        long(0),
        LONG_MAX,
        "how far a producer's timestamps may be behind the broker's clock",
    ),
    effective(
        "message.timestamp.type",
        ConfigKind::OneOf(TIMESTAMP_TYPES),
        "CreateTime",
        "whether the producer or the broker sets timestamps",
    ),
    effective(
        "min.cleanable.dirty.ratio",
        RATIO,
        "0.5",
        "the share of the log that compaction has not seen, from which it begins",
    ),
    effective("min.compaction.lag.ms", long(0), "0", "how long a record is safe from compaction"),
    accepted("min.insync.replicas", int(1), "1", ONE_NODE),
    accepted("preallocate", ConfigKind::Boolean, "false", "segments grow as they are written"),
    accepted("remote.log.copy.disable", ConfigKind::Boolean, "false", NOT_TIERED),
    accepted("remote.log.delete.on.disable", ConfigKind::Boolean, "false", NOT_TIERED),
    accepted("remote.storage.enable", ConfigKind::Boolean, "false", NOT_TIERED),
    effective("retention.bytes", long(i64::MIN), "-1", "bytes kept per partition; below 0: all"),
    effective("retention.ms", long(-1), "604800000", "how long segments are kept; -1: forever"),
    effective("segment.bytes", int(1 << 20), "1073741824", "size at which a new segment is begun"),
    effective("segment.index.bytes", int(4), "10485760", "room for the index of a segment"),
    effective(
        "segment.jitter.ms",
        long(0),
        "0",
        "by how much earlier than segment.ms a new segment may be begun, chosen anew for each",
    ),
    effective("segment.ms", long(1), "604800000", "age at which a new segment is begun"),
    accepted("unclean.leader.election.enable", ConfigKind::Boolean, "false", ONE_NODE),
];

/// What a config that a topic does not set follows: the broker's config of another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    pub name: &'static str,
    /// Whether Kafka has a default by that name, and not only by one of another unit, such as
    /// `log.retention.hours`.
    pub has_default: bool,
}

impl ConfigDefinition {
    /// Kafka's name for the broker's default of this config; `None` where brokers have none.
    pub fn broker_synonym(&self) -> Option<BrokerSynonym> {
        let (name, has_default) = match self.name {
            "cleanup.policy" => ("log.cleanup.policy", true),
            "delete.retention.ms" => ("log.cleaner.delete.retention.ms", true),
            "file.delete.delay.ms" => ("log.segment.delete.delay.ms", true),
            "flush.messages" => ("log.flush.interval.messages", true),
            "flush.ms" => ("log.flush.interval.ms", false),
            "index.interval.bytes" => ("log.index.interval.bytes", true),
            "local.retention.bytes" => ("log.local.retention.bytes", true),
            "local.retention.ms" => ("log.local.retention.ms", true),
            "max.compaction.lag.ms" => ("log.cleaner.max.compaction.lag.ms", true),
            "max.message.bytes" => ("message.max.bytes", true),
            "message.timestamp.after.max.ms" => ("log.message.timestamp.after.max.ms", true),
            "message.timestamp.before.max.ms" => ("log.message.timestamp.before.max.ms", true),
            "message.timestamp.type" => ("log.message.timestamp.type", true),
            "min.cleanable.dirty.ratio" => ("log.cleaner.min.cleanable.ratio", true),
            "min.compaction.lag.ms" => ("log.cleaner.min.compaction.lag.ms", true),
            "preallocate" => ("log.preallocate", true),
            "retention.bytes" => ("log.retention.bytes", true),
            "retention.ms" => ("log.retention.ms", false),
            "segment.bytes" => ("log.segment.bytes", true),
            "segment.index.bytes" => ("log.index.size.max.bytes", true),
            "segment.jitter.ms" => ("log.roll.jitter.ms", false),
            "segment.ms" => ("log.roll.ms", false),
            "min.insync.replicas" | "unclean.leader.election.enable" => (self.name, true),
            name if name.starts_with("compression.") => (self.name, true),
            _ => return None,
        };
        Some(BrokerSynonym { name, has_default })
    }

    /// The topic config that the broker's config of this name is the default of.
    pub fn of_broker(name: &str) -> Option<&'static ConfigDefinition> {
        DEFINITIONS
            .iter()
            .find(|one| one.broker_synonym().is_some_and(|synonym| synonym.name == name))
    }

    pub fn find(name: &str) -> Option<&'static ConfigDefinition> {
        let found = DEFINITIONS.binary_search_by(|definition| definition.name.cmp(name));
        found.ok().map(|index| &DEFINITIONS[index])
    }

    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        let good = match self.kind {
            ConfigKind::Int { min, max } | ConfigKind::Long { min, max } => {
                value.trim().parse().is_ok_and(|number: i64| (min..=max).contains(&number))
            }
            ConfigKind::Double { min, max } => {
                value.trim().parse().is_ok_and(|number: f64| (min..=max).contains(&number))
            }
            ConfigKind::Boolean => {
                let is = |word| value.trim().eq_ignore_ascii_case(word);
                is("true") || is("false")
            }
            ConfigKind::OneOf(choices) => choices.contains(&value.trim()),
            // None at all is a choice, too.
            ConfigKind::List(choices) => {
                value.trim().is_empty()
                    || value.split(',').all(|choice| choices.contains(&choice.trim()))
            }
            ConfigKind::Level { min, max } => value
                .trim()
                .parse()
                .is_ok_and(|level: i64| level == -1 || (min..=max).contains(&level)),
            ConfigKind::Replicas => {
                let pair = |pair: &str| {
                    let numbers = pair.trim().split_once(':');
                    numbers.is_some_and(|(partition, broker)| {
                        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
                    })
                };
                matches!(value.trim(), "" | "*") || value.split(',').all(pair)
            }
        };
        if good {
            return Ok(());
        }
        let (name, value) = (self.name.to_owned(), value.to_owned());
        Err(ConfigError::Invalid { name, value, expected: self.expected() })
    }

    fn expected(&self) -> String {
        match self.kind {
            ConfigKind::Int { min, max } => format!("a whole number from {min} to {max}"),
            ConfigKind::Long { min, max: i64::MAX } => format!("a whole number of at least {min}"),
            ConfigKind::Long { min, max } => format!("a whole number from {min} to {max}"),
            ConfigKind::Double { min, max } => format!("a number from {min} to {max}"),
            ConfigKind::Boolean => "true or false".to_owned(),
            ConfigKind::OneOf(choices) => format!("one of {}", choices.join(", ")),
            ConfigKind::List(choices) => format!("a list of {}", choices.join(", ")),
            ConfigKind::Level { min, max } => format!("-1 or a whole number from {min} to {max}"),
            ConfigKind::Replicas => "partition:broker pairs, or *".to_owned(),
        }
    }
}

/// Checks names and values.
pub fn check(configs: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in configs {
        let unknown = || ConfigError::Unknown(name.clone());
        ConfigDefinition::find(name).ok_or_else(unknown)?.check(value)?;
    }
    Ok(())
}

/// The configs of a topic: its own over the broker's defaults over Kafka's. All values valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    own: BTreeMap<String, String>,
    broker: TopicDefaults,
}

/// What the broker has for topics that set nothing themselves, the first winning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDefaults {
    /// Changed for this node while it runs.
    pub of_node: BTreeMap<String, String>,
    /// Changed for all brokers.
    pub of_cluster: BTreeMap<String, String>,
    /// Given when the broker was started.
    pub given: BTreeMap<String, String>,
}

impl TopicDefaults {
    /// A config's values, the one that holds first.
    pub fn get(&self, name: &str) -> impl Iterator<Item = (&str, ConfigSource)> {
        let layers = [
            (&self.of_node, ConfigSource::Node),
            (&self.of_cluster, ConfigSource::Cluster),
            (&self.given, ConfigSource::Broker),
        ];
        layers
            .into_iter()
            .filter_map(move |(layer, source)| Some((layer.get(name)?.trim(), source)))
    }
}

/// Who has set a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    /// For this node, while it runs.
    Node,
    /// For all brokers, while they run.
    Cluster,
    /// For the broker, when it was started.
    Broker,
    Default,
}

impl TopicConfig {
    pub fn new(
        own: BTreeMap<String, String>,
        broker: TopicDefaults,
    ) -> Result<TopicConfig, ConfigError> {
        check(&own)?;
        for layer in [&broker.of_node, &broker.of_cluster, &broker.given] {
            check(layer)?;
        }
        let config = TopicConfig { own, broker };
        let (name, max_name) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let (lag_ms, max_ms) = (config.number(name), config.number(max_name));
        if lag_ms > max_ms {
            let expected = format!("no more than {max_name}, which is {max_ms}");
            let (name, value) = (name.to_owned(), lag_ms.to_string());
            return Err(ConfigError::Invalid { name, value, expected });
        }
        Ok(config)
    }

    /// What was set for the topic itself.
    pub fn own(&self) -> &BTreeMap<String, String> {
        &self.own
    }

    /// What was set for all topics.
    pub fn of_broker(&self) -> &TopicDefaults {
        &self.broker
    }

    /// A config's value and who has set it.
    pub fn get(&self, definition: &'static ConfigDefinition) -> (&str, ConfigSource) {
        let own = self.own.get(definition.name).map(|value| (value, ConfigSource::Topic));
        let own = own.map(|(value, source)| (value.trim(), source));
        let broker = || self.broker.get(definition.name).next();
        own.or_else(broker).unwrap_or((definition.default, ConfigSource::Default))
    }

    fn value(&self, name: &str) -> (&str, ConfigSource) {
        self.get(ConfigDefinition::find(name).expect("the name is in the table"))
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).0.parse().expect("values are checked when they are set")
    }

    fn float(&self, name: &str) -> f64 {
        self.value(name).0.parse().expect("values are checked when they are set")
    }

    fn number_if_set(&self, name: &str) -> Option<i64> {
        (self.value(name).1 != ConfigSource::Default).then(|| self.number(name))
    }

    /// As the log takes it.
    pub fn log_config(&self) -> LogConfig {
        let policies = self.value("cleanup.policy").0;
        let has = |policy| policies.split(',').any(|other| other.trim() == policy);
        let timestamp_type = match self.value("message.timestamp.type").0 {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        LogConfig {
            segment_bytes: self.number("segment.bytes") as u32,
            segment_ms: self.number("segment.ms"),
            segment_jitter_ms: self.number("segment.jitter.ms"),
            segment_index_bytes: self.number("segment.index.bytes") as u32,
            index_interval_bytes: self.number("index.interval.bytes") as u32,
            max_message_bytes: self.number("max.message.bytes") as usize,
            // −1 means without end.
            retention_ms: Some(self.number("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(self.number("retention.bytes")).ok(),
            cleanup: Cleanup { delete: has("delete"), compact: has("compact") },
            compaction: Compaction {
                dirty_ratio_min: self.float("min.cleanable.dirty.ratio"),
                lag_ms_min: self.number("min.compaction.lag.ms"),
                lag_ms_max: self.number("max.compaction.lag.ms"),
                delete_retention_ms: self.number("delete.retention.ms"),
            },
            timestamp_type,
            timestamp_before_max_ms: self.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: self.number("message.timestamp.after.max.ms"),
            compression: self.value("compression.type").0.parse().ok(),
            flush_messages: self.number_if_set("flush.messages"),
            flush_ms: self.number_if_set("flush.ms"),
            ..LogConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults_are_valid_sorted_and_the_logs_own() {
        assert!(DEFINITIONS.is_sorted_by(|one, next| one.name < next.name));
        for definition in DEFINITIONS {
            definition.check(definition.default).unwrap();
        }
        assert_eq!(TopicConfig::default().log_config(), LogConfig::default());
    }

    #[test]
    fn a_topics_value_goes_before_the_brokers() {
        let own = configs(&[("retention.ms", "-1"), ("cleanup.policy", "compact, delete")]);
        let broker = configs(&[("retention.ms", "5"), ("flush.messages", "7")]);
        let of_cluster = configs(&[("flush.messages", "8"), ("segment.jitter.ms", "9")]);
        let of_node = configs(&[("segment.jitter.ms", "10"), ("retention.ms", "6")]);
        let broker = TopicDefaults { of_node, of_cluster, given: broker };
        let config = TopicConfig::new(own, broker).unwrap();
        let log = config.log_config();
        assert_eq!((log.retention_ms, log.flush_messages, log.flush_ms), (None, Some(8), None));
        assert_eq!(log.segment_jitter_ms, 10);
        assert_eq!(log.cleanup, Cleanup { delete: true, compact: true });
        let source = |name| config.value(name).1;
        assert_eq!(source("retention.ms"), ConfigSource::Topic);
        assert_eq!(source("flush.messages"), ConfigSource::Cluster);
        assert_eq!(source("segment.jitter.ms"), ConfigSource::Node);
        assert_eq!(source("segment.ms"), ConfigSource::Default);
    }

    /// What Kafka 4.1's own definitions take and refuse.
    #[test]
    fn ranges_are_kafkas() {
        let good = |name: &str, value: &str| check(&configs(&[(name, value)])).is_ok();
        for (name, low, high) in [
            ("segment.bytes", "1048576", "2147483647"),
            ("compression.gzip.level", "1", "9"),
            ("compression.lz4.level", "1", "17"),
            ("compression.zstd.level", "-131072", "22"),
        ] {
            let (low, high): (i64, i64) = (low.parse().unwrap(), high.parse().unwrap());
            assert!(good(name, &low.to_string()) && good(name, &high.to_string()), "{name}");
            assert!(!good(name, &(low - 1).to_string()) && !good(name, &(high + 1).to_string()));
        }
        assert!(good("compression.gzip.level", "-1") && !good("compression.lz4.level", "-1"));
        assert!(good("retention.bytes", "-5") && !good("retention.ms", "-2"));
        let throttled = "leader.replication.throttled.replicas";
        assert!(good(throttled, "0:1, 12:3") && good(throttled, "*") && good(throttled, ""));
        assert!(!good(throttled, "0") && !good(throttled, "0:1,"));
        let own = configs(&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")]);
        let error = TopicConfig::new(own, TopicDefaults::default()).unwrap_err().to_string();
        expect_test::expect![
            "invalid value '2' for topic config 'min.compaction.lag.ms': expected no more than \
             max.compaction.lag.ms, which is 1"
        ]
        .assert_eq(&error);
    }

    #[test]
    fn wrong_names_and_values_are_told_apart() {
        let error = |name, value| check(&configs(&[(name, value)])).unwrap_err().to_string();
        expect_test::expect!["unknown topic config 'retention'"]
            .assert_eq(&error("retention", "1"));
        expect_test::expect![
            "invalid value 'x' for topic config 'segment.bytes': expected a whole number from \
             1048576 to 2147483647"
        ]
        .assert_eq(&error("segment.bytes", "x"));
        expect_test::expect![
            "invalid value 'keep' for topic config 'cleanup.policy': expected a list of delete, \
             compact"
        ]
        .assert_eq(&error("cleanup.policy", "keep"));
        expect_test::expect![
            "invalid value '1.5' for topic config 'min.cleanable.dirty.ratio': expected a number \
             from 0 to 1"
        ]
        .assert_eq(&error("min.cleanable.dirty.ratio", "1.5"));
    }
}
