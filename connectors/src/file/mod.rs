//! Files as sources and sinks.
//!
//! - [`source`]: lines, rows or whole files into a topic, by one [`input`]: [`tail`] follows one
//!   file and [`mod@directory`] all that a [`pattern`] names (their rules stand there), [`whole`]
//!   takes files as they are, [`stdin`] what comes through a pipe. [`watch`] wakes it; [`share`]
//!   is what one of several tasks has.
//! - [`open`]: one open file, cut into pieces; [`mod@csv`]: what a row is; [`encoding`]: what text
//!   its bytes are; [`compression`]: gzip
//!   and zstd; [`rotation`]: what it does to names; [`position`]: what is stored; [`identity`]:
//!   which file it is.
//! - [`sink`]: records into [`rows`]. [`output`] appends them to one file exactly once, with what
//!   [`sidecar`] keeps beside it; [`parts`] to a directory of files that are complete once they
//!   have their names, a [`generation`] at a time, by a [`journal`], in directories as [`layout`]
//!   says. Each file there is a [`part`]: of lines, or of [columns](crate::columns) as
//!   [`parquet`] writes them.
//! - [`blocking`]: where reading and writing happen.

mod blocking;
mod compression;
mod csv;
mod directory;
mod encoding;
mod generation;
mod identity;
mod input;
mod journal;
mod layout;
mod open;
mod output;
pub(crate) mod parquet;
mod part;
mod parts;
mod pattern;
mod position;
mod rotation;
mod rows;
mod share;
mod sidecar;
mod sink;
mod source;
mod stdin;
mod tail;
mod watch;
mod whole;

use std::collections::BTreeMap;

use crate::config::keys::nearest;
use crate::config::{ConfigKey, KeyType, Presence};
use crate::convert;
use crate::plugin::{self, Plugin, Tasks};

/// Records with fields are JSON without schemas, unless a converter is named.
fn fields_as_json(
    properties: &BTreeMap<String, String>,
) -> &'static [(&'static str, &'static str)] {
    let format = properties.get("format").map(|format| format.trim().to_lowercase());
    let has_fields = matches!(format.as_deref(), Some("csv"));
    let json = has_fields && !properties.contains_key("value.converter");
    match (names_no_file(properties), json) {
        (true, true) => PIPE_OF_JSON,
        (true, false) => &PIPE_OF_JSON[..1],
        (false, true) => JSON_WITHOUT_SCHEMAS,
        (false, false) => &[],
    }
}

/// By Kafka's class names, and in its `connect-console-source.properties`, no file is standard
/// input, or output.
fn names_no_file(properties: &BTreeMap<String, String>) -> bool {
    let class = properties.get(plugin::CLASS_KEY).map(|class| class.trim());
    let is_kafkas = class.is_some_and(|class| {
        [SOURCE_PLUGIN, SINK_PLUGIN].iter().any(|plugin| plugin.classes.contains(&class))
    });
    // One that is misspelt is meant.
    let is_named =
        |key: &String| key == "directory" || nearest(key, ["file"].into_iter()).is_some();
    is_kafkas && !properties.keys().any(is_named)
}

/// What fields are asked of is JSON without schemas, unless a converter is named; columns are
/// compressed as everybody does it.
fn values_of_json(
    properties: &BTreeMap<String, String>,
) -> &'static [(&'static str, &'static str)] {
    let format = properties.get("format").map(|format| format.trim().to_lowercase());
    let columns = format.as_deref() == Some("parquet");
    let has_fields = columns
        || matches!(format.as_deref(), Some("json" | "csv"))
        || properties.get("partition.by").is_some_and(|fields| !fields.trim().is_empty());
    let json = has_fields && !properties.contains_key("value.converter");
    if names_no_file(properties) && !columns {
        return if json { PIPE_OF_JSON } else { &PIPE_OF_JSON[..1] };
    }
    match (columns, json) {
        (true, true) => COLUMNS_OF_JSON,
        (true, false) => &COLUMNS_OF_JSON[..1],
        (false, true) => JSON_WITHOUT_SCHEMAS,
        (false, false) => &[],
    }
}

const JSON_WITHOUT_SCHEMAS: &[(&str, &str)] =
    &[("value.converter", convert::settings::JSON), ("value.converter.schemas.enable", "false")];
const PIPE_OF_JSON: &[(&str, &str)] =
    &[("file", stdin::NAME), JSON_WITHOUT_SCHEMAS[0], JSON_WITHOUT_SCHEMAS[1]];
const COLUMNS_OF_JSON: &[(&str, &str)] =
    &[("compression", "snappy"), JSON_WITHOUT_SCHEMAS[0], JSON_WITHOUT_SCHEMAS[1]];

/// Lines of files into a topic.
pub(crate) const SOURCE_PLUGIN: Plugin = Plugin {
    name: "file-source",
    classes: &[
        "FileStreamSource",
        "FileStreamSourceConnector",
        "org.apache.kafka.connect.file.FileStreamSourceConnector",
    ],
    doc: "Follows files and writes each line, row or file as a record",
    tasks: Tasks::Source(source::tasks),
    converter: convert::settings::STRING,
    defaults: fields_as_json,
    check: source::check,
    alter_offsets: None,
    check_offset: Some(input::check_offset),
    own_keys: SOURCE_KEYS,
    family: None,
};

fn delimiter(text: &str) -> Option<u8> {
    match text {
        "tab" | "\\t" => Some(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii_graphic() && *byte != b'"' => Some(*byte),
            _ => None,
        },
    }
}

/// Records of topics into files.
pub(crate) const SINK_PLUGIN: Plugin = Plugin {
    name: "file-sink",
    classes: &[
        "FileStreamSink",
        "FileStreamSinkConnector",
        "org.apache.kafka.connect.file.FileStreamSinkConnector",
    ],
    doc: "Writes each record's value as a line to a file, or as lines or columns to files in a \
          directory",
    tasks: Tasks::Sink(|config| vec![Box::new(sink::FileSink::new(config))]),
    converter: convert::settings::STRING,
    defaults: values_of_json,
    check: sink::check,
    alter_offsets: Some(sink::alter_offsets),
    check_offset: None,
    own_keys: SINK_KEYS,
    family: None,
};

const SOURCE_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "file",
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "The file to read, a directory, a pattern (`logs/*.log`, `in/**`), or `-` for standard \
              input",
        example: "data/flights.csv",
    },
    ConfigKey {
        name: "format",
        key_type: KeyType::OneOf(&["text", "json", "csv", "whole"]),
        presence: Presence::Default("text"),
        doc: "What is one record: a line of text, a line of JSON, a row of CSV with a field per \
              column, or a whole file with its name as key",
        example: "csv",
    },
    ConfigKey {
        name: "start",
        key_type: KeyType::OneOf(&["beginning", "end"]),
        presence: Presence::Default("beginning"),
        doc: "Whether what is there at the first start is read too, or only what comes later",
        example: "end",
    },
    ConfigKey {
        name: "decompress",
        key_type: KeyType::Boolean,
        presence: Presence::Default("true"),
        doc: "Whether gzip and zstd, known by how they begin, are unpacked",
        example: "false",
    },
    ConfigKey {
        name: "encoding",
        key_type: KeyType::Text,
        presence: Presence::Default("UTF-8"),
        doc: "How lines and rows are encoded, if not in UTF-8: by one byte per character, such as \
              windows-1252 (which ISO-8859-1 is read as), windows-1250, ISO-8859-15 or KOI8-R; \
              records are in UTF-8 in any case",
        example: "windows-1252",
    },
    ConfigKey {
        name: "csv.delimiter",
        key_type: KeyType::Text,
        presence: Presence::Default(","),
        doc: "What stands between the fields of a row; `tab` for a tab",
        example: ";",
    },
    ConfigKey {
        name: "csv.header",
        key_type: KeyType::Boolean,
        presence: Presence::Default("true"),
        doc: "Whether a file's first row names its columns; else they are `column1`, `column2`, …",
        example: "false",
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
        doc: "The longest line or row; the default fits the topic's default max.message.bytes",
        example: "4000000",
    },
    ConfigKey {
        name: "file.bytes.max",
        key_type: KeyType::Integer { min: 1, max: 256 << 20 },
        presence: Presence::Default("1000000"),
        doc: "The longest file that `format = whole` takes",
        example: "16000000",
    },
    ConfigKey {
        name: "poll.interval.ms",
        key_type: KeyType::Integer { min: 1, max: 3_600_000 },
        presence: Presence::Default("250"),
        doc: "How often the file is looked at where the file system sends no events",
        example: "1000",
    },
];

const SINK_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "file",
        key_type: KeyType::File,
        presence: Presence::Optional,
        doc: "The file to append to, created with its directories, or `-` for standard output",
        example: "out/delays.jsonl",
    },
    ConfigKey {
        name: "directory",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "Instead of a file: where to put files that are complete once they have their names",
        example: "out/delays",
    },
    ConfigKey {
        name: "format",
        key_type: KeyType::OneOf(&["text", "json", "csv", "parquet"]),
        presence: Presence::Default("text"),
        doc: "What is a line: a value's text, its JSON, or a row of CSV with a field per column; or \
              Parquet's columns, in files of a directory",
        example: "parquet",
    },
    ConfigKey {
        name: "csv.delimiter",
        key_type: KeyType::Text,
        presence: Presence::Default(","),
        doc: "What stands between the fields of a row; `tab` for a tab",
        example: ";",
    },
    ConfigKey {
        name: "partition.by",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "Fields whose values are directories, as Hive has it: `country=DE/`",
        example: "country, city",
    },
    ConfigKey {
        name: "partition.keep",
        key_type: KeyType::Boolean,
        presence: Presence::Default("false"),
        doc: "Whether these fields are columns of Parquet's files too: many readers take them from the \
              directories' names, which say of an empty text that it is null, and want them there \
              alone; lines have them in any case",
        example: "true",
    },
    ConfigKey {
        name: "partition.time",
        key_type: KeyType::OneOf(&["none", "year", "month", "day", "hour"]),
        presence: Presence::Default("none"),
        doc: "How fine directories divide by records' time in UTC: `year=2026/month=01/`",
        example: "day",
    },
    ConfigKey {
        name: "compression",
        key_type: KeyType::OneOf(&["none", "snappy", "gzip", "zstd", "lz4"]),
        presence: Presence::Default("none"),
        doc: "How files in a directory are compressed: lines by gzip or zstd, Parquet's pages by any \
              of these, by snappy where nothing is said",
        example: "zstd",
    },
    ConfigKey {
        name: "roll.bytes",
        key_type: KeyType::Integer { min: 1, max: 1 << 40 },
        presence: Presence::Default("134217728"),
        doc: "After how many bytes of a topic's partition its files in a directory are complete: of \
              lines that are not yet compressed, or of Parquet as long as it gets",
        example: "16777216",
    },
    ConfigKey {
        name: "roll.records",
        key_type: KeyType::Integer { min: 1, max: 1 << 40 },
        presence: Presence::Optional,
        doc: "After how many records of a topic's partition its files in a directory are complete, \
              if size and time have not made them so before",
        example: "100000",
    },
    ConfigKey {
        name: "roll.ms",
        key_type: KeyType::Integer { min: 1, max: 30 * 24 * 3_600_000 },
        presence: Presence::Default("600000"),
        doc: "How long after their first record files in a directory are complete",
        example: "60000",
    },
    ConfigKey {
        name: "files.open.max",
        key_type: KeyType::Integer { min: 1, max: 10_000 },
        presence: Presence::Default("64"),
        doc: "How many files in a directory are written at once; one more completes those there are",
        example: "500",
    },
];
