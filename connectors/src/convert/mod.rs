//! Converters: between the bytes in a topic and values.
//!
//! ```text
//! source ─► ConnectRecord ─► transforms ─► write ─► bytes ─► topic
//!  topic ─► bytes ─► read ─► ConnectRecord ─► transforms ─► sink
//! ```
//!
//! - [`settings`]: which converters there are and what may be set, by Kafka's class names.
//! - [`json`]: JSON, with and without schemas; [`plain`]: text, bytes, numbers, booleans.
//!
//! A value that a converter cannot write is an error that says what was expected; nothing is
//! written then.

pub mod json;
mod plain;
pub mod settings;

use bytes::Bytes;

use crate::data::{DataError, SchemaAndValue, Value, text_form};
use json::JsonConverter;
pub use plain::NumberType;
pub use settings::{ConverterSettings, Part};

/// One converter; each task has its own.
#[derive(Clone, Debug)]
pub enum Converter {
    /// UTF-8 text. Values of other types become the text that Java would make of them.
    String,
    /// Bytes as they are.
    ByteArray,
    /// One byte, 0 or 1.
    Boolean,
    /// Big-endian, as Kafka's serializers have it.
    Number(NumberType),
    Json(Box<JsonConverter>),
    /// Text that stands for a value (`SimpleHeaderConverter`).
    Simple,
}

impl Converter {
    /// Appends the bytes of a value. `false`: of this value there are none.
    pub fn write(&mut self, data: &SchemaAndValue, out: &mut Vec<u8>) -> Result<bool, DataError> {
        if let Converter::Json(json) = self {
            return json.write(data, out);
        }
        if data.value.is_null() {
            return Ok(false);
        }
        match self {
            Converter::String => plain::write_string(&data.value, out),
            Converter::ByteArray => plain::write_bytes(data, out)?,
            Converter::Boolean => plain::write_boolean(&data.value, out)?,
            Converter::Number(number) => number.write(&data.value, out)?,
            Converter::Simple => match text_form::to_text(&data.value) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => return Ok(false),
            },
            Converter::Json(_) => unreachable!("done above"),
        }
        Ok(true)
    }

    /// The value that bytes, or none, stand for.
    pub fn read(&mut self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, DataError> {
        match self {
            Converter::Json(json) => json.read(bytes),
            Converter::String => Ok(plain::read_string(bytes)),
            Converter::ByteArray => Ok(plain::read_bytes(bytes)),
            Converter::Boolean => plain::read_boolean(bytes),
            Converter::Number(number) => number.read(bytes),
            Converter::Simple => Ok(match bytes.map(|bytes| std::str::from_utf8(bytes)) {
                None => SchemaAndValue::NULL,
                Some(Ok(text)) => text_form::parse(text),
                Some(Err(_)) => plain::read_bytes(bytes),
            }),
        }
    }

    /// Kafka's name of it.
    pub fn class(&self) -> &'static str {
        match self {
            Converter::String => settings::STRING,
            Converter::ByteArray => "org.apache.kafka.connect.converters.ByteArrayConverter",
            Converter::Boolean => "org.apache.kafka.connect.converters.BooleanConverter",
            Converter::Number(number) => number.class(),
            Converter::Json(_) => settings::JSON,
            Converter::Simple => settings::HEADER_DEFAULT,
        }
    }

    /// Whether text and bytes come out as they went in, so that neither need be looked at.
    pub fn passes_bytes(&self) -> bool {
        matches!(self, Converter::String | Converter::ByteArray)
    }
}

/// The text of any value as `StringConverter` writes it: what Java's `toString` gives, save that
/// bytes are themselves and times are in ISO 8601.
pub fn value_to_string(value: &Value) -> String {
    let mut out = Vec::new();
    plain::write_string(value, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
