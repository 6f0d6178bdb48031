//! What a source has gathered: record batches per partition, and the offsets they end at.
//!
//! A source appends bytes, or records of Connect's data model. The latter go through the task's
//! [`Chain`] here and at once, and so do bytes if it would change them. A record may end up with
//! a topic that has not been looked up yet: it waits for that, with all that follow to the same
//! topic, until the worker has done so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use broker::client::partition_for_key;
use broker::ids::TopicPartition;
use broker::record::{BatchBuilder, Compression};

use crate::chain::{Chain, JsonConverters, WrittenRecord};
use crate::data::{ConnectRecord, Schema, SchemaAndValue, Text, Value};
use crate::errors::ErrorPolicy;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::task::{OutgoingBatch, SourceRecord, TaskError, Topic};

/// Size at which a batch is full: large enough to amortise its cost, and below the 1,048,588
/// bytes that Kafka's `max.message.bytes` allows by default.
pub const BATCH_BYTES: usize = 512 << 10;
/// A poll that has gathered this much returns, so that the worker can send it.
pub const POLL_BYTES: usize = 1 << 20;
/// How many topics are remembered: transforms may make any number of names.
const TOPICS_MAX: usize = 10_000;
/// The most that a record's fields take beside its key, value and headers.
const RECORD_OVERHEAD: usize = 32;

/// Collects records into batches; handed to [`poll`](crate::task::SourceTask::poll).
#[derive(Debug, Default)]
pub struct SourceRecords {
    /// Batches that will not grow any more, oldest first.
    full: Vec<OutgoingBatch>,
    /// Batches that may, one per partition.
    open: Vec<OutgoingBatch>,
    /// Where in `open` a partition is.
    index: HashMap<TopicPartition, usize>,
    /// The one in `open` that was appended to last, which most often is the next too.
    last: usize,
    /// Where keyless records of a topic go until a batch is full.
    sticky: HashMap<Arc<str>, i32>,
    offsets: BTreeMap<SourcePartition, SourceOffset>,
    batch_records_max: Option<usize>,
    compression: Compression,
    gathered_bytes: usize,
    input_bytes: u64,
    skipped: u64,
    chain: Chain,
    errors: ErrorPolicy,
    written: WrittenRecord,
    /// Topics that records may go to.
    topics: HashMap<Text, Topic>,
    /// Records whose topic has not been looked up yet.
    waiting: Vec<Waiting>,
    /// Why the task has to fail; nothing is taken any more then.
    failure: Option<TaskError>,
}

/// A record that is ready but for its topic.
#[derive(Debug)]
struct Waiting {
    topic: Text,
    partition: Option<i32>,
    timestamp_ms: i64,
    record: WrittenRecord,
}

impl SourceRecords {
    pub(crate) fn new(chain: Chain, errors: ErrorPolicy) -> SourceRecords {
        SourceRecords { chain, errors, ..SourceRecords::default() }
    }

    pub(crate) fn compressed(self, compression: Compression) -> SourceRecords {
        SourceRecords { compression, ..self }
    }

    /// Bounds the records in a batch, beside its bytes.
    pub fn set_batch_records_max(&mut self, records: usize) {
        self.batch_records_max = Some(records.max(1));
    }

    /// Whether bytes come through as they are, so that what they hold need not be looked at.
    pub fn passes_bytes(&self) -> bool {
        self.chain.passes_bytes()
    }

    /// Whether to return from the poll.
    pub fn is_full(&self) -> bool {
        self.gathered_bytes >= POLL_BYTES
    }

    /// Adds a record of Connect's data model, to the topic that it names. Without a timestamp it
    /// gets the present time.
    pub fn append_record(&mut self, record: ConnectRecord) {
        if self.failure.is_some() {
            return;
        }
        let from = record.topic.clone();
        let mut written = std::mem::take(&mut self.written);
        match self.chain.write(record, &mut written) {
            Ok(Some(ConnectRecord { topic, partition, timestamp_ms, .. })) => {
                self.append_written(&topic, partition, timestamp_ms, &mut written);
            }
            Ok(None) => {}
            Err(error) => match self.errors.tolerate(&error, &format!("record for '{from}'")) {
                Ok(()) => self.skipped += 1,
                Err(error) => self.failure = Some(error),
            },
        }
        self.written = written;
    }

    /// Adds a record that `write` makes of the converters, where a source may write JSON by itself
    /// ([`Chain::json`]). `None`: it may not. An error leaves nothing behind.
    pub(crate) fn append_json<E>(
        &mut self,
        topic: &Text,
        write: impl FnOnce(JsonConverters<'_>, &mut WrittenRecord) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let converters = self.chain.json()?;
        if self.failure.is_some() {
            return Some(Ok(()));
        }
        let mut written = std::mem::take(&mut self.written);
        let outcome = write(converters, &mut written);
        if outcome.is_ok() {
            self.append_written(topic, None, None, &mut written);
        }
        self.written = written;
        Some(outcome)
    }

    fn append_written(
        &mut self,
        topic: &Text,
        partition: Option<i32>,
        timestamp_ms: Option<i64>,
        written: &mut WrittenRecord,
    ) {
        let timestamp_ms = timestamp_ms.unwrap_or_else(crate::clock::now_ms);
        // Those that wait must not be overtaken by others of their topic.
        match self.topics.get(topic) {
            Some(known) if self.waiting.is_empty() => {
                let known = known.clone();
                self.append_bytes(&known, timestamp_ms, partition, written);
            }
            _ => {
                let (topic, record) = (topic.clone(), std::mem::take(written));
                self.gathered_bytes += record.size();
                self.waiting.push(Waiting { topic, partition, timestamp_ms, record });
            }
        }
    }

    fn append_bytes(
        &mut self,
        topic: &Topic,
        timestamp_ms: i64,
        partition: Option<i32>,
        record: &WrittenRecord,
    ) {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let (key, value) = (record.key(), record.value());
        // A number from elsewhere may be beyond what the topic has.
        let partition = partition.filter(|number| (0..topic.partitions).contains(number));
        let headers = &headers;
        self.append_raw(topic, SourceRecord { timestamp_ms, key, value, headers, partition });
    }

    /// The topics that records wait for.
    pub(crate) fn topics_to_find(&mut self) -> Vec<Text> {
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        let mut topics: Vec<Text> = Vec::new();
        for waiting in &self.waiting {
            if !self.topics.contains_key(&waiting.topic) && !topics.contains(&waiting.topic) {
                topics.push(waiting.topic.clone());
            }
        }
        topics
    }

    /// Takes up topics that were looked up: all that records wait for.
    pub(crate) fn found(&mut self, topics: Vec<Topic>) {
        self.topics.extend(topics.into_iter().map(|topic| (Text::from(&*topic.name), topic)));
        for Waiting { topic, partition, timestamp_ms, record } in std::mem::take(&mut self.waiting)
        {
            let topic = self.topics.get(&topic).expect("all were looked up").clone();
            self.gathered_bytes = self.gathered_bytes.saturating_sub(record.size());
            self.append_bytes(&topic, timestamp_ms, partition, &record);
        }
    }

    /// Why the task has to fail, if it has to.
    pub(crate) fn take_failure(&mut self) -> Option<TaskError> {
        self.failure.take()
    }

    /// Adds a record.
    pub fn append(&mut self, topic: &Topic, record: SourceRecord<'_>) {
        if self.chain.passes_bytes() {
            self.append_raw(topic, record);
            return;
        }
        let name = self.known(topic);
        let mut of = ConnectRecord::new(&name, text(record.key), text(record.value));
        of.timestamp_ms = Some(record.timestamp_ms);
        of.partition = record.partition;
        for (name, value) in record.headers {
            of.add_header(*name, text(*value));
        }
        self.append_record(of);
    }

    /// The topic's name, under which it is known from now on.
    fn known(&mut self, topic: &Topic) -> Text {
        match self.topics.get_key_value(topic.name.as_bytes()) {
            Some((name, _)) => name.clone(),
            None => {
                let name = Text::from(&*topic.name);
                self.topics.insert(name.clone(), topic.clone());
                name
            }
        }
    }

    fn append_raw(&mut self, topic: &Topic, record: SourceRecord<'_>) {
        let headers = record.headers.iter();
        let size = RECORD_OVERHEAD
            + record.key.map_or(0, <[u8]>::len)
            + record.value.map_or(0, <[u8]>::len)
            + headers.map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
        let batch = match (record.partition, record.key) {
            (Some(partition), _) => self.batch_for(topic, partition, size),
            (None, Some(key)) => {
                self.batch_for(topic, partition_for_key(key, topic.partitions), size)
            }
            (None, None) => self.keyless_batch(topic, size),
        };
        let SourceRecord { timestamp_ms, key, value, headers, .. } = record;
        batch.append_with_headers(timestamp_ms, key, value, headers);
        self.gathered_bytes += size;
    }

    /// Adds a record that has a value alone: the short way for sources of many small ones.
    pub fn append_value(&mut self, topic: &Topic, timestamp_ms: i64, value: &[u8]) {
        if !self.chain.passes_bytes() {
            let value = Some(value);
            return self.append(topic, SourceRecord { timestamp_ms, value, ..Default::default() });
        }
        let size = RECORD_OVERHEAD + value.len();
        self.keyless_batch(topic, size).append(timestamp_ms, None, Some(value));
        self.gathered_bytes += size;
    }

    /// Where to go on in a part of the input, once all that was appended is durable.
    pub fn set_offset(&mut self, partition: SourcePartition, offset: SourceOffset) {
        self.offsets.insert(partition, offset);
    }

    /// Counts bytes of input as done, and pieces of it as left out (which
    /// `errors.tolerance = all` allows).
    pub fn count_input(&mut self, bytes: u64, skipped: u64) {
        self.input_bytes += bytes;
        self.skipped += skipped;
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty()
            && self.open.is_empty()
            && self.offsets.is_empty()
            && self.waiting.is_empty()
    }

    /// Batches that are full, in the order in which they have to be sent.
    pub(crate) fn take_full(&mut self) -> Vec<OutgoingBatch> {
        self.gathered_bytes = 0;
        std::mem::take(&mut self.full)
    }

    /// All batches, in the order in which they have to be sent.
    pub(crate) fn take_all(&mut self) -> Vec<OutgoingBatch> {
        self.index.clear();
        let mut all = self.take_full();
        all.extend(self.open.drain(..).filter(|(_, batch)| !batch.is_empty()));
        all
    }

    pub(crate) fn take_offsets(&mut self) -> Vec<(SourcePartition, SourceOffset)> {
        std::mem::take(&mut self.offsets).into_iter().collect()
    }

    /// Records and pieces of input that were skipped in this poll so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of input done and pieces skipped since the last call.
    pub(crate) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.input_bytes), std::mem::take(&mut self.skipped))
    }

    /// The batch to append `size` bytes for a partition to.
    fn batch_for(&mut self, topic: &Topic, partition: i32, size: usize) -> &mut BatchBuilder {
        let at = self.position(topic, partition);
        if !self.fits(at, size) {
            self.seal(at);
        }
        self.last = at;
        &mut self.open[at].1
    }

    /// The batch to append `size` bytes without a key to. Such records stay with one partition
    /// until its batch is full (KIP-480), so that small inputs keep their order and large ones
    /// spread.
    fn keyless_batch(&mut self, topic: &Topic, size: usize) -> &mut BatchBuilder {
        if topic.partitions <= 1 {
            return self.batch_for(topic, 0, size);
        }
        let partition = self.sticky.get(&topic.name).copied().unwrap_or(0);
        let at = self.position(topic, partition);
        if self.fits(at, size) {
            self.last = at;
            return &mut self.open[at].1;
        }
        self.seal(at);
        let next = (partition + 1) % topic.partitions;
        self.sticky.insert(topic.name.clone(), next);
        self.batch_for(topic, next, size)
    }

    fn fits(&self, at: usize, size: usize) -> bool {
        let batch = &self.open[at].1;
        let records_max = self.batch_records_max.unwrap_or(usize::MAX);
        batch.is_empty() || (batch.size() + size <= BATCH_BYTES && batch.len() < records_max)
    }

    fn seal(&mut self, at: usize) {
        let (to, batch) = &mut self.open[at];
        let sealed = std::mem::replace(batch, BatchBuilder::new(self.compression));
        self.full.push((to.clone(), sealed));
    }

    fn position(&mut self, topic: &Topic, partition: i32) -> usize {
        if let Some((to, _)) = self.open.get(self.last)
            && to.partition == partition
            && *to.topic == *topic.name
        {
            return self.last;
        }
        let to = TopicPartition { topic: topic.name.clone(), partition };
        *self.index.entry(to).or_insert_with_key(|to| {
            self.open.push((to.clone(), BatchBuilder::new(self.compression)));
            self.open.len() - 1
        })
    }
}

/// What bytes are to transforms: text where they can be.
fn text(bytes: Option<&[u8]>) -> SchemaAndValue {
    let Some(bytes) = bytes else { return SchemaAndValue::NULL };
    match Text::from_utf8(bytes::Bytes::copy_from_slice(bytes)) {
        Ok(text) => SchemaAndValue::new(&Schema::string(), Value::String(text)),
        Err(_) => {
            let bytes = bytes::Bytes::copy_from_slice(bytes);
            SchemaAndValue::new(&Schema::bytes(), Value::Bytes(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: i32) -> Topic {
        Topic { name: "t".into(), partitions }
    }

    fn shape(batches: &[OutgoingBatch]) -> Vec<(i32, usize)> {
        batches.iter().map(|(to, batch)| (to.partition, batch.len())).collect()
    }

    #[test]
    fn keyless_records_change_partition_when_a_batch_is_full() {
        let mut records = SourceRecords::default();
        let value = vec![b'x'; BATCH_BYTES / 2 - 100];
        for _ in 0..5 {
            records.append_value(&topic(3), 0, &value);
        }
        assert!(records.is_full());
        assert_eq!(shape(&records.take_full()), [(0, 2), (1, 2)]);
        assert_eq!(shape(&records.take_all()), [(2, 1)]);
    }

    #[test]
    fn a_batch_stays_below_its_limits_unless_one_record_alone_exceeds_them() {
        let mut records = SourceRecords::default();
        records.set_batch_records_max(2);
        for value in [&b"a"[..], b"b", b"c", &vec![b'x'; BATCH_BYTES * 2], b"d"] {
            records.append_value(&topic(1), 0, value);
        }
        assert_eq!(shape(&records.take_all()), [(0, 2), (0, 1), (0, 1), (0, 1)]);
    }

    #[test]
    fn keyed_records_go_where_kafka_sends_them() {
        let mut records = SourceRecords::default();
        for key in ["21", "foobar", "abc"] {
            let record = SourceRecord { key: Some(key.as_bytes()), ..SourceRecord::default() };
            records.append(&topic(10), record);
        }
        let mut partitions: Vec<i32> = shape(&records.take_all()).iter().map(|s| s.0).collect();
        let mut expected = ["21", "foobar", "abc"].map(|key| partition_for_key(key.as_bytes(), 10));
        partitions.sort();
        expected.sort();
        assert_eq!(partitions, expected);
    }
}
