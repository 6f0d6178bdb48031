//! What a topic holds, guessed from some of its records, as a declaration ready to paste.
//!
//! ```text
//! records ─ shapes ─→ format + columns ─ declaration ─→ TOML, SQL
//! ```
//!
//! - [`shapes`]: what JSON values and CSV fields have in common; [`declaration`]: the text.
//!
//! The rules: values that are all JSON objects are JSON, or Debezium's events if they have `op`
//! and `before` or `after`; lines that one delimiter cuts into equally many fields are CSV; other
//! UTF-8 is raw text, the rest raw bytes. A byte 0 and a schema id at the beginning of each are
//! Confluent's framing, which tells nothing without its schemas: they must be given. Columns that
//! values disagree about are text, which takes whatever stands there.

pub mod declaration;
pub mod shapes;

use std::sync::Arc;

use thiserror::Error;

use self::shapes::{Shape, csv_shapes};
use super::avro::AvroFormat;
use super::{excerpt, framing};

/// One record that was read.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// A guess, with what it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    pub format: Guess,
    pub key_format: KeyGuess,
    /// Names and types of the value's fields, in their order.
    pub columns: Vec<(String, Shape)>,
    /// Those of the key.
    pub key_columns: Vec<(String, Shape)>,
    /// Of events of a table: the columns that tell its rows apart, which are those of their keys.
    pub row_key: Vec<String>,
    /// Records that it was made from, tombstones aside.
    pub records: usize,
    pub tombstones: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guess {
    Json,
    DebeziumJson,
    Csv {
        delimiter: char,
        header: bool,
        null: Option<String>,
    },
    Text,
    Bytes,
    /// Its columns are those of the schema; the options that name it are the caller's.
    Avro,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyGuess {
    None,
    Text,
    Bytes,
    Json,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InferError {
    #[error("there is no record with a value to infer from")]
    Empty,
    #[error(
        "the values are in Confluent's framing, written with schema {id}, which is not in the topic"
    )]
    Framed { id: u32 },
    #[error("record {record} does not fit the schema: {reason}")]
    Schema { record: usize, reason: String },
}

/// `first` are records at the beginning of partitions, where a header would be; `avro` the
/// schemas, if they are known.
pub fn infer(
    samples: &[Sample<'_>],
    first: &[&[u8]],
    avro: Option<&Arc<AvroFormat>>,
) -> Result<Inferred, InferError> {
    let values: Vec<&[u8]> = samples.iter().filter_map(|sample| sample.value).collect();
    if values.is_empty() {
        return Err(InferError::Empty);
    }
    let tombstones = samples.len() - values.len();
    let (format, columns) = match avro {
        Some(avro) => (Guess::Avro, avro_columns(&values, avro)?),
        None => infer_values(&values, first)?,
    };
    let keys: Vec<&[u8]> = samples.iter().filter_map(|sample| sample.key).collect();
    if format == Guess::DebeziumJson
        && let Some(row_key) = row_key(&keys, &columns)
    {
        let (key_format, key_columns) = (KeyGuess::None, Vec::new());
        let records = values.len();
        return Ok(Inferred {
            format,
            key_format,
            columns,
            key_columns,
            row_key,
            records,
            tombstones,
        });
    }
    let (key_format, key_columns) = infer_keys(&keys, &columns);
    let (row_key, records) = (Vec::new(), values.len());
    Ok(Inferred { format, key_format, columns, key_columns, row_key, records, tombstones })
}

/// The fields of keys that are all objects of columns.
fn row_key(keys: &[&[u8]], columns: &Columns) -> Option<Vec<String>> {
    let payload = |key: serde_json::Value| key.get("payload").cloned().unwrap_or(key);
    let keys: Vec<_> = json_objects(keys)?.into_iter().map(payload).collect();
    let names: Vec<String> = merged(&keys).into_iter().map(|(name, _)| name).collect();
    let is_column = |name: &String| columns.iter().any(|(column, _)| column == name);
    (!names.is_empty() && names.iter().all(is_column)).then_some(names)
}

type Columns = Vec<(String, Shape)>;

fn infer_values(values: &[&[u8]], first: &[&[u8]]) -> Result<(Guess, Columns), InferError> {
    if let Some(rows) = json_objects(values) {
        let events = rows.iter().map(debezium_rows).collect::<Option<Vec<_>>>();
        if let Some(rows) = events.filter(|events| !events.is_empty()) {
            let rows: Vec<serde_json::Value> = rows.into_iter().flatten().collect();
            return Ok((Guess::DebeziumJson, merged(&rows)));
        }
        return Ok((Guess::Json, merged(&rows)));
    }
    if let Some(id) = framed_id(values) {
        return Err(InferError::Framed { id });
    }
    let texts: Option<Vec<&str>> = values.iter().map(|value| str::from_utf8(value).ok()).collect();
    let Some(texts) = texts else {
        return Ok((Guess::Bytes, vec![("value".to_owned(), Shape::Bytes)]));
    };
    let first: Vec<&str> = first.iter().filter_map(|value| str::from_utf8(value).ok()).collect();
    match csv_shapes(&texts, &first) {
        Some(csv) => {
            let guess = Guess::Csv { delimiter: csv.delimiter, header: csv.header, null: csv.null };
            Ok((guess, csv.columns))
        }
        None => Ok((Guess::Text, vec![("value".to_owned(), Shape::text())])),
    }
}

/// All of them, if each is an object.
fn json_objects(values: &[&[u8]]) -> Option<Vec<serde_json::Value>> {
    let object = |value: &&[u8]| {
        let value: serde_json::Value = serde_json::from_slice(value).ok()?;
        value.is_object().then_some(value)
    };
    values.iter().map(object).collect()
}

/// The rows of one of Debezium's events; `None` if it is none.
fn debezium_rows(value: &serde_json::Value) -> Option<Vec<serde_json::Value>> {
    let event = value.get("payload").unwrap_or(value);
    let op = event.get("op")?.as_str()?;
    if !matches!(op, "c" | "r" | "u" | "d" | "t" | "m") {
        return None;
    }
    let rows = ["before", "after"].iter().filter_map(|part| event.get(part)).cloned();
    Some(rows.filter(serde_json::Value::is_object).collect())
}

fn merged(rows: &[serde_json::Value]) -> Columns {
    let shape = rows.iter().map(Shape::of_json).reduce(Shape::merged);
    match shape {
        Some(Shape::Row(fields)) => fields,
        _ => Vec::new(),
    }
}

fn framed_id(values: &[&[u8]]) -> Option<u32> {
    let ids: Option<Vec<u32>> =
        values.iter().map(|value| framing::split(value).ok().map(|(id, _)| id)).collect();
    ids?.last().copied()
}

fn avro_columns(values: &[&[u8]], avro: &Arc<AvroFormat>) -> Result<Columns, InferError> {
    let schema = |reason: String| InferError::Schema { record: 0, reason };
    let fields = avro.columns().map_err(|error| schema(error.to_string()))?;
    let mut decoder = super::avro::AvroDecoder::new(Arc::clone(avro), fields.clone().into())
        .map_err(|error| schema(error.to_string()))?;
    for (record, value) in values.iter().enumerate() {
        if let Err(error) = decoder.append(value) {
            return Err(InferError::Schema { record, reason: error.to_string() });
        }
    }
    let column =
        |field: &arrow::datatypes::Field| (field.name().clone(), Shape::of_type(field.data_type()));
    Ok(fields.iter().map(column).collect())
}

fn infer_keys(keys: &[&[u8]], columns: &Columns) -> (KeyGuess, Columns) {
    if keys.is_empty() {
        return (KeyGuess::None, Vec::new());
    }
    let is_free = |name: &str| !columns.iter().any(|(other, _)| other == name);
    if let Some(rows) = json_objects(keys) {
        // What the value has as well is there already.
        let own = merged(&rows).into_iter().filter(|(name, _)| is_free(name)).collect();
        return (KeyGuess::Json, own);
    }
    let name = ["key", "record_key", "kafka_key"].into_iter().find(|name| is_free(name));
    let Some(name) = name else { return (KeyGuess::None, Vec::new()) };
    if keys.iter().all(|key| str::from_utf8(key).is_ok()) {
        return (KeyGuess::Text, vec![(name.to_owned(), Shape::text())]);
    }
    (KeyGuess::Bytes, vec![(name.to_owned(), Shape::Bytes)])
}

/// A record for a message.
pub fn shown(value: &[u8]) -> String {
    excerpt(value)
}

#[cfg(test)]
mod tests;
