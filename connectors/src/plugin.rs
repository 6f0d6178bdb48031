//! The kinds of connector there are, and the keys that all of one kind share.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::config::{
    ConfigKey, ConfigProblem, ConnectorConfig, KeyFamily, KeyType, Presence, Settings, clients,
};
use crate::errors;
use crate::file;
use crate::generator;
use crate::herder::offsets::{AlterOffsets, CheckOffset};
use crate::herder::restart;
use crate::http;
use crate::postgres;
use crate::process;
use crate::task::{SinkTask, SourceTask};
use crate::transforms::settings;

/// The key that names a plugin.
pub const CLASS_KEY: &str = "connector.class";

/// A kind of connector.
#[derive(Debug)]
pub struct Plugin {
    /// Our short name, such as `file-source`.
    pub name: &'static str,
    /// The names that Kafka Connect's property files use for it.
    pub classes: &'static [&'static str],
    /// One sentence, without a full stop.
    pub doc: &'static str,
    pub tasks: Tasks,
    /// The class that converts keys and values where neither connector nor worker names one.
    pub converter: &'static str,
    /// What stands for properties that are not given, where the other properties decide that.
    pub defaults: fn(&BTreeMap<String, String>) -> Properties,
    /// Finds mistakes that no key has by itself.
    pub check: fn(&Settings, &mut Vec<ConfigProblem>),
    /// For a sink that keeps offsets together with its output: changes them while it is stopped.
    /// Without an offset, the partition is forgotten.
    pub alter_offsets: Option<AlterOffsets>,
    /// For a source: whether it can go on from an offset that somebody wants to write.
    pub check_offset: Option<CheckOffset>,
    /// The keys of its own; see [`Plugin::keys`].
    pub own_keys: &'static [ConfigKey],
    /// Keys of its own that stand once for each of several things, such as services to call.
    pub family: Option<&'static KeyFamily>,
}

/// Properties by name.
pub type Properties = &'static [(&'static str, &'static str)];

/// How a plugin makes its tasks from checked properties. There are never more tasks than
/// `tasks.max` says.
#[derive(Clone, Copy, Debug)]
pub enum Tasks {
    Source(fn(&ConnectorConfig) -> Vec<Box<dyn SourceTask>>),
    Sink(fn(&ConnectorConfig) -> Vec<Box<dyn SinkTask>>),
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorKind {
    /// From outside into topics.
    Source,
    /// From topics to the outside.
    Sink,
}

/// Those that come with Millstream.
const PLUGINS: &[Plugin] = &[
    file::SOURCE_PLUGIN,
    file::SINK_PLUGIN,
    postgres::SOURCE_PLUGIN,
    postgres::sink::PLUGIN,
    http::SINK_PLUGIN,
    http::SOURCE_PLUGIN,
    http::POLL_PLUGIN,
    process::SOURCE_PLUGIN,
    process::SINK_PLUGIN,
    generator::SOURCE_PLUGIN,
];

/// Those that a program has added to them.
static REGISTERED: RwLock<Vec<&'static Plugin>> = RwLock::new(Vec::new());

/// All plugins: those that come with Millstream, then those that were registered.
pub fn plugins() -> Vec<&'static Plugin> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    PLUGINS.iter().chain(registered.iter().copied()).collect()
}

/// Adds a plugin of one's own, for connectors that are checked from now on. One that shares a
/// name with another is not found by it.
pub fn register(plugin: &'static Plugin) {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if !registered.iter().any(|known| known.name == plugin.name) {
        registered.push(plugin);
    }
}

/// The plugin of that short or class name.
pub fn find(class: &str) -> Option<&'static Plugin> {
    plugins().into_iter().find(|plugin| plugin.spellings().any(|spelling| spelling == class))
}

/// For [`Plugin::defaults`]: keys alone have defaults.
pub fn no_defaults(
    _properties: &BTreeMap<String, String>,
) -> &'static [(&'static str, &'static str)] {
    &[]
}

/// For [`Plugin::check`]: keys that are right by themselves are right together.
pub fn no_check(_settings: &Settings, _problems: &mut Vec<ConfigProblem>) {}

impl Plugin {
    pub fn kind(&self) -> ConnectorKind {
        match self.tasks {
            Tasks::Source(_) => ConnectorKind::Source,
            Tasks::Sink(_) => ConnectorKind::Sink,
        }
    }

    /// Every key that a connector of this kind may have.
    pub fn keys(&self) -> impl Iterator<Item = &'static ConfigKey> + use<> {
        let (of_kind, of_client) = match self.kind() {
            ConnectorKind::Source => (SOURCE_KEYS, clients::WRITER_KEYS),
            ConnectorKind::Sink => (SINK_KEYS, clients::READER_KEYS),
        };
        let common = COMMON_KEYS.iter().chain(settings::LIST_KEYS).chain(errors::KEYS);
        let common = common.chain(restart::KEYS);
        common.chain(of_kind).chain(self.own_keys).chain(of_client)
    }

    /// The class that Kafka Connect's users know it by, with its package; else our name.
    pub fn class(&self) -> &'static str {
        self.classes.iter().copied().find(|class| class.contains('.')).unwrap_or(self.name)
    }

    pub(crate) fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.classes.iter().copied())
    }
}

const COMMON_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "name",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The connector's name, under which its offsets are kept",
        example: "flights-file",
    },
    ConfigKey {
        name: CLASS_KEY,
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "What kind of connector this is",
        example: "file-source",
    },
    ConfigKey {
        name: "tasks.max",
        key_type: KeyType::Integer { min: 1, max: 10_000 },
        presence: Presence::Default("1"),
        doc: "The most tasks that the work is split into; a single file is always one",
        example: "1",
    },
    ConfigKey {
        name: "key.converter",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "How keys become bytes and back, by the class of a converter; else the worker's",
        example: "org.apache.kafka.connect.storage.StringConverter",
    },
    ConfigKey {
        name: "value.converter",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "How values become bytes and back, by the class of a converter; else the worker's",
        example: "org.apache.kafka.connect.storage.StringConverter",
    },
    ConfigKey {
        name: "header.converter",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "How headers become bytes and back, by the class of a converter; else the worker's",
        example: "org.apache.kafka.connect.storage.SimpleHeaderConverter",
    },
];

const SOURCE_KEYS: &[ConfigKey] = &[ConfigKey {
    name: "topic.creation.default.partitions",
    key_type: KeyType::Integer { min: 1, max: 10_000 },
    presence: Presence::Default("1"),
    doc: "Partitions of a topic that does not exist yet and is created",
    example: "4",
}];

pub(crate) const TOPICS: &str = "topics";
pub(crate) const TOPICS_REGEX: &str = "topics.regex";
pub(crate) const METADATA_MAX_AGE: &str = "metadata.max.age.ms";

const SINK_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: TOPICS,
        key_type: KeyType::Topics,
        presence: Presence::Optional,
        doc: "The topics to read, separated by commas; either these or topics.regex",
        example: "delays-by-hour",
    },
    ConfigKey {
        name: TOPICS_REGEX,
        key_type: KeyType::Regex,
        presence: Presence::Optional,
        doc: "Reads all topics whose whole names match, those too that are made later",
        example: "orders-.*",
    },
    ConfigKey {
        name: METADATA_MAX_AGE,
        key_type: KeyType::Integer { min: 100, max: 86_400_000 },
        presence: Presence::Default("5000"),
        doc: "How often a sink with topics.regex looks for new topics",
        example: "300000",
    },
    errors::DEAD_LETTER_TOPIC,
    errors::DEAD_LETTER_CONTEXT,
];
