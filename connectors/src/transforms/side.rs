//! What transforms of a record's key or value share.

use std::collections::HashMap;
use std::sync::Arc;

use crate::data::{ConnectRecord, DataError, Map, Schema, SchemaAndValue, Struct, Value};

/// The part of a record that a transform is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Key,
    Value,
}

impl Side {
    pub(super) fn of(self, record: &mut ConnectRecord) -> &mut SchemaAndValue {
        match self {
            Side::Key => &mut record.key,
            Side::Value => &mut record.value,
        }
    }
}

/// What a value with fields is, with a schema or without.
pub(super) enum Fields<'a> {
    /// Change it by [`Arc::make_mut`].
    Map(&'a mut Arc<Map>),
    Struct(&'a mut Arc<Struct>),
}

/// The fields of a value, for a transform that needs them `to` do something.
pub(super) fn fields<'a>(data: &'a mut SchemaAndValue, to: &str) -> Result<Fields<'a>, DataError> {
    match (&data.schema, &mut data.value) {
        (None, Value::Map(map)) => Ok(Fields::Map(map)),
        (Some(_), Value::Struct(value)) => Ok(Fields::Struct(value)),
        (schema, other) => {
            let expected = if schema.is_some() { "a struct" } else { "a map" };
            let found = other.kind();
            let hint = match other {
                Value::String(_) | Value::Bytes(_) if schema.is_some() => {
                    "; JsonConverter makes fields of JSON text"
                }
                _ => "",
            };
            Err(DataError(format!(
                "cannot {to}: {expected} is expected, but this is {found}{hint}"
            )))
        }
    }
}

/// The value of the field at that place.
pub(super) fn value_at(value: &Struct, index: usize, replace_null: bool) -> Value {
    if replace_null { value.at(index).clone() } else { value.values()[index].clone() }
}

/// The values of all fields.
pub(super) fn all_values(value: &Struct, replace_null: bool) -> Vec<Value> {
    (0..value.values().len()).map(|index| value_at(value, index, replace_null)).collect()
}

/// Replaces a part of a record by a struct.
pub(super) fn set_struct(data: &mut SchemaAndValue, schema: Schema, values: Vec<Value>) {
    data.value = Value::structure(Struct::with_values(&schema, values));
    data.schema = Some(schema);
}

/// Schemas made of others, which are made once.
#[derive(Clone, Debug, Default)]
pub(super) struct SchemaCache {
    known: HashMap<Schema, Schema>,
}

/// How many schemas are kept: as many as a connector's records may reasonably have.
const SCHEMAS_MAX: usize = 256;

impl SchemaCache {
    /// What `make` makes of `schema`.
    pub(super) fn get(
        &mut self,
        schema: &Schema,
        make: impl FnOnce() -> Result<Schema, DataError>,
    ) -> Result<Schema, DataError> {
        if let Some(known) = self.known.get(schema) {
            return Ok(known.clone());
        }
        let made = make()?;
        if self.known.len() >= SCHEMAS_MAX {
            self.known.clear();
        }
        self.known.insert(schema.clone(), made.clone());
        Ok(made)
    }
}
