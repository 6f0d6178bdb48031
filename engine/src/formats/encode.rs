//! Rows into the values and keys of records.
//!
//! JSON is one object per row, with every column in it: NULL is written as `null`, so that
//! readers see the same fields in every record. CSV is one row without line break; text is quoted
//! where it must be, and where it would otherwise read as NULL. Raw is the single column as it
//! is. A key of one column is its plain text, of several a JSON object of them.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_json::writer::{EncoderOptions, make_encoder};

use super::FormatError;
use crate::pipeline::{CsvOptions, Format};

/// Writes rows of one schema.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    format: Format,
    key: Vec<usize>,
}

/// Keys and values of all rows, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedRows {
    values: Parts,
    /// Empty if the records have no keys.
    keys: Parts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    bytes: Vec<u8>,
    /// `None`: null.
    ranges: Vec<Option<Range<usize>>>,
}

impl Parts {
    fn get(&self, row: usize) -> Option<&[u8]> {
        self.ranges.get(row)?.clone().map(|range| &self.bytes[range])
    }

    /// Takes what was appended to `bytes` since the last part.
    fn end_part(&mut self, start: usize) {
        self.ranges.push(Some(start..self.bytes.len()));
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
}

impl RowEncoder {
    /// An encoder of rows of `schema` whose columns `key` become the record's key.
    pub fn new(format: &Format, schema: &Schema, key: &[usize]) -> Result<RowEncoder, FormatError> {
        if let Some(column) = key.iter().find(|&&column| column >= schema.fields().len()) {
            return Err(FormatError::Shape(format!("there is no column {column} for the key")));
        }
        match format {
            Format::Json => {}
            Format::Csv(_) => {
                for field in schema.fields() {
                    if field.data_type().is_nested() {
                        return Err(FormatError::Type {
                            column: field.name().clone(),
                            format: "CSV",
                            data_type: field.data_type().to_string(),
                        });
                    }
                }
            }
            Format::Raw => {
                if schema.fields().len() != 1 {
                    let count = schema.fields().len();
                    let reason = format!("a raw value is one column, and the query has {count}");
                    return Err(FormatError::Shape(reason));
                }
            }
        }
        Ok(RowEncoder { format: format.clone(), key: key.to_vec() })
    }

    pub fn encode(&self, rows: &RecordBatch) -> Result<EncodedRows, ArrowError> {
        let values = match &self.format {
            Format::Json => json_objects(rows)?,
            Format::Csv(options) => csv_rows(rows, options)?,
            Format::Raw => plain_text(rows.column(0))?,
        };
        let keys = match self.key[..] {
            [] => Parts::default(),
            [column] => plain_text(rows.column(column))?,
            _ => json_objects(&rows.project(&self.key)?)?,
        };
        Ok(EncodedRows { values, keys })
    }
}

fn json_objects(rows: &RecordBatch) -> Result<Parts, ArrowError> {
    let mut parts = Parts::default();
    parts.ranges.reserve(rows.num_rows());
    if rows.num_columns() == 0 {
        for _ in 0..rows.num_rows() {
            let start = parts.bytes.len();
            parts.bytes.extend_from_slice(b"{}");
            parts.end_part(start);
        }
        return Ok(parts);
    }
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let fields = rows.schema().fields().clone();
    let field: FieldRef = Arc::new(Field::new("row", DataType::Struct(fields), false));
    let array = StructArray::from(rows.clone());
    let mut encoder = make_encoder(&field, &array, &options)?;
    for row in 0..rows.num_rows() {
        let start = parts.bytes.len();
        encoder.encode(row, &mut parts.bytes);
        parts.end_part(start);
    }
    Ok(parts)
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
    let quoted = text == null || text.bytes().any(|byte| special.contains(&byte));
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(options.quote);
    for &byte in text.as_bytes() {
        if byte == options.quote {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(options.quote);
}

#[cfg(test)]
mod tests {
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
