//! The properties of the process connectors, each declared once.

use crate::config::{ConfigKey, KeyType, Presence, key};

use KeyType::{AnyList, File, Integer, OneOf, Text, Topic};
use Presence::{Default, Optional, Required};

const MILLIS: KeyType = Integer { min: 1, max: 86_400_000 };

#[rustfmt::skip]
const COMMAND: ConfigKey = key("process.command", Text, Required, "The program and its arguments, in quotes where they have blanks; no shell is asked", "python3 feed.py --region 'north west'");
#[rustfmt::skip]
const DIRECTORY: ConfigKey = key("process.directory", File, Optional, "Where it runs; without it beside the file that declares the connector", "feeds");
#[rustfmt::skip]
const ENVIRONMENT: ConfigKey = key("process.environment", AnyList, Default(""), "Variables that it gets beside ours, as NAME=value, separated by commas", "REGION=north,TOKEN=${env:FEED_TOKEN}");
#[rustfmt::skip]
const LINE_BYTES: ConfigKey = key("process.line.bytes.max", Integer { min: 1, max: 256 << 20 }, Default("1000000"), "The longest line that it may write; the default fits the topic's default max.message.bytes", "4000000");
#[rustfmt::skip]
const RESTARTS: ConfigKey = key("process.restarts.max", Integer { min: -1, max: 1_000_000 }, Default("10"), "How often it is started again, after failures in a row, before the task fails; -1 for ever", "-1");
#[rustfmt::skip]
const BACKOFF: ConfigKey = key("process.restart.backoff.ms", MILLIS, Default("500"), "The pause before it is started again; it doubles from one failure to the next", "1000");
#[rustfmt::skip]
const BACKOFF_MAX: ConfigKey = key("process.restart.backoff.max.ms", MILLIS, Default("30000"), "The longest such pause", "60000");
#[rustfmt::skip]
const STOP_TIMEOUT: ConfigKey = key("process.stop.timeout.ms", MILLIS, Default("3000"), "How long it may take to end once its stdin has, before it gets SIGTERM", "1000");

#[rustfmt::skip]
pub(super) const SOURCE_KEYS: &[ConfigKey] = &[
    COMMAND,
    key("topic", Topic, Required, "The topic to write to, created if it does not exist", "events"),
    key("process.format", OneOf(&["messages", "lines"]), Default("messages"), "What it writes: messages in JSON, or lines that are values, for which no offset is kept", "lines"),
    key("process.interval.ms", MILLIS, Optional, "How long after it has ended with status 0 it is started again; without it that is the end", "60000"),
    DIRECTORY, ENVIRONMENT, LINE_BYTES, RESTARTS, BACKOFF, BACKOFF_MAX, STOP_TIMEOUT,
];

#[rustfmt::skip]
pub(super) const SINK_KEYS: &[ConfigKey] = &[
    COMMAND,
    key("process.values", OneOf(&["json", "text"]), Default("json"), "What values are in messages: JSON as it stands, or text", "text"),
    key("process.flush.timeout.ms", MILLIS, Default("60000"), "How long it may take to answer a flush before it is taken for hung", "10000"),
    DIRECTORY, ENVIRONMENT, LINE_BYTES, RESTARTS, BACKOFF, BACKOFF_MAX, STOP_TIMEOUT,
];
