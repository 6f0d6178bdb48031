//! A stream that meets the rows of a table as they were at its own event time.
//!
//! The rule: a row of the stream with event time T meets the row of its key that was the latest at
//! T (an event time no later than T, not deleted by then), if there was one and all else of the
//! condition holds of it. It comes out once, when the watermark has passed T: until then a row of
//! the table from before T may still come. In a left join it comes out with NULLs if it meets none;
//! one that can meet none (NULL in its key, or no time) does so at once. A window's row may ask for
//! the table at the window's end, which is 1 ms after its event time: T is that then.
//!
//! Rows of the stream that come after the watermark has passed them are late: left out and counted.
//! A row of the table that is late counts from then on, unless a later one is there already.
//! Versions are kept while a row may still come that meets them: those later than the watermark,
//! and the last one before it.
//!
//! A record without a value deletes what its key has brought, as of the record's timestamp. It says
//! nothing of the table's key, and what it deletes may come after it: so it is kept by the record's
//! key until the watermark has passed it, and what comes with that key meanwhile learns of it.
//! Change events come in the order of what they tell: what one of them deletes came before it.
//!
//! ```text
//! key    version     1 u8, table's key (arrow-row), event_time_ms i64 ^ sign
//!        record key  2 u8, the record's key
//!        waiting     3 u8, event_time_ms i64 ^ sign, number u64
//!        deletion    4 u8, length of the key u32, the record's key, event_time_ms i64 ^ sign
//! value  version     deleted u8, row (arrow-row)
//!        record key  table's key (arrow-row)
//!        waiting     length of the key u32, key (arrow-row), row (arrow-row)
//!        deletion    nothing
//! ```

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;

use super::filter_project::Stage;
use super::normalize::{columns_from, deletes_by_record_key};
use super::sides::{Codecs, Half, PAIRS_MAX, Role, RowCodec, Sides};
use super::tables::{Entries, KeptTable, RowsTable, damaged};
use super::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::{Described, Keeps, Until, Words};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::counter::Counter;
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};
use crate::time::Watermark;

const VERSION: u8 = 1;
const RECORD_KEY: u8 = 2;
const WAITING: u8 = 3;
const DELETION: u8 = 4;
/// The same for what the changelog does not have.
const AHEAD: u8 = 0x81;
const NEXT: u8 = 0x82;
const DELETIONS_AHEAD: u8 = 0x84;

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
    /// How long after its event time a row of the stream sees the table.
    pub after_ms: i64,
    /// What the columns of the table's key are called.
    pub key: Vec<String>,
    /// Records of one key are rows of one key.
    pub is_by_record_key: bool,
    /// A record that deletes may come before what it deletes.
    pub deletions_wait: bool,
}

impl fmt::Display for TemporalSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = match self.after_ms {
            0 => String::new(),
            after_ms => format!(" and {after_ms} ms"),
        };
        write!(f, "{} as of event time{after}{}", self.sides, self.stage)
    }
}

impl OperatorSpec for TemporalSpec {
    fn schema(&self) -> &SchemaRef {
        &self.sides.schema
    }

    /// By the table's key, as it is in the records and as the stream has it.
    fn distribution(&self, side: usize) -> Distribution {
        match (self.is_by_record_key, side) {
            (false, _) => Distribution::Together,
            (true, 0) => Distribution::by(self.sides.of[0].keys.iter().cloned()),
            (true, _) => Distribution::by(columns_from(self.version.fields().len(), &self.key)),
        }
    }

    fn to_all(&self, side: usize) -> Option<Arc<dyn PhysicalExpr>> {
        let at = self.version.fields().len() + self.key.len();
        (self.is_by_record_key && side == 1).then(|| deletes_by_record_key(at))
    }

    fn is_looked_up(&self, side: usize) -> bool {
        side == 1
    }

    fn describe(&self, words: &Words) -> Described {
        let mut details = self.sides.details(words);
        details.push("the table's row as it was at the stream's event time".to_owned());
        let until = "the watermark passes them; and of the table what was valid since".to_owned();
        Described {
            title: self.sides.title("temporal"),
            details,
            keeps: Keeps::new(
                "rows of the stream",
                self.sides.keys(words),
                Until::Watermark(until),
            ),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let (mut versions, mut since, mut waiting, mut waits) = (vec![], vec![], vec![], vec![]);
        for (key, value) in entries.iter() {
            let parsed = (|| match key.split_first()? {
                (&VERSION, place) => {
                    let (&deleted, row) = value.split_first()?;
                    versions.push((deleted == PRESENT).then_some(row));
                    since.push(Some(split_time(place.split_last_chunk::<8>()?.1)?.0));
                    Some(())
                }
                (&WAITING, at) => {
                    let (key_len, rest) = value.split_first_chunk::<4>()?;
                    waiting.push(rest.get(u32::from_be_bytes(*key_len) as usize..));
                    waits.push(Some(split_time(at)?.0));
                    Some(())
                }
                _ => Some(()),
            })();
            parsed.ok_or_else(|| damaged(key))?;
        }
        let [stream, table] = &self.sides.of;
        let deleted = versions.iter().map(Option::is_none).collect();
        let versions = RowsTable::new(&self.version, versions).with_times("since", since);
        let waiting = RowsTable::new(&stream.schema, waiting).with_times("waits_for", waits);
        Ok(vec![
            waiting.build("waiting", &stream.key_names())?,
            versions.with_flags("deleted", deleted).build("versions", &table.key_names())?,
        ])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(TemporalJoin {
            codecs: Codecs::new(self.sides.clone())?,
            versions_codec: RowCodec::of_rows(&self.version)?,
            versions: Versions::new(id),
            waiting: StateMap::new(id.key(&[&[WAITING]]), true),
            numbers: Counter::new(id.key(&[&[NEXT]])),
            watermark: Watermark::MIN,
            ending: false,
            spec: self,
        }))
    }
}

/// The operator.
pub struct TemporalJoin {
    spec: Arc<TemporalSpec>,
    codecs: Codecs,
    versions_codec: RowCodec,
    versions: Versions,
    /// Rows of the stream, by time and number.
    waiting: StateMap,
    numbers: Counter,
    watermark: Watermark,
    /// All that waits is to come out.
    ending: bool,
}

/// A row of the stream, with its key before it.
#[derive(Debug)]
struct Waiting {
    key_len: usize,
    value: Bytes,
}

impl Waiting {
    fn encode(key: &[u8], row: &[u8]) -> Bytes {
        [&(key.len() as u32).to_be_bytes()[..], key, row].concat().into()
    }

    fn parse(value: Bytes) -> Option<Waiting> {
        let (key_len, rest) = value.split_first_chunk::<4>()?;
        let key_len = u32::from_be_bytes(*key_len) as usize;
        (key_len <= rest.len()).then_some(Waiting { key_len, value })
    }

    fn key(&self) -> &[u8] {
        &self.value[4..4 + self.key_len]
    }

    fn row(&self) -> &[u8] {
        &self.value[4 + self.key_len..]
    }
}

/// What happened to each of many keys, and when.
struct Timelines {
    /// Key and time → what happened.
    events: StateMap,
    /// Time and place of those that the watermark has not passed.
    ahead: StateMap,
}

impl Timelines {
    fn new(id: &StateId, kept: u8, ahead: u8) -> Timelines {
        Timelines {
            events: StateMap::new(id.key(&[&[kept]]), true),
            ahead: StateMap::new(id.key(&[&[ahead]]), false),
        }
    }

    /// Takes up what happened at a place, or learns that it has gone.
    fn restore(&mut self, place: &[u8], value: Option<&[u8]>) -> Result<(), DiskError> {
        let time = &place[place.len() - size_of::<i64>()..];
        let ahead = [time, place].concat();
        self.ahead.restore(&ahead, value.map(|_| &[][..]))?;
        self.events.restore(place, value)
    }

    /// Some of the places that the watermark has passed, which are ahead no longer.
    fn passed(&mut self, watermark: Watermark) -> Result<Vec<Bytes>, DiskError> {
        let passed = time_key(watermark.0);
        let due = self.ahead.range(Bound::Unbounded, Bound::Excluded(&passed));
        let due: Vec<Bytes> =
            due.take(PAIRS_MAX).map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
        for at in &due {
            self.ahead.remove(at)?;
        }
        Ok(due.iter().map(|at| at[size_of::<i64>()..].into()).collect())
    }

    /// Where something happened to a key.
    fn places(
        &self,
        key: &[u8],
        after: Bound<i64>,
        before: Bound<i64>,
    ) -> Result<Vec<Bytes>, DiskError> {
        let (from, to) = (after.map(|time| place(key, time)), before.map(|time| place(key, time)));
        let range =
            self.events.range(from.as_ref().map(|at| &at[..]), to.as_ref().map(|at| &at[..]));
        range.map(|entry| Ok(entry?.0)).collect()
    }
}

/// What the table was like.
struct Versions {
    /// By the table's key: the row that was valid from then on, or none.
    rows: Timelines,
    by_record_key: StateMap,
    /// By the record's key: that it deleted what it had brought. Only those ahead.
    deletions: Timelines,
}

/// What a version says: there is a row, which follows; or there is none.
const PRESENT: u8 = 0;
const ABSENT: u8 = 1;

/// A key of one table is never the beginning of another.
fn place(key: &[u8], time_ms: i64) -> Vec<u8> {
    [key, &time_key(time_ms)].concat()
}

/// A record's key as a key of [`Timelines`].
fn delimited(record_key: &[u8]) -> Vec<u8> {
    [&(record_key.len() as u32).to_be_bytes()[..], record_key].concat()
}

impl Versions {
    fn new(id: StateId) -> Versions {
        Versions {
            rows: Timelines::new(&id, VERSION, AHEAD),
            by_record_key: StateMap::new(id.key(&[&[RECORD_KEY]]), true),
            deletions: Timelines::new(&id, DELETION, DELETIONS_AHEAD),
        }
    }

    /// The row of a key at a time.
    fn at(&self, key: &[u8], time_ms: i64) -> Result<Option<Bytes>> {
        // Behind the place itself, and before any other.
        let end = [&place(key, time_ms)[..], &[0]].concat();
        let Some(last) = self.rows.events.last_before(&end)? else { return Ok(None) };
        let is_of_key = last.strip_prefix(key).is_some_and(|time| time.len() == size_of::<i64>());
        let value = if is_of_key { self.rows.events.get(&last)? } else { None };
        Ok(value.filter(|value| value.first() == Some(&PRESENT)))
    }

    fn put(
        &mut self,
        key: &[u8],
        time_ms: i64,
        row: Option<&[u8]>,
        watermark: Watermark,
    ) -> Result<()> {
        if time_ms < watermark.0 {
            let later = self.rows.places(
                key,
                Bound::Included(time_ms.saturating_add(1)),
                Bound::Excluded(watermark.0),
            )?;
            if !later.is_empty() {
                return Ok(());
            }
        }
        let value = match row {
            Some(row) => [&[PRESENT], row].concat(),
            None => vec![ABSENT],
        };
        self.rows.restore(&place(key, time_ms), Some(&value))?;
        Ok(())
    }

    /// A record's key has brought a row: what that key is known to have deleted later is gone then.
    fn brought(
        &mut self,
        record_key: &[u8],
        key: &[u8],
        time_ms: i64,
        watermark: Watermark,
    ) -> Result<()> {
        if self.by_record_key.get(record_key)?.is_none_or(|known| *known != *key) {
            self.by_record_key.put(record_key, key.into())?;
        }
        if self.deletions.events.is_empty() {
            return Ok(());
        }
        let later = (Bound::Excluded(time_ms), Bound::Included(i64::MAX));
        for deletion in self.deletions.places(&delimited(record_key), later.0, later.1)? {
            let time = deletion.last_chunk().map_or(&[][..], <[u8; size_of::<i64>()]>::as_slice);
            let Some((deleted_ms, _)) = split_time(time) else { continue };
            // What came after the deletion, of its time, counts.
            if !self.rows.events.contains(&place(key, deleted_ms))? {
                self.put(key, deleted_ms, None, watermark)?;
            }
        }
        Ok(())
    }

    /// A record's key has deleted what it has brought, and will have brought by then.
    fn deleted(&mut self, record_key: &[u8], time_ms: i64, watermark: Watermark) -> Result<()> {
        self.deletions.restore(&place(&delimited(record_key), time_ms), Some(&[]))?;
        let Some(key) = self.by_record_key.get(record_key)? else { return Ok(()) };
        self.put(&key, time_ms, None, watermark)
    }

    /// The key of what a record's key has brought.
    fn forget_record_key(&mut self, record_key: &[u8]) -> Result<Option<Bytes>> {
        let Some(key) = self.by_record_key.get(record_key)? else { return Ok(None) };
        self.by_record_key.remove(record_key)?;
        Ok(Some(key))
    }

    /// Drops what no row of the stream can meet that is not before the watermark.
    fn forget_before(&mut self, watermark: Watermark) -> Result<()> {
        loop {
            let passed = self.rows.passed(watermark)?;
            if passed.is_empty() {
                break;
            }
            for last in passed {
                let from = place(&last[..last.len() - size_of::<i64>()], i64::MIN);
                let rows = &mut self.rows.events;
                let before = rows.range(Bound::Included(&from), Bound::Excluded(&last));
                let gone: Vec<Bytes> =
                    before.map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
                for place in gone {
                    rows.remove(&place)?;
                }
                let value = rows.get(&last)?;
                if value.is_some_and(|value| value.first() == Some(&ABSENT)) {
                    rows.remove(&last)?;
                }
            }
        }
        self.forget_deletions_before(watermark)
    }

    /// With a deletion goes what is known of its record's key, if nothing came after it.
    fn forget_deletions_before(&mut self, watermark: Watermark) -> Result<()> {
        loop {
            let passed = self.deletions.passed(watermark)?;
            if passed.is_empty() {
                return Ok(());
            }
            for deletion in passed {
                self.deletions.events.remove(&deletion)?;
                let record_key = &deletion[size_of::<u32>()..deletion.len() - size_of::<i64>()];
                let Some(key) = self.by_record_key.get(record_key)? else { continue };
                let any = (Bound::Included(i64::MIN), Bound::Included(i64::MAX));
                if self.rows.places(&key, any.0, any.1)?.is_empty() {
                    self.by_record_key.remove(record_key)?;
                }
            }
        }
    }
}

/// Where a row waits: in the order of time.
fn waiting_key(time_ms: i64, number: u64) -> Vec<u8> {
    [time_key(time_ms), number.to_be_bytes()].concat()
}

impl TemporalJoin {
    /// When a row of the stream sees the table.
    fn seen_at(&self, event_time_ms: i64) -> i64 {
        event_time_ms.saturating_add(self.spec.after_ms)
    }

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
            let key = keys.row(row);
            if deletes.is_null(row) {
                // What the record's key brings next may be a row of another task.
                if let Some(record_key) = record_key
                    && versions.by_record_key.get(record_key)?.is_some_and(|of| *of == *key)
                {
                    versions.by_record_key.remove(record_key)?;
                }
                versions.put(key, time_ms, None, watermark)?;
                continue;
            }
            if deletes.value(row) {
                let Some(record_key) = record_key else { continue };
                if self.spec.deletions_wait {
                    versions.deleted(record_key, time_ms, watermark)?;
                } else if let Some(key) = versions.forget_record_key(record_key)? {
                    versions.put(&key, time_ms, None, watermark)?;
                }
                continue;
            }
            versions.put(key, time_ms, Some(wanted.row(row)), watermark)?;
            if let Some(record_key) = record_key {
                versions.brought(record_key, key, time_ms, watermark)?;
            }
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
            let number = self.numbers.next();
            self.numbers.used(number);
            let at = self.seen_at(rows.event_times_ms.value(row));
            let at = waiting_key(at, number);
            self.waiting.put(&at, Waiting::encode(keys.row(row), encoded.row(row)))?;
        }
        self.numbers.keep()?;
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
    fn due(&mut self) -> Result<Vec<(i64, Waiting)>> {
        let passed = time_key(self.watermark.0);
        let end = if self.ending { Bound::Unbounded } else { Bound::Excluded(&passed[..]) };
        let (mut due, mut keys) = (Vec::new(), Vec::new());
        for entry in self.waiting.range(Bound::Unbounded, end).take(PAIRS_MAX) {
            let (key, value) = entry?;
            let time = split_time(&key);
            due.extend(time.and_then(|(time_ms, _)| Some((time_ms, Waiting::parse(value)?))));
            keys.push(key);
        }
        for key in keys {
            self.waiting.remove(&key)?;
        }
        Ok(due)
    }

    /// The rows that were valid for these, after the stage, and for each which one.
    fn valid(&self, due: &[(i64, Waiting)]) -> Result<(RecordBatch, Vec<Option<u64>>)> {
        let found = due.iter().map(|(time_ms, row)| self.versions.at(row.key(), *time_ms));
        let found: Vec<Option<Bytes>> = found.collect::<Result<_>>()?;
        let found: Vec<Option<&[u8]>> =
            found.iter().map(|value| value.as_ref().map(|value| &value[1..])).collect();
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
        let stream: Vec<Option<&[u8]>> = met.iter().map(|&row| Some(due[row].1.row())).collect();
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
        let stream: Vec<Option<&[u8]>> = rows.iter().map(|&row| Some(due[row].1.row())).collect();
        let of_table: Vec<Option<u64>> = rows.iter().map(|&row| places[row]).collect();
        let event_time = |&row: &usize| Some(due[row].0.saturating_sub(self.spec.after_ms));
        let times: Int64Array = rows.iter().map(event_time).collect();
        let halves = [Half::Kept(&stream), Half::Arrived(&table, &of_table)];
        out.push(self.codecs.rows(halves, times, None)?);
        Ok(())
    }

    fn restore_entry(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Result<(), DiskError>> {
        Some(match key.split_first()? {
            (&VERSION, place) if place.len() >= size_of::<i64>() => {
                self.versions.rows.restore(place, value)
            }
            (&DELETION, place) if place.len() >= size_of::<u32>() + size_of::<i64>() => {
                self.versions.deletions.restore(place, value)
            }
            (&RECORD_KEY, record_key) => self.versions.by_record_key.restore(record_key, value),
            (&WAITING, at) => {
                let (_, number) = split_time(at)?;
                let number = u64::from_be_bytes(number.try_into().ok()?);
                self.numbers.used(number);
                self.waiting.restore(at, value)
            }
            _ => return None,
        })
    }
}

impl Operator for TemporalJoin {
    fn prepare(&self, side: usize, mut rows: Rows) -> Result<Prepared> {
        let (mut late, mut untimed) = (0, 0);
        let mut columns = Vec::new();
        if side == 0 {
            let is_late = |time_ms: i64| self.seen_at(time_ms) < self.watermark.0;
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
        let due = self.due()?;
        if due.is_empty() {
            self.ending = false;
            self.versions.forget_before(self.watermark)?;
            return Ok(false);
        }
        self.emit(&due, out)?;
        Ok(true)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        // A disk that fails says so to whoever reads from it next.
        let last = self.waiting.last_before(&waiting_key(bound_ms, u64::MAX)).ok().flatten()?;
        let (time_ms, _) = split_time(&last)?;
        Some(Watermark(time_ms.saturating_add(1)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        let (first, _) = self.waiting.first().ok().flatten()?;
        Some(split_time(&first)?.0.saturating_sub(self.spec.after_ms))
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let Versions { rows, by_record_key, deletions } = &mut self.versions;
        vec![
            &mut rows.events,
            &mut rows.ahead,
            by_record_key,
            &mut deletions.events,
            &mut deletions.ahead,
            &mut self.waiting,
            self.numbers.map(),
        ]
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("a join's entry at key {key:02x?}"));
        Ok(self.restore_entry(key, value).ok_or_else(damaged)??)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        Ok(self.numbers.restored()?)
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: (self.versions.rows.events.len() + self.waiting.len()) as usize }
    }
}
