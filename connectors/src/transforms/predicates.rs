//! Predicates: which records a transform is for.

use regex::Regex;

use super::rewrite::whole;
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, Text};

/// Where Kafka's own predicates are.
pub const PACKAGE: &str = "org.apache.kafka.connect.transforms.predicates";

/// A kind of predicate.
#[derive(Debug)]
pub struct PredicatePlugin {
    /// Its class without the package.
    pub name: &'static str,
    /// One sentence, without a full stop.
    pub doc: &'static str,
    pub keys: &'static [ConfigKey],
    pub(super) make: fn(&Settings) -> Predicate,
}

/// All predicates.
pub fn predicates() -> &'static [PredicatePlugin] {
    PREDICATES
}

const PREDICATES: &[PredicatePlugin] = &[
    PredicatePlugin {
        name: "TopicNameMatches",
        doc: "Holds if a pattern matches all of the topic's name",
        keys: &[ConfigKey {
            name: "pattern",
            key_type: KeyType::Regex,
            presence: Presence::Required,
            doc: "The pattern",
            example: "shop\\..*",
        }],
        make: |settings| Predicate::TopicNameMatches(whole(settings.text("pattern"))),
    },
    PredicatePlugin {
        name: "HasHeaderKey",
        doc: "Holds if there is a header of that name",
        keys: &[ConfigKey {
            name: "name",
            key_type: KeyType::Text,
            presence: Presence::Required,
            doc: "The header's name",
            example: "trace-id",
        }],
        make: |settings| Predicate::HasHeaderKey(settings.text("name").into()),
    },
    PredicatePlugin {
        name: "RecordIsTombstone",
        doc: "Holds if the record has no value",
        keys: &[],
        make: |_| Predicate::RecordIsTombstone,
    },
];

/// A predicate.
#[derive(Clone, Debug)]
pub enum Predicate {
    TopicNameMatches(Regex),
    HasHeaderKey(Text),
    RecordIsTombstone,
}

impl Predicate {
    pub fn holds(&self, record: &ConnectRecord) -> bool {
        match self {
            Predicate::TopicNameMatches(pattern) => pattern.is_match(&record.topic),
            Predicate::HasHeaderKey(name) => record.header(name).is_some(),
            Predicate::RecordIsTombstone => record.value.value.is_null(),
        }
    }
}
