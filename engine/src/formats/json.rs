//! One JSON object per record, by Arrow's tape decoder: fed one value after the other, turned
//! into columns once per batch.
//!
//! Fields that no column names are passed over; a missing field is NULL. Numbers and booleans
//! become text in a text column; a text that holds a number becomes that number in a number
//! column. Times are ISO text, or numbers of the column's own unit since 1970.
//!
//! The decoder cannot take a value back, so a bad one costs its batch: what came before it is fed
//! again to a new decoder. A value that is no JSON names itself; one that does not fit the
//! columns shows up only when the batch is built, and is found by halving. Either way a good
//! record is decoded a small number of times, whatever stands beside it.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_json::reader::{Decoder, ReaderBuilder};

use super::{DecodeError, FormatError, excerpt};

/// Values that one decoder holds at most; more are taken in several rounds.
const ROUND_ROWS_MAX: usize = 8192;

pub struct JsonDecoder {
    schema: SchemaRef,
    decoder: Decoder,
}

/// A value and its place among those that came with it.
pub type Indexed<'a> = (usize, &'a [u8]);

enum Fault {
    /// This value, counted from the first of the round.
    At(usize, DecodeError),
    /// One or more of the round, unknown which.
    Somewhere(String),
}

impl JsonDecoder {
    /// A decoder of the fields that `schema` names.
    pub fn new(schema: SchemaRef) -> Result<JsonDecoder, FormatError> {
        let decoder = new_decoder(&schema).map_err(|error| FormatError::Shape(message(error)))?;
        Ok(JsonDecoder { schema, decoder })
    }

    /// The columns of all good values, in order; `failed` takes the places and reasons of others.
    pub fn decode(
        &mut self,
        values: &[Indexed<'_>],
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> RecordBatch {
        let mut parts = Vec::with_capacity(1);
        for round in values.chunks(ROUND_ROWS_MAX) {
            self.decode_round(round, &mut parts, failed);
        }
        match parts.len() {
            0 => RecordBatch::new_empty(self.schema.clone()),
            1 => parts.swap_remove(0),
            _ => concat_batches(&self.schema, &parts).expect("all parts have the decoder's schema"),
        }
    }

    fn decode_round(
        &mut self,
        mut values: &[Indexed<'_>],
        parts: &mut Vec<RecordBatch>,
        failed: &mut Vec<(usize, DecodeError)>,
    ) {
        while !values.is_empty() {
            match self.try_all(values) {
                Ok(batch) => {
                    parts.push(batch);
                    return;
                }
                Err(Fault::At(at, error)) => {
                    self.start_anew();
                    self.decode_round(&values[..at], parts, failed);
                    failed.push((values[at].0, error));
                    values = &values[at + 1..];
                }
                Err(Fault::Somewhere(reason)) => {
                    self.start_anew();
                    if let [(index, value)] = values {
                        let excerpt = excerpt(value);
                        failed.push((*index, DecodeError::JsonType { reason, excerpt }));
                        return;
                    }
                    let (left, right) = values.split_at(values.len() / 2);
                    self.decode_round(left, parts, failed);
                    values = right;
                }
            }
        }
    }

    fn try_all(&mut self, values: &[Indexed<'_>]) -> Result<RecordBatch, Fault> {
        for (at, (_, value)) in values.iter().enumerate() {
            feed(&mut self.decoder, at, value).map_err(|error| Fault::At(at, error))?;
        }
        match self.decoder.flush() {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => Ok(RecordBatch::new_empty(self.schema.clone())),
            Err(error) => Err(Fault::Somewhere(message(error))),
        }
    }

    fn start_anew(&mut self) {
        self.decoder = new_decoder(&self.schema).expect("the same schema made a decoder before");
    }
}

fn new_decoder(schema: &SchemaRef) -> Result<Decoder, ArrowError> {
    ReaderBuilder::new(schema.clone())
        .with_batch_size(ROUND_ROWS_MAX)
        .with_coerce_primitive(true)
        .build_decoder()
}

/// Feeds one value, which must be one row, to a decoder that holds `rows` of them.
fn feed(decoder: &mut Decoder, rows: usize, value: &[u8]) -> Result<(), DecodeError> {
    let syntax = |reason: String| DecodeError::JsonSyntax { reason, excerpt: excerpt(value) };
    let taken = decoder.decode(value).map_err(|error| syntax(message(error)))?;
    if decoder.has_partial_record() {
        return Err(syntax("it ends in the middle".to_owned()));
    }
    let found = decoder.len() - rows;
    if taken < value.len() || found > 1 {
        return Err(DecodeError::JsonCount { count: found.max(2), excerpt: excerpt(value) });
    }
    if found == 0 {
        return Err(syntax("it is empty".to_owned()));
    }
    Ok(())
}

/// Arrow's words without its name for the kind of error.
fn message(error: ArrowError) -> String {
    match error {
        ArrowError::JsonError(message)
        | ArrowError::ParseError(message)
        | ArrowError::CastError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::NotYetImplemented(message) => message,
        other => other.to_string(),
    }
}

/// Columns of a batch of JSON rows.
pub fn into_columns(batch: RecordBatch) -> Vec<ArrayRef> {
    let (_, columns, _) = batch.into_parts();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn decoder(fields: Vec<Field>) -> JsonDecoder {
        JsonDecoder::new(Arc::new(Schema::new(fields))).unwrap()
    }

    fn numbers() -> JsonDecoder {
        decoder(vec![Field::new("n", DataType::Int64, true)])
    }

    fn decode(decoder: &mut JsonDecoder, values: &[&str]) -> (RecordBatch, Vec<(usize, String)>) {
        let indexed: Vec<Indexed> =
            values.iter().map(|value| value.as_bytes()).enumerate().collect();
        let mut failed = Vec::new();
        let batch = decoder.decode(&indexed, &mut failed);
        (batch, failed.into_iter().map(|(at, error)| (at, error.to_string())).collect())
    }

    #[test]
    fn a_bad_record_is_named_and_its_neighbours_kept() {
        let values = [
            r#"{"n":1}"#,
            r#"{"n":2"#,
            r#"{"n":3} {"n":4}"#,
            "",
            r#"{"n":"five"}"#,
            "null",
            "[1]",
            r#"{"n":6}{"#,
            r#" {"n": 7, "other": [1, {"a": 2}]} "#,
            "12",
            r#"{}"#,
        ];
        let (batch, failed) = decode(&mut numbers(), &values);
        let kept: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(kept, [Some(1), Some(7), None]);
        let places: Vec<_> = failed.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 9]);
        assert!(failed[0].1.contains("ends in the middle"), "{failed:?}");
        assert!(failed[1].1.starts_with("2 JSON values in one record"), "{failed:?}");
        assert!(failed[3].1.contains("\\\"five\\\""), "{failed:?}");
    }

    #[test]
    fn nested_and_typed_fields() {
        let mut decoder = decoder(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("name", DataType::Utf8, true),
            Field::new_list("tags", Field::new_list_field(DataType::Utf8, true), true),
            Field::new("price", DataType::Decimal128(10, 2), true),
        ]);
        let (batch, failed) = decode(
            &mut decoder,
            &[
                r#"{"at":"2013-01-01T10:00:00Z","name":7,"tags":["a",null],"price":1.25}"#,
                r#"{"at":1357034400000,"name":"x","tags":null,"price":"3.50"}"#,
            ],
        );
        assert_eq!(failed, []);
        let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        assert!(shown.contains("| 2013-01-01T10:00:00 | 7    | [a, ] | 1.25  |"), "{shown}");
        assert!(shown.contains("| 2013-01-01T10:00:00 | x    |       | 3.50  |"), "{shown}");
    }

    proptest! {
        /// Whatever stands between them, good records come through in order.
        #[test]
        fn good_records_survive(kinds in prop::collection::vec(0..6usize, 0..200)) {
            let values: Vec<String> = kinds.iter().enumerate().map(|(at, kind)| match kind {
                0 => "{\"n\":".to_owned(),
                1 => "{\"n\":\"x\"}".to_owned(),
                2 => "\u{1}".to_owned(),
                _ => format!("{{\"n\":{at}}}"),
            }).collect();
            let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
            let (batch, failed) = decode(&mut numbers(), &borrowed);
            let good: Vec<i64> = (0..kinds.len())
                .filter(|&at| kinds[at] > 2).map(|at| at as i64).collect();
            prop_assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &good[..]);
            let bad: Vec<usize> = (0..kinds.len()).filter(|&at| kinds[at] <= 2).collect();
            prop_assert_eq!(failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), bad);
        }

        #[test]
        fn nothing_panics(values in prop::collection::vec(".{0,20}", 0..20)) {
            let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
            let (batch, failed) = decode(&mut numbers(), &borrowed);
            prop_assert_eq!(batch.num_rows() + failed.len(), values.len());
        }
    }
}
