//! PostgreSQL's types as Connect's schemas and values, as Debezium maps them.
//!
//! ```text
//!   type, modifier, options ─► Reader ─┬─► schema of the field
//!                                      └─► text of each value ─► Value
//! ```
//!
//! - [`catalog`]: which types a database has; [`options`]: what a user may choose.
//! - [`reader`]: one column's mapping. [`time`]: dates, times and intervals; [`nested`]: arrays
//!   and hstore; [`number`]: numerics, money and bits; [`mask`]: texts that are not to be seen.
//!
//! Invariants:
//! - No type is left out unless the user says so: one that has no mapping passes as the text that
//!   PostgreSQL writes for it.
//! - A value that its schema cannot hold is an error that names it, or what Debezium has for it;
//!   never another value.
//! - Text is shared with the message that it came in, and copied only where it has escapes.

pub mod catalog;
pub mod mask;
pub mod nested;
pub mod number;
pub mod options;
pub mod reader;
pub mod time;

pub use catalog::{Kind, PgType, TypeCatalog};
pub use mask::Mask;
pub use options::{Binary, Decimals, Hstore, Intervals, TimePrecision, TypeOptions, Unknown};
pub use reader::{Lost, Reader};

use thiserror::Error;

/// A text that is no value of its type, or one that the schema cannot hold.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{text}' {problem}")]
pub struct BadValue {
    pub text: String,
    pub problem: &'static str,
}

impl BadValue {
    pub(crate) fn new(text: &[u8], problem: &'static str) -> BadValue {
        const SHOWN: usize = 80;
        let shown = &text[..text.len().min(SHOWN)];
        BadValue { text: String::from_utf8_lossy(shown).into_owned(), problem }
    }
}
