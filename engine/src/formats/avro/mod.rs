//! Avro's binary form (specification 1.12), bare or in Confluent's framing.
//!
//! A record is read by the schema that it was written with: in Confluent's framing the one that
//! its id stands for, else the declared one. The bytes go straight into the columns, by a plan
//! that is made once for each schema; what no column wants is passed over. Where ids are given the
//! reader's schema is the declared one, else the newest of the registry (that with the highest
//! id), and fields are resolved as the specification says: aliases, promotions, defaults of fields
//! that the writer did not know, an enum's default for symbols that the reader does not. Without a
//! declared schema a column may also be a field that the newest has no more.
//!
//! - [`schema`]: schemas, to and from Arrow types; [`decode`]: plans, and records by them;
//!   [`encode`]: rows by a schema.
//!
//! | Avro | Arrow | also goes into |
//! |---|---|---|
//! | null | Null | every nullable column |
//! | boolean | Boolean | text |
//! | int, long | Int32, Int64 | all numbers, text; times as a count of the column's unit |
//! | float, double | Float32, Float64 | decimals; whole numbers if it is one; text |
//! | bytes, fixed | Binary, FixedSizeBinary | text, if it is UTF-8 |
//! | string, enum | Utf8 | whatever its text spells, bytes |
//! | array, map | List, Map | |
//! | record | Struct | |
//! | union with null | the other, nullable | |
//! | union of several | Struct with a field for each, one of them set | a column that takes each |
//! | decimal | Decimal128 | numbers, text |
//! | uuid | Utf8 | |
//! | date | Date32 | Timestamp |
//! | time-millis, time-micros | Time32, Time64 | Time of any unit, rounded down |
//! | timestamp-*, local-timestamp-* | Timestamp, in UTC or without zone | of any unit; Date |
//! | duration | Interval | |
//!
//! Written the other way round; times of a finer unit than the schema's are rounded down. A
//! decimal of more than 38 digits stays bytes. A schema that holds itself is no column, but can be
//! passed over.
//!
//! Written by hand rather than with a crate: Avro's own builds a tree of values for each record,
//! and none of those that there are bounds what a hostile record of 20 bytes makes it allocate.

pub mod decode;
pub mod encode;
pub mod schema;

use std::collections::BTreeMap;

use arrow::datatypes::Field;
use thiserror::Error;

pub use self::decode::AvroDecoder;
pub use self::encode::AvroEncoder;
use self::schema::{Schema, SchemaError};
use super::FormatError;
use super::framing::Framing;

/// What a pipeline file says of the schemas.
#[derive(Clone, Debug)]
pub struct AvroDeclaration {
    pub schema: Option<String>,
    /// Schemas by their ids.
    pub registered: BTreeMap<u32, String>,
    pub framing: Framing,
    /// The schema that rows are written with.
    pub schema_id: Option<u32>,
}

/// How records of a topic are read and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvroFormat {
    /// What readers see, and writers write.
    declared: Option<Schema>,
    registered: BTreeMap<u32, Schema>,
    framing: Framing,
    schema_id: Option<u32>,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AvroError {
    #[error("{0}")]
    Schema(#[from] SchemaError),
    #[error("schema {id} of the registry: {error}")]
    Registered { id: u32, error: SchemaError },
    #[error("the registry has no schema {id}; it has {known}")]
    UnknownId { id: u32, known: String },
    #[error(
        "without Confluent's framing a record does not say which schema it was written with: \
             give it by 'schema' or 'schema_file'"
    )]
    NoSchema,
}

impl AvroFormat {
    pub fn new(declaration: &AvroDeclaration) -> Result<AvroFormat, AvroError> {
        let mut registered = BTreeMap::new();
        for (&id, text) in &declaration.registered {
            let schema =
                Schema::parse(text).map_err(|error| AvroError::Registered { id, error })?;
            registered.insert(id, schema);
        }
        let mut declared = declaration.schema.as_deref().map(Schema::parse).transpose()?;
        if let (None, Some(id)) = (&declared, declaration.schema_id) {
            let of_id = registered.get(&id).cloned();
            let known = known_ids(&registered);
            declared = Some(of_id.ok_or(AvroError::UnknownId { id, known })?);
        }
        if declaration.framing == Framing::None && declared.is_none() {
            return Err(AvroError::NoSchema);
        }
        let AvroDeclaration { framing, schema_id, .. } = *declaration;
        Ok(AvroFormat { declared, registered, framing, schema_id })
    }

    /// The declared schema; without one, the newest that is registered.
    fn reader(&self) -> Option<&Schema> {
        self.declared.as_ref().or_else(|| self.registered.values().next_back())
    }

    /// The fields of the reader's schema.
    pub fn columns(&self) -> Result<Vec<Field>, FormatError> {
        match self.reader() {
            Some(schema) => schema.columns(),
            None => Err(FormatError::Shape("there is no Avro schema".to_owned())),
        }
    }

    /// The schema that an id stands for. Without a registry every id, or that which is declared,
    /// stands for the declared schema.
    fn written_with(&self, id: u32) -> Option<&Schema> {
        match &self.declared {
            Some(declared) if self.registered.is_empty() => {
                self.schema_id.is_none_or(|own| own == id).then_some(declared)
            }
            _ => self.registered.get(&id),
        }
    }

    fn known_ids(&self) -> String {
        match self.schema_id {
            Some(id) if self.registered.is_empty() => id.to_string(),
            _ => known_ids(&self.registered),
        }
    }
}

fn known_ids(registered: &BTreeMap<u32, Schema>) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = registered.keys().take(SHOWN).map(u32::to_string).collect();
    match (registered.len(), shown.join(", ")) {
        (0, _) => "none".to_owned(),
        (count, shown) if count > SHOWN => format!("{shown} and {} more", count - SHOWN),
        (_, shown) => shown,
    }
}

#[cfg(test)]
mod tests;
