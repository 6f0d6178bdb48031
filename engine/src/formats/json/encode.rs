//! Rows as JSON objects, one per record.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use arrow_json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::times;
use crate::formats::encode::Parts;

pub fn json_objects(rows: &RecordBatch) -> Result<Parts, ArrowError> {
    let mut parts = Parts::with_rows(rows.num_rows());
    if rows.num_columns() == 0 {
        for _ in 0..rows.num_rows() {
            parts.put(b"{}");
        }
        return Ok(parts);
    }
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(AsOthers));
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

/// What everyone else writes otherwise: bytes as text in base64, and keys of maps that are no text
/// (numbers, times) as their text. And [`times`], quicker.
#[derive(Debug)]
struct AsOthers;

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

/// Maps whose keys are no text.
struct KeyedEncoder<'a> {
    keys: ArrayRef,
    values: NullableEncoder<'a>,
    maps: &'a MapArray,
}

impl Encoder for KeyedEncoder<'_> {
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let keys = self.keys.as_string::<i32>();
        let offsets = self.maps.value_offsets();
        out.push(b'{');
        for entry in offsets[idx] as usize..offsets[idx + 1] as usize {
            if entry > offsets[idx] as usize {
                out.push(b',');
            }
            out.push(b'"');
            // No text of a number or a time has a sign that wants an escape.
            out.extend_from_slice(keys.value(entry).as_bytes());
            out.extend_from_slice(b"\":");
            match self.values.is_null(entry) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(entry, out),
            }
        }
        out.push(b'}');
    }
}

fn keyed<'a>(
    maps: &'a MapArray,
    options: &'a EncoderOptions,
) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
    let DataType::Map(entries, _) = maps.data_type() else { return Ok(None) };
    let DataType::Struct(fields) = entries.data_type() else { return Ok(None) };
    let [key, value] = fields.as_ref() else { return Ok(None) };
    let is_plain = key.data_type().is_numeric() || key.data_type().is_temporal();
    if !is_plain && *key.data_type() != DataType::Boolean {
        return Ok(None);
    }
    let keys = cast(maps.keys(), &DataType::Utf8)?;
    let values = make_encoder(value, maps.values().as_ref(), options)?;
    let encoder = KeyedEncoder { keys, values, maps };
    Ok(Some(NullableEncoder::new(Box::new(encoder), maps.nulls().cloned())))
}

impl EncoderFactory for AsOthers {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
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
            DataType::Map(..) => return keyed(array.as_map(), options),
            _ => {
                let encoder = times::encoder(array);
                return Ok(encoder.map(|of| NullableEncoder::new(of, array.nulls().cloned())));
            }
        };
        let encoder = Base64Encoder { bytes, text: String::new() };
        Ok(Some(NullableEncoder::new(Box::new(encoder), array.nulls().cloned())))
    }
}
