//! Which metrics clients are to be asked for (KIP-714): subscriptions, kept by name.
//!
//! They are kept, checked and told as Kafka does; as there, nobody is asked for anything unless
//! there is something to take the metrics, which there is not here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use regex::Regex;

use super::{Broker, DynamicConfigError, TopicError};

type Configs = BTreeMap<String, String>;

/// A setting of a subscription.
#[derive(Debug)]
pub struct ClientMetricsDefinition {
    pub name: &'static str,
    pub doc: &'static str,
    pub default: &'static str,
    pub is_list: bool,
}

pub const CLIENT_METRICS_CONFIGS: &[ClientMetricsDefinition] = &[
    ClientMetricsDefinition {
        name: "interval.ms",
        doc: "how often clients push metrics",
        default: "300000",
        is_list: false,
    },
    ClientMetricsDefinition {
        name: "match",
        doc: "which clients are asked: KEY=REGEX, separated by commas; all of them if there is none",
        default: "",
        is_list: true,
    },
    ClientMetricsDefinition {
        name: "metrics",
        doc: "beginnings of the names of metrics, separated by commas; * for all",
        default: "",
        is_list: true,
    },
];

/// What clients can be told apart by.
const MATCH_KEYS: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];
const INTERVAL_MS: std::ops::RangeInclusive<i32> = 100..=3_600_000;
/// What an expression may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// More subscriptions than these are a mistake.
const SUBSCRIPTIONS_MAX: usize = 1_000;

fn check(configs: &Configs) -> Result<(), DynamicConfigError> {
    for (name, value) in configs {
        let invalid = |expected: &str| {
            Err(DynamicConfigError::Invalid {
                name: name.clone(),
                value: value.clone(),
                expected: expected.to_owned(),
            })
        };
        match name.as_str() {
            "interval.ms" => match value.trim().parse() {
                Ok(ms) if INTERVAL_MS.contains(&ms) => {}
                Ok(ms) => return Err(DynamicConfigError::ClientMetricsInterval(ms)),
                Err(_) => return invalid("expected a whole number from 100 to 3600000"),
            },
            "match" => {
                for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                    let Some((key, pattern)) = pair.split_once('=') else {
                        return invalid("Illegal client matching pattern");
                    };
                    if !MATCH_KEYS.contains(&key.trim()) {
                        return invalid("Illegal client matching pattern");
                    }
                    let built = regex::RegexBuilder::new(pattern.trim())
                        .size_limit(PATTERN_BYTES_MAX)
                        .build();
                    let Ok::<Regex, _>(_) = built else {
                        return invalid("Illegal client matching pattern");
                    };
                }
            }
            "metrics" => {}
            _ => return Err(DynamicConfigError::UnknownOfClientMetrics(name.clone())),
        }
    }
    Ok(())
}

impl Broker {
    /// What was set for a subscription.
    pub fn client_metrics_configs(&self, name: &str) -> Configs {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        dynamic.of_client_metrics.get(name).cloned().unwrap_or_default()
    }

    /// Checks what [`Broker::set_client_metrics_configs`] would refuse, and does nothing.
    pub fn check_client_metrics_configs(
        &self,
        configs: &Configs,
    ) -> Result<(), DynamicConfigError> {
        check(configs)
    }

    /// Replaces what is set for a subscription; without anything it is gone. It is durable when
    /// this returns.
    pub async fn set_client_metrics_configs(
        self: &Arc<Self>,
        name: &str,
        configs: Configs,
    ) -> Result<(), DynamicConfigError> {
        let name = name.to_owned();
        self.change(move |broker, catalog| {
            check(&configs)?;
            let mut dynamic = broker.dynamic_configs();
            match configs.is_empty() {
                true => _ = dynamic.of_client_metrics.remove(&name),
                false => _ = dynamic.of_client_metrics.insert(name, configs),
            }
            if dynamic.of_client_metrics.len() > SUBSCRIPTIONS_MAX {
                return Err(DynamicConfigError::TooManySubscriptions(SUBSCRIPTIONS_MAX));
            }
            catalog.put_dynamic(dynamic.clone()).map_err(TopicError::from)?;
            *broker.dynamic.write().unwrap_or_else(PoisonError::into_inner) = dynamic;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_checked() {
        let check = |name: &str, value: &str| {
            check(&Configs::from([(name.to_owned(), value.to_owned())]))
                .map_err(|error| error.to_string())
        };
        for (name, value) in [
            ("interval.ms", "100"),
            ("metrics", "org.apache.kafka.producer.,*"),
            ("match", ""),
            ("match", "client_software_name=apache-kafka-java, client_id=a.*"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
        for (name, value) in [
            ("interval.ms", "99"),
            ("interval.ms", "often"),
            ("match", "client_id"),
            ("match", "name=a"),
            ("match", "client_id=("),
            ("no.such", "1"),
        ] {
            assert!(check(name, value).unwrap_err().contains(name), "{name}={value}");
        }
    }
}
