//! Rows and failed records on their way into topics: which partition, which batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, Int64Array};
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
    /// The key of a row whose key is NULL, if rows are replaced by key: no text is likely to be
    /// that, and a record without a key could not be replaced.
    null_key: Box<[u8]>,
    /// Rows that are there or gone by their key, if rows may be taken back.
    upserts: Option<Upserts>,
    dead_letters: BTreeMap<Arc<str>, BatchBuilder>,
    /// Where rows without a key go until the next commit.
    keyless_partition: usize,
    /// Rows to be shown once they are committed.
    printed: Option<Vec<Rows>>,
    /// Bytes in `ready` and `upserts` and rows in `printed`, roughly.
    ready_bytes: usize,
}

/// `{"column":null}`; nothing if there is no key: all rows are then one.
fn null_key(sink: &Sink, schema: &Schema) -> Box<[u8]> {
    match sink.key[..] {
        [column] => {
            let name = serde_json::Value::from(schema.field(column).name().as_str());
            format!("{{{name}:null}}").into_bytes().into()
        }
        _ => Box::default(),
    }
}

/// Rows added and taken back since the last commit, by key. What is written of a key is how it
/// stands afterwards: its row, or a tombstone.
#[derive(Default)]
struct Upserts {
    by_key: BTreeMap<Box<[u8]>, Vec<Counted>>,
}

/// A row, and how often it was added less how often it was taken back.
struct Counted {
    value: Option<Box<[u8]>>,
    time_ms: i64,
    count: i64,
}

/// How a key stands.
struct Upsert {
    /// `None`: no row has this key any more.
    value: Option<Box<[u8]>>,
    time_ms: i64,
}

impl Upserts {
    /// How many bytes that takes, roughly.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>, time_ms: i64, retracted: bool) -> usize {
        let change = if retracted { -1 } else { 1 };
        if !self.by_key.contains_key(key) {
            self.by_key.insert(key.into(), Vec::with_capacity(2));
        }
        let Some(rows) = self.by_key.get_mut(key) else { return 0 };
        match rows.iter_mut().find(|row| row.value.as_deref() == value) {
            Some(row) => {
                row.count += change;
                row.time_ms = time_ms;
                0
            }
            None => {
                rows.push(Counted { value: value.map(Into::into), time_ms, count: change });
                key.len() + value.map_or(0, <[u8]>::len)
            }
        }
    }

    /// Keys that have changed, and how they stand.
    fn standing(self) -> impl Iterator<Item = (Box<[u8]>, Upsert)> {
        self.by_key.into_iter().filter_map(|(key, rows)| {
            let mut rows = rows.into_iter().filter(|row| row.count != 0);
            let first = rows.next()?;
            let last = rows.fold(first, |last, row| match row.count > 0 || last.count < 0 {
                true => row,
                false => last,
            });
            let value = last.value.filter(|_| last.count > 0);
            Some((key, Upsert { value, time_ms: last.time_ms }))
        })
    }
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
    /// `updating`: rows may be taken back.
    pub fn new(
        sink: &Sink,
        schema: &Schema,
        partitions: i32,
        updating: bool,
    ) -> Result<Output, FormatError> {
        let partitions = usize::try_from(partitions).unwrap_or(1).max(1);
        Ok(Output {
            encoder: RowEncoder::new(&sink.format, schema, &sink.key)?,
            topic: sink.topic.as_str().into(),
            keyed: !sink.key.is_empty(),
            timestamp: sink.timestamp,
            building: vec![BatchBuilder::default(); partitions],
            ready: Vec::new(),
            null_key: null_key(sink, schema),
            upserts: updating.then(Upserts::default),
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
            let time_ms = if times.is_null(row) { now.0 } else { times.value(row) };
            if let Some(upserts) = &mut self.upserts {
                let (key, value) = (key.unwrap_or(&self.null_key), encoded.value(row));
                self.ready_bytes += upserts.add(key, value, time_ms, rows.is_retraction(row));
                continue;
            }
            let partition = if self.keyed {
                // Rows whose key is NULL have one key, too.
                partition_for_key(key.unwrap_or_default(), self.building.len() as i32) as usize
            } else {
                self.keyless_partition
            };
            self.building[partition].append(time_ms, key, encoded.value(row));
            if self.building[partition].size() >= BATCH_BYTES {
                self.end_batch(partition);
            }
        }
        if let Some(printed) = &mut self.printed {
            self.ready_bytes += rows.batch.get_array_memory_size();
            printed.push(rows.clone());
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
    pub fn take_all(&mut self) -> (Vec<(TopicPartition, BatchBuilder)>, Vec<Rows>) {
        let upserts = self.upserts.as_mut().map(std::mem::take).unwrap_or_default();
        for (key, Upsert { value, time_ms }) in upserts.standing() {
            let partition = partition_for_key(&key, self.building.len() as i32) as usize;
            self.building[partition].append(time_ms, Some(&key), value.as_deref());
            if self.building[partition].size() >= BATCH_BYTES {
                self.end_batch(partition);
            }
        }
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
