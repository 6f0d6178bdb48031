//! Data in and out: Kafka Connect's model, without the JVM.
//!
//! ```text
//! properties ─► validate ─► ConnectorConfig ─┐
//!                                            ▼
//!   file ─► source task ─► poll ─► batches + offsets ─► one transaction ─► topic
//!  topic ─► as a group  ─► put  ─► sink task ─► file, made durable ─► offsets committed
//! ```
//!
//! - [`config`]: properties, checked all at once; [`plugin`]: the kinds of connector.
//! - [`convert`]: values as bytes in a topic and back.
//! - [`transforms`]: what becomes of records on the way.
//! - [`data`]: records as values with schemas, Connect's data model.
//! - [`columns`]: records as Arrow's columns, and back.
//! - [`chain`]: transforms and converters of one task; [`errors`]: what becomes of records that
//!   do not get through.
//! - [`task`]: the two seams that connectors are written against; [`records`]: what a source
//!   gathers; [`offsets`]: where sources keep how far they are.
//! - [`worker`]: runs the tasks; [`status`]: what they are doing.
//! - [`herder`]: connectors that come and go while a worker runs, alone or with others that share
//!   them; [`rest`]: how others order that.
//! - [`mod@file`]: the file source and the file sink; [`postgres`]: changes of a database, and
//!   records as rows; [`http`]: calls of services, and records that others send; [`process`]:
//!   programs in any language; [`generator`]: records out of nothing. [`json_text`]: pieces of
//!   JSON as they stand.
//!
//! Invariants:
//! - A source's records and the offsets they end at become visible together or not at all.
//! - A sink's offsets are committed after its records are durable, never before.
//! - Nothing starts on properties with a mistake in them, and every mistake is reported.
//! - A task that fails says so, in its status and to whoever waits; it never ends silently.
//! - Whatever the outside sends, memory stays bounded: by the longest line allowed, one poll and
//!   what the producer lets be under way.

pub mod chain;
mod clock;
pub mod columns;
pub mod config;
pub mod convert;
pub mod data;
pub mod errors;
pub mod file;
pub mod generator;
pub mod herder;
pub mod http;
mod json_records;
pub mod json_text;
pub mod offsets;
pub mod plugin;
pub mod postgres;
pub mod process;
mod random;
pub mod records;
pub mod rest;
pub mod status;
pub mod task;
mod topics;
pub mod transforms;
pub mod worker;

pub use config::{ConfigProblem, ConnectorConfig, validate};
pub use herder::{Distributed, Herder, HerderOptions, Standalone};
pub use plugin::{ConnectorKind, Plugin, plugins};
pub use status::{ConnectorState, ConnectorStatus};
pub use worker::{Summary, TaskFailure, Worker, WorkerError, WorkerOptions};
