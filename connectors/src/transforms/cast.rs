//! Makes values of one type into another.
//!
//! Numbers become smaller ones as in Java: the low bits of integers, the nearest integer that
//! fits of floats.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::side::{Fields, SchemaCache, fields, set_struct, value_at};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::convert::value_to_string;
use crate::data::{
    ConnectRecord, DataError, Decimal, Schema, SchemaBuilder, Type, Value, text_form,
};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "Cast",
    has_sides: true,
    doc: "Makes fields, or a whole key or value, into another type",
    keys: &[
        ConfigKey {
            name: "spec",
            key_type: KeyType::List,
            presence: Presence::Required,
            doc: "Fields with the types they get, or one type for the whole value: int8, int16, \
                  int32, int64, float32, float64, boolean or string",
            example: "count:int32,price:float64",
        },
        REPLACE_NULL,
    ],
    make,
};

const TARGETS: [Type; 8] = [
    Type::Int8,
    Type::Int16,
    Type::Int32,
    Type::Int64,
    Type::Float32,
    Type::Float64,
    Type::Boolean,
    Type::String,
];

fn target(text: &str) -> Result<Type, Mistake> {
    let found = TARGETS.into_iter().find(|target| target.name().eq_ignore_ascii_case(text.trim()));
    found.ok_or_else(|| {
        let names = TARGETS.map(Type::name).join("`, `");
        Mistake::new("spec", format!("cannot cast to `{}`: there are `{names}`", text.trim()))
    })
}

fn make(side: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let spec = settings.list("spec");
    let replace_null = settings.flag(REPLACE_NULL.name);
    let schemas = SchemaCache::default();
    let mut casts = HashMap::new();
    for one in spec {
        match one.split_once(':') {
            None if spec.len() == 1 => {
                let to = Casts::Whole(target(one)?);
                return Ok(Box::new(Cast { side, to, replace_null, schemas }));
            }
            None => {
                let message = format!("`{one}` is a type for the whole value, so it stands alone");
                return Err(Mistake::new("spec", message));
            }
            Some((field, to)) => drop(casts.insert(field.trim().to_owned(), target(to)?)),
        }
    }
    Ok(Box::new(Cast { side, to: Casts::Fields(casts), replace_null, schemas }))
}

#[derive(Clone, Debug)]
enum Casts {
    Whole(Type),
    Fields(HashMap<String, Type>),
}

#[derive(Clone, Debug)]
struct Cast {
    side: Side,
    to: Casts,
    replace_null: bool,
    schemas: SchemaCache,
}

impl Transform for Cast {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        if data.value.is_null() {
            return Ok(Outcome::Keep);
        }
        let casts = match &self.to {
            Casts::Fields(casts) => casts,
            Casts::Whole(to) => {
                data.value = cast(&data.value, *to)?;
                if let Some(schema) = &data.schema {
                    data.schema = Some(self.schemas.get(schema, || whole_schema(schema, *to))?);
                }
                return Ok(Outcome::Keep);
            }
        };
        match fields(data, "cast its fields")? {
            Fields::Map(map) => {
                let map = Arc::make_mut(map);
                for (name, to) in casts {
                    let key = Value::string(name.as_str());
                    let value = map.get(&key).cloned().unwrap_or_default();
                    map.insert(key, cast_field(name, &value, *to)?);
                }
            }
            Fields::Struct(value) => {
                let of = value.schema();
                let schema = self.schemas.get(of, || struct_schema(of, casts))?;
                let mut values = Vec::with_capacity(of.fields().len());
                for (index, field) in of.fields().iter().enumerate() {
                    let old = value_at(value, index, self.replace_null);
                    values.push(match casts.get(field.name.as_str()) {
                        Some(to) => cast_field(&field.name, &old, *to)?,
                        None => old,
                    });
                }
                set_struct(data, schema, values);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

fn whole_schema(schema: &Schema, to: Type) -> Result<Schema, DataError> {
    let mut builder = SchemaBuilder::of(to);
    // A logical type's name would say what the value no longer is.
    if schema.logical().is_none() {
        if let Some(name) = schema.name() {
            builder = builder.name(name.clone());
        }
        for (key, value) in schema.parameters().unwrap_or_default() {
            builder = builder.parameter(key.clone(), value.clone());
        }
        if let Some(version) = schema.version() {
            builder = builder.version(version);
        }
    }
    if let Some(doc) = schema.doc() {
        builder = builder.doc(doc.clone());
    }
    finish(builder, schema, to)
}

fn finish(mut builder: SchemaBuilder, old: &Schema, to: Type) -> Result<Schema, DataError> {
    if old.is_optional() {
        builder = builder.optional();
    }
    if let Some(default) = old.default() {
        builder = builder.default(cast(default, to)?);
    }
    Ok(builder.build())
}

fn struct_schema(schema: &Schema, casts: &HashMap<String, Type>) -> Result<Schema, DataError> {
    let mut builder = schema.struct_basics();
    for field in schema.fields() {
        let of = match casts.get(field.name.as_str()) {
            Some(to) => finish(SchemaBuilder::of(*to), &field.schema, *to)?,
            None => field.schema.clone(),
        };
        builder = builder.field(field.name.clone(), of);
    }
    if schema.is_optional() {
        builder = builder.optional();
    }
    Ok(builder.build())
}

fn cast_field(name: &str, value: &Value, to: Type) -> Result<Value, DataError> {
    cast(value, to).map_err(|error| error.within(format_args!("field '{name}'")))
}

fn cast(value: &Value, to: Type) -> Result<Value, DataError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if to == Type::String {
        return Ok(match value {
            Value::Array(_) | Value::Map(_) | Value::Struct(_) => return Err(cannot(value, to)),
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => {
                Value::string(text_form::iso(value))
            }
            Value::Bytes(bytes) => Value::string(STANDARD.encode(bytes)),
            other => Value::string(value_to_string(other)),
        });
    }
    if let Value::String(text) = value {
        return parse(text.trim(), to).ok_or_else(|| DataError(format!("'{text}' is no {to}")));
    }
    let number = Number::of(value).ok_or_else(|| cannot(value, to))?;
    Ok(match to {
        Type::Int8 => Value::Int8(number.to_i32() as i8),
        Type::Int16 => Value::Int16(number.to_i32() as i16),
        Type::Int32 => Value::Int32(number.to_i32()),
        Type::Int64 => Value::Int64(number.to_i64()),
        Type::Float32 => Value::Float32(number.to_f32()),
        Type::Float64 => Value::Float64(number.to_f64()),
        _ => Value::Boolean(number.to_i64() != 0),
    })
}

fn cannot(value: &Value, to: Type) -> DataError {
    DataError(format!("cannot cast {} to {to}", value.kind()))
}

fn parse(text: &str, to: Type) -> Option<Value> {
    match to {
        Type::Int8 => text.parse().ok().map(Value::Int8),
        Type::Int16 => text.parse().ok().map(Value::Int16),
        Type::Int32 => text.parse().ok().map(Value::Int32),
        Type::Int64 => text.parse().ok().map(Value::Int64),
        Type::Float32 => float(text).and_then(|text| text.parse().ok()).map(Value::Float32),
        Type::Float64 => float(text).and_then(|text| text.parse().ok()).map(Value::Float64),
        _ => Some(Value::Boolean(text.eq_ignore_ascii_case("true"))),
    }
}

/// As Java reads floats: with a `f` or `d` behind them, and two words.
fn float(text: &str) -> Option<&str> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "NaN" || unsigned == "Infinity" {
        return Some(text);
    }
    let digits = |first: char| first.is_ascii_digit() || first == '.';
    unsigned.starts_with(digits).then(|| text.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(text))
}

/// A number, with Java's ways to make it smaller.
enum Number<'a> {
    Integer(i64),
    Float32(f32),
    Float64(f64),
    Decimal(&'a Decimal),
}

impl Number<'_> {
    fn of(value: &Value) -> Option<Number<'_>> {
        Some(match value {
            Value::Boolean(value) => Number::Integer(i64::from(*value)),
            Value::Int8(number) => Number::Integer(i64::from(*number)),
            Value::Int16(number) => Number::Integer(i64::from(*number)),
            Value::Int32(number) | Value::Date(number) | Value::Time(number) => {
                Number::Integer(i64::from(*number))
            }
            Value::Int64(number) | Value::Timestamp(number) => Number::Integer(*number),
            Value::Float32(number) => Number::Float32(*number),
            Value::Float64(number) => Number::Float64(*number),
            Value::Decimal(number) => Number::Decimal(number),
            _ => return None,
        })
    }

    fn to_i32(&self) -> i32 {
        match self {
            Number::Float32(number) => *number as i32,
            Number::Float64(number) => *number as i32,
            _ => self.to_i64() as i32,
        }
    }

    fn to_i64(&self) -> i64 {
        match self {
            Number::Integer(number) => *number,
            Number::Float32(number) => *number as i64,
            Number::Float64(number) => *number as i64,
            Number::Decimal(number) => number.to_low_i64(),
        }
    }

    fn to_f32(&self) -> f32 {
        match self {
            Number::Integer(number) => *number as f32,
            Number::Float32(number) => *number,
            Number::Float64(number) => *number as f32,
            Number::Decimal(number) => number.to_string().parse().expect("a decimal is a number"),
        }
    }

    fn to_f64(&self) -> f64 {
        match self {
            Number::Integer(number) => *number as f64,
            Number::Float32(number) => f64::from(*number),
            Number::Float64(number) => *number,
            Number::Decimal(number) => number.to_f64(),
        }
    }
}
