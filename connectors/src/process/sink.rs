//! The process sink: a program that reads records from its stdin, and says when they are safe.
//!
//! A put hands over its records and a flush, and waits for the answer. A program that ends, or
//! does not answer in time, is started again and gets them again.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use broker::ids::{Offset, TopicPartition};
use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::child::{Child, Next};
use super::command::Call;
use super::message::{self, FromSink, RefusedRecord};
use super::restarts::Restarts;
use crate::config::ConnectorConfig;
use crate::convert::Converter;
use crate::data::{ConnectRecord, Value};
use crate::http::record::{RecordView, quoted};
use crate::json_text;
use crate::status::Trouble;
use crate::task::{Put, Refused, SinkContext, SinkPartition, SinkRecords, SinkTask, TaskError};

pub struct ProcessSink {
    config: ConnectorConfig,
    number: usize,
    running: Option<Running>,
}

struct Running {
    name: String,
    number: usize,
    call: Call,
    line_bytes_max: usize,
    is_text: bool,
    /// Whether the topic has JSON, in which a text is one of its values.
    reads_json: bool,
    /// Whether the first record that has no message is the last one handed over.
    ends_at_refusal: bool,
    flush_timeout: Duration,
    stop_timeout: Duration,
    restarts: Restarts,
    child: Option<Box<Child>>,
    flushes: u64,
    done: BTreeMap<TopicPartition, Offset>,
    stop: CancellationToken,
    trouble: Trouble,
}

impl ProcessSink {
    pub fn new(config: &ConnectorConfig, number: usize) -> ProcessSink {
        ProcessSink { config: config.clone(), number, running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }
}

#[async_trait]
impl SinkTask for ProcessSink {
    async fn start(&mut self, context: &SinkContext) -> Result<(), TaskError> {
        let settings = self.config.settings();
        let ms = |key| Duration::from_millis(settings.integer(key) as u64);
        self.running = Some(Running {
            name: self.config.name().to_owned(),
            number: self.number,
            call: Call::new(&self.config)?,
            line_bytes_max: settings.integer("process.line.bytes.max") as usize,
            is_text: settings.text("process.values") == "text",
            reads_json: matches!(self.config.converters().value, Converter::Json(_)),
            ends_at_refusal: settings.text("errors.tolerance") == "none",
            flush_timeout: ms("process.flush.timeout.ms"),
            stop_timeout: ms("process.stop.timeout.ms"),
            restarts: Restarts::new(settings),
            child: None,
            flushes: 0,
            done: BTreeMap::new(),
            stop: context.stop().clone(),
            trouble: context.trouble().clone(),
        });
        Ok(())
    }

    fn wants_values(&self) -> bool {
        true
    }

    async fn open(
        &mut self,
        _partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(Vec::new())
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        self.running().put(records).await
    }

    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(self.delivered())
    }

    fn delivered(&self) -> Vec<(TopicPartition, Offset)> {
        let done = self.running.iter().flat_map(|running| &running.done);
        done.map(|(partition, offset)| (partition.clone(), *offset)).collect()
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        for partition in partitions {
            self.running().done.remove(partition);
        }
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        if let Some(child) = running.child {
            child.stop(running.stop_timeout).await;
        }
    }
}

/// Why a program has not taken records.
enum Failure {
    /// It may at another start.
    Passing(String),
    Fatal(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Failure {
        Failure::Passing(reason)
    }
}

impl Running {
    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let mut put = Put::default();
        let mut text = BytesMut::new();
        for record in records.values() {
            match line(record, self.is_text, self.reads_json) {
                Ok(line) => {
                    put.records += 1;
                    text.extend_from_slice(line.as_bytes());
                }
                Err(reason) => {
                    put.refused.push(Refused { offset: offset(record), reason });
                    if self.ends_at_refusal {
                        break;
                    }
                }
            }
        }
        put.bytes = text.len() as u64;
        let text = text.freeze();
        if put.records > 0 {
            let Some(refused) = self.deliver(&text).await? else {
                // Told to stop: they come again.
                let first = records.values().first().map(offset);
                return Ok(Put { next: first, ..Put::default() });
            };
            put.records = put.records.saturating_sub(refused.len() as u64);
            let refused = refused.into_iter();
            put.refused.extend(
                refused.map(|one| Refused { offset: Offset(one.offset), reason: one.reason }),
            );
            put.refused.sort_by_key(|one| one.offset);
        }
        self.done.insert(records.partition().clone(), records.next_offset());
        Ok(put)
    }

    /// Hands records over until a program says that they are safe. `None`: the task is to stop.
    async fn deliver(&mut self, records: &Bytes) -> Result<Option<Vec<RefusedRecord>>, TaskError> {
        loop {
            let stop = self.stop.clone();
            // What has been handed over to a program that is to end may still be answered.
            let stopped = async {
                stop.cancelled().await;
                tokio::time::sleep(self.stop_timeout).await;
            };
            let flush_timeout = self.flush_timeout;
            let (mut child, start) = match self.child.take() {
                Some(child) => (Ok(child), None),
                None => (self.begin(), Some(self.start_message())),
            };
            self.flushes += 1;
            let exchange = async {
                let child = child.as_mut().map_err(|error| Failure::Passing(error.clone()))?;
                let flush = format!("{{\"type\":\"flush\",\"id\":{}}}\n", self.flushes);
                let parts = [Bytes::from(start.unwrap_or_default()), records.clone(), flush.into()];
                exchange(child, parts, self.flushes).await
            };
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(flush_timeout, exchange) => {
                    let late = |_| Err(format!("no answer to a flush within {flush_timeout:?}").into());
                    outcome.unwrap_or_else(late)
                }
                () = stopped => return Ok(None),
            };
            let program = self.call.program();
            match outcome {
                Ok(refused) => {
                    self.restarts.progressed();
                    self.trouble.is_over();
                    self.child = child.ok();
                    return Ok(Some(refused));
                }
                Err(Failure::Fatal(reason)) => return Err(format!("'{program}': {reason}").into()),
                Err(Failure::Passing(reason)) => {
                    let Some(pause) = self.restarts.failed() else {
                        return Err(format!("'{program}': {reason}").into());
                    };
                    let name = &self.name;
                    warn!("connector '{name}': '{program}': {reason}; starts again in {pause:.1?}");
                    self.trouble.is(format!("'{program}': {reason}"));
                    tokio::select! {
                        () = stop.cancelled() => return Ok(None),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    fn begin(&self) -> Result<Box<Child>, String> {
        Child::start(&self.call, &self.name, self.line_bytes_max).map(Box::new)
    }

    fn start_message(&self) -> String {
        let (name, task) = (quoted(&self.name), self.number);
        format!("{{\"type\":\"start\",\"connector\":{name},\"task\":{task}}}\n")
    }
}

/// Writes all parts while listening, until the flush of that number is answered.
async fn exchange(
    child: &mut Child,
    parts: [Bytes; 3],
    id: u64,
) -> Result<Vec<RefusedRecord>, Failure> {
    let mut parts = std::collections::VecDeque::from(parts);
    loop {
        while let Some(first) = parts.front_mut() {
            if let Err(reason) = child.try_write(first) {
                return Err(why_ended(child, reason).await);
            }
            if !first.is_empty() {
                break;
            }
            parts.pop_front();
        }
        match child.try_line()? {
            Next::Line(line) if line.trim_ascii().is_empty() => {}
            Next::Line(line) => match message::from_sink(&line) {
                Ok(FromSink::Flushed { id: of, refused }) if of == id => return Ok(refused),
                Ok(FromSink::Flushed { id: of, .. }) => {
                    return Err(format!("it answers flush {of}, but was asked {id}").into());
                }
                Ok(FromSink::Error { message, fatal }) => {
                    let reason = format!("it says: {message}");
                    return Err(match fatal {
                        true => Failure::Fatal(reason),
                        false => Failure::Passing(reason),
                    });
                }
                Err(reason) => {
                    return Err(format!("what it wrote is no message: {reason}").into());
                }
            },
            Next::End => return Err(why_ended(child, "it has closed its stdout".into()).await),
            Next::Nothing => {
                let has_more = !parts.is_empty();
                tokio::select! {
                    it = child.readable() => it?,
                    it = child.writable(), if has_more => it?,
                }
            }
        }
    }
}

/// How long a program whose pipes are closed may take to end.
const END_PATIENCE: Duration = Duration::from_secs(1);

async fn why_ended(child: &mut Child, otherwise: String) -> Failure {
    match tokio::time::timeout(END_PATIENCE, child.ended()).await {
        Ok(Ok(status)) => child.in_words(status).into(),
        _ => otherwise.into(),
    }
}

fn offset(record: &ConnectRecord) -> Offset {
    record.kafka_offset.expect("a record that was read from a topic has one")
}

/// A record's message.
fn line(record: &ConnectRecord, is_text: bool, reads_json: bool) -> Result<String, String> {
    let view = RecordView::new(record);
    let text = |bytes: Option<Bytes>, what: &str| match bytes {
        None => Ok("null".to_owned()),
        Some(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(quoted(text)),
            Err(_) => Err(format!("its {what} is no UTF-8")),
        },
    };
    // A text within JSON is one of its values; what a topic has as text is JSON itself.
    let within_json = reads_json || record.value.schema.is_none();
    let is_value = matches!(record.value.value, Value::String(_)) && within_json;
    let value = match (view.value(), is_text || is_value) {
        (Some(value), false) => match json_text::check(&value) {
            // A message is one line.
            Ok(json) => json.replace(['\n', '\r'], " "),
            Err(error) => {
                return Err(format!("it is no JSON: {error}; process.values=text takes any text"));
            }
        },
        (value, _) => text(value, "value")?,
    };
    let mut headers = String::new();
    for (index, header) in record.headers.iter().enumerate() {
        let mut one = ConnectRecord::new(&record.topic, Default::default(), header.value.clone());
        one.kafka_offset = record.kafka_offset;
        let comma = if index > 0 { "," } else { "" };
        let value = text(RecordView::new(&one).value(), "header")?;
        headers.push_str(&format!("{comma}{}:{value}", quoted(&header.name)));
    }
    let key = text(view.key(), "key")?;
    let (topic, offset) = (quoted(&record.topic), offset(record));
    let partition = record.partition.unwrap_or_default();
    let timestamp = record.timestamp_ms.map_or_else(|| "null".to_owned(), |ms| ms.to_string());
    Ok(format!(
        "{{\"type\":\"record\",\"topic\":{topic},\"partition\":{partition},\"offset\":{offset},\
         \"timestamp\":{timestamp},\"key\":{key},\"value\":{value},\"headers\":{{{headers}}}}}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Schema, SchemaAndValue};

    /// The text "5" of a record in JSON came as the number; then that of one with its schema beside
    /// it did.
    #[test]
    fn a_text_stays_one() {
        let value = |data: SchemaAndValue, reads_json: bool| {
            let mut record = ConnectRecord::new(&"t".into(), SchemaAndValue::NULL, data);
            record.kafka_offset = Some(Offset(0));
            let line = line(&record, false, reads_json)?;
            let message: serde_json::Value = serde_json::from_str(&line).unwrap();
            Ok::<_, String>(message["value"].clone())
        };
        let of = |schema, text: &str| SchemaAndValue { schema, value: Value::String(text.into()) };
        let of_json = |text| of(None, text);
        let with_schema = |text| of(Some(Schema::optional_string()), text);
        for reads_json in [false, true] {
            assert_eq!(value(of_json("5"), reads_json).unwrap(), "5");
            assert_eq!(value(of_json("str"), reads_json).unwrap(), "str");
        }
        assert_eq!(value(with_schema("5"), true).unwrap(), "5");
        assert_eq!(value(with_schema("str"), true).unwrap(), "str");
        // As it stands in a topic of texts.
        assert_eq!(value(with_schema("5"), false).unwrap(), 5);
        assert!(value(with_schema("str"), false).is_err());
    }
}
