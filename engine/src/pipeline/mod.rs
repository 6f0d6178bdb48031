//! The pipeline file: what a person wrote, checked and lowered.
//!
//! ```text
//! file.toml ─ toml_file ─ steps ─┐
//!                                ├→ draft: declarations, and queries as syntax → plan → Pipeline
//! file.sql  ─ sql_file ──────────┘
//! ```
//!
//! - [`model`]: the outcome, which the rest of the engine runs; [`diagnostic`]: what is wrong;
//! - [`load`](mod@load): reads files, and checks them with each other;
//! - [`toml_file`], [`toml_query`], [`reader`]: keys of tables; [`steps`]: a query's steps as SQL
//!   syntax;
//! - [`sql_file`], [`sql_table`], [`cursor`]: statements; [`flink_options`]: what Flink calls
//!   otherwise in them;
//! - [`tokens`]: SQL with places in the file; [`strings`]: such places inside TOML strings;
//! - [`functions`]: functions of users, in both forms;
//! - [`cases`]: tests of a pipeline, in its file;
//! - [`format_options`]: formats and their options, and the schemas that they name;
//! - [`variables`]: what the environment says, in values of both;
//! - [`draft`]: what both forms become; [`names`], [`duration`], [`start`]: values that both have.
//!
//! Invariants: every mistake has the place where it stands, and all that can be found are found
//! at once. One mistake is reported once, without those that merely follow from it. No file,
//! whatever is in it, panics or takes more time than its length is worth. Nothing is created or
//! started here.

pub mod cases;
mod cursor;
pub mod diagnostic;
pub(crate) mod draft;
pub mod duration;
pub(crate) mod elsewhere;
mod flink_options;
pub(crate) mod format_options;
pub(crate) mod functions;
pub(crate) mod json_words;
pub(crate) mod lambdas;
pub mod load;
pub mod model;
mod names;
mod reader;
pub mod size;
pub(crate) mod sql_file;
mod sql_table;
mod start;
mod steps;
mod strings;
pub(crate) mod tokens;
mod toml_file;
mod toml_query;
mod variables;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile, Span};
pub use format_options::registered as registered_schemas;
pub use load::{CheckConnector, load, load_each, load_text, load_with};
pub use model::{
    ChangeField, Column, ColumnFrom, Connector, CsvOptions, Emit, EventTime, Format, Guarantee,
    LateRows, OnError, Pipeline, Predicate, Query, STANDBY_REPLICAS_MAX, Settings, Sink, Source,
    SourceKind, Start, Watermark,
};

#[cfg(test)]
mod tests;
