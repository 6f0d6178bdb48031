//! Brings times from one form to another: text, seconds or ms since 1970, Connect's own types.

use std::sync::Arc;

use super::date_format::DateFormat;
use super::side::{Fields, SchemaCache, all_values, fields, set_struct};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::civil::MS_PER_DAY;
use crate::data::schema::Logical;
use crate::data::{ConnectRecord, DataError, Schema, SchemaBuilder, Type, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "TimestampConverter",
    has_sides: true,
    doc: "Brings times from one form to another",
    keys: KEYS,
    make,
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "field",
        key_type: KeyType::AnyText,
        presence: Presence::Default(""),
        doc: "The field with the time; if there is none, the whole key or value is one",
        example: "created_at",
    },
    ConfigKey {
        name: "target.type",
        key_type: KeyType::OneOf(&["string", "unix", "Date", "Time", "Timestamp"]),
        presence: Presence::Required,
        doc: "The form to bring it to",
        example: "Timestamp",
    },
    ConfigKey {
        name: "format",
        key_type: KeyType::AnyText,
        presence: Presence::Default(""),
        doc: "How text is written and read, in UTC, by a pattern of Java's SimpleDateFormat",
        example: "yyyy-MM-dd HH:mm:ss",
    },
    ConfigKey {
        name: "unix.precision",
        key_type: KeyType::OneOf(&["seconds", "milliseconds", "microseconds", "nanoseconds"]),
        presence: Presence::Default("milliseconds"),
        doc: "What plain numbers count, since 1970",
        example: "seconds",
    },
    REPLACE_NULL,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    String,
    Unix,
    Date,
    Time,
    Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

#[derive(Clone, Debug)]
struct TimestampConverter {
    side: Side,
    field: String,
    target: Target,
    format: Option<DateFormat>,
    precision: Precision,
    replace_null: bool,
    schemas: SchemaCache,
}

fn make(side: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let target = match settings.text("target.type") {
        "string" => Target::String,
        "unix" => Target::Unix,
        "Date" => Target::Date,
        "Time" => Target::Time,
        _ => Target::Timestamp,
    };
    let format = match settings.text("format") {
        "" if target == Target::String => {
            let message = "`target.type = string` needs a `format`, such as `yyyy-MM-dd HH:mm:ss`";
            return Err(Mistake::new("format", message));
        }
        "" => None,
        pattern => {
            let parsed = DateFormat::parse_pattern(pattern);
            Some(parsed.map_err(|message| Mistake::new("format", message))?)
        }
    };
    let precision = match settings.text("unix.precision") {
        "seconds" => Precision::Seconds,
        "microseconds" => Precision::Microseconds,
        "nanoseconds" => Precision::Nanoseconds,
        _ => Precision::Milliseconds,
    };
    Ok(Box::new(TimestampConverter {
        side,
        field: settings.text("field").to_owned(),
        target,
        format,
        precision,
        replace_null: settings.flag(REPLACE_NULL.name),
        schemas: SchemaCache::default(),
    }))
}

impl TimestampConverter {
    /// In ms since 1970.
    fn read(&self, value: &Value) -> Result<i64, DataError> {
        match value {
            Value::Timestamp(ms) => Ok(*ms),
            Value::Date(days) => Ok(i64::from(*days) * MS_PER_DAY),
            Value::Time(ms) => Ok(i64::from(*ms)),
            Value::Int64(number) => match self.precision {
                // Java's multiplication stops at the ends of its range.
                Precision::Seconds => Ok(number.saturating_mul(1000)),
                Precision::Milliseconds => Ok(*number),
                Precision::Microseconds => Ok(number / 1000),
                Precision::Nanoseconds => Ok(number / 1_000_000),
            },
            Value::String(text) => {
                let Some(format) = &self.format else {
                    let message = format!("'{text}' is text: a `format` has to say how to read it");
                    return Err(DataError(message));
                };
                let wrong = || format!("'{text}' is no time of the form '{}'", format.pattern());
                format.parse(text).ok_or_else(|| DataError(wrong()))
            }
            other => Err(DataError(format!("{} is no time", other.kind()))),
        }
    }

    fn write(&self, ms: i64) -> Value {
        match self.target {
            Target::String => {
                let format = self.format.as_ref().expect("text has a format");
                Value::string(format.format(ms))
            }
            Target::Unix => Value::Int64(match self.precision {
                Precision::Seconds => ms / 1000,
                Precision::Milliseconds => ms,
                Precision::Microseconds => ms.saturating_mul(1000),
                Precision::Nanoseconds => ms.saturating_mul(1_000_000),
            }),
            Target::Date => Value::Date(ms.div_euclid(MS_PER_DAY) as i32),
            Target::Time => Value::Time(ms.rem_euclid(MS_PER_DAY) as i32),
            Target::Timestamp => Value::Timestamp(ms),
        }
    }

    fn convert(&self, value: &Value) -> Result<Value, DataError> {
        if value.is_null() {
            return Ok(Value::Null);
        }
        let converted = self.read(value).map(|ms| self.write(ms));
        match self.field.as_str() {
            "" => converted,
            name => converted.map_err(|error| error.within(format_args!("field '{name}'"))),
        }
    }

    fn schema(&self, optional: bool) -> Schema {
        let builder = match self.target {
            Target::String => SchemaBuilder::of(Type::String),
            Target::Unix => SchemaBuilder::of(Type::Int64),
            Target::Date => SchemaBuilder::date(),
            Target::Time => SchemaBuilder::time(),
            Target::Timestamp => SchemaBuilder::timestamp(),
        };
        if optional { builder.optional().build() } else { builder.build() }
    }

    fn struct_schema(&self, schema: &Schema) -> Result<Schema, DataError> {
        if let Some(field) = schema.field(&self.field) {
            readable(&field.schema)
                .map_err(|error| error.within(format_args!("field '{}'", self.field)))?;
        }
        let fields = schema.fields().iter();
        let mut builder = fields.fold(schema.struct_basics(), |builder, field| {
            let of = match field.name == *self.field {
                true => self.schema(field.schema.is_optional()),
                false => field.schema.clone(),
            };
            builder.field(field.name.clone(), of)
        });
        if schema.is_optional() {
            builder = builder.optional();
        }
        Ok(builder.build())
    }
}

/// Whether times can be of that type.
fn readable(schema: &Schema) -> Result<(), DataError> {
    match (schema.logical(), schema.type_()) {
        (Some(Logical::Date | Logical::Time | Logical::Timestamp), _) => Ok(()),
        (None, Type::String | Type::Int64) => Ok(()),
        _ => Err(DataError(format!("{schema:?} is no form of a time"))),
    }
}

impl Transform for TimestampConverter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        if self.field.is_empty() {
            if let Some(schema) = &data.schema {
                readable(schema)?;
            }
            data.value = self.convert(&data.value)?;
            data.schema = data.schema.as_ref().map(|schema| self.schema(schema.is_optional()));
            return Ok(Outcome::Keep);
        }
        if data.value.is_null() {
            return Ok(Outcome::Keep);
        }
        match fields(data, "convert a time among its fields")? {
            Fields::Map(map) => {
                let key = Value::string(self.field.as_str());
                let converted = self.convert(map.get(&key).unwrap_or(&Value::Null))?;
                Arc::make_mut(map).insert(key, converted);
            }
            Fields::Struct(value) => {
                let of = value.schema();
                if of.field_index(&self.field).is_none() {
                    // As in Kafka: topics with and without the field may go one way.
                    return Ok(Outcome::Keep);
                }
                let mut schemas = std::mem::take(&mut self.schemas);
                let made = schemas.get(of, || self.struct_schema(of));
                self.schemas = schemas;
                let schema = made?;
                let mut values = all_values(value, self.replace_null);
                let at = schema.field_index(&self.field).expect("the schema was made with it");
                values[at] = self.convert(&values[at])?;
                set_struct(data, schema, values);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
