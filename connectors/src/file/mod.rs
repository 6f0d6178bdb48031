//! Files as sources and sinks.
//!
//! - [`source`]: lines into a topic. [`tail`] follows the file (its rules stand there), [`watch`]
//!   wakes it, [`position`] is what it stores, [`identity`] tells files apart.
//! - [`sink`]: records into lines. [`output`] writes them exactly once, with what [`sidecar`]
//!   keeps beside the file.
//! - [`blocking`]: where reading and writing happen.

mod blocking;
mod identity;
mod output;
mod position;
mod sidecar;
mod sink;
mod source;
mod tail;
mod watch;

use crate::config::{ConfigKey, KeyType, Presence};
use crate::convert;
use crate::plugin::{self, Plugin, Tasks};

/// Lines of a file into a topic.
pub(crate) const SOURCE_PLUGIN: Plugin = Plugin {
    name: "file-source",
    classes: &[
        "FileStreamSource",
        "FileStreamSourceConnector",
        "org.apache.kafka.connect.file.FileStreamSourceConnector",
    ],
    doc: "Follows a text file and writes each line as a record",
    tasks: Tasks::Source(|config| vec![Box::new(source::FileSource::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: None,
    own_keys: SOURCE_KEYS,
    family: None,
};

/// Records of topics into a file.
pub(crate) const SINK_PLUGIN: Plugin = Plugin {
    name: "file-sink",
    classes: &[
        "FileStreamSink",
        "FileStreamSinkConnector",
        "org.apache.kafka.connect.file.FileStreamSinkConnector",
    ],
    doc: "Appends each record's value as a line to a file",
    tasks: Tasks::Sink(|config| vec![Box::new(sink::FileSink::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: plugin::no_check,
    alter_offsets: Some(output::alter_offsets),
    own_keys: SINK_KEYS,
    family: None,
};

const SOURCE_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "file",
        key_type: KeyType::File,
        presence: Presence::Required,
        doc: "The file to read",
        example: "data/flights.csv",
    },
    ConfigKey {
        name: "topic",
        key_type: KeyType::Topic,
        presence: Presence::Required,
        doc: "The topic to write to, created if it does not exist",
        example: "flights",
    },
    ConfigKey {
        name: "batch.size",
        key_type: KeyType::Integer { min: 1, max: 1_000_000 },
        presence: Presence::Default("100000"),
        doc: "The most lines in one record batch; a batch of 512 KiB is full in any case",
        example: "2000",
    },
    ConfigKey {
        name: "line.bytes.max",
        key_type: KeyType::Integer { min: 1, max: 256 << 20 },
        presence: Presence::Default("1000000"),
        doc: "The longest line; the default fits the topic's default max.message.bytes",
        example: "4000000",
    },
    ConfigKey {
        name: "poll.interval.ms",
        key_type: KeyType::Integer { min: 1, max: 3_600_000 },
        presence: Presence::Default("250"),
        doc: "How often the file is looked at where the file system sends no events",
        example: "1000",
    },
];

const SINK_KEYS: &[ConfigKey] = &[ConfigKey {
    name: "file",
    key_type: KeyType::File,
    presence: Presence::Required,
    doc: "The file to append to; it and its directories are created if they do not exist",
    example: "out/delays.jsonl",
}];
