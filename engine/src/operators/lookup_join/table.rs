//! The latest row per key, and where the rows of a join key are.
//!
//! ```text
//! by_key         key → the row that it has now        (a record of the key replaces or deletes it)
//! by_record_key  a record's key → key                 (a record without a value has nothing else)
//! by_join        join key → rows, oldest first
//! chunks         the rows, column by column           (a row that is gone stays until a sweep)
//! ```
//!
//! A row is named by the number of rows that were ever put before it, so that chunks can be merged
//! without a change to what points at them.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat_batches, interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::Result;
use hashbrown::HashMap;

use crate::operators::sides::RowCodec;

/// Rows that are gone are swept when they are more than this and more than those that are left.
const GONE_ROWS_MIN: u64 = 1024;

type Bytes = Box<[u8]>;

/// How many rows were put before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId(u64);

/// What a key holds now.
#[derive(Debug)]
struct Current {
    row: RowId,
    /// `None` if a part of it is NULL, which is equal to nothing.
    join_key: Option<Bytes>,
}

#[derive(Debug)]
struct Chunk {
    first: RowId,
    rows: RecordBatch,
}

impl Chunk {
    fn len(&self) -> u64 {
        self.rows.num_rows() as u64
    }
}

/// A table in memory.
#[derive(Debug)]
pub struct Table {
    schema: SchemaRef,
    keys: Keys,
    join_keys: Keys,
    by_key: HashMap<Bytes, Current>,
    by_record_key: HashMap<Bytes, Bytes>,
    by_join: HashMap<Bytes, Vec<RowId>>,
    chunks: Vec<Chunk>,
    next: RowId,
    live: u64,
    /// How many of them have NULL in their join key.
    nulls: u64,
}

/// What happens to the table.
pub enum Change<'r> {
    /// A row comes, in the place of the one that its key has had.
    Upsert {
        /// The record's key, if it has one: what deletes the row again.
        record_key: Option<&'r [u8]>,
        /// As [`Table::keys`] encodes it.
        key: Bytes,
        /// By index among the rows that come with the changes; `None` where a filter keeps it out.
        row: Option<usize>,
    },
    /// A record without a value: the row that a record of this key has brought is gone.
    Delete { record_key: &'r [u8] },
}

impl Table {
    /// An empty table of rows of `schema`, with keys and join keys of these types.
    pub fn new(
        schema: SchemaRef,
        key: &[DataType],
        join_key: &[DataType],
        nulls_equal: bool,
    ) -> Result<Table> {
        Ok(Table {
            schema,
            keys: Keys::new(key, true)?,
            join_keys: Keys::new(join_key, nulls_equal)?,
            by_key: HashMap::new(),
            by_record_key: HashMap::new(),
            by_join: HashMap::new(),
            chunks: Vec::new(),
            next: RowId(0),
            live: 0,
            nulls: 0,
        })
    }

    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.live
    }

    /// Whether any has NULL in its join key.
    pub fn has_null(&self) -> bool {
        self.nulls > 0
    }

    /// Rows in memory, those that are gone included.
    pub fn held_rows(&self) -> u64 {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// The keys of so many rows, one for each.
    pub fn keys(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Bytes>> {
        Ok(self.keys.encode(columns, rows)?.into_iter().flatten().collect())
    }

    /// Makes changes in order. `join_keys` has a column per part of the join key, with a value for
    /// each of `rows`.
    pub fn apply(
        &mut self,
        changes: Vec<Change<'_>>,
        rows: &RecordBatch,
        join_keys: &[ArrayRef],
    ) -> Result<()> {
        let join_keys = self.join_keys.encode(join_keys, rows.num_rows())?;
        let first = self.next;
        for change in changes {
            let before = match change {
                Change::Upsert { record_key, key, row } => {
                    if let Some(record_key) = record_key {
                        self.remember(record_key, &key);
                    }
                    let row = row.map(|row| (RowId(first.0 + row as u64), join_keys[row].clone()));
                    self.put(key, row)
                }
                Change::Delete { record_key } => {
                    let key = self.by_record_key.remove(record_key);
                    key.and_then(|key| self.by_key.remove(&key))
                }
            };
            if let Some(before) = before {
                self.forget(&before);
            }
        }
        if rows.num_rows() > 0 {
            self.next = RowId(first.0 + rows.num_rows() as u64);
            self.chunks.push(Chunk { first, rows: rows.clone() });
            self.merge()?;
        }
        self.sweep()
    }

    fn remember(&mut self, record_key: &[u8], key: &Bytes) {
        match self.by_record_key.get_mut(record_key) {
            Some(known) if known == key => {}
            Some(known) => known.clone_from(key),
            None => {
                self.by_record_key.insert(record_key.into(), key.clone());
            }
        }
    }

    /// Gives a key its row, or none. What it has had.
    fn put(&mut self, key: Bytes, row: Option<(RowId, Option<Bytes>)>) -> Option<Current> {
        let Some((row, join_key)) = row else { return self.by_key.remove(&key) };
        if let Some(join_key) = &join_key {
            self.by_join.entry(join_key.clone()).or_default().push(row);
        }
        self.live += 1;
        self.nulls += u64::from(join_key.is_none());
        self.by_key.insert(key, Current { row, join_key })
    }

    fn forget(&mut self, gone: &Current) {
        self.live -= 1;
        self.nulls -= u64::from(gone.join_key.is_none());
        let Some(join_key) = &gone.join_key else { return };
        if let Some(rows) = self.by_join.get_mut(join_key) {
            if let Ok(at) = rows.binary_search(&gone.row) {
                rows.remove(at);
            }
            if rows.is_empty() {
                self.by_join.remove(join_key);
            }
        }
    }

    /// Keeps the chunks few: each is at least twice as long as the next.
    fn merge(&mut self) -> Result<()> {
        while let [.., before, last] = self.chunks.as_slice()
            && before.len() < last.len() * 2
        {
            let rows = concat_batches(&self.schema, [&before.rows, &last.rows])?;
            let merged = Chunk { first: before.first, rows };
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(merged);
        }
        Ok(())
    }

    /// Drops rows that are gone, once they are many, and numbers the others anew.
    fn sweep(&mut self) -> Result<()> {
        if self.held_rows() - self.live <= self.live.max(GONE_ROWS_MIN) {
            return Ok(());
        }
        let current = || self.by_key.values().map(|current| current.row);
        let mut left: Vec<RowId> = current().collect();
        left.sort_unstable();
        let wanted: Vec<Option<RowId>> = left.iter().copied().map(Some).collect();
        let columns = self.gather(&wanted)?;
        let options = RecordBatchOptions::new().with_row_count(Some(wanted.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let anew = |row: RowId| {
            RowId(left.binary_search(&row).expect("all current rows were collected") as u64)
        };
        for current in self.by_key.values_mut() {
            current.row = anew(current.row);
        }
        for row in self.by_join.values_mut().flatten() {
            *row = anew(*row);
        }
        self.next = RowId(left.len() as u64);
        self.chunks = vec![Chunk { first: RowId(0), rows }];
        Ok(())
    }

    /// For each of so many rows, whose `join_keys` these are, the rows that it meets, oldest first.
    pub fn find(&self, join_keys: &[ArrayRef], rows: usize) -> Result<Vec<&[RowId]>> {
        let keys = self.join_keys.codec.encode(join_keys)?;
        let nulls = self.join_keys.nulls(join_keys);
        let found = (0..rows).map(|row| {
            let rows = match &nulls {
                Some(nulls) if nulls.is_null(row) => None,
                _ => self.by_join.get(keys.row(row)),
            };
            rows.map_or(&[] as &[RowId], Vec::as_slice)
        });
        Ok(found.collect())
    }

    /// Rows together, column by column; NULLs where there is none.
    pub fn gather(&self, wanted: &[Option<RowId>]) -> Result<Vec<ArrayRef>> {
        match self.chunks.as_slice() {
            [only] => self.taken(only, wanted),
            _ => self.interleaved(wanted),
        }
    }

    fn taken(&self, chunk: &Chunk, wanted: &[Option<RowId>]) -> Result<Vec<ArrayRef>> {
        let place = |row: &Option<RowId>| row.map(|row| row.0 - chunk.first.0);
        let places: UInt64Array = wanted.iter().map(place).collect();
        let columns = chunk.rows.columns().iter();
        Ok(columns.map(|column| take(column, &places, None)).collect::<Result<_, _>>()?)
    }

    fn interleaved(&self, wanted: &[Option<RowId>]) -> Result<Vec<ArrayRef>> {
        let places: Vec<(usize, usize)> = wanted
            .iter()
            .map(|row| {
                let Some(row) = row else { return (self.chunks.len(), 0) };
                let at = self.chunks.partition_point(|chunk| chunk.first <= *row) - 1;
                (at, (row.0 - self.chunks[at].first.0) as usize)
            })
            .collect();
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields.map(|(index, field)| {
            let nothing = new_null_array(field.data_type(), 1);
            let mut parts: Vec<&dyn Array> =
                self.chunks.iter().map(|chunk| chunk.rows.column(index).as_ref()).collect();
            parts.push(&nothing);
            interleave(&parts, &places)
        });
        Ok(columns.collect::<Result<_, _>>()?)
    }
}

/// Values of several columns as one string of bytes that is equal where they are; of no columns,
/// all are.
#[derive(Debug)]
struct Keys {
    codec: RowCodec,
    nulls_equal: bool,
}

impl Keys {
    fn new(types: &[DataType], nulls_equal: bool) -> Result<Keys> {
        Ok(Keys { codec: RowCodec::new(types.iter())?, nulls_equal })
    }

    /// Rows of which a part is NULL, where that is equal to nothing.
    fn nulls(&self, columns: &[ArrayRef]) -> Option<NullBuffer> {
        if self.nulls_equal {
            return None;
        }
        let nulls = columns.iter().map(|column| column.logical_nulls());
        nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()))
    }

    fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<Bytes>>> {
        let encoded = self.codec.encode(columns)?;
        let nulls = self.nulls(columns);
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        Ok((0..rows).map(|row| (!is_null(row)).then(|| encoded.row(row).into())).collect())
    }
}
