//! Rows and failed records on their way into topics: which partition, which batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::Schema;
use broker::ids::TopicPartition;
use broker::record::{BatchBuilder, Record};
use datafusion_common::{Result as Evaluates, exec_datafusion_err};

use super::exchange::{ExchangeWriter, Message};
use super::sink::SinkWriter;
use crate::formats::{FormatError, RowEncoder, Rows};
use crate::operators::Prepared;
use crate::operators::aggregate::partial::Combiner;
use crate::pipeline::{Format, Sink};
use crate::time::{Progress, WallTime, Watermark};

/// A batch that would grow beyond this goes out first: how long a record may be must not depend on
/// those before it.
const BATCH_BYTES: usize = 256 << 10;

/// Collects what a task writes.
pub struct Output {
    batches: Batches,
    target: Target,
    /// Records that failed and rows that came too late, by topic.
    dead_letters: BTreeMap<Arc<str>, BatchBuilder>,
}

enum Target {
    Sink(SinkWriter),
    Exchange(ExchangeWriter),
    /// Rows to show, written nowhere.
    Shown(Vec<Rows>),
}

/// Records of one topic on their way into batches.
pub(super) struct Batches {
    topic: Arc<str>,
    /// One per partition.
    building: Vec<BatchBuilder>,
    ready: Vec<(TopicPartition, BatchBuilder)>,
    /// What the topic takes as one batch.
    bytes_max: usize,
    /// Records that are longer by themselves.
    too_long: Vec<TooLong>,
    /// Bytes in `ready` and of what else waits for a commit, roughly.
    pub ready_bytes: usize,
}

impl Batches {
    fn new(topic: &str, partitions: usize) -> Batches {
        let building = vec![BatchBuilder::default(); partitions.max(1)];
        let (ready, too_long) = (Vec::new(), Vec::new());
        let (bytes_max, ready_bytes) = (usize::MAX, 0);
        Batches { topic: topic.into(), building, ready, bytes_max, too_long, ready_bytes }
    }

    pub fn partitions(&self) -> usize {
        self.building.len()
    }

    pub fn append(
        &mut self,
        partition: usize,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        self.append_with_headers(partition, time_ms, key, value, &[]);
    }

    fn append_all(&mut self, messages: Vec<Message>, now: WallTime) {
        for (partition, value) in messages {
            self.append(partition, now.0, None, Some(&value));
        }
    }

    pub fn append_with_headers(
        &mut self,
        partition: usize,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let size = size(key, value, headers);
        if size > self.bytes_max {
            let mut alone = BatchBuilder::default();
            alone.append_with_headers(time_ms, key, value, headers);
            let size = alone.size();
            if size > self.bytes_max {
                self.too_long.push(TooLong { key: key.map(<[u8]>::to_vec), time_ms, size });
                return;
            }
        }
        let building = &self.building[partition];
        if !building.is_empty() && building.size() + size > BATCH_BYTES.min(self.bytes_max) {
            self.end_batch(partition);
        }
        self.building[partition].append_with_headers(time_ms, key, value, headers);
    }

    fn end_batch(&mut self, partition: usize) {
        let batch = std::mem::take(&mut self.building[partition]);
        self.ready_bytes += batch.size();
        let to = TopicPartition::new(self.topic.clone(), partition as i32);
        self.ready.push((to, batch));
    }

    fn end_all(&mut self) {
        for partition in 0..self.building.len() {
            if !self.building[partition].is_empty() {
                self.end_batch(partition);
            }
        }
    }
}

/// A record that is longer than its topic takes.
#[derive(Debug)]
pub(super) struct TooLong {
    pub key: Option<Vec<u8>>,
    pub time_ms: i64,
    /// What a batch of it alone would have, in bytes.
    pub size: usize,
}

/// What a record takes of a batch, and no less.
fn size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> usize {
    /// The header of a batch, and the lengths, times and counts of a record.
    const AROUND: usize = 61 + 45;
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = headers.iter().map(|(name, value)| name.len() + of(*value) + 10);
    AROUND + of(key) + of(value) + headers.sum::<usize>()
}

/// Where a record failed, and why.
pub struct DeadLetter<'a> {
    pub topic: &'a Arc<str>,
    pub from: &'a TopicPartition,
    pub record: &'a Record<'a>,
    pub stage: &'a str,
    pub reason: &'a str,
    pub query: &'a str,
}

/// Rows of no single record that fail.
pub(super) struct LeftOutRows<'a> {
    pub topic: &'a Arc<str>,
    /// The topics that they have come from.
    pub from: &'a str,
    pub rows: &'a Rows,
    /// As many.
    pub reasons: &'a [String],
    pub query: &'a str,
}

impl Output {
    /// Rows that go to a sink. `updating`: they may be taken back.
    pub fn to_sink(
        sink: &Sink,
        schema: &Schema,
        partitions: i32,
        updating: bool,
    ) -> Result<Output, FormatError> {
        let partitions = usize::try_from(partitions).unwrap_or(1);
        Ok(Output {
            batches: Batches::new(&sink.topic, partitions),
            target: Target::Sink(SinkWriter::new(sink, schema, updating)?),
            dead_letters: BTreeMap::new(),
        })
    }

    /// Rows that go to the next part of the query.
    pub fn to_exchange(writer: ExchangeWriter, partitions: usize) -> Output {
        Output {
            batches: Batches::new(writer.topic(), partitions),
            target: Target::Exchange(writer),
            dead_letters: BTreeMap::new(),
        }
    }

    /// Rows that are shown and written nowhere.
    pub fn shown() -> Output {
        Output {
            batches: Batches::new("", 1),
            target: Target::Shown(Vec::new()),
            dead_letters: BTreeMap::new(),
        }
    }

    /// The topic that rows go to.
    pub fn topic(&self) -> &str {
        &self.batches.topic
    }

    /// What the topic takes as one batch, in bytes; without it, whatever comes.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.batches.bytes_max = bytes_max;
    }

    /// Records that were longer, and what they may have.
    pub(super) fn take_too_long(&mut self) -> (Vec<TooLong>, usize) {
        (std::mem::take(&mut self.batches.too_long), self.batches.bytes_max)
    }

    /// Says of a row that it was left out, by its key: its value is what is too long.
    pub(super) fn write_left_out(
        &mut self,
        topic: &Arc<str>,
        of: &TooLong,
        query: &str,
        reason: &str,
    ) {
        let context = [
            ("__connect.errors.connector.name", query),
            ("__connect.errors.stage", "TASK_PUT"),
            ("__connect.errors.exception.message", reason),
        ];
        let headers = context.map(|(name, value)| (name, Some(value.as_bytes())));
        self.put_aside(topic, of.time_ms, of.key.as_deref(), None, &headers);
    }

    /// Says of rows that they were left out, as JSON: there is no one record that they are.
    pub(super) fn write_left_out_rows(
        &mut self,
        LeftOutRows { topic, from, rows, reasons, query }: &LeftOutRows<'_>,
        now: WallTime,
    ) -> Evaluates<()> {
        let encoded = json_encoder(rows)?.encode(&rows.batch)?;
        for (row, reason) in reasons.iter().enumerate() {
            let context = [
                ("__connect.errors.topic", *from),
                ("__connect.errors.connector.name", *query),
                ("__connect.errors.stage", "evaluate"),
                ("__connect.errors.exception.message", reason),
            ];
            let headers = context.map(|(name, value)| (name, Some(value.as_bytes())));
            let times = &rows.event_times_ms;
            let time_ms = if times.is_null(row) { now.0 } else { times.value(row) };
            self.put_aside(topic, time_ms, None, encoded.value(row), &headers);
        }
        Ok(())
    }

    /// Takes rows. In a topic one without a time of its own has `untimed_ms`.
    pub fn write(&mut self, rows: &Rows, now: WallTime, untimed_ms: i64) -> Evaluates<()> {
        match &mut self.target {
            Target::Sink(sink) => Ok(sink.write(rows, untimed_ms, &mut self.batches)?),
            Target::Shown(shown) => {
                self.batches.ready_bytes += rows.batch.get_array_memory_size();
                shown.push(rows.clone());
                Ok(())
            }
            Target::Exchange(writer) => {
                let mut messages = Vec::new();
                self.batches.ready_bytes += writer.write(rows, &mut messages)?;
                self.batches.append_all(messages, now);
                Ok(())
            }
        }
    }

    /// What combines rows before they are written, if anything does.
    pub(super) fn combiner(&self) -> Option<&Combiner> {
        match &self.target {
            Target::Exchange(writer) => writer.combiner(),
            Target::Sink(_) | Target::Shown(_) => None,
        }
    }

    /// Takes rows that were prepared to be combined.
    pub(super) fn combine(&mut self, rows: Prepared, now: WallTime) -> Evaluates<()> {
        let Target::Exchange(writer) = &mut self.target else { return Ok(()) };
        let mut messages = Vec::new();
        self.batches.ready_bytes += writer.combine(rows, &mut messages)?;
        self.batches.append_all(messages, now);
        Ok(())
    }

    /// Writes a record that failed as it was, with the reason in its headers (the names are Kafka
    /// Connect's).
    pub fn write_dead_letter(&mut self, letter: &DeadLetter<'_>) {
        let partition = letter.from.partition.to_string();
        let offset = letter.record.offset.to_string();
        let context = [
            ("__connect.errors.topic", letter.from.topic.as_bytes()),
            ("__connect.errors.partition", partition.as_bytes()),
            ("__connect.errors.offset", offset.as_bytes()),
            ("__connect.errors.connector.name", letter.query.as_bytes()),
            ("__connect.errors.stage", letter.stage.as_bytes()),
            ("__connect.errors.exception.message", letter.reason.as_bytes()),
        ];
        let mut headers: Vec<(&str, Option<&[u8]>)> =
            letter.record.headers().map(|header| (header.key, header.value)).collect();
        headers.extend(context.map(|(key, value)| (key, Some(value))));
        let Record { timestamp_ms, key, value, .. } = letter.record;
        self.put_aside(letter.topic, *timestamp_ms, *key, *value, &headers);
    }

    /// A record for a topic beside the sink.
    fn put_aside(
        &mut self,
        topic: &Arc<str>,
        time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let builder = self.dead_letters.entry(topic.clone()).or_default();
        if !builder.is_empty() && builder.size() + size(key, value, headers) > BATCH_BYTES {
            let batch = std::mem::take(builder);
            self.batches.ready_bytes += batch.size();
            self.batches.ready.push((TopicPartition::new(topic.clone(), 0), batch));
        }
        builder.append_with_headers(time_ms, key, value, headers);
    }

    /// Writes rows that came too late for their window as JSON, as that window would have taken
    /// them, with headers that say which query that is and how far its watermark was.
    pub fn write_late(
        &mut self,
        topic: &Arc<str>,
        rows: &Rows,
        query: &str,
        watermark: &str,
        now: WallTime,
    ) -> Evaluates<()> {
        let encoded = json_encoder(rows)?.encode(&rows.batch)?;
        let headers = [("millstream.late.query", query), ("millstream.late.watermark", watermark)];
        let headers = headers.map(|(key, value)| (key, Some(value.as_bytes())));
        for row in 0..encoded.len() {
            let times = &rows.event_times_ms;
            let time_ms = if times.is_null(row) { now.0 } else { times.value(row) };
            self.put_aside(topic, time_ms, None, encoded.value(row), &headers);
        }
        Ok(())
    }

    /// Whether the next part of the query has yet to hear of the watermark.
    pub fn has_news(&self, watermark: Watermark, progress: Progress) -> bool {
        match &self.target {
            Target::Sink(_) | Target::Shown(_) => false,
            Target::Exchange(writer) => writer.has_news(watermark, progress),
        }
    }

    /// Roughly how much waits for a commit.
    pub fn ready_bytes(&self) -> usize {
        self.batches.ready_bytes
    }

    /// Batches as they are.
    pub fn take_written(&mut self) -> Vec<(TopicPartition, BatchBuilder)> {
        self.batches.end_all();
        for (topic, builder) in std::mem::take(&mut self.dead_letters) {
            if !builder.is_empty() {
                self.batches.ready.push((TopicPartition::new(topic, 0), builder));
            }
        }
        self.take_ready()
    }

    /// Batches that are full.
    pub fn take_ready(&mut self) -> Vec<(TopicPartition, BatchBuilder)> {
        std::mem::take(&mut self.batches.ready)
    }

    /// All there is, for a commit; and the rows to show after it.
    pub fn take_all(
        &mut self,
        watermark: Watermark,
        progress: Progress,
        now: WallTime,
    ) -> Evaluates<(Vec<(TopicPartition, BatchBuilder)>, Vec<Rows>)> {
        let printed = match &mut self.target {
            Target::Sink(sink) => sink.flush(&mut self.batches),
            Target::Shown(shown) => std::mem::take(shown),
            Target::Exchange(writer) => {
                self.batches.append_all(writer.flush(watermark, progress)?, now);
                Vec::new()
            }
        };
        let written = self.take_written();
        self.batches.ready_bytes = 0;
        Ok((written, printed))
    }
}

fn json_encoder(rows: &Rows) -> Evaluates<RowEncoder> {
    let encoder = RowEncoder::new(&Format::Json, &rows.batch.schema(), &[]);
    encoder.map_err(|error| exec_datafusion_err!("{error}"))
}

/// A row for a person, cut if it is long.
pub(super) fn in_words(rows: &Rows) -> String {
    const CHARS_MAX: usize = 200;
    let encoded = json_encoder(rows).and_then(|encoder| Ok(encoder.encode(&rows.batch)?));
    let Ok(encoded) = encoded else { return String::new() };
    let text = encoded.value(0).map(String::from_utf8_lossy).unwrap_or_default();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
