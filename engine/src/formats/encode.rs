//! Rows into the values, keys and headers of records.
//!
//! JSON, Avro and Protobuf are one object per row, with every column in it. CSV is one row without
//! line break; text is quoted where it must be, and where it would otherwise read as NULL. Raw is
//! the single column as it is. A raw key of one column is its plain text, of several a JSON object
//! of them; in another format a key is an object of its columns in that format. Headers are plain
//! text or bytes.
//!
//! Of rows that take back others, [`RowEncoder::encode_changes`] makes Debezium's events: a
//! retraction that is followed by the new row of its key is one update with it.

use std::fmt::Write;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, MapArray, RecordBatch};
use arrow::datatypes::{DataType, Fields, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::FormatError;
use super::avro::AvroEncoder;
use super::json::encode::json_objects;
use super::protobuf::ProtobufEncoder;
use crate::pipeline::{CsvOptions, Format, Sink};
use crate::type_names::type_text;

/// Writes rows of one schema.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    value: PartEncoder,
    /// The columns of the value; `None` for all.
    value_columns: Option<Vec<usize>>,
    key: PartEncoder,
    key_columns: Vec<usize>,
    headers: Vec<(String, usize)>,
    not_null: Vec<usize>,
}

#[derive(Clone, Debug)]
enum PartEncoder {
    Json,
    Csv(CsvOptions),
    Raw,
    Avro(Box<AvroEncoder>),
    Protobuf(Box<ProtobufEncoder>),
    DebeziumJson,
}

/// Keys and values of all rows, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    values: Parts,
    /// Empty if the records have no keys.
    keys: Parts,
    headers: Vec<HeaderColumn>,
    /// Rows whose record is that of the next row; empty if there is none.
    absent: Vec<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HeaderColumn {
    One {
        name: String,
        values: Parts,
    },
    /// The entries of a map, from each row's first on.
    Map {
        names: Parts,
        values: Parts,
        offsets: Vec<i32>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub bytes: Vec<u8>,
    /// `None`: null.
    ranges: Vec<Option<Range<usize>>>,
}

impl Parts {
    pub fn with_rows(rows: usize) -> Parts {
        Parts { bytes: Vec::new(), ranges: Vec::with_capacity(rows) }
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        self.ranges.get(row)?.clone().map(|range| &self.bytes[range])
    }

    /// Takes what was appended to `bytes` since `start` as the next part.
    pub fn end_part(&mut self, start: usize) {
        self.ranges.push(Some(start..self.bytes.len()));
    }

    pub fn put(&mut self, part: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        self.end_part(start);
    }

    pub fn put_null(&mut self) {
        self.ranges.push(None);
    }
}

impl EncodedRows {
    pub fn len(&self) -> usize {
        self.values.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn value(&self, row: usize) -> Option<&[u8]> {
        self.values.get(row)
    }

    pub fn key(&self, row: usize) -> Option<&[u8]> {
        self.keys.get(row)
    }

    /// Whether the row has no record of its own: the next row's says it, too.
    pub fn is_absent(&self, row: usize) -> bool {
        self.absent.get(row).copied().unwrap_or(false)
    }

    /// Names and values, in the order in which they were declared. A column that is NULL is no
    /// header.
    pub fn headers(&self, row: usize) -> Vec<(&str, Option<&[u8]>)> {
        let mut found = Vec::new();
        for column in &self.headers {
            match column {
                HeaderColumn::One { name, values } => {
                    found.extend(values.get(row).map(|value| (name.as_str(), Some(value))));
                }
                HeaderColumn::Map { names, values, offsets } => {
                    for entry in offsets[row] as usize..offsets[row + 1] as usize {
                        let name = names.get(entry).and_then(|name| str::from_utf8(name).ok());
                        found.extend(name.map(|name| (name, values.get(entry))));
                    }
                }
            }
        }
        found
    }
}

impl RowEncoder {
    /// An encoder of rows of `schema` whose columns `key` become the record's raw key.
    pub fn new(format: &Format, schema: &Schema, key: &[usize]) -> Result<RowEncoder, FormatError> {
        RowEncoder::build(format, schema, (&Format::Raw, key), &[], &[])
    }

    /// An encoder of what a sink's topic holds.
    pub fn for_sink(sink: &Sink, schema: &Schema) -> Result<RowEncoder, FormatError> {
        let key = (&sink.key_format, &sink.key[..]);
        let encoder =
            RowEncoder::build(&sink.format, schema, key, &sink.headers, &sink.left_out())?;
        Ok(RowEncoder { not_null: sink.not_null.clone(), ..encoder })
    }

    fn build(
        format: &Format,
        schema: &Schema,
        (key_format, key): (&Format, &[usize]),
        headers: &[(String, usize)],
        left_out: &[usize],
    ) -> Result<RowEncoder, FormatError> {
        let columns = schema.fields().len();
        if let Some(column) = key.iter().find(|&&column| column >= columns) {
            return Err(FormatError::Shape(format!("there is no column {column} for the key")));
        }
        let value: Vec<usize> = (0..columns).filter(|column| !left_out.contains(column)).collect();
        let fields = |columns: &[usize]| -> Fields {
            columns.iter().map(|&column| schema.fields()[column].clone()).collect()
        };
        let key_encoder = match key {
            [] => PartEncoder::Raw,
            [_, _, ..] if *key_format == Format::Raw => PartEncoder::Json,
            _ => PartEncoder::new(key_format, &fields(key))?,
        };
        if let PartEncoder::DebeziumJson = key_encoder {
            let reason = "a key is raw, json, csv, avro or protobuf";
            return Err(FormatError::Shape(reason.to_owned()));
        }
        Ok(RowEncoder {
            value: PartEncoder::new(format, &fields(&value))?,
            value_columns: (value.len() < columns).then_some(value),
            key: key_encoder,
            key_columns: key.to_vec(),
            headers: headers.to_vec(),
            not_null: Vec::new(),
        })
    }

    /// Whether what is written says itself which rows are taken back.
    pub fn is_changelog(&self) -> bool {
        matches!(self.value, PartEncoder::DebeziumJson)
    }

    pub fn encode(&self, rows: &RecordBatch) -> Result<EncodedRows, ArrowError> {
        self.encode_changes(rows, None)
    }

    /// As [`RowEncoder::encode`], of rows some of which take back earlier ones. Only a changelog
    /// says so; in all others it is for whoever writes the records.
    pub fn encode_changes(
        &self,
        rows: &RecordBatch,
        retracts: Option<&BooleanArray>,
    ) -> Result<EncodedRows, ArrowError> {
        if let Some(&column) =
            self.not_null.iter().find(|&&column| rows.column(column).logical_null_count() > 0)
        {
            let reason =
                format!("'{}' is NULL, and declared NOT NULL", rows.schema().field(column).name());
            return Err(ArrowError::InvalidArgumentError(reason));
        }
        let keys = match self.key_columns[..] {
            [] => Parts::default(),
            _ => self.key.encode(&rows.project(&self.key_columns)?)?,
        };
        let values = match &self.value_columns {
            Some(columns) => self.value.encode(&rows.project(columns)?)?,
            None => self.value.encode(rows)?,
        };
        let (values, absent) = match self.is_changelog() {
            true => debezium_events(&values, &keys, retracts),
            false => (values, Vec::new()),
        };
        Ok(EncodedRows { values, keys, headers: self.header_columns(rows)?, absent })
    }

    fn header_columns(&self, rows: &RecordBatch) -> Result<Vec<HeaderColumn>, ArrowError> {
        let header = |(name, column): &(String, usize)| {
            let column = rows.column(*column);
            match column.as_any().downcast_ref::<MapArray>() {
                Some(maps) => Ok(HeaderColumn::Map {
                    names: plain_text(maps.keys())?,
                    values: plain_text(maps.values())?,
                    offsets: maps.value_offsets().to_vec(),
                }),
                None => Ok(HeaderColumn::One { name: name.clone(), values: plain_text(column)? }),
            }
        };
        self.headers.iter().map(header).collect()
    }
}

impl PartEncoder {
    fn new(format: &Format, fields: &Fields) -> Result<PartEncoder, FormatError> {
        Ok(match format {
            Format::Json => PartEncoder::Json,
            Format::DebeziumJson => PartEncoder::DebeziumJson,
            Format::Avro(avro) => PartEncoder::Avro(Box::new(AvroEncoder::new(avro, fields)?)),
            Format::Protobuf(protobuf) => {
                PartEncoder::Protobuf(Box::new(ProtobufEncoder::new(protobuf, fields)?))
            }
            Format::Csv(options) => {
                if let Some(field) = fields.iter().find(|field| field.data_type().is_nested()) {
                    return Err(FormatError::Type {
                        column: field.name().clone(),
                        format: "CSV",
                        data_type: type_text(field.data_type()),
                    });
                }
                PartEncoder::Csv(options.clone())
            }
            Format::Raw if fields.len() != 1 => {
                let reason =
                    format!("a raw value is one column, and the query has {}", fields.len());
                return Err(FormatError::Shape(reason));
            }
            Format::Raw => PartEncoder::Raw,
        })
    }

    fn encode(&self, rows: &RecordBatch) -> Result<Parts, ArrowError> {
        match self {
            PartEncoder::Json | PartEncoder::DebeziumJson => json_objects(rows),
            PartEncoder::Csv(options) => csv_rows(rows, options),
            PartEncoder::Raw => plain_text(rows.column(0)),
            PartEncoder::Avro(encoder) => encoder.encode(rows),
            PartEncoder::Protobuf(encoder) => encoder.encode(rows),
        }
    }
}

/// Rows as events, and which of them have none of their own because the next one tells it.
fn debezium_events(
    rows: &Parts,
    keys: &Parts,
    retracts: Option<&BooleanArray>,
) -> (Parts, Vec<bool>) {
    let count = rows.ranges.len();
    let retracted = |row: usize| retracts.is_some_and(|retracts| retracts.value(row));
    let updated = |row: usize| {
        let keyed = keys.get(row).is_some() && keys.get(row) == keys.get(row + 1);
        retracted(row) && row + 1 < count && !retracted(row + 1) && keyed
    };
    let mut events = Parts::with_rows(count);
    let mut absent = vec![false; count];
    for row in 0..count {
        let of = |row: usize| rows.get(row).unwrap_or(b"null");
        let (before, after, op): (&[u8], &[u8], &str) = match retracted(row) {
            true if updated(row) => {
                absent[row] = true;
                events.put_null();
                continue;
            }
            true => (of(row), b"null", "d"),
            false if row > 0 && absent[row - 1] => (of(row - 1), of(row), "u"),
            false => (b"null", of(row), "c"),
        };
        let start = events.bytes.len();
        for part in [b"{\"before\":", before, b",\"after\":", after, b",\"op\":\""] {
            events.bytes.extend_from_slice(part);
        }
        events.bytes.extend_from_slice(op.as_bytes());
        events.bytes.extend_from_slice(b"\"}");
        events.end_part(start);
    }
    (events, absent)
}

/// How values look as plain text: times in ISO 8601, as in JSON.
fn text_options() -> FormatOptions<'static> {
    FormatOptions::default().with_display_error(true)
}

/// Each value as its text or bytes; null where it is null.
fn plain_text(column: &ArrayRef) -> Result<Parts, ArrowError> {
    let mut parts = Parts::default();
    let mut bytes = |row: usize, value: &[u8]| {
        if column.is_null(row) {
            parts.ranges.push(None);
            return;
        }
        let start = parts.bytes.len();
        parts.bytes.extend_from_slice(value);
        parts.end_part(start);
    };
    let rows = 0..column.len();
    match column.data_type() {
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            rows.for_each(|row| bytes(row, column.value(row).as_bytes()));
        }
        DataType::Utf8View => {
            let column = column.as_string_view();
            rows.for_each(|row| bytes(row, column.value(row).as_bytes()));
        }
        DataType::LargeUtf8 => {
            let column = column.as_string::<i64>();
            rows.for_each(|row| bytes(row, column.value(row).as_bytes()));
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            rows.for_each(|row| bytes(row, column.value(row)));
        }
        DataType::BinaryView => {
            let column = column.as_binary_view();
            rows.for_each(|row| bytes(row, column.value(row)));
        }
        DataType::LargeBinary => {
            let column = column.as_binary::<i64>();
            rows.for_each(|row| bytes(row, column.value(row)));
        }
        _ => {
            let options = text_options();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let mut text = String::new();
            for row in rows {
                text.clear();
                write_value(&mut text, &formatter, row)?;
                bytes(row, text.as_bytes());
            }
        }
    }
    Ok(parts)
}

fn write_value(
    text: &mut String,
    formatter: &ArrayFormatter<'_>,
    row: usize,
) -> Result<(), ArrowError> {
    write!(text, "{}", formatter.value(row))
        .map_err(|error| ArrowError::CastError(format!("row {row} cannot be written: {error}")))
}

fn csv_rows(rows: &RecordBatch, options: &CsvOptions) -> Result<Parts, ArrowError> {
    let format = text_options();
    let formatters = rows
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &format))
        .collect::<Result<Vec<_>, _>>()?;
    let null = options.null.as_deref().unwrap_or("");
    let mut parts = Parts::default();
    let mut text = String::new();
    for row in 0..rows.num_rows() {
        let start = parts.bytes.len();
        for (at, (column, formatter)) in rows.columns().iter().zip(&formatters).enumerate() {
            if at > 0 {
                parts.bytes.push(options.delimiter);
            }
            if column.is_null(row) {
                parts.bytes.extend_from_slice(null.as_bytes());
                continue;
            }
            text.clear();
            write_value(&mut text, formatter, row)?;
            put_field(&mut parts.bytes, &text, null, options);
        }
        parts.end_part(start);
    }
    Ok(parts)
}

fn put_field(out: &mut Vec<u8>, text: &str, null: &str, options: &CsvOptions) {
    let special = [options.delimiter, options.quote, b'\n', b'\r'];
    let is_special = |byte: u8| special.contains(&byte) || options.escape == Some(byte);
    let quoted = text == null || text.bytes().any(is_special);
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(options.quote);
    for &byte in text.as_bytes() {
        if byte == options.quote || options.escape == Some(byte) {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(options.quote);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMillisecondArray};

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([
            (
                "at",
                Arc::new(
                    TimestampMillisecondArray::from(vec![1_357_034_400_000, 1_357_034_400_500])
                        .with_timezone("UTC"),
                ) as ArrayRef,
            ),
            ("origin", Arc::new(StringArray::from(vec![Some("EWR"), Some("a \"b\", c")]))),
            ("flights", Arc::new(Int64Array::from(vec![3, 4]))),
            ("delay", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ])
        .unwrap()
    }

    fn texts(encoded: &EncodedRows) -> Vec<(Option<String>, Option<String>)> {
        let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8(part.to_vec()).unwrap());
        (0..encoded.len()).map(|row| (text(encoded.key(row)), text(encoded.value(row)))).collect()
    }

    fn encode(format: Format, key: &[usize]) -> Vec<(Option<String>, Option<String>)> {
        let rows = rows();
        let encoder = RowEncoder::new(&format, &rows.schema(), key).unwrap();
        texts(&encoder.encode(&rows).unwrap())
    }

    #[test]
    fn json_has_every_column_and_its_keys_are_text_or_objects() {
        let first = r#"{"at":"2013-01-01T10:00:00Z","origin":"EWR","flights":3,"delay":1.5}"#;
        let second =
            r#"{"at":"2013-01-01T10:00:00.500Z","origin":"a \"b\", c","flights":4,"delay":null}"#;
        let json = encode(Format::Json, &[1]);
        assert_eq!(json[0], (Some("EWR".to_owned()), Some(first.to_owned())));
        assert_eq!(json[1], (Some("a \"b\", c".to_owned()), Some(second.to_owned())));
        let keyed = encode(Format::Json, &[0, 2]);
        assert_eq!(keyed[0].0.as_deref(), Some(r#"{"at":"2013-01-01T10:00:00Z","flights":3}"#));
        assert_eq!(encode(Format::Json, &[3])[1].0, None);
    }

    #[test]
    fn csv_quotes_what_must_be() {
        let csv = encode(Format::Csv(CsvOptions::default()), &[]);
        assert_eq!(csv[0], (None, Some("2013-01-01T10:00:00Z,EWR,3,1.5".to_owned())));
        assert_eq!(csv[1].1.as_deref(), Some("2013-01-01T10:00:00.500Z,\"a \"\"b\"\", c\",4,"));
    }

    #[test]
    fn formats_refuse_what_they_cannot_carry() {
        let error = RowEncoder::new(&Format::Raw, &rows().schema(), &[]).unwrap_err();
        assert_eq!(error.to_string(), "a raw value is one column, and the query has 4");
    }
}
