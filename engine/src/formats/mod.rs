//! Records to rows and rows to records.
//!
//! ```text
//! fetched batches → Record (borrowed) → RowDecoder → Rows: Arrow columns + event times
//! Rows → RowEncoder → key, value, timestamp, partition of each record → BatchBuilder
//! ```
//!
//! - [`decode`]: which columns a query needs, where each comes from, and putting them together;
//! - [`json`], [`csv`], [`raw`]: values into columns; [`columns`]: text into typed builders;
//! - [`encode`]: rows into values and keys.
//!
//! Invariants: nothing is allocated per record, neither on the way in nor on the way out. A
//! record that cannot be decoded costs its own row and no other: it is named with its reason and
//! its neighbours are kept, in order. No record, however malformed, panics.

pub mod columns;
pub mod csv;
pub mod decode;
pub mod encode;
pub mod json;
pub mod raw;

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
    #[error("JSON that does not fit the columns: {reason}; the record begins {excerpt}")]
    JsonType { reason: String, excerpt: String },
    #[error("{count} JSON values in one record, where one is expected; it begins {excerpt}")]
    JsonCount { count: usize, excerpt: String },
    #[error("{found} fields, where the source has {expected} columns; the record begins {excerpt}")]
    FieldCount { found: usize, expected: usize, excerpt: String },
    #[error("column '{column}' (field {position}): {text} is not {expected}")]
    Field { column: String, position: usize, text: String, expected: String },
    #[error("field {position}: {reason}; the record begins {excerpt}")]
    Quoting { position: usize, reason: &'static str, excerpt: String },
    #[error("column '{column}': invalid UTF-8 at byte {at} of the record, which begins {excerpt}")]
    Utf8 { column: String, at: usize, excerpt: String },
    #[error("column '{column}' must not be null")]
    Null { column: String },
}

/// Why a format cannot carry these columns at all: found before any record is read or written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    #[error("column '{column}': {format} cannot carry values of type {data_type}")]
    Type { column: String, format: &'static str, data_type: String },
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
