//! Settings of the broker that change while it runs, by Kafka's names (KIP-226).
//!
//! ```text
//! a topic's own ─► this node's ─► all brokers' ─► given at the start ─► Kafka's default
//! ```
//!
//! They are kept in the catalog and so outlive a restart. All but a few are defaults of topic
//! configs, under the names that those have for brokers.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};

use thiserror::Error;

use super::{Broker, BrokerConfig, TopicError};
use crate::log::LogConfig;
use crate::topics::{ConfigDefinition, ConfigError, DynamicConfigs, TopicConfig, TopicDefaults};

type Configs = BTreeMap<String, String>;

/// Whose settings are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Node,
}

/// Why settings of the broker were not changed.
#[derive(Clone, Debug, Error)]
pub enum DynamicConfigError {
    /// Kafka's words.
    #[error("Cannot update these configs dynamically: Set({})", .0.join(", "))]
    Fixed(Vec<String>),
    /// Kafka's words.
    #[error("Unknown group config name: {0}")]
    UnknownOfGroup(String),
    #[error("Unknown client metrics configuration: {0}")]
    UnknownOfClientMetrics(String),
    #[error("Invalid value {0} for interval.ms, interval must be between 100 and 3600000 (1 hour)")]
    ClientMetricsInterval(i32),
    #[error("there would be more than {0} subscriptions to client metrics")]
    TooManySubscriptions(usize),
    #[error("Invalid value {value} for configuration {name}: {expected}")]
    Invalid { name: String, value: String, expected: String },
    #[error("topic '{topic}': {source}")]
    Unfit { topic: String, source: ConfigError },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Topics(#[from] TopicError),
}

const CLEANER_BYTES: &str = "log.cleaner.io.max.bytes.per.second";
const CLEANER_BUFFER: &str = "log.cleaner.dedupe.buffer.size";
const PRODUCER_EXPIRATION: &str = "producer.id.expiration.ms";

/// Whether a broker's setting can be changed while it runs.
pub fn is_dynamic(name: &str) -> bool {
    matches!(name, CLEANER_BYTES | CLEANER_BUFFER | PRODUCER_EXPIRATION)
        || ConfigDefinition::of_broker(name).is_some()
}

fn check(configs: &Configs) -> Result<(), DynamicConfigError> {
    let fixed: Vec<String> = configs.keys().filter(|name| !is_dynamic(name)).cloned().collect();
    if !fixed.is_empty() {
        return Err(DynamicConfigError::Fixed(fixed));
    }
    for (name, value) in configs {
        let invalid = |expected: String| DynamicConfigError::Invalid {
            name: name.clone(),
            value: value.clone(),
            expected,
        };
        let number = |good: bool, expected: &str| {
            if good { Ok(()) } else { Err(invalid(expected.to_owned())) }
        };
        let trimmed = value.trim();
        match (name.as_str(), ConfigDefinition::of_broker(name)) {
            (_, Some(definition)) => definition.check(value).map_err(|error| match error {
                ConfigError::Invalid { expected, .. } => invalid(format!("expected {expected}")),
                other => invalid(other.to_string()),
            })?,
            (CLEANER_BYTES, _) => {
                let positive = trimmed.parse().is_ok_and(|rate: f64| rate > 0.0);
                number(positive, "expected a number above 0")?;
            }
            (CLEANER_BUFFER, _) => {
                let enough = trimmed.parse().is_ok_and(|bytes: usize| bytes >= 1 << 10);
                number(enough, "expected a whole number of at least 1024")?;
            }
            _ => {
                let positive = trimmed.parse().is_ok_and(|ms: i32| ms > 0);
                number(positive, "expected a whole number from 1 to 2147483647")?;
            }
        }
    }
    Ok(())
}

impl Scope {
    pub fn of(self, dynamic: &DynamicConfigs) -> &Configs {
        match self {
            Scope::Cluster => &dynamic.of_cluster,
            Scope::Node => &dynamic.of_node,
        }
    }

    fn changed(self, mut dynamic: DynamicConfigs, configs: Configs) -> DynamicConfigs {
        match self {
            Scope::Cluster => dynamic.of_cluster = configs,
            Scope::Node => dynamic.of_node = configs,
        }
        dynamic
    }
}

/// Topic configs among a broker's settings, by the names that topics have for them.
fn topic_configs(configs: &Configs) -> Configs {
    let of_topic = |(name, value): (&String, &String)| {
        let definition = ConfigDefinition::of_broker(name)?;
        Some((definition.name.to_owned(), value.clone()))
    };
    configs.iter().filter_map(of_topic).collect()
}

fn defaults(config: &BrokerConfig, dynamic: &DynamicConfigs) -> TopicDefaults {
    TopicDefaults {
        of_node: topic_configs(&dynamic.of_node),
        of_cluster: topic_configs(&dynamic.of_cluster),
        given: config.topic_defaults.clone(),
    }
}

impl Broker {
    /// What was changed since the broker was first started.
    pub fn dynamic_configs(&self) -> DynamicConfigs {
        self.dynamic.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn dynamic_number<T: FromStr>(&self, name: &str) -> Option<T> {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        let value = dynamic.of_node.get(name).or_else(|| dynamic.of_cluster.get(name))?;
        value.trim().parse().ok()
    }

    /// What holds for a topic that sets nothing itself.
    pub(crate) fn topic_defaults(&self) -> TopicDefaults {
        defaults(&self.config, &self.dynamic_configs())
    }

    pub(super) fn log_config(&self, config: &TopicConfig) -> LogConfig {
        let ms = self.dynamic_number(PRODUCER_EXPIRATION);
        let producer_expiration_ms = ms.unwrap_or(self.config.producer_id_expiration_ms);
        LogConfig { producer_expiration_ms, ..config.log_config() }
    }

    pub(super) fn cleaner_bytes_per_second_max(&self) -> f64 {
        let rate = self.dynamic_number(CLEANER_BYTES);
        rate.unwrap_or(self.config.cleaner_bytes_per_second_max)
    }

    pub(super) fn cleaner_dedupe_bytes(&self) -> usize {
        let bytes = self.dynamic_number(CLEANER_BUFFER);
        bytes.unwrap_or(self.config.cleaner_dedupe_bytes)
    }

    /// Checks what [`Broker::set_dynamic_configs`] would refuse, and does nothing.
    pub fn check_dynamic_configs(
        &self,
        scope: Scope,
        configs: &Configs,
    ) -> Result<(), DynamicConfigError> {
        check(configs)?;
        let dynamic = scope.changed(self.dynamic_configs(), configs.clone());
        let defaults = defaults(&self.config, &dynamic);
        TopicConfig::new(Configs::new(), defaults.clone())?;
        for topic in self.topics() {
            let fits = TopicConfig::new(topic.config.own().clone(), defaults.clone());
            let topic = topic.name.to_string();
            fits.map_err(|source| DynamicConfigError::Unfit { topic, source })?;
        }
        Ok(())
    }

    /// Replaces what is set for all brokers or for this one. It is durable, and holds, when this
    /// returns.
    pub async fn set_dynamic_configs(
        self: &Arc<Self>,
        scope: Scope,
        configs: Configs,
    ) -> Result<(), DynamicConfigError> {
        self.change(move |broker, catalog| {
            broker.check_dynamic_configs(scope, &configs)?;
            let dynamic = scope.changed(broker.dynamic_configs(), configs);
            catalog.put_dynamic(dynamic.clone()).map_err(TopicError::from)?;
            *broker.dynamic.write().unwrap_or_else(PoisonError::into_inner) = dynamic;
            for topic in broker.topics() {
                let record = catalog.get(&topic.name).expect("a topic is in the catalog").clone();
                let config = TopicConfig::new(record.configs.clone(), broker.topic_defaults())
                    .map_err(TopicError::from)?;
                for partition in topic.partitions() {
                    partition.set_config(broker.log_config(&config));
                }
                broker.show(&record, config, topic.partitions().to_vec());
            }
            Ok(())
        })
        .await
    }
}
