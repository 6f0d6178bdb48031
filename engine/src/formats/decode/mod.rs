//! Which columns of a source are wanted, where each comes from, and putting them together.
//!
//! Values are decoded first, then the keys of those records that became rows; a record whose key
//! fails takes its row with it. Metadata is laid beside them, and of all these columns others are
//! [`computed`]; a row for which that fails goes as well.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanArray, Int32Array,
    Int64Array, MapArray, MapBuilder, MapFieldNames, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::compute::{cast, filter};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use broker::record::Record;

use super::avro::AvroDecoder;
use super::csv::CsvDecoder;
use super::debezium::DebeziumDecoder;
use super::json::{Indexed, JsonDecoder};
use super::protobuf::ProtobufDecoder;
use super::raw::RawDecoder;
use super::{DecodeError, FormatError, Rows};
use crate::pipeline::{ChangeField, ColumnFrom, EventTime, Format, Source, SourceKind};
use computed::Computing;

mod computed;

/// Turns records of one source into the columns that a query wants.
pub struct RowDecoder {
    /// The wanted columns, in the order of the projection.
    schema: SchemaRef,
    topic: Arc<str>,
    values: PartDecoder,
    /// `None` if no column of the key is wanted.
    keys: Option<PartDecoder>,
    /// `None` if no column is computed.
    computing: Option<Computing>,
    origins: Vec<Origin>,
    event_time: RowTime,
}

/// How the part of a row that is in the record's value, or in its key, is decoded.
enum PartDecoder {
    Json(JsonDecoder),
    Csv(CsvDecoder),
    Raw(RawDecoder),
    Avro(AvroDecoder),
    Protobuf(ProtobufDecoder),
    Debezium(DebeziumDecoder),
}

/// Where a wanted column comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// This one of the columns that the value decoder makes.
    Value(usize),
    /// This one of the columns that the key decoder makes.
    Key(usize),
    Timestamp,
    Topic,
    Partition,
    Offset,
    Headers,
    Header(Arc<str>),
    /// This one of the columns that the value decoder makes, of the type that it has there.
    Change(usize),
    /// This one of the columns that are computed.
    Computed(usize),
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
    /// The record that each row came from, if it is not one row from each; by index, ascending.
    pub kept: Option<Vec<usize>>,
    /// Records that could not be decoded, ascending.
    pub failures: Vec<RecordFailure>,
    /// Records that delete what has their key: those without a value, which are no rows except in
    /// raw, and Debezium's deletions that do not say what was deleted; by index, ascending.
    pub tombstones: Vec<usize>,
    /// When these happened, where they say so: by the record's index, ascending.
    pub deleted_at_ms: Vec<(usize, i64)>,
}

/// A record that is not a row, by its index among those that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFailure {
    pub index: usize,
    pub reason: DecodeError,
}

/// What the values of a batch of records came to.
#[derive(Default)]
struct ValueRows {
    columns: Vec<ArrayRef>,
    /// The record of each row.
    kept: Option<Vec<usize>>,
    retracts: Option<Vec<bool>>,
    tombstones: Vec<usize>,
    /// Debezium's deletions that do not say what was deleted, and what is wanted of the events.
    deletions: Vec<usize>,
    of_deletions: Vec<ArrayRef>,
}

impl RowDecoder {
    /// A decoder of the columns of `source` that `projection` lists by index. The column of the
    /// event time is decoded beside them if it is not among them.
    pub fn new(source: &Source, projection: &[usize]) -> Result<RowDecoder, FormatError> {
        let mut needed: Vec<usize> = projection.to_vec();
        if let EventTime::Column(column) = source.event_time {
            needed.push(column);
        }
        let computed = computed::columns(source, &needed);
        needed.extend(computed::inputs(source, &computed)?);
        needed.sort_unstable();
        needed.dedup();
        let of = |from: ColumnFrom| -> Vec<usize> {
            let is_of = |column: &usize| source.columns[*column].from == from;
            needed.iter().copied().filter(is_of).collect()
        };
        let (values, keys) = (of(ColumnFrom::Value), of(ColumnFrom::Key));
        let change = |column: &usize| match source.columns[*column].from {
            ColumnFrom::Change(field) => Some((*column, field)),
            _ => None,
        };
        let (changes, fields): (Vec<usize>, Vec<ChangeField>) =
            needed.iter().filter_map(change).unzip();
        let place = |among: &[usize], column: usize| {
            among.binary_search(&column).expect("all columns that are needed were collected")
        };
        let origin = |column: usize| match &source.columns[column].from {
            ColumnFrom::Value => Origin::Value(place(&values, column)),
            ColumnFrom::Key => Origin::Key(place(&keys, column)),
            ColumnFrom::Timestamp => Origin::Timestamp,
            ColumnFrom::Topic => Origin::Topic,
            ColumnFrom::Partition => Origin::Partition,
            ColumnFrom::Offset => Origin::Offset,
            ColumnFrom::Headers => Origin::Headers,
            ColumnFrom::Header(name) => Origin::Header(Arc::clone(name)),
            ColumnFrom::Change(_) => Origin::Change(values.len() + place(&changes, column)),
            ColumnFrom::Computed(_) => Origin::Computed(place(&computed, column)),
        };
        let schema = source
            .schema
            .project(projection)
            .map_err(|error| FormatError::Shape(format!("source '{}': {error}", source.name)))?;
        Ok(RowDecoder {
            schema: Arc::new(schema),
            topic: source.topic.as_str().into(),
            origins: projection.iter().map(|&column| origin(column)).collect(),
            event_time: match source.event_time {
                EventTime::Record => RowTime::Record,
                EventTime::Column(column) => RowTime::Column(origin(column)),
            },
            values: value_decoder(source, &values, fields)?,
            keys: if keys.is_empty() { None } else { Some(key_decoder(source, &keys)?) },
            computing: match computed.is_empty() {
                true => None,
                false => Some(Computing::new(source, &computed, origin)?),
            },
        })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes records of one partition, in order.
    pub fn decode(&mut self, partition: i32, records: &[Record<'_>]) -> DecodedRows {
        let mut failed: Vec<(usize, DecodeError)> = Vec::new();
        let mut values = decode_values(&mut self.values, records, &mut failed);
        let keys = self.decode_keys(records, &mut values, &mut failed);
        let mut parts = Parts { partition, records, values, keys, computed: Vec::new() };
        self.compute(&mut parts, &mut failed);
        let rows = self.assemble(&parts);
        let values = parts.values;
        let deleted_at_ms = self.deleted_at_ms(&values);
        failed.sort_by_key(|(index, _)| *index);
        let failures = failed.into_iter();
        let failures = failures.map(|(index, reason)| RecordFailure { index, reason }).collect();
        let ValueRows { kept, tombstones, .. } = values;
        DecodedRows { rows, kept, failures, tombstones, deleted_at_ms }
    }

    /// When deletions happened, if the event time is what a change event says of itself.
    fn deleted_at_ms(&self, values: &ValueRows) -> Vec<(usize, i64)> {
        let RowTime::Column(Origin::Change(at)) = self.event_time else { return Vec::new() };
        let changes = values.columns.len() - values.of_deletions.len();
        let Some(times) = at.checked_sub(changes).and_then(|at| values.of_deletions.get(at)) else {
            return Vec::new();
        };
        let times =
            times_ms(times).expect("the event time is a timestamp: checked with the pipeline");
        let said = values.deletions.iter().zip(times.iter());
        said.filter_map(|(&index, time_ms)| Some((index, time_ms?))).collect()
    }

    /// The columns of the rows' keys; rows whose key fails are taken out of `values`.
    fn decode_keys(
        &mut self,
        records: &[Record<'_>],
        values: &mut ValueRows,
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> Vec<ArrayRef> {
        let Some(decoder) = &mut self.keys else { return Vec::new() };
        let kept = values.kept.clone().unwrap_or_else(|| (0..records.len()).collect());
        let mut good = Vec::with_capacity(kept.len());
        for &index in &kept {
            let taken = decoder.append(records[index].key);
            good.push(taken.is_ok());
            if let Err(error) = taken
                && failed.last().is_none_or(|(last, _)| *last != index)
            {
                failed.push((index, DecodeError::Key(Box::new(error))));
            }
        }
        let keys = decoder.finish();
        if good.contains(&false) {
            values.keep(records.len(), &good);
        }
        keys
    }

    /// Lays computed columns beside the others; rows for which that fails are taken out.
    fn compute(&self, parts: &mut Parts<'_>, failed: &mut Vec<(usize, DecodeError)>) {
        let Some(computing) = &self.computing else { return };
        let inputs = computing.inputs.iter();
        let inputs = inputs.map(|(origin, field)| self.column(parts, origin, Some(field)));
        let computed = computing.compute(inputs.collect(), parts.count());
        parts.computed = computed.columns;
        if computed.failed.is_empty() {
            return;
        }
        let mut good = vec![true; parts.count()];
        for (row, reason) in computed.failed {
            good[row] = false;
            let index = parts.place(row);
            if failed.iter().all(|(of, _)| *of != index) {
                failed.push((index, reason));
            }
        }
        let mask = BooleanArray::from(good.clone());
        for key in &mut parts.keys {
            *key = filter(key, &mask).expect("keys were decoded for the kept rows");
        }
        parts.values.keep(parts.records.len(), &good);
    }

    /// The values of a column, of the field's type if one is given.
    fn column(&self, parts: &Parts<'_>, origin: &Origin, field: Option<&Field>) -> ArrayRef {
        let count = parts.count();
        let record = |row: usize| &parts.records[parts.place(row)];
        let array: ArrayRef = match origin {
            Origin::Value(at) => return parts.values.columns[*at].clone(),
            Origin::Key(at) => return parts.keys[*at].clone(),
            Origin::Computed(at) => return parts.computed[*at].clone(),
            Origin::Change(at) => match parts.values.columns[*at].as_map_opt() {
                Some(maps) => return of_map_type(maps, maps.values().clone(), field),
                None => parts.values.columns[*at].clone(),
            },
            Origin::Timestamp => Arc::new(TimestampMillisecondArray::from_iter_values(
                (0..count).map(|row| record(row).timestamp_ms),
            )),
            Origin::Topic => {
                let topic = std::iter::repeat_n(&*self.topic, count);
                Arc::new(StringArray::from_iter_values(topic))
            }
            Origin::Partition => Arc::new(Int32Array::from_value(parts.partition, count)),
            Origin::Offset => {
                Arc::new(Int64Array::from_iter_values((0..count).map(|row| record(row).offset.0)))
            }
            Origin::Headers => return all_headers((0..count).map(record), field),
            Origin::Header(name) => return one_header((0..count).map(record), name, field),
        };
        match field.map(Field::data_type) {
            Some(data_type) if array.data_type() != data_type => cast(&array, data_type)
                .expect("a metadata column's type was checked with the pipeline"),
            _ => array,
        }
    }

    fn assemble(&self, parts: &Parts<'_>) -> Rows {
        let count = parts.count();
        let columns: Vec<ArrayRef> = self
            .origins
            .iter()
            .zip(self.schema.fields())
            .map(|(origin, field)| self.column(parts, origin, Some(field)))
            .collect();
        let event_times_ms = match &self.event_time {
            RowTime::Record => {
                let record = |row: usize| &parts.records[parts.place(row)];
                Int64Array::from_iter_values((0..count).map(|row| record(row).timestamp_ms))
            }
            RowTime::Column(origin) => {
                let times = times_ms(&self.column(parts, origin, None))
                    .expect("the event time is a timestamp: checked with the pipeline");
                parts.with_times_of_updates(times)
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .expect("columns have the types of their fields and one length");
        match &parts.values.retracts {
            Some(retracts) => Rows::changes(batch, event_times_ms, retracts.clone().into()),
            None => Rows::new(batch, event_times_ms),
        }
    }
}

impl ValueRows {
    /// Takes those rows of a batch of so many records out that are not good.
    fn keep(&mut self, records: usize, good: &[bool]) {
        let mask = BooleanArray::from(good.to_vec());
        for column in &mut self.columns {
            *column = filter(column, &mask).expect("values were decoded for the kept rows");
        }
        let kept = self.kept.take().unwrap_or_else(|| (0..records).collect());
        let kept = kept.into_iter().zip(good).filter(|(_, good)| **good);
        self.kept = Some(kept.map(|(record, _)| record).collect());
        if let Some(retracts) = &mut self.retracts {
            let mut places = good.iter();
            retracts.retain(|_| *places.next().expect("one for each row"));
        }
    }
}

/// What rows are put together from.
struct Parts<'r> {
    partition: i32,
    records: &'r [Record<'r>],
    values: ValueRows,
    keys: Vec<ArrayRef>,
    computed: Vec<ArrayRef>,
}

impl Parts<'_> {
    /// How many rows there are.
    fn count(&self) -> usize {
        self.values.kept.as_ref().map_or(self.records.len(), Vec::len)
    }

    /// The record of a row.
    fn place(&self, row: usize) -> usize {
        self.values.kept.as_ref().map_or(row, |kept| kept[row])
    }

    /// What was before an update is taken back when the update happens: its own time says since
    /// when it was so.
    fn with_times_of_updates(&self, times_ms: Int64Array) -> Int64Array {
        let Some(retracts) = &self.values.retracts else { return times_ms };
        let is_before_update = |row: usize| {
            retracts[row]
                && retracts.get(row + 1) == Some(&false)
                && self.place(row) == self.place(row + 1)
                && times_ms.is_valid(row + 1)
        };
        let time = |row: usize| times_ms.is_valid(row).then(|| times_ms.value(row));
        let times = (0..times_ms.len())
            .map(|row| if is_before_update(row) { time(row + 1) } else { time(row) });
        times.collect()
    }
}

impl PartDecoder {
    /// Takes one key; a null one is NULL in all its columns.
    fn append(&mut self, key: Option<&[u8]>) -> Result<(), DecodeError> {
        let missing = |column: Option<String>| match column {
            Some(column) => Err(DecodeError::Null { column }),
            None => Ok(()),
        };
        match (self, key) {
            (PartDecoder::Raw(decoder), key) => decoder.append(key),
            (PartDecoder::Json(decoder), Some(key)) => decoder.append(key),
            (PartDecoder::Json(decoder), None) => missing(decoder.rows().null_row()),
            (PartDecoder::Avro(decoder), Some(key)) => decoder.append(key),
            (PartDecoder::Avro(decoder), None) => missing(decoder.rows().null_row()),
            (PartDecoder::Protobuf(decoder), Some(key)) => decoder.append(key),
            (PartDecoder::Protobuf(decoder), None) => missing(decoder.rows().null_row()),
            (PartDecoder::Csv(_) | PartDecoder::Debezium(_), _) => {
                unreachable!("no key is declared in such a format")
            }
        }
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        match self {
            PartDecoder::Raw(decoder) => decoder.finish(),
            PartDecoder::Json(decoder) => decoder.finish(),
            PartDecoder::Avro(decoder) => decoder.rows().finish_columns(),
            PartDecoder::Protobuf(decoder) => decoder.rows().finish_columns(),
            PartDecoder::Csv(_) | PartDecoder::Debezium(_) => {
                unreachable!("no key is declared in such a format")
            }
        }
    }
}

fn decode_values(
    decoder: &mut PartDecoder,
    records: &[Record<'_>],
    failed: &mut Vec<(usize, DecodeError)>,
) -> ValueRows {
    if let PartDecoder::Raw(decoder) = decoder {
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = decoder.append(record.value) {
                failed.push((index, error));
            }
        }
        let kept = kept(records.len(), [&[], &[]], failed);
        return ValueRows { columns: decoder.finish(), kept, ..ValueRows::default() };
    }
    let mut tombstones = Vec::new();
    let values = present(records, &mut tombstones);
    let mut headers = Vec::new();
    let columns = match decoder {
        PartDecoder::Json(decoder) => decoder.decode(&values, failed),
        PartDecoder::Avro(decoder) => decoder.decode(&values, failed),
        PartDecoder::Protobuf(decoder) => decoder.decode(&values, failed),
        PartDecoder::Csv(decoder) => {
            let rows = decoder.decode(&values, failed);
            headers = rows.headers;
            rows.columns
        }
        PartDecoder::Debezium(decoder) => {
            let changes = decoder.decode(&values, failed);
            tombstones.extend(&changes.deletions);
            tombstones.sort_unstable();
            return ValueRows {
                columns: changes.columns,
                kept: Some(changes.places),
                retracts: Some(changes.retracts),
                tombstones,
                deletions: changes.deletions,
                of_deletions: changes.of_deletions,
            };
        }
        PartDecoder::Raw(_) => Vec::new(),
    };
    let kept = kept(records.len(), [&headers, &tombstones], failed);
    ValueRows { columns, kept, tombstones, ..ValueRows::default() }
}

/// `wanted` are indices of columns of the value, ascending; `changes` stand behind these.
fn value_decoder(
    source: &Source,
    wanted: &[usize],
    changes: Vec<ChangeField>,
) -> Result<PartDecoder, FormatError> {
    let field = |column: usize| Arc::clone(&source.schema.fields()[column]);
    let all: Vec<usize> = (0..source.columns.len())
        .filter(|&column| source.columns[column].from == ColumnFrom::Value)
        .collect();
    let fields: Fields = wanted.iter().map(|&column| field(column)).collect();
    match &source.format {
        Format::Csv(options) => {
            let fields: Vec<Field> =
                all.iter().map(|&column| source.schema.field(column).clone()).collect();
            let positions: Vec<usize> =
                (0..all.len()).filter(|&at| wanted.contains(&all[at])).collect();
            Ok(PartDecoder::Csv(CsvDecoder::new(options, &fields, &positions)?))
        }
        Format::Raw if all.len() > 1 => {
            Err(FormatError::Shape("a raw value is one column".to_owned()))
        }
        Format::Raw => {
            // Checked even where nobody wants it, so that the same records are rows.
            let value: Vec<FieldRef> = all.iter().map(|&column| field(column)).collect();
            Ok(PartDecoder::Raw(RawDecoder::new(&value)?))
        }
        Format::DebeziumJson => {
            let needs_before = source.kind == SourceKind::Stream;
            Ok(PartDecoder::Debezium(DebeziumDecoder::new(fields, changes, needs_before)?))
        }
        other => structured_decoder(other, fields),
    }
}

fn structured_decoder(format: &Format, fields: Fields) -> Result<PartDecoder, FormatError> {
    Ok(match format {
        Format::Avro(avro) => PartDecoder::Avro(AvroDecoder::new(Arc::clone(avro), fields)?),
        Format::Protobuf(protobuf) => {
            PartDecoder::Protobuf(ProtobufDecoder::new(Arc::clone(protobuf), fields)?)
        }
        Format::Json => PartDecoder::Json(JsonDecoder::new(fields)?),
        Format::Csv(_) | Format::DebeziumJson | Format::Raw => {
            let reason = "a key is raw, json, avro or protobuf";
            return Err(FormatError::Shape(reason.to_owned()));
        }
    })
}

fn key_decoder(source: &Source, wanted: &[usize]) -> Result<PartDecoder, FormatError> {
    let fields = wanted.iter().map(|&column| Arc::clone(&source.schema.fields()[column]));
    match &source.key_format {
        Format::Raw => {
            let fields: Vec<FieldRef> = fields.collect();
            Ok(PartDecoder::Raw(RawDecoder::new(&fields)?))
        }
        other => structured_decoder(other, fields.collect()),
    }
}

/// The last header of this name in each record.
fn one_header<'r>(
    records: impl Iterator<Item = &'r Record<'r>>,
    name: &str,
    field: Option<&Field>,
) -> ArrayRef {
    let last =
        |record: &'r Record<'r>| record.headers().filter(|header| header.key == name).last()?.value;
    if field.is_some_and(|field| *field.data_type() == DataType::Binary) {
        let values: arrow::array::BinaryArray = records.map(last).collect();
        return Arc::new(values);
    }
    // Nobody promises what a header holds; what is not UTF-8 is shown as far as it can be.
    let text = |value: &'r [u8]| String::from_utf8_lossy(value);
    let mut values = StringBuilder::new();
    records.for_each(|record| values.append_option(last(record).map(text)));
    Arc::new(values.finish())
}

/// All headers of each record, as a map of the field's type.
fn all_headers<'r>(
    records: impl Iterator<Item = &'r Record<'r>>,
    field: Option<&Field>,
) -> ArrayRef {
    let names = MapFieldNames::default();
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), BinaryBuilder::new());
    for record in records {
        for header in record.headers() {
            maps.keys().append_value(header.key);
            maps.values().append_option(header.value);
        }
        maps.append(true).expect("each key has its value");
    }
    let maps = maps.finish();
    let values = match field.map(Field::data_type) {
        Some(DataType::Map(entries, _)) if is_of_texts(entries) => {
            let text = maps.values().as_binary::<i32>().iter();
            let text = text.map(|value| value.map(String::from_utf8_lossy));
            Arc::new(text.collect::<StringArray>()) as ArrayRef
        }
        _ => Arc::clone(maps.values()),
    };
    of_map_type(&maps, values, field)
}

fn is_of_texts(entries: &Field) -> bool {
    match entries.data_type() {
        DataType::Struct(fields) => *fields[1].data_type() == DataType::Utf8,
        _ => false,
    }
}

/// Maps with these values, their parts named as in the field.
fn of_map_type(maps: &MapArray, values: ArrayRef, field: Option<&Field>) -> ArrayRef {
    let Some(DataType::Map(entries, sorted)) = field.map(Field::data_type) else {
        return Arc::new(maps.clone());
    };
    let DataType::Struct(fields) = entries.data_type() else { return Arc::new(maps.clone()) };
    let columns = vec![Arc::clone(maps.keys()), values];
    let built = arrow::array::StructArray::new(fields.clone(), columns, None);
    let offsets = maps.offsets().clone();
    Arc::new(arrow::array::MapArray::new(Arc::clone(entries), offsets, built, None, *sorted))
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
