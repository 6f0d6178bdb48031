//! Changes of a PostgreSQL database, by logical replication, as Debezium's connector has them.
//!
//! ```text
//!  slot + publication ─► snapshot ─► COPY, chunk by chunk ─┐
//!                   └──► stream ─► pgoutput ─► changes ────┴─► events ─► prefix.schema.table
//!                          ▲                                                │
//!                          └───────── what is durable is confirmed ◄────────┘
//! ```
//!
//! - [`wire`]: the connection; [`pgoutput`]: what the stream says; [`lsn`]: where in the log.
//! - [`types`]: each type as a schema and values; [`catalog`]: what the database says of its
//!   tables; [`relation`]: a table as the stream says it was; [`table`]: one with its schemas;
//!   [`events`]: the records, and [`json_events`]: the short way to their JSON.
//! - [`changes`]: the stream turned into events; [`snapshot`]: the rows that are there.
//! - [`incremental`]: tables read again while changes stream, on request; [`notifications`]: what
//!   becomes of that, and of the first snapshot.
//! - [`server`]: identity, publication, slot; [`opening`]: what to go on with; [`offset`]: what is
//!   stored; [`source`]: the task, with its `streaming` and the `statement` of
//!   heartbeats; [`error`]: why it cannot go on.
//!   [`preflight`]: what to put right before.
//! - [`config`]: the properties, understood; `keys`: declared.
//! - [`sink`]: the other way: records as rows.
//!
//! Invariants:
//! - No change is missed, and none is told twice: records and position are committed together,
//!   and a transaction that was cut is counted off message by message.
//! - The server is told that changes are done with after they are durable, never before; while
//!   nothing happens it is told that too, so that its log does not pile up.
//! - A stored position is used only with the system, timeline and slot that it belongs to, and a
//!   slot that is gone or has moved on without us is never replaced unasked.
//! - Memory does not grow with a transaction or a table: a message, a poll and a few batches.

pub mod catalog;
pub mod changes;
pub mod config;
pub mod error;
pub mod events;
pub mod incremental;
pub mod json_events;
mod keys;
pub mod lsn;
pub mod notifications;
pub mod offset;
pub mod opening;
pub mod pgoutput;
pub mod preflight;
pub mod publication;
pub mod relation;
pub mod server;
pub mod sink;
pub mod snapshot;
pub mod source;
mod statement;
mod streaming;
pub mod table;
pub mod types;
pub mod wire;

use crate::config::ConnectorConfig;
use crate::convert;
use crate::plugin::{Plugin, Tasks};
use crate::task::SourceTask;

pub const SOURCE_PLUGIN: Plugin = Plugin {
    name: "postgres-source",
    classes: &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector"],
    doc: "Rows of a PostgreSQL database and their changes, by logical replication",
    tasks: Tasks::Source(tasks),
    converter: convert::settings::JSON,
    defaults: config::defaults,
    check: config::check,
    alter_offsets: None,
    check_offset: Some(offset::check),
    own_keys: keys::KEYS,
    family: None,
};

/// One: a slot has one reader.
fn tasks(config: &ConnectorConfig) -> Vec<Box<dyn SourceTask>> {
    vec![Box::new(source::PostgresSource::new(config))]
}
