//! Rows into the records of the sink's topic.

use std::collections::BTreeMap;

use arrow::array::{Array, Int64Array};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use broker::client::partition_for_key;

use super::output::Batches;
use crate::formats::decode::times_ms;
use crate::formats::{FormatError, RowEncoder, Rows};
use crate::pipeline::Sink;
use crate::time::WallTime;

/// Encodes rows, and finds the partition of each.
pub struct SinkWriter {
    encoder: RowEncoder,
    keyed: bool,
    timestamp: Option<usize>,
    /// The key of a row whose key is NULL, if rows are replaced by key: no text is likely to be
    /// that, and a record without a key could not be replaced.
    null_key: Box<[u8]>,
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

impl SinkWriter {
    pub fn new(sink: &Sink, schema: &Schema, updating: bool) -> Result<SinkWriter, FormatError> {
        let encoder = RowEncoder::for_sink(sink, schema)?;
        Ok(SinkWriter {
            // A changelog says itself which rows are taken back.
            upserts: (updating && !encoder.is_changelog()).then(Upserts::default),
            encoder,
            keyed: !sink.key.is_empty(),
            timestamp: sink.timestamp,
            null_key: null_key(sink, schema),
            keyless_partition: 0,
            printed: sink.print.then(Vec::new),
        })
    }

    /// A row without a time of its own gets `now`.
    pub fn write(
        &mut self,
        rows: &Rows,
        now: WallTime,
        batches: &mut Batches,
    ) -> Result<(), ArrowError> {
        let encoded = self.encoder.encode_changes(&rows.batch, rows.retracts.as_ref())?;
        let column: Option<Int64Array> =
            self.timestamp.and_then(|column| times_ms(rows.batch.column(column)));
        let times = column.as_ref().unwrap_or(&rows.event_times_ms);
        let partitions = batches.partitions();
        for row in (0..encoded.len()).filter(|row| !encoded.is_absent(*row)) {
            let (key, value) = (encoded.key(row), encoded.value(row));
            let time_ms = if times.is_null(row) { now.0 } else { times.value(row) };
            if let Some(upserts) = &mut self.upserts {
                let key = key.unwrap_or(&self.null_key);
                batches.ready_bytes += upserts.add(key, value, time_ms, rows.is_retraction(row));
                continue;
            }
            let partition = if self.keyed {
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
        let upserts = self.upserts.as_mut().map(std::mem::take).unwrap_or_default();
        for (key, Upsert { value, time_ms }) in upserts.standing() {
            let partition = partition_for_key(&key, partitions as i32) as usize;
            batches.append(partition, time_ms, Some(&key), value.as_deref());
        }
        self.keyless_partition = (self.keyless_partition + 1) % partitions;
        self.printed.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
