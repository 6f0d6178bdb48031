//! Rows into the records of the sink's topic.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, Int64Array};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use broker::client::partition_for_key;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::output::Batches;
use crate::formats::decode::times_ms;
use crate::formats::{FormatError, RowEncoder, Rows};
use crate::pipeline::Sink;

/// Encodes rows, and finds the partition of each.
pub struct SinkWriter {
    encoder: RowEncoder,
    keyed: bool,
    timestamp: Option<usize>,
    /// The key of a row whose key is NULL, if rows are replaced by key: no text is likely to be
    /// that, and a record without a key could not be replaced.
    null_key: Box<[u8]>,
    /// Rows are replaced by key.
    replaces: bool,
    /// Rows that are there or gone by their key, if rows may be taken back.
    upserts: Option<Upserts>,
    /// Where rows without a key go until the next commit.
    keyless_partition: usize,
    /// Rows to be shown once they are committed.
    printed: Option<Vec<Rows>>,
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
/// stands afterwards: its row, or a tombstone. Keys come in the order in which they first changed.
#[derive(Default)]
struct Upserts {
    /// Of the keys' bytes.
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    keys: Vec<Key>,
    rows: Vec<Counted>,
    /// Of all keys and values.
    bytes: Vec<u8>,
}

struct Slot {
    hash: u64,
    key: usize,
}

struct Key {
    bytes: Range<usize>,
    /// The last one of its rows that differ.
    last: usize,
}

/// A row, and how often it was added less how often it was taken back.
struct Counted {
    value: Option<Range<usize>>,
    time_ms: i64,
    count: i64,
    /// The row of the same key before it.
    before: Option<usize>,
}

impl Upserts {
    /// How many bytes that takes, roughly.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>, time_ms: i64, retracted: bool) -> usize {
        let count = if retracted { -1 } else { 1 };
        let hash = self.hasher.hash_one(key);
        let is_it = |slot: &Slot| self.bytes[self.keys[slot.key].bytes.clone()] == *key;
        let there = self.table.find(hash, is_it).map(|slot| slot.key);
        let mut before = there.map(|there| self.keys[there].last);
        while let Some(row) = before.map(|row| &mut self.rows[row]) {
            if row.value.clone().map(|value| &self.bytes[value]) == value {
                row.count += count;
                row.time_ms = time_ms;
                return 0;
            }
            before = row.before;
        }
        let value_len = value.map_or(0, <[u8]>::len);
        let value = value.map(|value| self.hold(value));
        let before = there.map(|there| self.keys[there].last);
        let last = self.rows.len();
        self.rows.push(Counted { value, time_ms, count, before });
        match there {
            Some(there) => {
                self.keys[there].last = last;
                value_len
            }
            None => {
                let slot = Slot { hash, key: self.keys.len() };
                self.table.insert_unique(hash, slot, |slot| slot.hash);
                let bytes = self.hold(key);
                self.keys.push(Key { bytes, last });
                key.len() + value_len
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from..self.bytes.len()
    }

    /// How a key stands: by the last of its rows that is there; else by the last that went.
    fn standing(&self, key: &Key) -> Option<&Counted> {
        let before = |row: &&Counted| row.before.map(|before| &self.rows[before]);
        let rows = || std::iter::successors(self.rows.get(key.last), before);
        rows().find(|row| row.count > 0).or_else(|| rows().find(|row| row.count != 0))
    }

    /// Gives each key that has changed, what stands there now (`None`: nothing), and when.
    fn take(&mut self, mut each: impl FnMut(&[u8], Option<&[u8]>, i64)) {
        let all = std::mem::take(self);
        for key in &all.keys {
            if let Some(row) = all.standing(key) {
                let value = row.value.clone().filter(|_| row.count > 0);
                let value = value.map(|value| &all.bytes[value]);
                each(&all.bytes[key.bytes.clone()], value, row.time_ms);
            }
        }
    }
}

impl SinkWriter {
    pub fn new(sink: &Sink, schema: &Schema, updating: bool) -> Result<SinkWriter, FormatError> {
        let encoder = RowEncoder::for_sink(sink, schema)?;
        Ok(SinkWriter {
            // A changelog says itself which rows are taken back.
            upserts: (updating && !encoder.is_changelog()).then(Upserts::default),
            encoder,
            keyed: !sink.key.is_empty(),
            replaces: updating,
            timestamp: sink.timestamp,
            null_key: null_key(sink, schema),
            keyless_partition: 0,
            printed: sink.print.then(Vec::new),
        })
    }

    /// A row without a time of its own gets `untimed_ms`.
    pub fn write(
        &mut self,
        rows: &Rows,
        untimed_ms: i64,
        batches: &mut Batches,
    ) -> Result<(), ArrowError> {
        let encoded = self.encoder.encode_changes(&rows.batch, rows.retracts.as_ref())?;
        let column: Option<Int64Array> =
            self.timestamp.and_then(|column| times_ms(rows.batch.column(column)));
        let times = column.as_ref().unwrap_or(&rows.event_times_ms);
        let partitions = batches.partitions();
        for row in (0..encoded.len()).filter(|row| !encoded.is_absent(*row)) {
            let (key, value) = (encoded.key(row), encoded.value(row));
            let time_ms = if times.is_null(row) { untimed_ms } else { times.value(row) };
            if let Some(upserts) = &mut self.upserts {
                let key = key.unwrap_or(&self.null_key);
                batches.ready_bytes += upserts.add(key, value, time_ms, rows.is_retraction(row));
                continue;
            }
            let key = key.or(self.replaces.then_some(&*self.null_key));
            let partition = if self.keyed || self.replaces {
                // Rows whose key is NULL have one key, too.
                partition_for_key(key.unwrap_or_default(), partitions as i32) as usize
            } else {
                self.keyless_partition
            };
            let headers = encoded.headers(row);
            batches.append_with_headers(partition, time_ms, key, value, &headers);
        }
        if let Some(printed) = &mut self.printed {
            batches.ready_bytes += rows.batch.get_array_memory_size();
            printed.push(rows.clone());
        }
        Ok(())
    }

    /// Writes what waited for a commit; the rows to show after it.
    pub fn flush(&mut self, batches: &mut Batches) -> Vec<Rows> {
        let partitions = batches.partitions();
        if let Some(upserts) = &mut self.upserts {
            upserts.take(|key, value, time_ms| {
                let partition = partition_for_key(key, partitions as i32) as usize;
                batches.append(partition, time_ms, Some(key), value);
            });
        }
        self.keyless_partition = (self.keyless_partition + 1) % partitions;
        self.printed.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
