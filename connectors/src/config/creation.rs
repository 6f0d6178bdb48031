//! How topics are made that a source needs and that are not there (KIP-158).
//!
//! ```text
//! topic.creation.groups = compacted
//! topic.creation.compacted.include = .*-state, users
//! topic.creation.compacted.cleanup.policy = compact
//! topic.creation.default.partitions = 4
//! topic.creation.default.retention.ms = 3600000
//! ```
//!
//! The first group whose patterns have the topic's whole name counts, else `default`. A group
//! that says nothing of partitions has the default's; the settings of topics are its own alone.
//! How many replicas there are is for the cluster to say.

use std::collections::BTreeMap;

use broker::client::NewTopic;
use regex::Regex;

use super::{ConfigKey, ConfigProblem, KeyType, Presence, Value};

const PREFIX: &str = "topic.creation.";
const GROUPS: &str = "topic.creation.groups";
const DEFAULT: &str = "default";

/// A group's keys that are no settings of topics.
const OWN: [&str; 4] = ["include", "exclude", "partitions", REPLICATION_FACTOR];

const REPLICATION_FACTOR: &str = "replication.factor";

const PARTITIONS: ConfigKey = ConfigKey {
    name: "partitions",
    key_type: KeyType::Integer { min: -1, max: 10_000 },
    presence: Presence::Optional,
    doc: "Partitions of the topics of a group; -1 is the broker's default",
    example: "4",
};

/// What the properties say of it.
#[derive(Clone, Debug, Default)]
pub struct TopicCreation {
    groups: Vec<Group>,
    configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Group {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    /// `None`: the default's; -1: the broker's.
    partitions: Option<i64>,
    configs: BTreeMap<String, String>,
}

impl TopicCreation {
    /// Checks all keys of it but the default's partitions, which every source declares.
    pub(super) fn check(
        properties: &BTreeMap<String, String>,
        problems: &mut Vec<ConfigProblem>,
    ) -> TopicCreation {
        let groups = names(properties).into_iter().map(|name| group(&name, properties, problems));
        let groups = groups.collect();
        TopicCreation { groups, configs: configs(DEFAULT, properties) }
    }

    /// Whether a group has the topic.
    pub(super) fn names(&self, topic: &str) -> bool {
        self.group(topic).is_some()
    }

    fn group(&self, topic: &str) -> Option<&Group> {
        let has = |patterns: &[Regex]| patterns.iter().any(|one| one.is_match(topic));
        self.groups.iter().find(|one| has(&one.include) && !has(&one.exclude))
    }

    /// The topic as it is to be made. What the properties say of it comes before what a source
    /// says of itself.
    pub fn of(&self, topic: &NewTopic) -> NewTopic {
        let mut topic = topic.clone();
        let group = self.group(&topic.name);
        match group.and_then(|group| group.partitions) {
            None => {}
            Some(-1) => topic.partitions = None,
            Some(partitions) => topic.partitions = i32::try_from(partitions).ok(),
        }
        let configs = group.map_or(&self.configs, |group| &group.configs);
        topic.configs.extend(configs.clone());
        topic
    }
}

/// Whether a key is about making topics, and of a group that there is.
pub(super) fn knows(key: &str, properties: &BTreeMap<String, String>) -> bool {
    key == GROUPS
        || names(properties).iter().any(|name| of_group(name, key).is_some())
        || of_group(DEFAULT, key).is_some_and(|own| !OWN.contains(&own) || own == PARTITIONS.name)
}

/// Whether a key of a group says what the cluster alone decides.
pub(super) fn has_no_meaning(key: &str, properties: &BTreeMap<String, String>) -> bool {
    names(properties).iter().any(|name| of_group(name, key) == Some(REPLICATION_FACTOR))
}

fn names(properties: &BTreeMap<String, String>) -> Vec<String> {
    let names = properties.get(GROUPS).map_or("", String::as_str).split(',');
    let names = names.map(str::trim).filter(|name| !name.is_empty() && *name != DEFAULT);
    names.map(str::to_owned).collect()
}

/// A key of a group, without what is before it.
fn of_group<'a>(group: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(PREFIX)?.strip_prefix(group)?.strip_prefix('.')
}

fn configs(group: &str, properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let of_it = properties.iter().filter_map(|(key, value)| Some((of_group(group, key)?, value)));
    let configs = of_it.filter(|(own, _)| !OWN.contains(own));
    configs.map(|(own, value)| (own.to_owned(), value.trim().to_owned())).collect()
}

fn group(
    name: &str,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Group {
    let full = |own: &str| format!("{PREFIX}{name}.{own}");
    let mut patterns = |own: &str| {
        let key = full(own);
        let list = properties.get(&key).map_or("", String::as_str).split(',').map(str::trim);
        let mut patterns = Vec::new();
        for pattern in list.filter(|pattern| !pattern.is_empty()) {
            match Regex::new(&format!("^(?:{pattern})$")) {
                Ok(pattern) => patterns.push(pattern),
                Err(_) => problems.push(ConfigProblem {
                    key: key.clone(),
                    value: Some(pattern.to_owned()),
                    message: format!("`{key}`: '{pattern}' is no pattern"),
                    help: Some("patterns are regular expressions of whole names".to_owned()),
                }),
            }
        }
        patterns
    };
    let (include, exclude) = (patterns("include"), patterns("exclude"));
    let key = full("include");
    if !properties.contains_key(&key) {
        problems.push(ConfigProblem {
            message: format!("`{key}` is missing: which topics are of the group"),
            key,
            value: None,
            help: Some("for example `orders, .*-state`".to_owned()),
        });
    }
    let key = full(PARTITIONS.name);
    let partitions = properties.get(&key).map(|text| PARTITIONS.parse_as(&key, text));
    let partitions = match partitions.transpose() {
        Ok(Some(Value::Integer(0))) => {
            problems.push(ConfigProblem {
                message: format!("`{key}` must be at least 1, or -1 for the broker's default"),
                key,
                value: Some("0".to_owned()),
                help: None,
            });
            None
        }
        Ok(Some(Value::Integer(partitions))) => Some(partitions),
        Ok(_) => None,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    Group { include, exclude, partitions, configs: configs(name, properties) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creation(lines: &[(&str, &str)]) -> (TopicCreation, Vec<String>) {
        let properties: BTreeMap<String, String> = lines
            .iter()
            .map(|(key, value)| (format!("topic.creation.{key}"), (*value).to_owned()))
            .collect();
        let mut problems = Vec::new();
        let creation = TopicCreation::check(&properties, &mut problems);
        for key in properties.keys() {
            if !knows(key, &properties) {
                problems.push(ConfigProblem {
                    key: key.clone(),
                    value: None,
                    message: format!("{key} is unknown"),
                    help: None,
                });
            }
        }
        (creation, problems.iter().map(ConfigProblem::in_words).collect())
    }

    #[test]
    fn the_first_group_that_has_a_topic_says_how_it_is_made() {
        let (creation, problems) = creation(&[
            ("groups", "state, big"),
            ("state.include", ".*-state, users"),
            ("state.exclude", "old-.*"),
            ("state.cleanup.policy", "compact"),
            ("big.include", ".*-state|orders"),
            ("big.partitions", "12"),
            ("default.retention.ms", "1000"),
        ]);
        assert_eq!(problems, [] as [&str; 0]);
        let made = |name: &str| creation.of(&NewTopic::new(name, 3).with_config("a", 1));
        let with = |topic: NewTopic, configs: &[(&str, &str)]| {
            configs.iter().fold(topic, |topic, (key, value)| topic.with_config(key, value))
        };
        let of = |name: &str, partitions, configs: &[(&str, &str)]| {
            with(NewTopic::new(name, partitions).with_config("a", 1), configs)
        };
        assert_eq!(made("x-state"), of("x-state", 3, &[("cleanup.policy", "compact")]));
        assert_eq!(made("old-state"), of("old-state", 12, &[]));
        assert_eq!(made("orders"), of("orders", 12, &[]));
        assert_eq!(made("orders2"), of("orders2", 3, &[("retention.ms", "1000")]));
    }

    #[test]
    fn how_many_replicas_there_are_is_named_in_the_warning() {
        let properties = [
            ("connector.class", "file-source"),
            ("file", "f"),
            ("topic", "t"),
            ("topic.creation.groups", "a"),
            ("topic.creation.a.include", "t"),
            ("topic.creation.a.replication.factor", "3"),
            ("topic.creation.default.replication.factor", "-1"),
        ];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let config = crate::validate("s", &properties, std::path::Path::new("/")).unwrap();
        assert_eq!(
            config.warning().unwrap(),
            "connector 's': keys 'topic.creation.a.replication.factor', \
             'topic.creation.default.replication.factor' have no meaning here"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let (_, problems) = creation(&[
            ("groups", "a, b"),
            ("a.include", "(x"),
            ("a.partitions", "0"),
            ("c.include", "x"),
        ]);
        assert_eq!(
            problems,
            [
                "`topic.creation.a.include`: '(x' is no pattern; patterns are regular expressions \
                 of whole names",
                "`topic.creation.a.partitions` must be at least 1, or -1 for the broker's default",
                "`topic.creation.b.include` is missing: which topics are of the group; for \
                 example `orders, .*-state`",
                "topic.creation.c.include is unknown",
            ]
        );
    }
}
