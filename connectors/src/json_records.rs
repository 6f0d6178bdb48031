//! Records whose values come as JSON texts.
//!
//! ```text
//! value.converter    in the topic                         to transforms
//! String (default)   the text as it came                  text
//! Json               what the converter writes of it      fields
//! ```

use bytes::Bytes;

use crate::config::ConnectorConfig;
use crate::convert::Converter;
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{ConnectRecord, SchemaAndValue, Text};
use crate::records::SourceRecords;
use crate::task::{SourceRecord, Topic};

/// How a connector's texts become records.
#[derive(Debug)]
pub struct JsonRecords {
    parser: Option<JsonConverter>,
}

impl JsonRecords {
    pub fn new(config: &ConnectorConfig) -> JsonRecords {
        let options = JsonOptions { schemas: false, ..JsonOptions::default() };
        let is_parsed = matches!(config.converters().value, Converter::Json(_));
        JsonRecords { parser: is_parsed.then(|| JsonConverter::new(options)) }
    }

    /// Adds a record. That its value is JSON was checked before.
    pub fn append(
        &mut self,
        out: &mut SourceRecords,
        topic: &Topic,
        record: SourceRecord<'_>,
    ) -> Result<(), String> {
        if self.parser.is_none() {
            out.append(topic, record);
            return Ok(());
        }
        self.append_named(out, &topic.name, record)
    }

    /// Whether values have to be JSON; else any text will do.
    pub fn parses(&self) -> bool {
        self.parser.is_some()
    }

    /// The same for a topic that is looked up by its name, or created.
    pub fn append_named(
        &mut self,
        out: &mut SourceRecords,
        topic: &str,
        record: SourceRecord<'_>,
    ) -> Result<(), String> {
        let text = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => SchemaAndValue::text(String::from_utf8_lossy(bytes).into_owned()),
            None => SchemaAndValue::NULL,
        };
        let value = match &mut self.parser {
            None => text(record.value),
            Some(parser) => {
                let value = record.value.map(Bytes::copy_from_slice);
                parser.read(value.as_ref()).map_err(|error| error.to_string())?
            }
        };
        let mut whole = ConnectRecord::new(&Text::from(topic), text(record.key), value);
        whole.timestamp_ms = Some(record.timestamp_ms);
        whole.partition = record.partition;
        for (name, value) in record.headers {
            whole.add_header(*name, text(*value));
        }
        out.append_record(whole);
        Ok(())
    }
}
