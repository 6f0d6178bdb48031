//! For tests: what is in a file of columns, by the reader of Parquet's own crate.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::types::*;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::data::{Decimal, Map, Value};

/// Its rows as maps. Points in time of other units than ms are their numbers.
pub fn rows(path: &Path) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches = reader.build().unwrap();
    batches.flat_map(|batch| rows_of(&batch.unwrap())).collect()
}

/// Its columns, one a line.
pub fn columns(path: &Path) -> String {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let line = |field: &arrow::datatypes::FieldRef| {
        let null = if field.is_nullable() { "" } else { ", required" };
        format!("{}: {}{null}\n", field.name(), field.data_type())
    };
    schema.fields().iter().map(line).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Value> {
    let row = |at: usize| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        let entries = columns
            .map(|(field, array)| (Value::string(field.name().as_str()), value(array, at)))
            .collect::<Map>();
        Value::map(entries)
    };
    (0..batch.num_rows()).map(row).collect()
}

fn value(array: &dyn Array, at: usize) -> Value {
    if array.is_null(at) {
        return Value::Null;
    }
    let items = |array: &dyn Array| (0..array.len()).map(|at| value(array, at)).collect::<Vec<_>>();
    match array.data_type() {
        DataType::Boolean => Value::Boolean(array.as_boolean().value(at)),
        DataType::Int8 => Value::Int8(array.as_primitive::<Int8Type>().value(at)),
        DataType::Int16 => Value::Int16(array.as_primitive::<Int16Type>().value(at)),
        DataType::Int32 => Value::Int32(array.as_primitive::<Int32Type>().value(at)),
        DataType::Int64 => Value::Int64(array.as_primitive::<Int64Type>().value(at)),
        DataType::Float32 => Value::Float32(array.as_primitive::<Float32Type>().value(at)),
        DataType::Float64 => Value::Float64(array.as_primitive::<Float64Type>().value(at)),
        DataType::Utf8 => Value::string(array.as_string::<i32>().value(at)),
        DataType::Binary => Value::Bytes(array.as_binary::<i32>().value(at).to_vec().into()),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(at);
            Value::Decimal(Arc::new(Decimal::new(unscaled, i32::from(*scale))))
        }
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(at)),
        DataType::Time32(_) => Value::Time(array.as_primitive::<Time32MillisecondType>().value(at)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Value::Int64(array.as_primitive::<Time64MicrosecondType>().value(at))
        }
        DataType::Time64(_) => Value::Int64(array.as_primitive::<Time64NanosecondType>().value(at)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Value::Timestamp(array.as_primitive::<TimestampMillisecondType>().value(at))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Int64(array.as_primitive::<TimestampMicrosecondType>().value(at))
        }
        DataType::Timestamp(..) => {
            Value::Int64(array.as_primitive::<TimestampNanosecondType>().value(at))
        }
        DataType::List(_) => Value::array(items(&array.as_list::<i32>().value(at))),
        DataType::Map(..) => {
            let entries = array.as_map().value(at);
            let (keys, values) = (items(entries.column(0)), items(entries.column(1)));
            Value::map(keys.into_iter().zip(values).collect())
        }
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let columns = fields.iter().zip(array.columns());
            let entries = columns
                .map(|(field, array)| (Value::string(field.name().as_str()), value(array, at)));
            Value::map(entries.collect())
        }
        other => panic!("no column is {other}"),
    }
}
