//! JSON, with and without schemas: Connect's JsonConverter.
//!
//! ```text
//! schemas.enable=true     {"schema":{"type":"int32","optional":false},"payload":42}
//! schemas.enable=false    42
//! ```
//!
//! - [`parse`]: text to a tree; [`read`], [`write`]: values; [`schema`]: schemas.
//!
//! A schema's text is made once and kept, and so is the schema that a text stands for.

mod parse;
mod read;
mod schema;
pub(crate) mod write;

use std::collections::HashMap;

use bytes::Bytes;

use crate::data::{DataError, Schema, SchemaAndValue, Value};
use read::Reader;
use write::Writer;

/// How decimals are written (`decimal.format`); both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalFormat {
    /// The bytes of the unscaled number.
    Base64,
    /// A number.
    Numeric,
}

/// Settings of [`JsonConverter`].
#[derive(Clone, Copy, Debug)]
pub struct JsonOptions {
    pub schemas: bool,
    /// Whether, beside plain JSON, JSON with schemas is read, and what is no JSON as text.
    pub any: bool,
    /// How many schemas are kept, in each direction.
    pub schemas_cache_size: usize,
    pub decimals: DecimalFormat,
    pub replace_null_with_default: bool,
}

impl Default for JsonOptions {
    fn default() -> JsonOptions {
        JsonOptions {
            schemas: true,
            any: false,
            schemas_cache_size: 1000,
            decimals: DecimalFormat::Base64,
            replace_null_with_default: true,
        }
    }
}

/// Values as JSON and back.
#[derive(Clone, Debug)]
pub struct JsonConverter {
    options: JsonOptions,
    reader: Reader,
    writer: Writer,
    written: HashMap<Schema, Bytes>,
    read: HashMap<Bytes, Option<Schema>>,
    /// The text of the schema that was read last, which most often is the next one's too.
    last_read: (Bytes, Option<Schema>),
}

impl JsonConverter {
    pub fn new(options: JsonOptions) -> JsonConverter {
        let replace_null_with_default = options.replace_null_with_default;
        JsonConverter {
            options,
            reader: Reader { replace_null_with_default },
            writer: Writer { decimals: options.decimals, replace_null_with_default },
            written: HashMap::new(),
            read: HashMap::new(),
            last_read: (Bytes::new(), None),
        }
    }

    /// Appends the value as JSON. `false`: there is nothing to write, which is a tombstone.
    pub fn write(&mut self, data: &SchemaAndValue, out: &mut Vec<u8>) -> Result<bool, DataError> {
        let SchemaAndValue { schema, value } = data;
        if schema.is_none() && value.is_null() {
            return Ok(false);
        }
        self.write_parts(schema.as_ref(), out, |writer, out| {
            // Text of a null where a schema allows one: Connect writes it so.
            writer.value(schema.as_ref(), value, out)
        })?;
        Ok(true)
    }

    /// Appends a value of that schema, which `payload` writes as `write` would: for sources that
    /// need no tree of values for it.
    pub(crate) fn write_parts<E: From<DataError>>(
        &mut self,
        schema: Option<&Schema>,
        out: &mut Vec<u8>,
        payload: impl FnOnce(&Writer, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.options.schemas {
            return payload(&self.writer, out);
        }
        out.extend_from_slice(b"{\"schema\":");
        match schema {
            None => out.extend_from_slice(b"null"),
            Some(schema) => self.write_schema(schema, out)?,
        }
        out.extend_from_slice(b",\"payload\":");
        payload(&self.writer, out)?;
        out.push(b'}');
        Ok(())
    }

    fn write_schema(&mut self, schema: &Schema, out: &mut Vec<u8>) -> Result<(), DataError> {
        if let Some(text) = self.written.get(schema) {
            out.extend_from_slice(text);
            return Ok(());
        }
        let mut text = Vec::new();
        schema::write_schema(&self.writer, schema, None, &mut text)?;
        out.extend_from_slice(&text);
        if self.written.len() >= self.options.schemas_cache_size {
            self.written.clear();
        }
        self.written.insert(schema.clone(), text.into());
        Ok(())
    }

    /// The value that the text stands for; of nothing, nothing.
    pub fn read(&mut self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, DataError> {
        let Some(bytes) = bytes else { return Ok(SchemaAndValue::NULL) };
        let text = || std::str::from_utf8(bytes).ok().filter(|_| self.options.any);
        let envelope = match (self.options.schemas, self.options.any) {
            (false, false) => None,
            _ => match (parse::parse_envelope(bytes, &self.last_read.0), text()) {
                (Err(_), Some(text)) => return Ok(SchemaAndValue::text(text)),
                (envelope, _) => envelope?,
            },
        };
        let Some((schema, payload)) = envelope else {
            if !self.options.schemas {
                let json = match (parse::parse(bytes), text()) {
                    (Err(_), Some(text)) => return Ok(SchemaAndValue::text(text)),
                    (json, _) => json?,
                };
                let Some(json) = json else { return Ok(SchemaAndValue::NULL) };
                return Ok(SchemaAndValue::schemaless(self.reader.value(None, &json)?));
            }
            return Err(DataError::new(
                "JSON with schemas is an object with the fields \"schema\" and \"payload\" and \
                 no others; for plain JSON set schemas.enable=false for this converter",
            ));
        };
        let schema = self.read_schema(schema)?;
        let value = self.reader.value(schema.as_ref(), &payload);
        let value: Value = value.map_err(|error| error.within(format_args!("payload")))?;
        Ok(SchemaAndValue { schema, value })
    }

    fn read_schema(&mut self, text: Bytes) -> Result<Option<Schema>, DataError> {
        if text == self.last_read.0 {
            return Ok(self.last_read.1.clone());
        }
        if let Some((kept, known)) = self.read.get_key_value(&text) {
            self.last_read = (kept.clone(), known.clone());
            return Ok(known.clone());
        }
        let json = parse::parse(&text)?.expect("it was cut out of a larger text as a value");
        let schema = schema::read_schema(&self.reader, &json)?;
        if self.read.len() >= self.options.schemas_cache_size {
            self.read.clear();
        }
        // A copy: the text is a part of its record, which need not be kept for it.
        let kept = Bytes::copy_from_slice(&text);
        self.last_read = (kept.clone(), schema.clone());
        self.read.insert(kept, schema.clone());
        Ok(schema)
    }
}

#[cfg(test)]
mod tests;
