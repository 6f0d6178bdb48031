//! Values from JSON, as Connect's JsonConverter reads them.
//!
//! Where Connect takes a wrong kind of JSON for 0, false or null, or cuts off what a number has
//! too much, this is an error here: nothing is changed without a word.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::parse::Json;
use crate::data::schema::Logical;
use crate::data::{DataError, Decimal, Map, Schema, Struct, Text, Type, Value};

/// How values are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub replace_null_with_default: bool,
}

impl Reader {
    /// The value that JSON stands for where `schema` is, or by itself.
    pub(super) fn value(&self, schema: Option<&Schema>, json: &Json) -> Result<Value, DataError> {
        let Some(schema) = schema else { return schemaless(json) };
        if *json == Json::Null {
            return self.null(schema);
        }
        let number = |json: &Json| match json {
            Json::Number(text) => Ok(text.clone()),
            other => Err(mismatch(other, schema)),
        };
        Ok(match (schema.logical(), schema.type_()) {
            (Some(Logical::Decimal), _) => self.decimal(schema, json)?,
            (Some(Logical::Date), _) => Value::Date(integer(&number(json)?, schema)?),
            (Some(Logical::Time), _) => Value::Time(integer(&number(json)?, schema)?),
            (Some(Logical::Timestamp), _) => Value::Timestamp(integer(&number(json)?, schema)?),
            (None, Type::Int8) => Value::Int8(integer(&number(json)?, schema)?),
            (None, Type::Int16) => Value::Int16(integer(&number(json)?, schema)?),
            (None, Type::Int32) => Value::Int32(integer(&number(json)?, schema)?),
            (None, Type::Int64) => Value::Int64(integer(&number(json)?, schema)?),
            (None, Type::Float32) => Value::Float32(float(json, schema)?),
            (None, Type::Float64) => Value::Float64(float(json, schema)?),
            (None, Type::Boolean) => match json {
                Json::Boolean(value) => Value::Boolean(*value),
                other => return Err(mismatch(other, schema)),
            },
            (None, Type::String) => match json {
                Json::String(text) => Value::String(text.clone()),
                other => return Err(mismatch(other, schema)),
            },
            (None, Type::Bytes) => Value::Bytes(base64(json, schema)?),
            (None, Type::Array) => match json {
                Json::Array(items) => self.array(schema.value_schema(), items)?,
                other => return Err(mismatch(other, schema)),
            },
            (None, Type::Map) => self.map(schema, json)?,
            (None, Type::Struct) => self.structure(schema, json)?,
        })
    }

    fn null(&self, schema: &Schema) -> Result<Value, DataError> {
        match schema.default() {
            Some(default) if self.replace_null_with_default => Ok(default.clone()),
            _ if schema.is_optional() => Ok(Value::Null),
            _ => Err(DataError(format!("null where {schema:?} is required"))),
        }
    }

    fn array(&self, of: Option<&Schema>, items: &[Json]) -> Result<Value, DataError> {
        let read = |(index, item)| {
            self.value(of, item)
                .map_err(|error: DataError| error.within(format_args!("item {index}")))
        };
        Ok(Value::array(items.iter().enumerate().map(read).collect::<Result<_, _>>()?))
    }

    fn map(&self, schema: &Schema, json: &Json) -> Result<Value, DataError> {
        let (keys, values) = (schema.key_schema(), schema.value_schema());
        let value = |key: &dyn std::fmt::Debug, json: &Json| {
            self.value(values, json).map_err(|error| error.within(format_args!("entry {key:?}")))
        };
        let mut map = Map::new();
        match json {
            Json::Object(fields) if keys.is_some_and(|key| key.type_() == Type::String) => {
                for (name, json) in fields {
                    map.insert(Value::String(name.clone()), value(name, json)?);
                }
            }
            Json::Array(pairs) if keys.is_none_or(|key| key.type_() != Type::String) => {
                for pair in pairs {
                    let Json::Array(pair) = pair else { return Err(mismatch(pair, schema)) };
                    let [key, json] = &pair[..] else {
                        let message = "a map's entry that is not a pair of key and value";
                        return Err(DataError::new(message));
                    };
                    let key = self.value(keys, key)?;
                    let value = value(&key, json)?;
                    map.insert(key, value);
                }
            }
            other => return Err(mismatch(other, schema)),
        }
        Ok(Value::map(map))
    }

    fn structure(&self, schema: &Schema, json: &Json) -> Result<Value, DataError> {
        let Json::Object(fields) = json else { return Err(mismatch(json, schema)) };
        let read = |field: &crate::data::Field| {
            let json = fields.get(field.name.as_bytes()).unwrap_or(&Json::Null);
            self.value(Some(&field.schema), json)
                .map_err(|error| error.within(format_args!("field '{}'", field.name)))
        };
        let values = schema.fields().iter().map(read).collect::<Result<_, DataError>>()?;
        Ok(Value::structure(Struct::with_values(schema, values)))
    }

    fn decimal(&self, schema: &Schema, json: &Json) -> Result<Value, DataError> {
        let decimal = match json {
            Json::Number(text) => text.parse()?,
            Json::String(_) => Decimal::from_bytes(&base64(json, schema)?, schema.scale()?),
            other => return Err(mismatch(other, schema)),
        };
        Ok(Value::Decimal(Arc::new(decimal)))
    }
}

/// What JSON is by itself: integers are int64, other numbers float64, objects maps.
fn schemaless(json: &Json) -> Result<Value, DataError> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Boolean(value) => Value::Boolean(*value),
        Json::Number(text) if is_integer(text) => match text.parse() {
            Ok(number) => Value::Int64(number),
            // Connect would cut it off.
            Err(_) => Value::Decimal(Arc::new(text.parse()?)),
        },
        Json::Number(text) => Value::Float64(text.parse().expect("JSON's numbers are Rust's")),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::array(items.iter().map(schemaless).collect::<Result<_, _>>()?),
        Json::Object(fields) => {
            let entry =
                |(name, json): (&Text, &Json)| Ok((Value::String(name.clone()), schemaless(json)?));
            Value::map(fields.iter().map(entry).collect::<Result<_, DataError>>()?)
        }
    })
}

fn is_integer(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

fn mismatch(json: &Json, schema: &Schema) -> DataError {
    DataError(format!("{} where {schema:?} is expected", json.kind()))
}

fn integer<T: FromStr>(text: &str, schema: &Schema) -> Result<T, DataError> {
    text.parse().map_err(|_| {
        let why = if is_integer(text) { "is out of its range" } else { "is no integer" };
        DataError(format!("{text} {why} where {schema:?} is expected"))
    })
}

fn float<T: FromStr>(json: &Json, schema: &Schema) -> Result<T, DataError> {
    let text = match json {
        Json::Number(text) => text.as_str(),
        // As they are written.
        Json::String(text) => match text.as_str() {
            "NaN" => "NaN",
            "Infinity" => "inf",
            "-Infinity" => "-inf",
            _ => return Err(mismatch(json, schema)),
        },
        other => return Err(mismatch(other, schema)),
    };
    text.parse().map_err(|_| mismatch(json, schema))
}

fn base64(json: &Json, schema: &Schema) -> Result<Bytes, DataError> {
    let Json::String(text) = json else { return Err(mismatch(json, schema)) };
    let wrong = |error| DataError(format!("not base64 where {schema:?} is expected: {error}"));
    Ok(STANDARD.decode(text.as_bytes()).map_err(wrong)?.into())
}
