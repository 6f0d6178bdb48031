//! Records to rows and rows to records.
//!
//! ```text
//! fetched batches → Record (borrowed) → RowDecoder → Rows: Arrow columns + event times
//! Rows → RowEncoder → key, value, timestamp, partition of each record → BatchBuilder
//! ```
//!
//! - [`decode`]: which columns a query needs, where each comes from, those that are computed of
//!   others, and putting them together;
//! - [`json`], [`csv`], [`raw`], [`avro`], [`protobuf`], [`debezium`]: what values and keys look
//!   like, and what becomes of their types; [`framing`]: what stands before Avro and Protobuf;
//! - [`builders`]: columns of any type, built value by value; [`columns`]: text into columns;
//!   [`fault`]: what is wrong with a value, and where in the record;
//! - [`encode`]: rows into values, keys and headers.
//!
//! Invariants: nothing is allocated per record, neither on the way in nor on the way out. A
//! record that cannot be decoded costs its own row and no other: it is named with its reason and
//! its neighbours are kept, in order. No record, however malformed, panics.

pub mod avro;
pub mod builders;
pub mod columns;
pub mod csv;
pub mod debezium;
mod decimal;
pub mod decode;
pub mod encode;
pub mod fault;
pub mod framing;
pub mod infer;
pub mod json;
pub mod protobuf;
pub mod raw;
#[cfg(test)]
mod testing;

use thiserror::Error;

pub use crate::rows::Rows;

pub use decode::{DecodedRows, RecordFailure, RowDecoder};
pub use encode::{EncodedRows, RowEncoder};

/// Why a record is not a row. Says which column and what it found there, never at what offset:
/// whoever decodes knows that.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("not valid JSON: {reason}; the record begins {excerpt}")]
    JsonSyntax { reason: String, excerpt: String },
    #[error("{format} field '{path}' is {found}, not {expected}; the record begins {excerpt}")]
    Value { format: &'static str, path: String, found: String, expected: String, excerpt: String },
    #[error("{format}: the record is {found}, not {expected}; it begins {excerpt}")]
    Row { format: &'static str, found: String, expected: String, excerpt: String },
    #[error("Confluent's framing is missing: {reason}; the record begins {excerpt}")]
    Framing { reason: String, excerpt: String },
    #[error("{format}: {reason} at byte {at} of {length}; the record begins {excerpt}")]
    Binary { format: &'static str, reason: String, at: usize, length: usize, excerpt: String },
    #[error("{reason}; the record begins {excerpt}")]
    Schema { reason: String, excerpt: String },
    #[error("not a Debezium change event: {reason}; the record begins {excerpt}")]
    Envelope { reason: String, excerpt: String },
    #[error("the key: {0}")]
    Key(Box<DecodeError>),
    #[error("{count} JSON values in one record, where one is expected; it begins {excerpt}")]
    JsonCount { count: usize, excerpt: String },
    #[error("{found} fields, where the source has {expected} columns; the record begins {excerpt}")]
    FieldCount { found: usize, expected: usize, excerpt: String },
    #[error("column '{column}' (field {position}): {text} is not {expected}")]
    Field { column: String, position: usize, text: String, expected: String },
    #[error("{reason}")]
    CsvHeader { reason: String },
    #[error("field {position}: {reason}; the record begins {excerpt}")]
    Quoting { position: usize, reason: &'static str, excerpt: String },
    #[error("column '{column}': invalid UTF-8 at byte {at} of the record, which begins {excerpt}")]
    Utf8 { column: String, at: usize, excerpt: String },
    #[error("column '{column}' must not be null")]
    Null { column: String },
    #[error("column '{column}' cannot be computed: {reason}")]
    Computed { column: String, reason: String },
}

/// Why a format cannot carry these columns at all: found before any record is read or written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    #[error("column '{column}': {format} cannot carry values of type {data_type}")]
    Type { column: String, format: &'static str, data_type: String },
    #[error("{what} has no field '{column}'")]
    NoField { column: String, what: &'static str, there: Vec<String> },
    #[error("{0}")]
    Shape(String),
}

/// Characters of a record that a message shows at most.
const EXCERPT_CHARS_MAX: usize = 60;

/// The beginning of `bytes` for a message: quoted, escaped, bounded.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    // A character takes at most four bytes, so this cuts nothing that would be shown.
    let head = &bytes[..bytes.len().min(EXCERPT_CHARS_MAX * 4)];
    let text = String::from_utf8_lossy(head);
    let shown: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    let more = bytes.len() > head.len() || shown.len() < text.len();
    format!("{shown:?}{}", if more { "…" } else { "" })
}
