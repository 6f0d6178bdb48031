//! Values: what schemas describe, or what stands alone where there is no schema.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;

use super::schema::Logical;
use super::{DataError, Decimal, Schema, Struct, Text, Type};

/// A value; cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Value {
    #[default]
    Null,
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Float32(f32),
    Float64(f64),
    String(Text),
    Bytes(Bytes),
    Array(Arc<Vec<Value>>),
    Map(Arc<Map>),
    Struct(Arc<Struct>),
    /// `org.apache.kafka.connect.data.Decimal`, of the scale that its schema says.
    Decimal(Arc<Decimal>),
    /// `org.apache.kafka.connect.data.Date`: days since 1970.
    Date(i32),
    /// `org.apache.kafka.connect.data.Time`: ms since midnight.
    Time(i32),
    /// `org.apache.kafka.connect.data.Timestamp`: ms since 1970.
    Timestamp(i64),
}

/// A map in the order in which it was filled.
pub type Map = IndexMap<Value, Value>;

impl Value {
    pub fn string(text: impl Into<Text>) -> Value {
        Value::String(text.into())
    }

    pub fn array(items: Vec<Value>) -> Value {
        Value::Array(Arc::new(items))
    }

    pub fn map(map: Map) -> Value {
        Value::Map(Arc::new(map))
    }

    pub fn structure(value: Struct) -> Value {
        Value::Struct(Arc::new(value))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, in words for messages: `an int32`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Int8(_) => "an int8",
            Value::Int16(_) => "an int16",
            Value::Int32(_) => "an int32",
            Value::Int64(_) => "an int64",
            Value::Float32(_) => "a float32",
            Value::Float64(_) => "a float64",
            Value::String(_) => "a string",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "an array",
            Value::Map(_) => "a map",
            Value::Struct(_) => "a struct",
            Value::Decimal(_) => "a decimal",
            Value::Date(_) => "a date",
            Value::Time(_) => "a time",
            Value::Timestamp(_) => "a timestamp",
        }
    }

    /// The type that a value without a schema has; of logical values and null there is none.
    pub fn inferred_type(&self) -> Option<Type> {
        Some(match self {
            Value::Boolean(_) => Type::Boolean,
            Value::Int8(_) => Type::Int8,
            Value::Int16(_) => Type::Int16,
            Value::Int32(_) => Type::Int32,
            Value::Int64(_) => Type::Int64,
            Value::Float32(_) => Type::Float32,
            Value::Float64(_) => Type::Float64,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Array(_) => Type::Array,
            Value::Map(_) => Type::Map,
            Value::Struct(_) => Type::Struct,
            _ => return None,
        })
    }

    /// Whether this can stand where `schema` is, all its parts included.
    pub fn check(&self, schema: &Schema) -> Result<(), DataError> {
        if self.is_null() {
            return match schema.is_optional() {
                true => Ok(()),
                false => Err(DataError(format!("null where {schema:?} is required"))),
            };
        }
        let fits = match schema.logical() {
            Some(Logical::Decimal) => matches!(self, Value::Decimal(_)),
            Some(Logical::Date) => matches!(self, Value::Date(_)),
            Some(Logical::Time) => matches!(self, Value::Time(_)),
            Some(Logical::Timestamp) => matches!(self, Value::Timestamp(_)),
            None => self.inferred_type() == Some(schema.type_()),
        };
        if !fits {
            return Err(DataError(format!("{} where {schema:?} is expected", self.kind())));
        }
        let part = |part: Option<&Schema>| part.expect("its type has one").clone();
        match self {
            Value::Struct(value) if value.schema() != schema => {
                Err(DataError(format!("a struct of another schema where {schema:?} is expected")))
            }
            Value::Struct(value) => value.check(),
            Value::Array(items) => {
                let of = part(schema.value_schema());
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, item)| {
                    item.check(&of).map_err(|error| error.within(format_args!("item {index}")))
                })
            }
            Value::Map(map) => {
                let (of_keys, of_values) = (part(schema.key_schema()), part(schema.value_schema()));
                map.iter().try_for_each(|(key, value)| {
                    key.check(&of_keys).map_err(|error| error.within(format_args!("key")))?;
                    let at = format_args!("value of {key:?}");
                    value.check(&of_values).map_err(|error| error.within(at))
                })
            }
            _ => Ok(()),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::Int8(a), Value::Int8(b)) => a == b,
            (Value::Int16(a), Value::Int16(b)) => a == b,
            (Value::Int32(a), Value::Int32(b)) => a == b,
            (Value::Int64(a), Value::Int64(b)) => a == b,
            (Value::Float32(a), Value::Float32(b)) => float32_bits(*a) == float32_bits(*b),
            (Value::Float64(a), Value::Float64(b)) => float64_bits(*a) == float64_bits(*b),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Struct(a), Value::Struct(b)) => a == b,
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Null => {}
            Value::Boolean(value) => value.hash(state),
            Value::Int8(value) => value.hash(state),
            Value::Int16(value) => value.hash(state),
            Value::Int32(value) | Value::Date(value) | Value::Time(value) => value.hash(state),
            Value::Int64(value) | Value::Timestamp(value) => value.hash(state),
            Value::Float32(value) => float32_bits(*value).hash(state),
            Value::Float64(value) => float64_bits(*value).hash(state),
            Value::String(value) => value.hash(state),
            Value::Bytes(value) => value.hash(state),
            Value::Array(value) => value.hash(state),
            // In another order it is the same map.
            Value::Map(value) => value.len().hash(state),
            Value::Struct(value) => value.hash(state),
            Value::Decimal(value) => value.hash(state),
        }
    }
}

/// All NaNs are one, as in `Double.equals`.
fn float64_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

fn float32_bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SchemaBuilder;

    #[test]
    fn floats_compare_as_in_java() {
        assert_eq!(Value::Float64(f64::NAN), Value::Float64(-f64::NAN));
        assert_ne!(Value::Float64(0.0), Value::Float64(-0.0));
        assert_ne!(Value::Float32(1.0), Value::Float64(1.0));
        assert_ne!(Value::Date(1), Value::Int32(1));
    }

    #[test]
    fn maps_in_another_order_are_equal_and_hash_alike() {
        let entries = [("a", 1), ("b", 2)].map(|(k, v)| (Value::string(k), Value::Int64(v)));
        let one = Value::map(entries.iter().cloned().collect());
        let other = Value::map(entries.iter().rev().cloned().collect());
        assert_eq!(one, other);
        let set: std::collections::HashSet<_> = [one, other].into();
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let items = SchemaBuilder::array(Schema::int32()).build();
        let schema = SchemaBuilder::map(Schema::string(), items).build();
        let map = |items: Vec<Value>| {
            Value::map([(Value::string("k"), Value::array(items))].into_iter().collect())
        };
        assert_eq!(map(vec![Value::Int32(1)]).check(&schema), Ok(()));
        let wrong = map(vec![Value::Int32(1), Value::Int64(2)]).check(&schema).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "value of String(\"k\"): item 1: an int64 where int32 is expected"
        );
        let null = Value::Null.check(&schema).unwrap_err();
        assert_eq!(null.to_string(), "null where map<string, array<int32>> is required");
        assert_eq!(Value::Null.check(&schema.to_builder().optional().build()), Ok(()));
        let date = SchemaBuilder::date().build();
        assert_eq!(Value::Date(1).check(&date), Ok(()));
        assert!(Value::Int32(1).check(&date).is_err());
        assert!(Value::Date(1).check(&Schema::int32()).is_err());
    }
}
