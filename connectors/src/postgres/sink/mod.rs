//! Rows of a PostgreSQL database from records, as JDBC sinks write them.
//!
//! ```text
//! records ─► changes ─► runs of rows alike ─► one transaction: fence, rows, offset
//!                                                   │ the server refuses a row
//!                                                   └─► one by one, to find which
//! ```
//!
//! - [`config`]: the properties, understood; `keys`: declared.
//! - [`change`]: what a record asks for; [`literal`]: values as the server reads them, and
//!   [`semantic`] what Debezium's types stand for; [`table`]: what the server says of a table, and
//!   how one is made; [`batch`]: changes as statements.
//! - [`writer`]: the connection and its transactions; [`task`]: the task.
//!
//! Invariants:
//! - Rows and the offset behind them become visible together, in a table of offsets beside them:
//!   each record counts once, whatever crashes, and wherever the group's own offsets are.
//! - A task writes only where the stored offset is the one it knows; another that has gone on in
//!   the meantime is never overtaken.
//! - Changes of a row are applied in the order of their records.
//! - A row that the server refuses takes no other with it, and is a dead letter before the others
//!   count: after a crash in between it may be one twice, but never none, and no row is written
//!   twice.

mod batch;
mod change;
pub mod config;
mod keys;
mod literal;
mod semantic;
mod table;
mod task;
mod writer;

use crate::convert;
use crate::plugin::{Plugin, Tasks};

pub const PLUGIN: Plugin = Plugin {
    name: "postgres-sink",
    classes: &[
        "io.confluent.connect.jdbc.JdbcSinkConnector",
        "JdbcSinkConnector",
        "io.aiven.connect.jdbc.JdbcSinkConnector",
        "io.debezium.connector.jdbc.JdbcSinkConnector",
    ],
    doc: "Writes records and change events as rows of PostgreSQL, each once",
    tasks: Tasks::Sink(task::tasks),
    converter: convert::settings::ANY_JSON,
    // A server that is away comes back.
    defaults: |_| &[("errors.retry.timeout", "-1")],
    check: config::check,
    alter_offsets: Some(task::alter_offsets),
    check_offset: None,
    own_keys: keys::KEYS,
    family: None,
};
