//! Which columns of a source are wanted, where each comes from, and putting them together.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use broker::record::Record;

use super::csv::CsvDecoder;
use super::json::{Indexed, JsonDecoder, into_columns};
use super::raw::{bytes_column, invalid_utf8};
use super::{DecodeError, FormatError, Rows, excerpt};
use crate::pipeline::{ColumnFrom, EventTime, Format, Source};

/// Turns records of one source into the columns that a query wants.
pub struct RowDecoder {
    /// The wanted columns, in the order of the projection.
    schema: SchemaRef,
    values: ValueDecoder,
    origins: Vec<Origin>,
    event_time: RowTime,
}

/// How the part of a row that is in the record's value is decoded.
enum ValueDecoder {
    /// Field names and their columns, of the wanted ones.
    Json(JsonDecoder),
    Csv(CsvDecoder),
    /// The whole value in a column of this type.
    Raw(Field),
}

/// Where a wanted column comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// This one of the columns that the value decoder makes.
    Value(usize),
    Key,
    Timestamp,
    Partition,
    Offset,
}

/// Where a row's event time comes from.
enum RowTime {
    Record,
    Column(Origin),
}

/// What a batch of records came to.
#[derive(Debug)]
pub struct DecodedRows {
    pub rows: Rows,
    /// Which of the records became the rows, if not all did; by index, ascending.
    pub kept: Option<Vec<usize>>,
    /// Records that could not be decoded, ascending.
    pub failures: Vec<RecordFailure>,
    /// Records without a value, which are no rows in JSON and CSV; by index, ascending.
    pub tombstones: Vec<usize>,
}

/// A record that is not a row, by its index among those that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFailure {
    pub index: usize,
    pub reason: DecodeError,
}

impl RowDecoder {
    /// A decoder of the columns of `source` that `projection` lists by index. The column of the
    /// event time is decoded beside them if it is not among them.
    pub fn new(source: &Source, projection: &[usize]) -> Result<RowDecoder, FormatError> {
        let mut needed: Vec<usize> = projection.to_vec();
        if let EventTime::Column(column) = source.event_time {
            needed.push(column);
        }
        let is_value = |column: &usize| source.columns[*column].from == ColumnFrom::Value;
        let mut values: Vec<usize> = needed.iter().copied().filter(is_value).collect();
        values.sort_unstable();
        values.dedup();
        let origin = |column: usize| match source.columns[column].from {
            ColumnFrom::Value => {
                let at = values.binary_search(&column);
                Origin::Value(at.expect("all value columns that are needed were collected"))
            }
            ColumnFrom::Key => Origin::Key,
            ColumnFrom::Timestamp => Origin::Timestamp,
            ColumnFrom::Partition => Origin::Partition,
            ColumnFrom::Offset => Origin::Offset,
        };
        let schema = source
            .schema
            .project(projection)
            .map_err(|error| FormatError::Shape(format!("source '{}': {error}", source.name)))?;
        Ok(RowDecoder {
            schema: Arc::new(schema),
            origins: projection.iter().map(|&column| origin(column)).collect(),
            event_time: match source.event_time {
                EventTime::Record => RowTime::Record,
                EventTime::Column(column) => RowTime::Column(origin(column)),
            },
            values: value_decoder(source, &values)?,
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes records of one partition, in order.
    pub fn decode(&mut self, partition: i32, records: &[Record<'_>]) -> DecodedRows {
        let mut tombstones = Vec::new();
        let mut failed: Vec<(usize, DecodeError)> = Vec::new();
        let mut headers = Vec::new();
        let columns = match &mut self.values {
            ValueDecoder::Json(decoder) => {
                let values = present(records, &mut tombstones);
                into_columns(decoder.decode(&values, &mut failed))
            }
            ValueDecoder::Csv(decoder) => {
                let values = present(records, &mut tombstones);
                let rows = decoder.decode(&values, &mut failed);
                headers = rows.headers;
                rows.columns
            }
            ValueDecoder::Raw(field) => {
                vec![raw_column(field, records, &mut failed)]
            }
        };
        let columns = self.check_keys(records, &headers, &tombstones, &mut failed, columns);
        let kept = kept(records.len(), [&headers, &tombstones], &failed);
        let rows = self.assemble(partition, records, kept.as_deref(), &columns);
        let failures =
            failed.into_iter().map(|(index, reason)| RecordFailure { index, reason }).collect();
        DecodedRows { rows, kept, failures, tombstones }
    }

    /// Fails the rows whose key is not text where a text column wants it.
    fn check_keys(
        &self,
        records: &[Record<'_>],
        headers: &[usize],
        tombstones: &[usize],
        failed: &mut Vec<(usize, DecodeError)>,
        mut columns: Vec<ArrayRef>,
    ) -> Vec<ArrayRef> {
        let Some(field) = self.key_field() else { return columns };
        let rows = kept(records.len(), [headers, tombstones], failed);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        let mut check = |index: usize| {
            let key = records[index].key;
            let at = key.and_then(|key| invalid_utf8(field.data_type(), key));
            good.push(at.is_none());
            if let (Some(at), Some(key)) = (at, key) {
                let (column, excerpt) = (field.name().clone(), excerpt(key));
                bad.push((index, DecodeError::Utf8 { column, at, excerpt }));
            }
        };
        match &rows {
            Some(rows) => rows.iter().copied().for_each(&mut check),
            None => (0..records.len()).for_each(&mut check),
        }
        if !bad.is_empty() {
            let good = good.into();
            for column in &mut columns {
                *column = arrow::compute::filter(column, &good)
                    .expect("values were decoded for the kept rows");
            }
            failed.append(&mut bad);
            failed.sort_by_key(|(index, _)| *index);
        }
        columns
    }

    fn key_field(&self) -> Option<&Field> {
        let at = self.origins.iter().position(|origin| matches!(origin, Origin::Key))?;
        Some(self.schema.field(at))
    }

    fn assemble(
        &self,
        partition: i32,
        records: &[Record<'_>],
        kept: Option<&[usize]>,
        values: &[ArrayRef],
    ) -> Rows {
        let count = kept.map_or(records.len(), <[usize]>::len);
        let record = |row: usize| &records[kept.map_or(row, |kept| kept[row])];
        let column = |origin: Origin, data_type: Option<&DataType>| -> ArrayRef {
            let array: ArrayRef = match origin {
                Origin::Value(at) => return values[at].clone(),
                Origin::Key => {
                    let keys = (0..count).map(|row| record(row).key);
                    return bytes_column(data_type.unwrap_or(&DataType::Binary), keys)
                        .expect("a key column is text or bytes: checked with the pipeline");
                }
                Origin::Timestamp => Arc::new(TimestampMillisecondArray::from_iter_values(
                    (0..count).map(|row| record(row).timestamp_ms),
                )),
                Origin::Partition => Arc::new(Int32Array::from_value(partition, count)),
                Origin::Offset => Arc::new(Int64Array::from_iter_values(
                    (0..count).map(|row| record(row).offset.0),
                )),
            };
            match data_type {
                Some(data_type) if array.data_type() != data_type => cast(&array, data_type)
                    .expect("a metadata column's type was checked with the pipeline"),
                _ => array,
            }
        };
        let columns: Vec<ArrayRef> = self
            .origins
            .iter()
            .zip(self.schema.fields())
            .map(|(origin, field)| column(*origin, Some(field.data_type())))
            .collect();
        let event_times_ms = match self.event_time {
            RowTime::Record => {
                Int64Array::from_iter_values((0..count).map(|row| record(row).timestamp_ms))
            }
            RowTime::Column(origin) => times_ms(&column(origin, None))
                .expect("the event time is a timestamp: checked with the pipeline"),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("columns have the types of their fields and one length");
        Rows::new(batch, event_times_ms)
    }
}

fn value_decoder(source: &Source, wanted: &[usize]) -> Result<ValueDecoder, FormatError> {
    let field = |column: usize| source.schema.field(column).clone();
    let all: Vec<usize> = (0..source.columns.len())
        .filter(|&column| source.columns[column].from == ColumnFrom::Value)
        .collect();
    match &source.format {
        Format::Json => {
            let fields: Fields = wanted.iter().map(|&column| field(column)).collect();
            Ok(ValueDecoder::Json(JsonDecoder::new(Arc::new(Schema::new(fields)))?))
        }
        Format::Csv(options) => {
            let fields: Vec<Field> = all.iter().map(|&column| field(column)).collect();
            let positions: Vec<usize> =
                (0..all.len()).filter(|&at| wanted.contains(&all[at])).collect();
            Ok(ValueDecoder::Csv(CsvDecoder::new(options, &fields, &positions)?))
        }
        Format::Raw => {
            let field = match all[..] {
                [column] => field(column),
                [] => Field::new("value", DataType::Binary, true),
                _ => {
                    let reason = "a raw value is one column".to_owned();
                    return Err(FormatError::Shape(reason));
                }
            };
            if bytes_column(field.data_type(), std::iter::empty()).is_none() {
                return Err(FormatError::Type {
                    column: field.name().clone(),
                    format: "raw",
                    data_type: field.data_type().to_string(),
                });
            }
            Ok(ValueDecoder::Raw(field))
        }
    }
}

/// The values there are; records without one are noted as tombstones.
fn present<'a>(records: &[Record<'a>], tombstones: &mut Vec<usize>) -> Vec<Indexed<'a>> {
    let mut values = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        match record.value {
            Some(value) => values.push((index, value)),
            None => tombstones.push(index),
        }
    }
    values
}

fn raw_column(
    field: &Field,
    records: &[Record<'_>],
    failed: &mut Vec<(usize, DecodeError)>,
) -> ArrayRef {
    let mut values = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        match record.value {
            None if !field.is_nullable() => {
                failed.push((index, DecodeError::Null { column: field.name().clone() }));
            }
            Some(value) if let Some(at) = invalid_utf8(field.data_type(), value) => {
                let (column, excerpt) = (field.name().clone(), excerpt(value));
                failed.push((index, DecodeError::Utf8 { column, at, excerpt }));
            }
            value => values.push(value),
        }
    }
    bytes_column(field.data_type(), values.into_iter()).expect("checked with the format")
}

/// Indices that are in none of the lists; `None` if that is all of them.
fn kept(len: usize, without: [&[usize]; 2], failed: &[(usize, DecodeError)]) -> Option<Vec<usize>> {
    if failed.is_empty() && without.iter().all(|list| list.is_empty()) {
        return None;
    }
    let mut keep = vec![true; len];
    let failed = failed.iter().map(|(index, _)| index);
    for &index in without.into_iter().flatten().chain(failed) {
        keep[index] = false;
    }
    Some((0..len).filter(|&index| keep[index]).collect())
}

/// Timestamps of any unit in ms, rounded down; `None` if they are no timestamps.
pub fn times_ms(times: &ArrayRef) -> Option<Int64Array> {
    fn ms<T: ArrowPrimitiveType<Native = i64>>(
        times: &ArrayRef,
        ms: impl Fn(i64) -> i64,
    ) -> Option<Int64Array> {
        Some(times.as_any().downcast_ref::<PrimitiveArray<T>>()?.unary(ms))
    }
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            ms::<TimestampSecondType>(times, |time| time.saturating_mul(1000))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            ms::<TimestampMillisecondType>(times, |time| time)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            ms::<TimestampMicrosecondType>(times, |time| time.div_euclid(1000))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            ms::<TimestampNanosecondType>(times, |time| time.div_euclid(1_000_000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
