//! Rows as JSON objects, one per record.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::formats::encode::Parts;

pub fn json_objects(rows: &RecordBatch) -> Result<Parts, ArrowError> {
    let mut parts = Parts::with_rows(rows.num_rows());
    if rows.num_columns() == 0 {
        for _ in 0..rows.num_rows() {
            parts.put(b"{}");
        }
        return Ok(parts);
    }
    let options =
        EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Base64));
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

/// Bytes are text in base64, as everyone else writes them.
#[derive(Debug)]
struct Base64;

struct Base64Encoder<'a> {
    bytes: Box<dyn Fn(usize) -> &'a [u8] + 'a>,
    text: String,
}

impl Encoder for Base64Encoder<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        self.text.clear();
        STANDARD.encode_string((self.bytes)(idx), &mut self.text);
        out.push(b'"');
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'"');
    }
}

impl EncoderFactory for Base64 {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let bytes: Box<dyn Fn(usize) -> &'a [u8] + 'a> = match array.data_type() {
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Box::new(|row| array.value(row))
            }
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                Box::new(|row| array.value(row))
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                Box::new(|row| array.value(row))
            }
            DataType::FixedSizeBinary(_) => {
                let array = array.as_fixed_size_binary();
                Box::new(|row| array.value(row))
            }
            _ => return Ok(None),
        };
        let encoder = Base64Encoder { bytes, text: String::new() };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}
