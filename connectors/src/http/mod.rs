//! HTTP services as sinks, and as sources.
//!
//! ```text
//! topic ─► conditions ─► templates ─► calls, in order per key ─► 2xx ─► offsets committed
//!                                        └─ retries ─► refused ─► dead letters
//! POST ─► listener ─► records ─► durable ─► 200
//! poll ─► answer ─► records and offset, one transaction
//! ```
//!
//! - [`sink`]: the task; [`service`]: what a record is to a service; [`delivery`]: the calls;
//!   [`retry`]: which are made again.
//! - [`record`]: what can be asked of a record; [`template`], [`condition`]: who asks.
//! - [`source`]: the task that takes records by POST; [`listener`]: its server, `surface`: who may
//!   ask it; [`intake`]: what bodies are. [`poll`]: the task that asks an address again and again.
//! - [`guard`]: who may ask servers of ours; [`connection`]: with TLS or without; [`closing`]: how
//!   a server lets its last answer arrive.
//! - [`client`]: calls themselves; [`tls`], [`auth`]: whom they trust, and who makes them;
//!   [`oauth`]: the same by tokens that are asked for.
//! - `keys`: the properties, declared.
//!
//! Invariants:
//! - An offset is committed when all services that its record is for have taken it, or it was
//!   disposed of as a record that was refused; never before.
//! - A sender is answered 200 when its records are durable, never before.
//! - Calls for records of one key, to one service, never overlap, and keep their order.
//! - No secret is in a message: addresses are shown without credentials and query.

pub mod auth;
pub mod client;
pub mod closing;
pub mod condition;
pub mod connection;
pub mod delivery;
pub mod guard;
pub mod intake;
mod keys;
pub mod listener;
pub mod oauth;
pub mod poll;
pub mod record;
pub mod retry;
pub mod service;
pub mod sink;
pub mod source;
mod surface;
pub mod template;
pub mod tls;

use crate::convert;
use crate::plugin::{self, Plugin, Tasks};

pub(crate) const SINK_PLUGIN: Plugin = Plugin {
    name: "http-sink",
    classes: &["io.aiven.kafka.connect.http.HttpSinkConnector", "HttpSinkConnector"],
    doc: "Calls HTTP services for each record, one by one or in batches",
    tasks: Tasks::Sink(|config| {
        let tasks = config.integer("tasks.max");
        (0..tasks).map(|_| Box::new(sink::HttpSink::new(config)) as _).collect()
    }),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: sink::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: keys::SINK_KEYS,
    family: Some(&keys::SERVICES),
};

pub(crate) const SOURCE_PLUGIN: Plugin = Plugin {
    name: "http-source",
    classes: &[],
    doc: "Takes records by POST, and answers when they are durable",
    tasks: Tasks::Source(|config| vec![Box::new(source::HttpSource::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: source::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: keys::LISTENER_KEYS,
    family: None,
};

pub(crate) const POLL_PLUGIN: Plugin = Plugin {
    name: "http-poll-source",
    classes: &[],
    doc: "Asks an address for records, again and again",
    tasks: Tasks::Source(|config| vec![Box::new(poll::HttpPoll::new(config))]),
    converter: convert::settings::STRING,
    defaults: plugin::no_defaults,
    check: poll::check,
    alter_offsets: None,
    check_offset: None,
    own_keys: keys::POLL_KEYS,
    family: None,
};
