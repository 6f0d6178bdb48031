//! What stands in Arrow's arrays, as values of Connect's data model.
//!
//! Times of ms are Connect's own; those of µs and ns, which it has none for, are Debezium's. Where
//! there is no schema to say so, times are text in ISO 8601.

use std::sync::Arc;

use arrow::array::types::*;
use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::array_value_to_string;

use crate::data::{Decimal, Map, Schema, SchemaBuilder, Struct, Type, Value};

/// The schema of what [`value`] makes of an array of that type; all of it may be null.
pub fn schema(data_type: &DataType) -> Schema {
    builder(data_type).optional().build()
}

fn builder(data_type: &DataType) -> SchemaBuilder {
    use TimeUnit::{Microsecond, Nanosecond};
    let debezium = |name: &str| SchemaBuilder::of(Type::Int64).name(name).version(1);
    match data_type {
        DataType::Boolean => SchemaBuilder::of(Type::Boolean),
        DataType::Int8 => SchemaBuilder::of(Type::Int8),
        DataType::Int16 | DataType::UInt8 => SchemaBuilder::of(Type::Int16),
        DataType::Int32 | DataType::UInt16 => SchemaBuilder::of(Type::Int32),
        DataType::Int64 | DataType::UInt32 => SchemaBuilder::of(Type::Int64),
        DataType::UInt64 => SchemaBuilder::decimal(0),
        DataType::Float16 | DataType::Float32 => SchemaBuilder::of(Type::Float32),
        DataType::Float64 => SchemaBuilder::of(Type::Float64),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => SchemaBuilder::of(Type::Bytes),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => SchemaBuilder::decimal(i32::from(*scale)),
        DataType::Date32 | DataType::Date64 => SchemaBuilder::date(),
        DataType::Time32(_) => SchemaBuilder::time(),
        DataType::Time64(Nanosecond) => debezium("io.debezium.time.NanoTime"),
        DataType::Time64(_) => debezium("io.debezium.time.MicroTime"),
        DataType::Timestamp(Nanosecond, _) => debezium("io.debezium.time.NanoTimestamp"),
        DataType::Timestamp(Microsecond, _) => debezium("io.debezium.time.MicroTimestamp"),
        DataType::Timestamp(..) => SchemaBuilder::timestamp(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => SchemaBuilder::array(schema(item.data_type())),
        DataType::Map(entry, _) => match entry.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let [key, value] = [0, 1].map(|at| schema(fields[at].data_type()));
                SchemaBuilder::map(key.to_builder().required().build(), value)
            }
            _ => SchemaBuilder::of(Type::String),
        },
        DataType::Struct(fields) => {
            fields.iter().fold(SchemaBuilder::structure(), |builder, field| {
                builder.field(field.name().as_str(), schema(field.data_type()))
            })
        }
        DataType::Dictionary(_, value) => builder(value),
        // What else there is, intervals for one, is text.
        _ => SchemaBuilder::of(Type::String),
    }
}

/// The value at that place, of the type that [`schema`] says.
pub fn value(array: &dyn Array, at: usize) -> Value {
    one(array, at, true)
}

/// The value at that place, as it is without a schema.
pub fn plain(array: &dyn Array, at: usize) -> Value {
    one(array, at, false)
}

fn one(array: &dyn Array, at: usize, typed: bool) -> Value {
    if array.is_null(at) || *array.data_type() == DataType::Null {
        return Value::Null;
    }
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(at)
        };
    }
    let as_type = |data_type: &DataType| {
        // Of types that hold all of the values.
        let array = cast(&array.slice(at, 1), data_type);
        array.map_or(Value::Null, |array| one(&array, 0, typed))
    };
    match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(at)),
        DataType::Int8 => Value::Int8(primitive!(Int8Type)),
        DataType::Int16 => Value::Int16(primitive!(Int16Type)),
        DataType::Int32 => Value::Int32(primitive!(Int32Type)),
        DataType::Int64 => Value::Int64(primitive!(Int64Type)),
        DataType::UInt8 => Value::Int16(i16::from(primitive!(UInt8Type))),
        DataType::UInt16 => Value::Int32(i32::from(primitive!(UInt16Type))),
        DataType::UInt32 => Value::Int64(i64::from(primitive!(UInt32Type))),
        DataType::UInt64 => match (i64::try_from(primitive!(UInt64Type)), typed) {
            (Ok(number), false) => Value::Int64(number),
            _ => decimal(primitive!(UInt64Type).into(), 0),
        },
        DataType::Float16 => as_type(&DataType::Float32),
        DataType::Float32 => Value::Float32(primitive!(Float32Type)),
        DataType::Float64 => Value::Float64(primitive!(Float64Type)),
        DataType::Utf8 => Value::string(array.as_string::<i32>().value(at)),
        DataType::LargeUtf8 | DataType::Utf8View => as_type(&DataType::Utf8),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(at).to_vec().into()),
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            as_type(&DataType::Binary)
        }
        DataType::Decimal128(_, scale) => decimal(primitive!(Decimal128Type), *scale),
        DataType::Decimal32(_, scale) => decimal(primitive!(Decimal32Type).into(), *scale),
        DataType::Decimal64(_, scale) => decimal(primitive!(Decimal64Type).into(), *scale),
        DataType::Date64 => as_type(&DataType::Date32),
        DataType::Time32(TimeUnit::Second) => as_type(&DataType::Time32(TimeUnit::Millisecond)),
        DataType::Timestamp(TimeUnit::Second, zone) => {
            as_type(&DataType::Timestamp(TimeUnit::Millisecond, zone.clone()))
        }
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..)
            if typed =>
        {
            time(array, at)
        }
        DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => as_type(&DataType::List(item.clone())),
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => nested(array, at, typed),
        DataType::Dictionary(_, of) => as_type(of),
        _ => array_value_to_string(array, at).map_or(Value::Null, Value::string),
    }
}

/// A list, a map or a struct.
fn nested(array: &dyn Array, at: usize, typed: bool) -> Value {
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(at);
            Value::array((0..items.len()).map(|at| one(&items, at, typed)).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(at);
            let entry = |at| {
                let [key, value] = [0, 1].map(|side| one(entries.column(side), at, typed));
                (key, value)
            };
            Value::map((0..entries.len()).map(entry).collect::<Map>())
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter();
            let values = columns.map(|column| one(column, at, typed));
            if typed {
                let schema = schema(array.data_type());
                return Value::structure(Struct::with_values(&schema, values.collect()));
            }
            let names = fields.iter().map(|field| Value::string(field.name().as_str()));
            Value::map(names.zip(values).collect::<Map>())
        }
        _ => Value::Null,
    }
}

/// A time as its schema has it.
fn time(array: &dyn Array, at: usize) -> Value {
    macro_rules! primitive {
        ($type:ty) => {
            array.as_primitive::<$type>().value(at)
        };
    }
    match array.data_type() {
        DataType::Date32 => Value::Date(primitive!(Date32Type)),
        DataType::Time32(_) => Value::Time(primitive!(Time32MillisecondType)),
        DataType::Time64(TimeUnit::Nanosecond) => Value::Int64(primitive!(Time64NanosecondType)),
        DataType::Time64(_) => Value::Int64(primitive!(Time64MicrosecondType)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Value::Int64(primitive!(TimestampNanosecondType))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Int64(primitive!(TimestampMicrosecondType))
        }
        _ => Value::Timestamp(primitive!(TimestampMillisecondType)),
    }
}

fn decimal(unscaled: i128, scale: i8) -> Value {
    Value::Decimal(Arc::new(Decimal::new(unscaled, i32::from(scale))))
}
