//! A stream that meets the rows of a table as they were at its own event time.
//!
//! The rule: a row of the stream with event time T meets the row of its key that was the latest at
//! T (an event time no later than T, not deleted by then), if there was one and all else of the
//! condition holds of it. It comes out once, when the watermark has passed T: until then a row of
//! the table from before T may still come. In a left join it comes out with NULLs if it meets none;
//! one that can meet none (NULL in its key, or no time) does so at once.
//!
//! Rows of the stream that come after the watermark has passed them are late: left out and counted.
//! A row of the table that is late counts from then on, unless a later one is there already.
//! Versions are kept while a row may still come that meets them: those later than the watermark,
//! and the last one before it. A deletion happens at the timestamp of its record.
//!
//! ```text
//! key    version     1 u8, table's key (arrow-row), event_time_ms i64 ^ sign
//!        record key  2 u8, the record's key
//!        waiting     3 u8, event_time_ms i64 ^ sign, number u64
//! value  version     deleted u8, row (arrow-row)
//!        record key  table's key (arrow-row)
//!        waiting     length of the key u32, key (arrow-row), row (arrow-row)
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use super::filter_project::Stage;
use super::sides::{Codecs, Half, PAIRS_MAX, Role, RowCodec, Sides};
use super::{Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;

const VERSION: u8 = 1;
const RECORD_KEY: u8 = 2;
const WAITING: u8 = 3;

type Bytes = Box<[u8]>;

/// Which rows meet: the stream is the first side, the table the second.
#[derive(Debug)]
pub struct TemporalSpec {
    /// The keys are the table's key, and what it equals. The second side is what its stage gives.
    pub sides: Arc<Sides>,
    /// Columns of the table that are wanted; its key, the record's key and whether it deletes
    /// follow in what comes in.
    pub version: SchemaRef,
    /// What the row that was valid goes through.
    pub stage: Stage,
}

impl fmt::Display for TemporalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as of event time{}", self.sides, self.stage)
    }
}

impl OperatorSpec for TemporalSpec {
    fn schema(&self) -> &SchemaRef {
        &self.sides.schema
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(TemporalJoin {
            codecs: Codecs::new(self.sides.clone())?,
            versions_codec: RowCodec::of_rows(&self.version)?,
            versions: Versions::default(),
            waiting: BTreeMap::new(),
            next_number: 0,
            changed: BTreeSet::new(),
            watermark: Watermark::MIN,
            ending: false,
            id,
            spec: self,
        }))
    }
}

/// The operator.
pub struct TemporalJoin {
    spec: Arc<TemporalSpec>,
    id: StateId,
    codecs: Codecs,
    versions_codec: RowCodec,
    versions: Versions,
    /// Rows of the stream, by time and number.
    waiting: BTreeMap<(i64, u64), Waiting>,
    next_number: u64,
    /// Rows that wait, or waited, and have changed since the last commit.
    changed: BTreeSet<(i64, u64)>,
    watermark: Watermark,
    /// All that waits is to come out.
    ending: bool,
}

#[derive(Debug)]
struct Waiting {
    key: Bytes,
    row: Arc<[u8]>,
    /// It is in the changelog.
    committed: bool,
}

/// What the table was like.
#[derive(Default)]
struct Versions {
    /// Key and time → the row that was valid from then on, or none.
    rows: BTreeMap<Bytes, Option<Arc<[u8]>>>,
    /// Those that the watermark has not passed.
    ahead: BTreeSet<(i64, Bytes)>,
    by_record_key: HashMap<Bytes, Bytes>,
    changed: BTreeSet<Bytes>,
    changed_record_keys: BTreeSet<Bytes>,
}

fn place(key: &[u8], time_ms: i64) -> Bytes {
    [key, &sortable(time_ms)].concat().into()
}

/// Bytes in the order of times.
fn sortable(time_ms: i64) -> [u8; 8] {
    (time_ms ^ i64::MIN).to_be_bytes()
}

fn from_sortable(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

impl Versions {
    /// The row of a key at a time.
    fn at(&self, key: &[u8], time_ms: i64) -> Option<&Arc<[u8]>> {
        let (from, to) = (place(key, i64::MIN), place(key, time_ms));
        self.rows.range(from..=to).next_back()?.1.as_ref()
    }

    /// Whether it was any use.
    fn put(
        &mut self,
        key: &[u8],
        time_ms: i64,
        row: Option<Arc<[u8]>>,
        watermark: Watermark,
    ) -> bool {
        if time_ms < watermark.0 {
            let later = place(key, time_ms.saturating_add(1))..place(key, watermark.0);
            if self.rows.range(later).next().is_some() {
                return false;
            }
        }
        let place = place(key, time_ms);
        self.changed.insert(place.clone());
        self.ahead.insert((time_ms, place.clone()));
        self.rows.insert(place, row);
        true
    }

    /// The key of what a record's key has brought.
    fn forget_record_key(&mut self, record_key: &[u8]) -> Option<Bytes> {
        let key = self.by_record_key.remove(record_key)?;
        self.changed_record_keys.insert(record_key.into());
        Some(key)
    }

    /// Drops what no row of the stream can meet that is not before the watermark.
    fn forget_before(&mut self, watermark: Watermark) {
        while let Some((time_ms, _)) = self.ahead.first()
            && *time_ms < watermark.0
            && let Some((_, last)) = self.ahead.pop_first()
        {
            let key = &last[..last.len() - 8];
            let from = place(key, i64::MIN);
            let before = self.rows.range(from..last.clone()).map(|(place, _)| place.clone());
            let mut gone: Vec<Bytes> = before.collect();
            if matches!(self.rows.get(&last), Some(None)) {
                gone.push(last);
            }
            for place in gone {
                self.rows.remove(&place);
                self.changed.insert(place);
            }
        }
    }

    fn commit(&mut self, id: StateId, changes: &mut Vec<Change>) {
        for place in std::mem::take(&mut self.changed) {
            let value = self.rows.get(&place).map(|row| match row {
                Some(row) => [&[0], row.as_ref()].concat(),
                None => vec![1],
            });
            changes.push(Change { key: id.key(&[&[VERSION], &place]), value });
        }
        for record_key in std::mem::take(&mut self.changed_record_keys) {
            let value = self.by_record_key.get(&record_key).map(|key| key.to_vec());
            changes.push(Change { key: id.key(&[&[RECORD_KEY], &record_key]), value });
        }
    }
}

impl TemporalJoin {
    fn take_table(&mut self, rows: &Rows) -> Result<()> {
        let columns = rows.batch.columns();
        let (wanted, rest) = columns.split_at(self.spec.version.fields().len());
        let (keys, rest) = rest.split_at(rest.len() - 2);
        let key_codec = RowCodec::new(keys.iter().map(|column| column.data_type()))?;
        let keys = key_codec.encode(keys)?;
        let wanted = self.versions_codec.encode(wanted)?;
        let (record_keys, deletes) = (rest[0].as_binary::<i32>(), rest[1].as_boolean());
        for row in 0..rows.len() {
            if rows.event_times_ms.is_null(row) {
                continue;
            }
            let time_ms = rows.event_times_ms.value(row);
            let record_key = record_keys.is_valid(row).then(|| record_keys.value(row));
            let watermark = self.watermark;
            let versions = &mut self.versions;
            if deletes.value(row) {
                let key: Option<Bytes> = match record_key {
                    Some(record_key) => versions.forget_record_key(record_key),
                    None => Some(keys.row(row).into()),
                };
                if let Some(key) = key {
                    versions.put(&key, time_ms, None, watermark);
                }
                continue;
            }
            let key = keys.row(row);
            if let Some(record_key) = record_key
                && versions.by_record_key.get(record_key).is_none_or(|known| **known != *key)
            {
                versions.by_record_key.insert(record_key.into(), key.into());
                versions.changed_record_keys.insert(record_key.into());
            }
            versions.put(key, time_ms, Some(wanted.row(row).into()), watermark);
        }
        Ok(())
    }

    fn take_stream(&mut self, rows: Prepared, out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = rows;
        let meets_nothing = self.codecs.may_meet(&columns);
        let keys = self.codecs.encode_keys(&columns)?;
        let encoded = self.codecs.encode_rows(0, &rows.batch)?;
        let mut alone = Vec::new();
        for row in 0..rows.len() {
            let may_meet = meets_nothing.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            if !may_meet || rows.event_times_ms.is_null(row) {
                alone.push(row as u64);
                continue;
            }
            let at = (rows.event_times_ms.value(row), self.next_number);
            self.next_number += 1;
            let (key, row) = (keys.row(row).into(), encoded.row(row).into());
            self.waiting.insert(at, Waiting { key, row, committed: false });
            self.changed.insert(at);
        }
        if self.spec.sides.roles[0] == Role::Outer && !alone.is_empty() {
            let rows = rows.take(&alone.into())?;
            let places: Vec<Option<u64>> = (0..rows.len() as u64).map(Some).collect();
            let nothing: Vec<Option<&[u8]>> = vec![None; rows.len()];
            let halves = [Half::Arrived(&rows.batch, &places), Half::Kept(&nothing)];
            out.push(self.codecs.rows(halves, rows.event_times_ms.clone(), None)?);
        }
        Ok(())
    }

    /// The next rows that the watermark has passed.
    fn due(&mut self) -> Vec<(i64, Waiting)> {
        let mut due = Vec::new();
        while due.len() < PAIRS_MAX
            && let Some(first) = self.waiting.first_entry()
            && (self.ending || first.key().0 < self.watermark.0)
        {
            let (at, row) = first.remove_entry();
            if row.committed {
                self.changed.insert(at);
            } else {
                self.changed.remove(&at);
            }
            due.push((at.0, row));
        }
        due
    }

    /// The rows that were valid for these, after the stage, and for each which one.
    fn valid(&self, due: &[(i64, Waiting)]) -> Result<(RecordBatch, Vec<Option<u64>>)> {
        let found = due.iter().map(|(time_ms, row)| self.versions.at(&row.key, *time_ms));
        let found: Vec<Option<&[u8]>> = found.map(|row| row.map(AsRef::as_ref)).collect();
        // The number of a row rides where its time would: it comes out with the row.
        let present = || (0..found.len()).filter(|&row| found[row].is_some());
        let numbers: Int64Array = present().map(|row| Some(row as i64)).collect();
        let rows: Vec<Option<&[u8]>> = present().map(|row| found[row]).collect();
        let columns = self.versions_codec.decode(&rows, &self.spec.version)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let schema = self.spec.version.clone();
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let rows = self.spec.stage.apply(Rows::new(batch, numbers), &[])?;
        let mut places = vec![None; due.len()];
        for (place, number) in rows.event_times_ms.values().iter().enumerate() {
            places[*number as usize] = Some(place as u64);
        }
        Ok((rows.batch, places))
    }

    fn emit(&self, due: &[(i64, Waiting)], out: &mut Vec<Rows>) -> Result<()> {
        let (table, mut places) = self.valid(due)?;
        let met: Vec<usize> = (0..due.len()).filter(|&row| places[row].is_some()).collect();
        let stream: Vec<Option<&[u8]>> = met.iter().map(|&row| Some(&*due[row].1.row)).collect();
        let of_table: Vec<Option<u64>> = met.iter().map(|&row| places[row]).collect();
        let halves = [Half::Kept(&stream), Half::Arrived(&table, &of_table)];
        if let Some(passing) = self.codecs.passing(met.len(), halves)? {
            for (&row, passes) in met.iter().zip(passing.values()) {
                places[row] = places[row].filter(|_| passes);
            }
        }
        let outer = self.spec.sides.roles[0] == Role::Outer;
        let rows: Vec<usize> =
            (0..due.len()).filter(|&row| outer || places[row].is_some()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let stream: Vec<Option<&[u8]>> = rows.iter().map(|&row| Some(&*due[row].1.row)).collect();
        let of_table: Vec<Option<u64>> = rows.iter().map(|&row| places[row]).collect();
        let times: Int64Array = rows.iter().map(|&row| Some(due[row].0)).collect();
        let halves = [Half::Kept(&stream), Half::Arrived(&table, &of_table)];
        out.push(self.codecs.rows(halves, times, None)?);
        Ok(())
    }

    fn restore_entry(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key.split_first()? {
            (&VERSION, place) => {
                let (_, time) = place.split_last_chunk::<8>()?;
                let (&deleted, row) = value.split_first()?;
                self.versions.ahead.insert((from_sortable(*time), place.into()));
                let row = (deleted == 0).then(|| row.into());
                self.versions.rows.insert(place.into(), row);
            }
            (&RECORD_KEY, record_key) => {
                self.versions.by_record_key.insert(record_key.into(), value.into());
            }
            (&WAITING, at) => {
                let (time, rest) = at.split_first_chunk::<8>()?;
                let number = u64::from_be_bytes(rest.try_into().ok()?);
                let (key_len, rest) = value.split_first_chunk::<4>()?;
                let (key, row) = rest.split_at_checked(u32::from_be_bytes(*key_len) as usize)?;
                self.next_number = self.next_number.max(number + 1);
                let row = Waiting { key: key.into(), row: row.into(), committed: true };
                self.waiting.insert((from_sortable(*time), number), row);
            }
            _ => return None,
        }
        Some(())
    }
}

impl Operator for TemporalJoin {
    fn prepare(&self, side: usize, mut rows: Rows) -> Result<Prepared> {
        let (mut late, mut untimed) = (0, 0);
        let mut columns = Vec::new();
        if side == 0 {
            let is_late = |time_ms: i64| time_ms < self.watermark.0;
            late = rows.event_times_ms.iter().flatten().filter(|time| is_late(*time)).count();
            if late > 0 {
                let times = rows.event_times_ms.iter();
                let on_time = times.map(|time_ms| Some(!time_ms.is_some_and(is_late)));
                rows = rows.filter(&on_time.collect())?;
            }
            if self.spec.sides.roles[0] != Role::Outer {
                untimed = rows.event_times_ms.null_count();
            }
            columns = self.codecs.key_columns(0, &rows.batch)?;
        }
        Ok(Prepared { rows, columns, keys: None, late, untimed })
    }

    fn apply(&mut self, side: usize, rows: Prepared, out: &mut Vec<Rows>) -> Result<()> {
        if side == 0 { self.take_stream(rows, out) } else { self.take_table(&rows.rows) }
    }

    fn advance(&mut self, watermark: Watermark, _out: &mut Vec<Rows>) -> Result<()> {
        self.watermark = self.watermark.max(watermark);
        Ok(())
    }

    fn finish(&mut self, _bound_ms: i64, _out: &mut Vec<Rows>) -> Result<()> {
        self.ending = true;
        Ok(())
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        let due = self.due();
        if due.is_empty() {
            self.ending = false;
            self.versions.forget_before(self.watermark);
            return Ok(false);
        }
        self.emit(&due, out)?;
        Ok(true)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let (time_ms, _) = self.waiting.range(..=(bound_ms, u64::MAX)).next_back()?.0;
        Some(Watermark(time_ms.saturating_add(1)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        Some(self.waiting.first_key_value()?.0.0)
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        self.versions.commit(self.id, changes);
        for at in std::mem::take(&mut self.changed) {
            let value = self.waiting.get_mut(&at).map(|waiting| {
                waiting.committed = true;
                let key_len = (waiting.key.len() as u32).to_be_bytes();
                [&key_len, waiting.key.as_ref(), waiting.row.as_ref()].concat()
            });
            let parts = [&[WAITING][..], &sortable(at.0), &at.1.to_be_bytes()];
            changes.push(Change { key: self.id.key(&parts), value });
        }
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let value = value.unwrap_or_default();
        let damaged = || StateError::Damaged(format!("a join's entry at key {key:02x?}"));
        self.restore_entry(key, value).ok_or_else(damaged)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.versions.rows.len() + self.waiting.len() }
    }
}
