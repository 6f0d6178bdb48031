//! Values that fit their columns, as Arrow's arrays: column by column, level by level.

use std::sync::Arc;

use arrow::array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray,
    RecordBatch, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::{Columns, Kind, field, integer};
use crate::convert::json::{DecimalFormat, JsonConverter, JsonOptions};
use crate::convert::value_to_string;
use crate::data::{SchemaAndValue, Value};
use crate::postgres::types::time::instant_us;

const NULL: &Value = &Value::Null;

/// Rows of records that fit the columns.
pub fn batch(
    columns: &Columns,
    schema: SchemaRef,
    rows: &[Value],
) -> Result<RecordBatch, ArrowError> {
    let options =
        JsonOptions { schemas: false, decimals: DecimalFormat::Numeric, ..JsonOptions::default() };
    let mut texts = Texts { json: JsonConverter::new(options), bytes: Vec::new() };
    let rows: Vec<&Value> = rows.iter().collect();
    RecordBatch::try_new(schema, children(columns, &rows, &mut texts)?)
}

fn children(
    columns: &Columns,
    rows: &[&Value],
    texts: &mut Texts,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut arrays = Vec::with_capacity(columns.0.len());
    for (index, (name, column)) in columns.0.iter().enumerate() {
        let values = rows.iter().map(|row| field(row, index, name).unwrap_or(NULL));
        arrays.push(array(&column.kind, &values.collect::<Vec<_>>(), texts)?);
    }
    Ok(arrays)
}

fn array(kind: &Kind, values: &[&Value], texts: &mut Texts) -> Result<ArrayRef, ArrowError> {
    let data_type = kind.data_type();
    Ok(match kind {
        Kind::Unknown => arrow::array::new_null_array(&data_type, values.len()),
        Kind::Boolean => {
            let read = |value: &&Value| match value {
                Value::Boolean(value) => Some(*value),
                _ => None,
            };
            Arc::new(values.iter().map(read).collect::<BooleanArray>())
        }
        Kind::Int8 => numbers::<Int8Type>(values, data_type, narrow),
        Kind::Int16 => numbers::<Int16Type>(values, data_type, narrow),
        Kind::Int32 => numbers::<Int32Type>(values, data_type, narrow),
        Kind::Int64 { .. } => numbers::<Int64Type>(values, data_type, integer),
        Kind::Float32 => numbers::<Float32Type>(values, data_type, |value| match value {
            Value::Float32(number) => Some(*number),
            _ => None,
        }),
        Kind::Float64 => numbers::<Float64Type>(values, data_type, |value| match value {
            Value::Float32(number) => Some(f64::from(*number)),
            Value::Float64(number) => Some(*number),
            value => integer(value).map(|number| number as f64),
        }),
        Kind::Text => Arc::new(texts.array(values)),
        Kind::Bytes => {
            let bytes = values.iter().map(|value| match value {
                Value::Bytes(bytes) => Some(&bytes[..]),
                _ => None,
            });
            Arc::new(bytes.collect::<BinaryArray>())
        }
        Kind::Decimal { precision, scale } => {
            numbers::<Decimal128Type>(values, data_type, |value| {
                unscaled(value, *precision, *scale).ok()
            })
        }
        Kind::Date => numbers::<Date32Type>(values, data_type, of_day),
        Kind::Time(TimeUnit::Nanosecond) => {
            numbers::<Time64NanosecondType>(values, data_type, point)
        }
        Kind::Time(TimeUnit::Microsecond) => {
            numbers::<Time64MicrosecondType>(values, data_type, point)
        }
        Kind::Time(_) => numbers::<Time32MillisecondType>(values, data_type, of_day),
        Kind::Timestamp { unit: TimeUnit::Nanosecond, .. } => {
            numbers::<TimestampNanosecondType>(values, data_type, point)
        }
        Kind::Timestamp { unit: TimeUnit::Microsecond, .. } => {
            numbers::<TimestampMicrosecondType>(values, data_type, point)
        }
        Kind::Timestamp { .. } => numbers::<TimestampMillisecondType>(values, data_type, point),
        Kind::Instant => numbers::<TimestampMicrosecondType>(values, data_type, |value| {
            value.as_str().and_then(instant_us)
        }),
        Kind::List(_) | Kind::Map(..) | Kind::Struct(_) => nested(kind, &data_type, values, texts)?,
    })
}

fn nested(
    kind: &Kind,
    data_type: &DataType,
    values: &[&Value],
    texts: &mut Texts,
) -> Result<ArrayRef, ArrowError> {
    let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    Ok(match (kind, data_type) {
        (Kind::List(item), DataType::List(field)) => {
            let lists = values.iter().map(|value| match value {
                Value::Array(items) => &items[..],
                _ => &[],
            });
            let offsets = OffsetBuffer::from_lengths(lists.clone().map(<[Value]>::len));
            let items = array(&item.kind, &lists.flatten().collect::<Vec<_>>(), texts)?;
            Arc::new(ListArray::try_new(field.clone(), offsets, items, nulls)?)
        }
        (Kind::Map(of_keys, of_values), DataType::Map(entry, _)) => {
            let lengths = values.iter().map(|value| match value {
                Value::Map(map) => map.len(),
                _ => 0,
            });
            let offsets = OffsetBuffer::from_lengths(lengths);
            let (mut keys, mut entries) = (Vec::new(), Vec::new());
            for value in values {
                if let Value::Map(map) = value {
                    keys.extend(map.keys());
                    entries.extend(map.values());
                }
            }
            let keys = array(&of_keys.kind, &keys, texts)?;
            let entries = array(&of_values.kind, &entries, texts)?;
            let entries = StructArray::try_new(fields_of(entry), vec![keys, entries], None)?;
            Arc::new(MapArray::try_new(entry.clone(), offsets, entries, nulls, false)?)
        }
        (Kind::Struct(columns), DataType::Struct(fields)) => {
            let arrays = children(columns, values, texts)?;
            Arc::new(StructArray::try_new(fields.clone(), arrays, nulls)?)
        }
        (kind, _) => return Err(ArrowError::NotYetImplemented(format!("{kind} as parts"))),
    })
}

fn fields_of(entry: &FieldRef) -> arrow::datatypes::Fields {
    match entry.data_type() {
        DataType::Struct(fields) => fields.clone(),
        _ => arrow::datatypes::Fields::empty(),
    }
}

fn numbers<T: ArrowPrimitiveType>(
    values: &[&Value],
    data_type: DataType,
    read: impl Fn(&Value) -> Option<T::Native>,
) -> ArrayRef {
    let numbers: PrimitiveArray<T> = values.iter().map(|value| read(value)).collect();
    Arc::new(numbers.with_data_type(data_type))
}

fn narrow<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    integer(value).and_then(|number| T::try_from(number).ok())
}

/// Days, or ms of a day.
fn of_day(value: &Value) -> Option<i32> {
    match value {
        Value::Date(number) | Value::Time(number) | Value::Int32(number) => Some(*number),
        _ => None,
    }
}

fn point(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(number) | Value::Int64(number) => Some(*number),
        _ => None,
    }
}

/// A decimal's digits at that scale, if none is lost.
pub fn unscaled(value: &Value, precision: u8, scale: i8) -> Result<i128, String> {
    let Value::Decimal(decimal) = value else { return Err("no decimal".to_owned()) };
    let rescaled = decimal.rescaled(i32::from(scale));
    let number = rescaled.and_then(|rescaled| i128::try_from(&rescaled.unscaled).ok());
    let bound = 10_u128.pow(u32::from(precision));
    number.filter(|number| number.unsigned_abs() < bound).ok_or_else(|| {
        format!(
            "{} does not fit a decimal of {precision} digits, {scale} after the point",
            decimal.to_plain_string()
        )
    })
}

/// Values as text: text is itself, all else its JSON.
struct Texts {
    json: JsonConverter,
    bytes: Vec<u8>,
}

impl Texts {
    fn array(&mut self, values: &[&Value]) -> arrow::array::StringArray {
        let length = values.iter().filter_map(|value| value.as_str()).map(str::len).sum();
        let mut out = StringBuilder::with_capacity(values.len(), length);
        for value in values {
            match value {
                Value::Null => out.append_null(),
                Value::String(text) => out.append_value(text.as_str()),
                Value::Decimal(decimal) => out.append_value(decimal.to_plain_string()),
                value => out.append_value(self.other(value)),
            }
        }
        out.finish()
    }

    fn other(&mut self, value: &Value) -> String {
        self.bytes.clear();
        let data = SchemaAndValue::schemaless(value.clone());
        match self.json.write(&data, &mut self.bytes) {
            Ok(_) => String::from_utf8_lossy(&self.bytes).into_owned(),
            // What has no form in JSON has one as text.
            Err(_) => value_to_string(value),
        }
    }
}
