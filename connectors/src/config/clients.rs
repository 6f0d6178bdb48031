//! What is said of the clients that read for sinks and write for sources, by the names that Kafka
//! has for it: `consumer.override.*` and `producer.override.*` of a connector (KIP-458), and where
//! that says nothing `consumer.*` and `producer.*` of its worker.
//!
//! Keys of Kafka's clients that are not here tune what does not exist here; they are named in the
//! one warning for such keys.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::client::{Isolation, ProducerOptions, ReadFrom, ReaderOptions, WithoutOffset};
use broker::record::Compression;

use super::{ConfigKey, ConfigProblem, KeyType, Presence, Settings, key};
use crate::plugin::{self, ConnectorKind, Plugin};

const OF_CONNECTOR: &str = "override.";

const GROUP_ID: &str = "consumer.override.group.id";
const SESSION_TIMEOUT: &str = "consumer.override.session.timeout.ms";
const OFFSET_RESET: &str = "consumer.override.auto.offset.reset";
const ISOLATION: &str = "consumer.override.isolation.level";
const FETCH_BYTES: &str = "consumer.override.max.partition.fetch.bytes";
const COMPRESSION: &str = "producer.override.compression.type";
const TRANSACTION_TIMEOUT: &str = "producer.override.transaction.timeout.ms";

const MS: KeyType = KeyType::Integer { min: 1, max: 3_600_000 };

/// Of sinks.
#[rustfmt::skip]
pub(crate) const READER_KEYS: &[ConfigKey] = &[
    key(GROUP_ID, KeyType::Text, Presence::Optional,
        "The group that it reads as, instead of connect-NAME", "orders-to-files"),
    key(SESSION_TIMEOUT, MS, Presence::Optional,
        "Silence after which a task is taken for dead and others get its partitions; else the \
         worker's, which is 45 s where a worker is alone", "10000"),
    key(OFFSET_RESET, KeyType::OneOf(&["earliest", "latest"]), Presence::Default("earliest"),
        "Where to begin in a partition of which the group has committed nothing", "latest"),
    key(ISOLATION, KeyType::OneOf(&["read_committed", "read_uncommitted"]),
        Presence::Default("read_committed"),
        "Whether records of open and aborted transactions are read", "read_uncommitted"),
    key(FETCH_BYTES, KeyType::Integer { min: 1, max: 1 << 30 }, Presence::Default("1048576"),
        "About how many bytes of a partition are read and handed to the sink at once", "262144"),
];

/// Of sources.
#[rustfmt::skip]
pub(crate) const WRITER_KEYS: &[ConfigKey] = &[
    key(COMPRESSION, KeyType::OneOf(&["none", "gzip", "snappy", "lz4", "zstd"]),
        Presence::Default("none"), "How batches of records are compressed", "zstd"),
    key(TRANSACTION_TIMEOUT, MS, Presence::Default("60000"),
        "How long after a crash what it had not committed may hold up readers of the same topics, \
         unless it is started again before", "10000"),
];

/// How a sink reads.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub group: String,
    pub without_offset: WithoutOffset,
    pub isolation: Isolation,
    session_timeout: Option<Duration>,
    event_bytes_max: usize,
}

impl Reading {
    pub(super) fn new(connector: &str, settings: &Settings) -> Reading {
        let group = settings.optional_text(GROUP_ID).map(str::to_owned);
        let session_timeout = settings.optional_integer(SESSION_TIMEOUT);
        Reading {
            group: group.unwrap_or_else(|| format!("connect-{connector}")),
            without_offset: match settings.text(OFFSET_RESET) {
                "latest" => WithoutOffset::Latest,
                _ => WithoutOffset::Earliest,
            },
            session_timeout: session_timeout.map(|ms| Duration::from_millis(ms as u64)),
            isolation: match settings.text(ISOLATION) {
                "read_uncommitted" => Isolation::ReadUncommitted,
                _ => Isolation::ReadCommitted,
            },
            event_bytes_max: settings.integer(FETCH_BYTES) as usize,
        }
    }

    /// As a member of its group, by the worker's timeout if it has none of its own.
    pub fn options(&self, topics: Vec<String>, session_timeout: Duration) -> ReaderOptions {
        let mut options = ReaderOptions::group(&self.group, topics);
        if let ReadFrom::Group(group) = &mut options.from {
            group.session_timeout = self.session_timeout.unwrap_or(session_timeout);
            group.without_offset = self.without_offset;
        }
        let Reading { isolation, event_bytes_max, .. } = *self;
        ReaderOptions { isolation, event_bytes_max, ..options }
    }
}

/// How a source writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    pub compression: Compression,
    transaction_timeout: Duration,
}

impl Writing {
    pub(super) fn new(settings: &Settings) -> Writing {
        let compression = settings.text(COMPRESSION).parse();
        let timeout = settings.integer(TRANSACTION_TIMEOUT) as u64;
        Writing {
            compression: compression.expect("one of the words that the key may have"),
            transaction_timeout: Duration::from_millis(timeout),
        }
    }

    pub fn options(&self, transactional_id: String) -> ProducerOptions {
        let transactional_id = Some(transactional_id);
        let Writing { transaction_timeout, .. } = *self;
        ProducerOptions { transactional_id, transaction_timeout, ..ProducerOptions::default() }
    }
}

/// The keys that a worker may say for all its connectors, as it says them. A group is each
/// connector's own.
fn of_workers() -> impl Iterator<Item = (String, &'static ConfigKey)> {
    let all = READER_KEYS.iter().chain(WRITER_KEYS).filter(|key| key.name != GROUP_ID);
    all.map(|key| (key.name.replacen(OF_CONNECTOR, "", 1), key))
}

/// Whether a worker's key counts for its connectors.
pub fn is_workers(name: &str) -> bool {
    of_workers().any(|(known, _)| known == name)
}

/// What is wrong with those of a worker.
pub(super) fn check_workers(worker: &BTreeMap<String, String>, problems: &mut Vec<ConfigProblem>) {
    for (name, key) in of_workers() {
        let wrong = worker.get(&name).and_then(|text| key.parse_as(&name, text).err());
        problems.extend(wrong);
    }
}

/// A connector's properties with what its worker says where they say nothing. What is wrong with
/// that is told of the worker.
pub(super) fn with_workers(
    mut properties: BTreeMap<String, String>,
    worker: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let class = properties.get(plugin::CLASS_KEY).map(|class| class.trim());
    let Some(plugin) = class.and_then(plugin::find) else { return properties };
    for (name, key) in of_workers().filter(|(_, key)| has(plugin, key)) {
        if let Some(text) = worker.get(&name).filter(|text| key.parse(text).is_ok()) {
            properties.entry(key.name.to_owned()).or_insert_with(|| text.clone());
        }
    }
    properties
}

fn has(plugin: &Plugin, key: &ConfigKey) -> bool {
    let keys = match plugin.kind() {
        ConnectorKind::Source => WRITER_KEYS,
        ConnectorKind::Sink => READER_KEYS,
    };
    keys.iter().any(|known| known.name == key.name)
}
