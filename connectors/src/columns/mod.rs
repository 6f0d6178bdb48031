//! Records as columns, for files that are kept by column and for SQL over records.
//!
//! ```text
//! a schema, or the values themselves ─► Columns ─► does a value fit? ─► arrays of all values
//! values and their schemas ◄─ arrays
//! ```
//!
//! - `schema`: columns of records that have a schema; `infer`: of those that have none, widened
//!   as they come; `arrays`: values into Arrow's arrays; `values`: and back.
//!
//! Invariants:
//! - What [fits](Columns::fit) is written as it is: no digit, no field and no type is lost on the
//!   way, but for what a column of text says of its values.
//! - What does not fit is said with its place, before anything of the record is written.

mod arrays;
mod infer;
mod schema;
mod values;

pub use arrays::batch;
pub use infer::weigh;
pub use values::{plain, schema, value};

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use indexmap::IndexMap;

use crate::data::{Text, Value};
use crate::postgres::types::time::instant_us;

/// The columns of a record, or of a struct in it, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(IndexMap<Text, Column>);

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    kind: Kind,
    nullable: bool,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Nothing but null until now.
    Unknown,
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64 {
        /// Also such as no double holds exactly.
        wide: bool,
    },
    Float32,
    Float64,
    /// Text, or whatever else as JSON.
    Text,
    Bytes,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Date,
    Time(TimeUnit),
    Timestamp {
        unit: TimeUnit,
        utc: bool,
    },
    /// A timestamp in UTC that comes as text in ISO 8601.
    Instant,
    List(Box<Column>),
    Map(Box<Column>, Box<Column>),
    Struct(Columns),
}

impl Columns {
    /// How many there are, those within others counted alone.
    pub fn leaves(&self) -> usize {
        self.0.values().map(|column| column.kind.leaves()).sum()
    }

    /// Whether a record with these fields, but for some, can be written as it is; else why not.
    pub fn fit(&self, value: &Value, left_out: &[String]) -> Result<(), String> {
        let mut found = 0;
        each_field(value, |index, name, value| {
            if left_out.iter().any(|one| *name == one.as_str()) {
                return Ok(());
            }
            let column = self.column(index, name).ok_or_else(|| no_column(name))?;
            found += 1;
            column.fit(value).map_err(|reason| format!("field '{name}': {reason}"))
        })?;
        let is_missing = |name: &Text| field(value, usize::MAX, name).is_none();
        let missing = match found < self.0.len() {
            true => self.0.iter().find(|(name, column)| !column.nullable && is_missing(name)),
            false => None,
        };
        match missing {
            Some((name, _)) => Err(format!("field '{name}' is missing, and is required")),
            None => Ok(()),
        }
    }

    /// These but for some.
    pub fn without(mut self, left_out: &[String]) -> Columns {
        self.0.retain(|name, _| !left_out.iter().any(|one| *name == one.as_str()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The column of that name, which is likely to be at that place.
    fn column(&self, index: usize, name: &Text) -> Option<&Column> {
        match self.0.get_index(index) {
            Some((known, column)) if known == name => Some(column),
            _ => self.0.get(name.as_bytes()),
        }
    }

    /// As Arrow has them.
    pub fn fields(&self) -> Fields {
        self.0.iter().map(|(name, column)| column.field(name)).collect()
    }
}

impl Column {
    fn new(kind: Kind, nullable: bool) -> Column {
        Column { kind, nullable }
    }

    fn fit(&self, value: &Value) -> Result<(), String> {
        let integer = || integer(value);
        let fits = match (&self.kind, value) {
            (_, Value::Null) if self.nullable => true,
            (_, Value::Null) => return Err("null, and a value is required".to_owned()),
            (Kind::Unknown, _) => false,
            (Kind::Text, _) => true,
            (Kind::Boolean, value) => matches!(value, Value::Boolean(_)),
            (Kind::Int8, _) => integer().is_some_and(|number| i8::try_from(number).is_ok()),
            (Kind::Int16, _) => integer().is_some_and(|number| i16::try_from(number).is_ok()),
            (Kind::Int32, _) => integer().is_some_and(|number| i32::try_from(number).is_ok()),
            (Kind::Int64 { wide }, _) => integer().is_some_and(|number| *wide || is_double(number)),
            (Kind::Float32, value) => matches!(value, Value::Float32(_)),
            (Kind::Float64, Value::Float32(_) | Value::Float64(_)) => true,
            (Kind::Float64, _) => integer().is_some_and(is_double),
            (Kind::Bytes, value) => matches!(value, Value::Bytes(_)),
            (Kind::Decimal { precision, scale }, Value::Decimal(_)) => {
                return arrays::unscaled(value, *precision, *scale).map(drop);
            }
            (Kind::Date, value) => matches!(value, Value::Date(_) | Value::Int32(_)),
            (Kind::Time(TimeUnit::Millisecond), Value::Time(_) | Value::Int32(_)) => true,
            (Kind::Timestamp { .. }, Value::Timestamp(_)) => true,
            (Kind::Time(_) | Kind::Timestamp { .. }, value) => matches!(value, Value::Int64(_)),
            (Kind::Instant, Value::String(text)) => {
                let found = instant_us(text);
                let no = || format!("'{text}' is no point in time in whole microseconds");
                return found.map(drop).ok_or_else(no);
            }
            (Kind::List(item), Value::Array(items)) => {
                let mut items = items.iter().enumerate();
                return items.try_for_each(|(index, value)| {
                    item.fit(value).map_err(|reason| format!("item {index}: {reason}"))
                });
            }
            (Kind::Map(of_keys, of_values), Value::Map(map)) => {
                return map.iter().try_for_each(|(key, value)| {
                    of_keys.fit(key).map_err(|reason| format!("key {key:?}: {reason}"))?;
                    of_values.fit(value).map_err(|reason| format!("value of {key:?}: {reason}"))
                });
            }
            (Kind::Struct(columns), value) if has_fields(value) => return columns.fit(value, &[]),
            _ => false,
        };
        match fits {
            true => Ok(()),
            false => Err(format!("{} where {} is expected", value.kind(), self.kind)),
        }
    }

    fn field(&self, name: &str) -> FieldRef {
        Arc::new(Field::new(name, self.kind.data_type(), self.nullable))
    }
}

impl Kind {
    fn leaves(&self) -> usize {
        match self {
            Kind::List(item) => item.kind.leaves(),
            Kind::Map(key, value) => key.kind.leaves() + value.kind.leaves(),
            Kind::Struct(columns) => columns.leaves().max(1),
            _ => 1,
        }
    }

    /// As Arrow has it; names within are those that Parquet's specification asks for.
    fn data_type(&self) -> DataType {
        match self {
            Kind::Unknown => DataType::Null,
            Kind::Boolean => DataType::Boolean,
            Kind::Int8 => DataType::Int8,
            Kind::Int16 => DataType::Int16,
            Kind::Int32 => DataType::Int32,
            Kind::Int64 { .. } => DataType::Int64,
            Kind::Float32 => DataType::Float32,
            Kind::Float64 => DataType::Float64,
            Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Kind::Date => DataType::Date32,
            Kind::Time(unit @ TimeUnit::Millisecond) => DataType::Time32(*unit),
            Kind::Time(unit) => DataType::Time64(*unit),
            Kind::Timestamp { unit, utc } => DataType::Timestamp(*unit, utc.then(|| UTC.into())),
            Kind::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Kind::List(item) => DataType::List(item.field("element")),
            Kind::Map(key, value) => {
                let entry = DataType::Struct([key.field("key"), value.field("value")].into());
                DataType::Map(Arc::new(Field::new("key_value", entry, false)), false)
            }
            Kind::Struct(columns) => DataType::Struct(columns.fields()),
        }
    }
}

/// In words, for messages: `an int64`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Unknown => "null",
            Kind::Boolean => "a boolean",
            Kind::Int8 => "an int8",
            Kind::Int16 => "an int16",
            Kind::Int32 => "an int32",
            Kind::Int64 { .. } => "an int64",
            Kind::Float32 => "a float32",
            Kind::Float64 => "a float64",
            Kind::Text => "text",
            Kind::Bytes => "bytes",
            Kind::Decimal { precision, scale } => {
                return write!(f, "a decimal of {precision} digits, {scale} after the point");
            }
            Kind::Date => "a date",
            Kind::Time(_) => "a time",
            Kind::Timestamp { .. } => "a timestamp",
            Kind::Instant => "a point in time",
            Kind::List(_) => "an array",
            Kind::Map(..) => "a map",
            Kind::Struct(_) => "a struct",
        })
    }
}

const UTC: &str = "UTC";

/// Whether its fields can be columns.
pub fn has_fields(value: &Value) -> bool {
    match value {
        Value::Struct(_) => true,
        Value::Map(map) => map.keys().all(|key| matches!(key, Value::String(_))),
        _ => false,
    }
}

/// The fields of a struct, or of a map by text.
fn each_field(
    value: &Value,
    mut take: impl FnMut(usize, &Text, &Value) -> Result<(), String>,
) -> Result<(), String> {
    match value {
        Value::Struct(value) => {
            let mut fields = value.schema().fields().iter().enumerate();
            fields.try_for_each(|(index, field)| take(index, &field.name, value.at(index)))
        }
        Value::Map(map) => map.iter().enumerate().try_for_each(|(index, (key, value))| match key {
            Value::String(name) => take(index, name, value),
            _ => Ok(()),
        }),
        _ => Ok(()),
    }
}

/// A field, which is likely to be at that place.
fn field<'a>(value: &'a Value, index: usize, name: &Text) -> Option<&'a Value> {
    match value {
        Value::Struct(value) => match value.schema().fields().get(index) {
            Some(field) if field.name == *name => Some(value.at(index)),
            _ => value.get(name),
        },
        Value::Map(map) => match map.get_index(index) {
            Some((Value::String(key), value)) if key == name => Some(value),
            _ => map.get(&Value::String(name.clone())),
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int8(number) => Some(i64::from(*number)),
        Value::Int16(number) => Some(i64::from(*number)),
        Value::Int32(number) => Some(i64::from(*number)),
        Value::Int64(number) => Some(*number),
        _ => None,
    }
}

/// Whether a double holds every digit of it, and of all that are nearer to 0.
fn is_double(number: i64) -> bool {
    number.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS
}

fn no_column(name: &Text) -> String {
    format!("field '{name}' is none of the columns")
}

#[cfg(test)]
pub mod tests;
