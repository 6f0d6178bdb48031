//! Connect's data model: what a record is between a connector and the bytes in a topic.
//!
//! ```text
//!              ┌ key, value ──► SchemaAndValue ─► Schema (shared), Value
//! ConnectRecord┤
//!              └ headers ─────► name, SchemaAndValue
//! ```
//!
//! - [`schema`]: types, names, defaults; [`value`]: what they describe; [`structs`]: values by
//!   field; [`decimal`]: numbers of any length; [`text`]: strings that share their bytes.
//! - [`record`]: one record with its key, value and headers.
//! - [`number`]: numbers as Java writes them, which Connect's JSON and headers need; [`civil`]:
//!   dates and times of day; [`text_form`]: values as text, and what text stands for.
//!
//! It is Kafka Connect's model with the same names. What differs: a date, a time and a timestamp
//! are values of their own (in Java all three are a `java.util.Date`), and maps keep the order in
//! which they were filled.
//!
//! Invariants:
//! - Cloning a schema or a value copies no text, bytes, array, map or struct.
//! - A schema never changes: what is derived from it may be kept for as long as it lives.
//! - Two schemas or values are equal exactly if Java's are: NaN equals itself, 0.0 and -0.0 differ.

pub mod civil;
pub mod decimal;
pub mod number;
pub mod record;
pub mod schema;
pub mod structs;
pub mod text;
pub mod text_form;
pub mod value;

pub use decimal::Decimal;
pub use record::{ConnectRecord, Header, SchemaAndValue};
pub use schema::{Field, Schema, SchemaBuilder, Type};
pub use structs::Struct;
pub use text::Text;
pub use value::{Map, Value};

use thiserror::Error;

/// Why a value does not fit, or cannot be made into another.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DataError(pub String);

impl DataError {
    pub fn new(message: impl Into<String>) -> DataError {
        DataError(message.into())
    }

    /// The same, said of a part: `field 'price': …`.
    pub(crate) fn within(self, part: std::fmt::Arguments<'_>) -> DataError {
        DataError(format!("{part}: {}", self.0))
    }
}
