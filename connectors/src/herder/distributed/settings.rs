//! What a worker's properties say of its group, by Kafka Connect's names and defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::client::NewTopic;

use crate::config::{ConfigKey, ConfigProblem, KeyType, Presence, Settings};
use crate::offsets::OFFSETS_TOPIC;

/// The key that makes a worker one of several.
pub const GROUP_KEY: &str = "group.id";

/// The keys, for the documentation too.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: GROUP_KEY,
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "The group of workers that share connectors; without it, this worker is alone",
        example: "connect-cluster",
    },
    ConfigKey {
        name: "config.storage.topic",
        key_type: KeyType::Topic,
        presence: Presence::Default("connect-configs"),
        doc: "The topic of connectors, with one partition; created if it does not exist",
        example: "connect-configs",
    },
    ConfigKey {
        name: "offset.storage.topic",
        key_type: KeyType::Topic,
        presence: Presence::Default(OFFSETS_TOPIC),
        doc: "The topic of sources' offsets; created if it does not exist",
        example: "connect-offsets",
    },
    ConfigKey {
        name: "offset.storage.partitions",
        key_type: PARTITIONS,
        presence: Presence::Default("25"),
        doc: "How many partitions it is created with",
        example: "5",
    },
    ConfigKey {
        name: "status.storage.topic",
        key_type: KeyType::Topic,
        presence: Presence::Default("connect-status"),
        doc: "The topic of how tasks stand; created if it does not exist",
        example: "connect-status",
    },
    ConfigKey {
        name: "status.storage.partitions",
        key_type: PARTITIONS,
        presence: Presence::Default("5"),
        doc: "How many partitions it is created with",
        example: "1",
    },
    ConfigKey {
        name: "session.timeout.ms",
        key_type: TIMEOUT,
        presence: Presence::Default("10000"),
        doc: "Silence after which a worker is taken for dead, and others take over its tasks, and \
              what its sinks had to write",
        example: "30000",
    },
    ConfigKey {
        name: "rebalance.timeout.ms",
        key_type: TIMEOUT,
        presence: Presence::Default("60000"),
        doc: "How long the others wait for a worker that stops tasks",
        example: "120000",
    },
];

const PARTITIONS: KeyType = KeyType::Integer { min: 1, max: 10_000 };
const TIMEOUT: KeyType = KeyType::Integer { min: 1_000, max: 3_600_000 };

/// What was understood.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    pub group: String,
    pub config_topic: String,
    pub offsets_topic: NewTopic,
    pub status_topic: NewTopic,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
}

impl GroupSettings {
    /// `None` for a worker that is alone; otherwise all that is wrong, if anything is.
    pub fn of(
        worker: &BTreeMap<String, String>,
    ) -> Result<Option<GroupSettings>, Vec<ConfigProblem>> {
        if !worker.contains_key(GROUP_KEY) {
            return Ok(None);
        }
        let mut problems = Vec::new();
        let settings = Settings::check("", KEYS, worker, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let topic = |name: &str, partitions: &str| {
            let partitions = i32::try_from(settings.integer(partitions)).unwrap_or(1);
            NewTopic::new(settings.text(name), partitions).with_config("cleanup.policy", "compact")
        };
        let ms = |name: &str| Duration::from_millis(settings.integer(name) as u64);
        let settings = GroupSettings {
            group: settings.text(GROUP_KEY).to_owned(),
            config_topic: settings.text("config.storage.topic").to_owned(),
            offsets_topic: topic("offset.storage.topic", "offset.storage.partitions"),
            status_topic: topic("status.storage.topic", "status.storage.partitions"),
            session_timeout: ms("session.timeout.ms"),
            rebalance_timeout: ms("rebalance.timeout.ms"),
        };
        let names =
            [&settings.config_topic, &settings.offsets_topic.name, &settings.status_topic.name];
        if names[0] == names[1] || names[1] == names[2] || names[0] == names[2] {
            return Err(vec![ConfigProblem {
                key: "config.storage.topic".to_owned(),
                value: Some(settings.config_topic.clone()),
                message: "connectors, offsets and statuses need a topic each".to_owned(),
                help: Some(
                    "give `config.storage.topic`, `offset.storage.topic` and \
                     `status.storage.topic` different names"
                        .to_owned(),
                ),
            }]);
        }
        Ok(Some(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> Result<Option<GroupSettings>, Vec<String>> {
        let worker = lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        GroupSettings::of(&worker.collect())
            .map_err(|problems| problems.iter().map(ConfigProblem::in_words).collect())
    }

    #[test]
    fn connects_names_and_defaults_are_ours() {
        assert!(of(&[("bootstrap.servers", "h:1")]).unwrap().is_none());
        let settings = of(&[("group.id", "g"), ("offset.storage.topic", "o")]).unwrap().unwrap();
        assert_eq!(
            (settings.group.as_str(), settings.config_topic.as_str()),
            ("g", "connect-configs")
        );
        assert_eq!(settings.offsets_topic.partitions, Some(25));
        assert_eq!(settings.offsets_topic.name, "o");
        assert_eq!(settings.status_topic.configs["cleanup.policy"], "compact");
        assert_eq!(settings.session_timeout, Duration::from_secs(10));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = of(&[("group.id", ""), ("offset.storage.partitions", "0")]).unwrap_err();
        assert_eq!(
            wrong,
            [
                "`group.id` is empty; for example `group.id = connect-cluster`",
                "`offset.storage.partitions` must be at least 1, not 0; for example \
                 `offset.storage.partitions = 5`",
            ]
        );
        let same = of(&[("group.id", "g"), ("status.storage.topic", "connect-configs")]);
        assert!(same.unwrap_err()[0].starts_with("connectors, offsets and statuses need a topic"));
    }
}
