//! What a record goes through between a connector and its topic: transforms and converters, and
//! what happens to a record that does not get through.
//!
//! ```text
//! source:  ConnectRecord ─► transforms ─► converters ─► key, value, headers as bytes
//! sink:    bytes ─► converters ─► transforms ─► ConnectRecord
//!                       └──────────────┴──► FailedRecord ─► an error, or a dead letter
//! ```
//!
//! Where there are no transforms and the converters take bytes as they are, nothing of this is
//! needed, and connectors that have bytes hand them over as they are ([`Chain::passes_bytes`]).

use broker::ids::Offset;
use broker::record::records::Record;
use bytes::Bytes;
use thiserror::Error;

use crate::config::ConnectorConfig;
use crate::convert::json::JsonConverter;
use crate::convert::{Converter, ConverterSettings, Part};
use crate::data::{ConnectRecord, DataError, Header, SchemaAndValue, Text};
use crate::transforms::{Outcome, Step};

/// The transforms and converters of one task.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Vec<Step>,
    converters: ConverterSettings,
    passes_bytes: bool,
}

/// Those of keys and of values.
pub(crate) type JsonConverters<'a> = (&'a mut JsonConverter, &'a mut JsonConverter);

/// A record as it stands in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordBytes {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Text, Option<Bytes>)>,
}

/// The bytes of one record, to be used again for the next.
#[derive(Clone, Debug, Default)]
pub struct WrittenRecord {
    key: Vec<u8>,
    has_key: bool,
    value: Vec<u8>,
    has_value: bool,
    pub headers: Vec<(Text, Option<Bytes>)>,
}

impl WrittenRecord {
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&self.key)
    }

    pub fn value(&self) -> Option<&[u8]> {
        self.has_value.then_some(&self.value)
    }

    /// The parts to fill anew: key and value, of which none is there yet.
    pub(crate) fn begin(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (self.has_key, self.has_value) = (false, false);
        self.key.clear();
        self.value.clear();
        self.headers.clear();
        (&mut self.key, &mut self.value)
    }

    /// Which of the parts are there.
    pub(crate) fn end(&mut self, has_key: bool, has_value: bool) {
        (self.has_key, self.has_value) = (has_key, has_value);
    }

    /// About what it takes.
    pub(crate) fn size(&self) -> usize {
        let header = |(name, value): &(Text, Option<Bytes>)| {
            name.len() + value.as_ref().map_or(0, Bytes::len)
        };
        self.key.len() + self.value.len() + self.headers.iter().map(header).sum::<usize>()
    }
}

/// What was being done when a record failed, by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Transformation,
    KeyConverter,
    ValueConverter,
    HeaderConverter,
    /// The sink would not have it.
    TaskPut,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Transformation => "TRANSFORMATION",
            Stage::KeyConverter => "KEY_CONVERTER",
            Stage::ValueConverter => "VALUE_CONVERTER",
            Stage::HeaderConverter => "HEADER_CONVERTER",
            Stage::TaskPut => "TASK_PUT",
        }
    }
}

/// Why a record did not get through.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}{error}")]
pub struct ChainError {
    pub stage: Stage,
    /// The class that refused it.
    pub class: String,
    /// In words: `value converter: `; a transform's error names it by itself.
    what: String,
    pub error: DataError,
}

impl ChainError {
    pub(crate) fn put(class: &str, reason: String) -> ChainError {
        let error = DataError(reason);
        ChainError {
            stage: Stage::TaskPut,
            class: class.to_owned(),
            what: "refused: ".to_owned(),
            error,
        }
    }
}

/// No transforms, and text or bytes as they are.
impl Default for Chain {
    fn default() -> Chain {
        let text = || Converter::String;
        let converters =
            ConverterSettings { key: text(), value: text(), header: Converter::Simple };
        Chain { steps: Vec::new(), converters, passes_bytes: true }
    }
}

impl Chain {
    pub fn new(config: &ConnectorConfig) -> Chain {
        let (steps, converters) = (config.steps().to_vec(), config.converters().clone());
        let passes_bytes =
            steps.is_empty() && converters.key.passes_bytes() && converters.value.passes_bytes();
        Chain { steps, converters, passes_bytes }
    }

    /// Whether bytes and text come through as they are.
    pub fn passes_bytes(&self) -> bool {
        self.passes_bytes
    }

    /// The converters of keys and values, where a source may write JSON by itself: both are of
    /// JSON, and nothing changes the record before.
    pub(crate) fn json(&mut self) -> Option<JsonConverters<'_>> {
        match (&mut self.converters.key, &mut self.converters.value) {
            (Converter::Json(key), Converter::Json(value)) if self.steps.is_empty() => {
                Some((key, value))
            }
            _ => None,
        }
    }

    /// Transforms a record and writes its bytes to `out`. `None`: a transform has dropped it.
    pub fn write(
        &mut self,
        mut record: ConnectRecord,
        out: &mut WrittenRecord,
    ) -> Result<Option<ConnectRecord>, ChainError> {
        if !self.transform(&mut record)? {
            return Ok(None);
        }
        let converters = &mut self.converters;
        out.has_key = write(Part::Key, &mut converters.key, &record.key, &mut out.key)?;
        out.has_value = write(Part::Value, &mut converters.value, &record.value, &mut out.value)?;
        out.headers.clear();
        for header in &record.headers {
            let mut bytes = Vec::new();
            let written = write(Part::Header, &mut converters.header, &header.value, &mut bytes)
                .map_err(|error| of_header(error, &header.name))?;
            out.headers.push((header.name.clone(), written.then(|| bytes.into())));
        }
        Ok(Some(record))
    }

    /// Reads a record of a topic and transforms it. `None`: a transform has dropped it.
    pub fn read(
        &mut self,
        topic: &Text,
        partition: i32,
        record: &Record<'_>,
    ) -> Result<Option<ConnectRecord>, ChainError> {
        let bytes = RecordBytes::of(record);
        let converters = &mut self.converters;
        let key = read(Part::Key, &mut converters.key, bytes.key.as_ref())?;
        let value = read(Part::Value, &mut converters.value, bytes.value.as_ref())?;
        let mut headers = Vec::with_capacity(bytes.headers.len());
        for (name, bytes) in bytes.headers {
            let value = read(Part::Header, &mut converters.header, bytes.as_ref())
                .map_err(|error| of_header(error, &name))?;
            headers.push(Header { name, value });
        }
        let mut record = ConnectRecord {
            topic: topic.clone(),
            partition: Some(partition),
            key,
            value,
            timestamp_ms: Some(record.timestamp_ms).filter(|ms| *ms >= 0),
            headers,
            kafka_offset: Some(record.offset),
        };
        Ok(self.transform(&mut record)?.then_some(record))
    }

    /// `false`: the record is dropped.
    fn transform(&mut self, record: &mut ConnectRecord) -> Result<bool, ChainError> {
        for step in &mut self.steps {
            match step.apply(record) {
                Ok(Outcome::Keep) => {}
                Ok(Outcome::Drop) => return Ok(false),
                Err(error) => {
                    return Err(ChainError {
                        stage: Stage::Transformation,
                        class: step.class.clone(),
                        what: String::new(),
                        error,
                    });
                }
            }
        }
        Ok(true)
    }
}

impl RecordBytes {
    /// A copy of what stands in a batch.
    pub fn of(record: &Record<'_>) -> RecordBytes {
        let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
        let headers = record.headers();
        let headers = headers.map(|one| (Text::from(one.key), copy(one.value))).collect();
        RecordBytes { key: copy(record.key), value: copy(record.value), headers }
    }
}

/// Replaces what is in `out` by the bytes of a value. `false`: of this one there are none.
fn write(
    part: Part,
    converter: &mut Converter,
    data: &SchemaAndValue,
    out: &mut Vec<u8>,
) -> Result<bool, ChainError> {
    out.clear();
    converter.write(data, out).map_err(|error| failed(part, converter, error))
}

fn read(
    part: Part,
    converter: &mut Converter,
    bytes: Option<&Bytes>,
) -> Result<SchemaAndValue, ChainError> {
    converter.read(bytes).map_err(|error| failed(part, converter, error))
}

fn failed(part: Part, converter: &Converter, error: DataError) -> ChainError {
    let (stage, what) = match part {
        Part::Key => (Stage::KeyConverter, "key converter: "),
        Part::Value => (Stage::ValueConverter, "value converter: "),
        Part::Header => (Stage::HeaderConverter, "header converter: "),
    };
    ChainError { stage, class: converter.class().to_owned(), what: what.to_owned(), error }
}

fn of_header(mut error: ChainError, name: &str) -> ChainError {
    error.what = format!("header converter, header '{name}': ");
    error
}

/// A record that did not get through, with all that a dead letter says of it.
#[derive(Clone, Debug)]
pub struct FailedRecord {
    pub topic: Text,
    pub partition: i32,
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub bytes: RecordBytes,
    pub error: ChainError,
}

impl FailedRecord {
    pub(crate) fn new(
        topic: &Text,
        partition: i32,
        record: &Record<'_>,
        error: ChainError,
    ) -> FailedRecord {
        let bytes = RecordBytes::of(record);
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        FailedRecord { topic: topic.clone(), partition, offset, timestamp_ms, bytes, error }
    }
}
