//! Values as JSON text, in the very form in which Connect's JsonConverter writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::DecimalFormat;
use crate::data::number::{double_to_string, float_to_string};
use crate::data::schema::Logical;
use crate::data::{DataError, Map, Schema, Struct, Type, Value};

/// How values are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub decimals: DecimalFormat,
    pub replace_null_with_default: bool,
}

impl Writer {
    /// Appends a value that is what `schema` says.
    pub(crate) fn value(
        &self,
        schema: Option<&Schema>,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Some(schema) = schema else { return self.schemaless(value, out) };
        let not = || DataError(format!("{} where {schema:?} is expected", value.kind()));
        match value {
            Value::Null => return self.null(schema, out),
            Value::Decimal(decimal) if schema.logical() == Some(Logical::Decimal) => {
                match self.decimals {
                    DecimalFormat::Numeric => out.extend_from_slice(decimal.to_string().as_bytes()),
                    DecimalFormat::Base64 => {
                        let scale = schema.scale()?;
                        if decimal.scale != scale {
                            return Err(DataError(format!(
                                "the decimal {decimal} has scale {}, but its schema says {scale}",
                                decimal.scale
                            )));
                        }
                        write_base64(&decimal.to_bytes(), out);
                    }
                }
            }
            Value::Date(days) if schema.logical() == Some(Logical::Date) => integer(*days, out),
            Value::Time(ms) if schema.logical() == Some(Logical::Time) => integer(*ms, out),
            Value::Timestamp(ms) if schema.logical() == Some(Logical::Timestamp) => {
                integer(*ms, out);
            }
            _ if schema.logical().is_some() || value.inferred_type() != Some(schema.type_()) => {
                return Err(not());
            }
            Value::Struct(value) => self.structure(schema, value, out)?,
            Value::Array(items) => self.array(schema.value_schema(), items, out)?,
            Value::Map(map) => {
                let by_name = schema.key_schema().is_some_and(|key| key.type_() == Type::String);
                self.map(schema.key_schema(), schema.value_schema(), by_name, map, out)?;
            }
            _ => primitive(value, out),
        }
        Ok(())
    }

    fn null(&self, schema: &Schema, out: &mut Vec<u8>) -> Result<(), DataError> {
        match schema.default() {
            Some(default) if self.replace_null_with_default => {
                return self.value(Some(schema), default, out);
            }
            _ if schema.is_optional() => out.extend_from_slice(b"null"),
            _ => return Err(DataError(format!("null where {schema:?} is required"))),
        }
        Ok(())
    }

    fn schemaless(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Struct(value) => self.structure(value.schema(), value, out)?,
            Value::Array(items) => self.array(None, items, out)?,
            Value::Map(map) => {
                let by_name = map.keys().all(|key| matches!(key, Value::String(_)));
                self.map(None, None, by_name, map, out)?;
            }
            // Beyond what Connect writes: numbers too long for others come from JSON as these.
            Value::Decimal(decimal) => out.extend_from_slice(decimal.to_string().as_bytes()),
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => {
                let message = format!("{} without a schema has no form in JSON", value.kind());
                return Err(DataError(message));
            }
            _ => primitive(value, out),
        }
        Ok(())
    }

    fn structure(
        &self,
        schema: &Schema,
        value: &Struct,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        if value.schema() != schema {
            return Err(DataError(format!(
                "a struct of another schema where {schema:?} is expected"
            )));
        }
        out.push(b'{');
        for (index, (field, value)) in schema.fields().iter().zip(value.values()).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(&field.name, out);
            out.push(b':');
            self.value(Some(&field.schema), value, out)
                .map_err(|error| error.within(format_args!("field '{}'", field.name)))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn array(
        &self,
        of: Option<&Schema>,
        items: &[Value],
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.value(of, item, out)
                .map_err(|error| error.within(format_args!("item {index}")))?;
        }
        out.push(b']');
        Ok(())
    }

    /// By name as an object, else as an array of pairs.
    fn map(
        &self,
        key_schema: Option<&Schema>,
        value_schema: Option<&Schema>,
        by_name: bool,
        map: &Map,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        out.push(if by_name { b'{' } else { b'[' });
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match (by_name, key) {
                (true, Value::String(name)) => {
                    write_string(name, out);
                    out.push(b':');
                }
                (true, _) => {
                    return Err(DataError(format!("{} as the name of a map's entry", key.kind())));
                }
                (false, _) => {
                    out.push(b'[');
                    self.value(key_schema, key, out)?;
                    out.push(b',');
                }
            }
            self.value(value_schema, value, out)
                .map_err(|error| error.within(format_args!("entry {key:?}")))?;
            if !by_name {
                out.push(b']');
            }
        }
        out.push(if by_name { b'}' } else { b']' });
        Ok(())
    }
}

/// A value that holds no others, and stands for nothing but itself.
fn primitive(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Int8(number) => integer(*number, out),
        Value::Int16(number) => integer(*number, out),
        Value::Int32(number) => integer(*number, out),
        Value::Int64(number) => integer(*number, out),
        Value::Float32(number) => float(number.is_finite(), float_to_string(*number), out),
        Value::Float64(number) => float(number.is_finite(), double_to_string(*number), out),
        Value::String(text) => write_string(text, out),
        Value::Bytes(bytes) => write_base64(bytes, out),
        _ => unreachable!("all others are written by their kind"),
    }
}

pub(crate) fn integer(number: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// What is not finite goes in quotes, as Jackson does it.
fn float(finite: bool, text: String, out: &mut Vec<u8>) {
    match finite {
        true => out.extend_from_slice(text.as_bytes()),
        false => write_string(&text, out),
    }
}

pub(crate) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let at = out.len();
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(bytes, &mut out[at..]).expect("four letters for three bytes");
    out.push(b'"');
}

/// Whether any letter is written in another way than as it is. All are looked at, without a
/// branch, so that the processor takes many at once.
fn has_escapes(bytes: &[u8]) -> bool {
    let special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\' | 0xf0..);
    bytes.iter().fold(false, |any, byte| any | special(byte))
}

/// Appends a string in quotes, escaped as Jackson does: what must be, and letters beyond the
/// first 65,536, as two halves. To the letter, since keys are compared by their bytes.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'"');
    let bytes = text.as_bytes();
    if !has_escapes(bytes) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut from = 0;
    let mut control = *b"\\u00__";
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..0x20 => {
                control[4] = HEX[usize::from(byte >> 4)];
                control[5] = HEX[usize::from(byte & 15)];
                &control
            }
            0xf0.. => {
                out.extend_from_slice(&bytes[from..at]);
                let letter = text[at..].chars().next().expect("a letter begins here");
                for half in letter.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(format!("\\u{half:04X}").as_bytes());
                }
                from = at + letter.len_utf8();
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(escape);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}
