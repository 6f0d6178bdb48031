//! Rows in partitions, each sorted: what operators keep that look at a row beside others.
//!
//! The rule: rows that the order holds equal are sorted by all of their columns, ascending, NULL
//! first. So no arrival, no restart and no partition of a topic changes which row is the first
//! one; rows that are equal in every column are one row that is there several times.
//!
//! ```text
//! key    row u8 = 1, partition's length u32, partition, order's length u32, order, row
//! value  flags u8, event time in ms i64 (the least there is: none), how often it is there u64
//! ```
//!
//! Partition, order and row are in arrow-row's form, numbers are big endian.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::Distribution;
use super::filter_project::evaluate;
use super::tables::{Entries, KeptTable, RowsTable, damaged};
use crate::state::changelog::{Change, StateError, StateId};

/// What the first byte of a row's key is in the changelog.
pub const ROW: u8 = 1;

/// The row has come out already, though the watermark does not say so.
const GIVEN: u8 = 1;
const NO_TIME: i64 = i64::MIN;

/// What puts rows into partitions, and how each of these is sorted.
#[derive(Debug)]
pub struct Ordering {
    pub partition: Vec<Arc<dyn PhysicalExpr>>,
    pub order: Vec<PhysicalSortExpr>,
    /// Of the rows.
    pub schema: SchemaRef,
}

/// Rows to bytes and back.
pub struct RowCodec {
    partition: Option<RowConverter>,
    order: Option<RowConverter>,
    row: RowConverter,
}

/// Where a row stands in its partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortedRow {
    pub order: Box<[u8]>,
    pub row: Box<[u8]>,
}

/// What is known of a row beside its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time_ms: Option<i64>,
    pub count: u64,
    /// It has come out already.
    pub given: bool,
    /// The changelog knows it.
    committed: bool,
}

/// The rows of one partition.
#[derive(Debug, Default)]
pub struct Partition {
    pub rows: BTreeMap<SortedRow, Entry>,
    /// With those that are there several times.
    pub total: u64,
}

/// Rows by partition, and what has changed since the last commit.
pub struct OrderedRows {
    id: StateId,
    partitions: HashMap<Box<[u8]>, Partition>,
    dirty: BTreeSet<(Box<[u8]>, SortedRow)>,
}

/// One prepared row.
pub struct EncodedRow<'a> {
    pub partition: &'a [u8],
    pub order: &'a [u8],
    pub row: &'a [u8],
}

impl EncodedRow<'_> {
    pub fn sorted(&self) -> SortedRow {
        SortedRow { order: self.order.into(), row: self.row.into() }
    }
}

/// What [`RowCodec::encode`] has made of rows: one of each per row.
pub struct EncodedRows<'a> {
    partitions: &'a BinaryArray,
    orders: &'a BinaryArray,
    rows: &'a BinaryArray,
}

impl<'a> EncodedRows<'a> {
    /// The first columns are those of [`RowCodec::encode`].
    pub fn of(columns: &'a [ArrayRef]) -> EncodedRows<'a> {
        EncodedRows {
            partitions: columns[0].as_binary(),
            orders: columns[1].as_binary(),
            rows: columns[2].as_binary(),
        }
    }

    pub fn get(&self, row: usize) -> EncodedRow<'a> {
        EncodedRow {
            partition: self.partitions.value(row),
            order: self.orders.value(row),
            row: self.rows.value(row),
        }
    }
}

impl Ordering {
    /// Rows of one partition have to meet.
    pub fn distribution(&self) -> Distribution {
        Distribution::by(self.partition.iter().cloned())
    }
}

impl fmt::Display for Ordering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.partition {
            write!(f, "\n  key {key}")?;
        }
        let order: Vec<String> = self.order.iter().map(ToString::to_string).collect();
        write!(f, "\n  order {}", order.join(", "))?;
        let columns = self.schema.fields().iter();
        let columns: Vec<&str> = columns.map(|field| field.name().as_str()).collect();
        write!(f, "\n  keeps {}", columns.join(", "))
    }
}

impl RowCodec {
    pub fn new(ordering: &Ordering) -> Result<RowCodec> {
        let schema = ordering.schema.as_ref();
        let mut partition = Vec::new();
        for key in &ordering.partition {
            partition.push(SortField::new(key.data_type(schema)?));
        }
        let mut order = Vec::new();
        for by in &ordering.order {
            order.push(SortField::new_with_options(by.expr.data_type(schema)?, by.options));
        }
        let columns = schema.fields().iter();
        let row = columns.map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = |fields: Vec<SortField>| match RowConverter::supports_fields(&fields) {
            true => Ok(RowConverter::new(fields)?),
            false => plan_err!("rows with such columns cannot be kept: {schema}"),
        };
        let perhaps = |fields: Vec<SortField>| match fields.is_empty() {
            true => Ok(None),
            false => converter(fields).map(Some),
        };
        Ok(RowCodec {
            partition: perhaps(partition)?,
            order: perhaps(order)?,
            row: converter(row)?,
        })
    }

    /// Partition, order and row of each.
    pub fn encode(&self, ordering: &Ordering, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let mut partition = Vec::new();
        for key in &ordering.partition {
            partition.push(evaluate(batch, key.as_ref())?);
        }
        let mut order = Vec::new();
        for by in &ordering.order {
            order.push(evaluate(batch, by.expr.as_ref())?);
        }
        let count = batch.num_rows();
        Ok(vec![
            encode(self.partition.as_ref(), &partition, count)?,
            encode(self.order.as_ref(), &order, count)?,
            encode(Some(&self.row), batch.columns(), count)?,
        ])
    }

    /// The columns of rows.
    pub fn decode<'r>(&self, rows: impl Iterator<Item = &'r [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.row.parser();
        Ok(self.row.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

fn encode(codec: Option<&RowConverter>, columns: &[ArrayRef], count: usize) -> Result<ArrayRef> {
    let encoded = match codec {
        Some(codec) => codec.convert_columns(columns)?.try_into_binary()?,
        None => BinaryArray::from_iter_values(std::iter::repeat_n(&[], count)),
    };
    Ok(Arc::new(encoded))
}

impl OrderedRows {
    pub fn new(id: StateId) -> OrderedRows {
        OrderedRows { id, partitions: HashMap::new(), dirty: BTreeSet::new() }
    }

    pub fn get(&self, partition: &[u8]) -> Option<&Partition> {
        self.partitions.get(partition)
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    /// Each partition, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.partitions.keys().map(AsRef::as_ref)
    }

    pub fn add(&mut self, partition: &[u8], row: SortedRow, time_ms: Option<i64>) {
        self.dirty.insert((partition.into(), row.clone()));
        if !self.partitions.contains_key(partition) {
            self.partitions.insert(partition.into(), Partition::default());
        }
        let Some(of) = self.partitions.get_mut(partition) else { return };
        of.total += 1;
        match of.rows.entry(row) {
            Place::Occupied(mut there) => {
                let entry = there.get_mut();
                entry.count += 1;
                // Whichever came first, it is the same.
                entry.time_ms = entry.time_ms.min(time_ms);
            }
            Place::Vacant(place) => {
                place.insert(Entry { time_ms, count: 1, given: false, committed: false });
            }
        }
    }

    /// Takes a row back that came before.
    pub fn take_back(&mut self, partition: &[u8], row: &SortedRow) -> Result<()> {
        let Some(of) = self.partitions.get_mut(partition) else {
            return exec_err!("a row is taken back that never came");
        };
        match of.rows.get_mut(row) {
            Some(entry) if entry.count > 1 => {
                entry.count -= 1;
                of.total -= 1;
                self.dirty.insert((partition.into(), row.clone()));
            }
            Some(_) => self.remove(partition, row),
            None => return exec_err!("a row is taken back that never came"),
        }
        Ok(())
    }

    /// Forgets a row, however often it is there.
    pub fn remove(&mut self, partition: &[u8], row: &SortedRow) {
        let Some(of) = self.partitions.get_mut(partition) else { return };
        let Some(entry) = of.rows.remove(row) else { return };
        of.total -= entry.count;
        if of.rows.is_empty() {
            self.partitions.remove(partition);
        }
        let place = (partition.into(), row.clone());
        match entry.committed {
            true => self.dirty.insert(place),
            false => self.dirty.remove(&place),
        };
    }

    /// Forgets all rows of a partition, and says which they were.
    pub fn remove_all(&mut self, partition: &[u8]) -> Partition {
        let all = self.partitions.remove(partition).unwrap_or_default();
        for (row, entry) in &all.rows {
            let place = (partition.into(), row.clone());
            match entry.committed {
                true => self.dirty.insert(place),
                false => self.dirty.remove(&place),
            };
        }
        all
    }

    /// Marks a row as given; `known` if the watermark will say so after a restart as well.
    pub fn give(&mut self, partition: &[u8], row: &SortedRow, known: bool) {
        let Some(of) = self.partitions.get_mut(partition) else { return };
        if let Some(entry) = of.rows.get_mut(row) {
            entry.given = true;
            if !known {
                self.dirty.insert((partition.into(), row.clone()));
            }
        }
    }

    pub fn commit(&mut self, changes: &mut Vec<Change>) {
        for (partition, row) in std::mem::take(&mut self.dirty) {
            let key = self.key(&partition, &row);
            let of = self.partitions.get_mut(&partition);
            let value = of.and_then(|of| of.rows.get_mut(&row)).map(|entry| {
                entry.committed = true;
                entry.value()
            });
            changes.push(Change { key, value });
        }
    }

    fn key(&self, partition: &[u8], row: &SortedRow) -> Vec<u8> {
        let len = |of: &[u8]| u32::try_from(of.len()).unwrap_or(u32::MAX).to_be_bytes();
        let lens = (len(partition), len(&row.order));
        self.id.key(&[&[ROW], &lens.0, partition, &lens.1, &row.order, &row.row])
    }

    /// Takes up an entry, the first byte of its key left out.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let restored = (|| {
            let (partition, rest) = split_prefixed(key)?;
            let (order, row) = split_prefixed(rest)?;
            let row = SortedRow { order: order.into(), row: row.into() };
            Some((partition, row, Entry::parse(value)?))
        })();
        let Some((partition, row, entry)) = restored else {
            return Err(StateError::Damaged(format!("a row's entry at key {key:02x?}")));
        };
        let of = self.partitions.entry(partition.into()).or_default();
        of.total += entry.count;
        of.rows.insert(row, entry);
        Ok(())
    }
}

/// The rows that entries say are kept, in the order of their partitions.
pub fn table(entries: &Entries<'_>, ordering: &Ordering) -> Result<KeptTable> {
    let (mut rows, mut counts, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entries.iter().filter(|(key, _)| key.first() == Some(&ROW)) {
        let parsed = (|| {
            let (_, rest) = split_prefixed(&key[1..])?;
            let (_, row) = split_prefixed(rest)?;
            Some((row, Entry::parse(value)?))
        })();
        let (row, entry) = parsed.ok_or_else(|| damaged(key))?;
        rows.push(Some(row));
        counts.push(entry.count);
        given.push(entry.given);
    }
    let keys: Vec<String> = ordering
        .partition
        .iter()
        .filter_map(|key| key.downcast_ref::<Column>())
        .map(|column| column.name().to_owned())
        .collect();
    let table = RowsTable::new(&ordering.schema, rows).with_counts("times_there", counts);
    table.with_flags("came_out", given).build("rows", &keys)
}

fn split_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

impl Entry {
    fn value(&self) -> Vec<u8> {
        let mut value = vec![if self.given { GIVEN } else { 0 }];
        value.extend_from_slice(&self.time_ms.unwrap_or(NO_TIME).to_be_bytes());
        value.extend_from_slice(&self.count.to_be_bytes());
        value
    }

    fn parse(value: &[u8]) -> Option<Entry> {
        let (flags, rest) = value.split_first()?;
        let (time_ms, count) = rest.split_first_chunk()?;
        let time_ms = Some(i64::from_be_bytes(*time_ms)).filter(|time| *time != NO_TIME);
        let count = u64::from_be_bytes(count.try_into().ok()?);
        Some(Entry { time_ms, count, given: *flags & GIVEN != 0, committed: true })
    }
}
