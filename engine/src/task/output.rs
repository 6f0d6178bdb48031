//! Rows and failed records on their way into topics: which partition, which batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use arrow::error::ArrowError;
use broker::client::partition_for_key;
use broker::ids::TopicPartition;
use broker::record::{BatchBuilder, Record};

use crate::formats::decode::times_ms;
use crate::formats::{FormatError, RowEncoder, Rows};
use crate::pipeline::Sink;
use crate::time::WallTime;

use arrow::datatypes::Schema;

/// A batch that has grown to this goes out; one row more always fits in.
const BATCH_BYTES: usize = 256 << 10;

/// Collects what a task writes.
pub struct Output {
    encoder: RowEncoder,
    topic: Arc<str>,
    keyed: bool,
    timestamp: Option<usize>,
    /// One per partition of the sink.
    building: Vec<BatchBuilder>,
    ready: Vec<(TopicPartition, BatchBuilder)>,
    dead_letters: BTreeMap<Arc<str>, BatchBuilder>,
    /// Where rows without a key go until the next commit.
    keyless_partition: usize,
    /// Rows to be shown once they are committed.
    printed: Option<Vec<RecordBatch>>,
    /// Bytes in `ready` and rows in `printed`, roughly.
    ready_bytes: usize,
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

impl Output {
    pub fn new(sink: &Sink, schema: &Schema, partitions: i32) -> Result<Output, FormatError> {
        let partitions = usize::try_from(partitions).unwrap_or(1).max(1);
        Ok(Output {
            encoder: RowEncoder::new(&sink.format, schema, &sink.key)?,
            topic: sink.topic.as_str().into(),
            keyed: !sink.key.is_empty(),
            timestamp: sink.timestamp,
            building: vec![BatchBuilder::default(); partitions],
            ready: Vec::new(),
            dead_letters: BTreeMap::new(),
            keyless_partition: 0,
            printed: sink.print.then(Vec::new),
            ready_bytes: 0,
        })
    }

    /// Writes rows to the sink's topic. A row without a time of its own gets `now`.
    pub fn write(&mut self, rows: &Rows, now: WallTime) -> Result<(), ArrowError> {
        let encoded = self.encoder.encode(&rows.batch)?;
        let column: Option<Int64Array> =
            self.timestamp.and_then(|column| times_ms(rows.batch.column(column)));
        let times = column.as_ref().unwrap_or(&rows.event_times_ms);
        for row in 0..encoded.len() {
            let key = encoded.key(row);
            let partition = if self.keyed {
                // Rows whose key is NULL have one key, too.
                partition_for_key(key.unwrap_or_default(), self.building.len() as i32) as usize
            } else {
                self.keyless_partition
            };
            let time_ms = if times.is_null(row) { now.0 } else { times.value(row) };
            self.building[partition].append(time_ms, key, encoded.value(row));
            if self.building[partition].size() >= BATCH_BYTES {
                self.end_batch(partition);
            }
        }
        if let Some(printed) = &mut self.printed {
            self.ready_bytes += rows.batch.get_array_memory_size();
            printed.push(rows.batch.clone());
        }
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
        let builder = self.dead_letters.entry(letter.topic.clone()).or_default();
        let Record { timestamp_ms, key, value, .. } = letter.record;
        builder.append_with_headers(*timestamp_ms, *key, *value, &headers);
        if builder.size() >= BATCH_BYTES {
            let batch = std::mem::take(builder);
            self.ready_bytes += batch.size();
            self.ready.push((TopicPartition::new(letter.topic.clone(), 0), batch));
        }
    }

    fn end_batch(&mut self, partition: usize) {
        let batch = std::mem::take(&mut self.building[partition]);
        self.ready_bytes += batch.size();
        let to = TopicPartition::new(self.topic.clone(), partition as i32);
        self.ready.push((to, batch));
    }

    /// Roughly how much waits for a commit.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Batches that are full.
    pub fn take_ready(&mut self) -> Vec<(TopicPartition, BatchBuilder)> {
        std::mem::take(&mut self.ready)
    }

    /// All there is, for a commit; and the rows to show after it.
    pub fn take_all(&mut self) -> (Vec<(TopicPartition, BatchBuilder)>, Vec<RecordBatch>) {
        for partition in 0..self.building.len() {
            if !self.building[partition].is_empty() {
                self.end_batch(partition);
            }
        }
        for (topic, builder) in std::mem::take(&mut self.dead_letters) {
            if !builder.is_empty() {
                self.ready.push((TopicPartition::new(topic, 0), builder));
            }
        }
        self.keyless_partition = (self.keyless_partition + 1) % self.building.len();
        self.ready_bytes = 0;
        let printed = self.printed.as_mut().map(std::mem::take).unwrap_or_default();
        (self.take_ready(), printed)
    }
}
