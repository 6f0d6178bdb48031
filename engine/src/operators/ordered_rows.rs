//! Rows in partitions, each sorted: what operators keep that look at a row beside others.
//!
//! The rule: rows that the order holds equal are sorted by all of their columns, ascending, NULL
//! first. So no arrival, no restart and no partition of a topic changes which row is the first
//! one; rows that are equal in every column are one row that is there several times.
//!
//! ```text
//! rows    row u8 = 1, partition, order, row → value              (logged)
//! totals  partition → how many rows it has u64                   (made from the rows)
//! value   length of the partition u32, of the order u32, flags u8, event time in ms i64 (the
//!         least there is: none), how often it is there u64
//! ```
//!
//! Partition, order and row are in arrow-row's form, in which none begins another: so a partition's
//! rows lie together, sorted. Numbers are big endian.

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
use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};

/// What the first byte of a row's key is in the changelog.
pub const ROW: u8 = 1;
/// The same for how many rows a partition has, which the changelog does not have.
const TOTAL: u8 = 0x81;

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

/// Where a row stands: its partition, its order and itself.
#[derive(Clone, Debug)]
pub struct Place {
    bytes: Bytes,
    partition_len: u32,
    order_len: u32,
}

/// What is known of a row beside its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time_ms: Option<i64>,
    pub count: u64,
    /// It has come out already.
    pub given: bool,
}

/// Rows by partition.
#[derive(Debug)]
pub struct OrderedRows {
    rows: StateMap,
    totals: StateMap,
}

/// One prepared row.
pub struct EncodedRow<'a> {
    pub partition: &'a [u8],
    pub order: &'a [u8],
    pub row: &'a [u8],
}

impl EncodedRow<'_> {
    pub fn place(&self) -> Place {
        let len = |of: &[u8]| u32::try_from(of.len()).unwrap_or(u32::MAX);
        Place {
            bytes: [self.partition, self.order, self.row].concat().into(),
            partition_len: len(self.partition),
            order_len: len(self.order),
        }
    }
}

impl Place {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn partition(&self) -> &[u8] {
        &self.bytes[..self.partition_len as usize]
    }

    pub fn order(&self) -> &[u8] {
        &self.bytes[self.partition_len as usize..][..self.order_len as usize]
    }

    pub fn row(&self) -> &[u8] {
        &self.bytes[self.partition_len as usize + self.order_len as usize..]
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
        OrderedRows {
            rows: StateMap::new(id.key(&[&[ROW]]), true),
            totals: StateMap::new(id.key(&[&[TOTAL]]), false),
        }
    }

    pub fn maps(&mut self) -> [&mut StateMap; 2] {
        [&mut self.rows, &mut self.totals]
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.totals.len() as usize
    }

    /// Partitions, in order, and how many rows each has.
    pub fn partitions(&self) -> &StateMap {
        &self.totals
    }

    /// How many rows a partition has, with those that are there several times.
    pub fn total(&self, partition: &[u8]) -> Result<u64, DiskError> {
        Ok(self.totals.get(partition)?.map_or(0, |total| count_of(&total)))
    }

    /// The rows of a partition in their order, or of all that begin like that.
    pub fn of(&self, partition: &[u8]) -> impl Iterator<Item = Result<(Place, Entry), DiskError>> {
        let entries = self.rows.with_prefix(partition, None);
        entries.filter_map(|entry| match entry {
            // What is in the map was encoded here, or checked when it was restored.
            Ok((place, value)) => parse(place, &value).map(Ok),
            Err(error) => Some(Err(error)),
        })
    }

    /// The last row of a partition.
    pub fn last(&self, partition: &[u8]) -> Result<Option<Place>, DiskError> {
        let Some(last) = self.rows.last_with_prefix(partition)? else { return Ok(None) };
        let value = self.rows.get(&last)?;
        Ok(value.and_then(|value| parse(last, &value)).map(|(place, _)| place))
    }

    fn get(&self, place: &[u8]) -> Result<Option<Entry>, DiskError> {
        let value = self.rows.get(place)?;
        Ok(value.and_then(|value| Some(split_value(&value)?.1)))
    }

    pub fn contains(&self, place: &Place) -> Result<bool, DiskError> {
        self.rows.contains(&place.bytes)
    }

    pub fn put(&mut self, place: &Place, entry: Entry) -> Result<(), DiskError> {
        self.rows.put(&place.bytes, value(place, entry))?;
        Ok(())
    }

    pub fn add(&mut self, place: &Place, time_ms: Option<i64>) -> Result<(), DiskError> {
        let entry = match self.get(&place.bytes)? {
            // Whichever came first, it is the same.
            Some(there) => {
                let time_ms = there.time_ms.min(time_ms);
                Entry { time_ms, count: there.count + 1, ..there }
            }
            None => Entry { time_ms, count: 1, given: false },
        };
        self.put(place, entry)?;
        self.count(place.partition(), 1)
    }

    /// Takes a row back that came before.
    pub fn take_back(&mut self, place: &Place) -> Result<()> {
        let Some(there) = self.get(&place.bytes)? else {
            return exec_err!("a row is taken back that never came");
        };
        match there.count {
            0 | 1 => self.remove(place)?,
            count => {
                self.put(place, Entry { count: count - 1, ..there })?;
                self.count(place.partition(), -1)?;
            }
        }
        Ok(())
    }

    /// Puts a row in the place of what is known to be there of it.
    pub fn replace(
        &mut self,
        place: &Place,
        was: Option<Entry>,
        now: Entry,
    ) -> Result<(), DiskError> {
        self.put(place, now)?;
        self.count(place.partition(), signed(now.count) - was.map_or(0, |was| signed(was.count)))
    }

    /// Forgets a row that is known to be there.
    pub fn drop_known(&mut self, place: &Place, was: Entry) -> Result<(), DiskError> {
        self.rows.remove(&place.bytes)?;
        self.count(place.partition(), -signed(was.count))
    }

    /// Forgets a row, however often it is there.
    pub fn remove(&mut self, place: &Place) -> Result<(), DiskError> {
        let Some(gone) = self.get(&place.bytes)? else { return Ok(()) };
        self.rows.remove(&place.bytes)?;
        self.count(place.partition(), -signed(gone.count))
    }

    /// Forgets all rows of a partition.
    pub fn remove_all(&mut self, partition: &[u8]) -> Result<(), DiskError> {
        self.rows.remove_with_prefix(partition)?;
        self.totals.remove(partition)?;
        Ok(())
    }

    fn count(&mut self, partition: &[u8], change: i64) -> Result<(), DiskError> {
        match self.total(partition)?.saturating_add_signed(change) {
            0 => self.totals.remove(partition)?,
            total => self.totals.put(partition, Arc::from(&total.to_be_bytes()[..]))?,
        };
        Ok(())
    }

    /// Takes up an entry, or learns that it has gone; the first byte of its key is left out. The
    /// row as it was before, and as it is now.
    pub fn restore(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<[Option<(Place, Entry)>; 2], StateError> {
        let damaged = || StateError::Damaged(format!("a row's entry at key {key:02x?}"));
        let key: Bytes = key.into();
        let before = self.rows.get(&key)?.and_then(|value| parse(key.clone(), &value));
        let after = match value {
            Some(value) => Some(parse(key.clone(), value).ok_or_else(damaged)?),
            None => None,
        };
        let count = |of: &Option<(Place, Entry)>| of.as_ref().map_or(0, |of| signed(of.1.count));
        if let Some((place, _)) = before.as_ref().or(after.as_ref()) {
            self.count(place.partition(), count(&after) - count(&before))?;
        }
        self.rows.restore(&key, value)?;
        Ok([before, after])
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count_of(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

/// The rows that entries say are kept, in the order of their partitions.
pub fn table(entries: &Entries<'_>, ordering: &Ordering) -> Result<KeptTable> {
    let (mut rows, mut counts, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entries.iter().filter(|(key, _)| key.first() == Some(&ROW)) {
        let parsed = split_value(value).and_then(|(lens, entry)| {
            let before: u32 = lens.iter().sum();
            Some((key.get(1 + before as usize..)?, entry))
        });
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

fn value(place: &Place, entry: Entry) -> Bytes {
    let mut value = Vec::with_capacity(4 + 4 + 1 + 8 + 8);
    value.extend_from_slice(&place.partition_len.to_be_bytes());
    value.extend_from_slice(&place.order_len.to_be_bytes());
    value.push(if entry.given { GIVEN } else { 0 });
    value.extend_from_slice(&entry.time_ms.unwrap_or(NO_TIME).to_be_bytes());
    value.extend_from_slice(&entry.count.to_be_bytes());
    value.into()
}

/// The lengths of partition and order, and what is known of the row.
fn split_value(value: &[u8]) -> Option<([u32; 2], Entry)> {
    let (partition_len, rest) = value.split_first_chunk()?;
    let (order_len, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first()?;
    let (time_ms, count) = rest.split_first_chunk()?;
    let lens = [u32::from_be_bytes(*partition_len), u32::from_be_bytes(*order_len)];
    lens[0].checked_add(lens[1])?;
    let time_ms = Some(i64::from_be_bytes(*time_ms)).filter(|time| *time != NO_TIME);
    let count = u64::from_be_bytes(count.try_into().ok()?);
    Some((lens, Entry { time_ms, count, given: *flags & GIVEN != 0 }))
}

fn parse(bytes: Bytes, value: &[u8]) -> Option<(Place, Entry)> {
    let ([partition_len, order_len], entry) = split_value(value)?;
    let fits = partition_len as usize + order_len as usize <= bytes.len();
    fits.then_some((Place { bytes, partition_len, order_len }, entry))
}
