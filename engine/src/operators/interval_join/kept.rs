//! Rows of one side that are waited for.
//!
//! ```text
//! rows       key, time_ms, number → row          (one key's rows lie together, by time)
//! by_time    time_ms, number → where in `rows`   (what goes next)
//! waiting    time_ms, number                     (what comes out when it goes)
//! numbers    that of the next row
//! ```
//!
//! The changelog has the rows, see [`super`]; the others are made from them.

use std::ops::Bound;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use crate::operators::sides::{decode_time, encode_time};
use crate::operators::tables::{Entries, RowsTable, damaged};
use crate::state::changelog::{StateError, StateId};
use crate::state::counter::Counter;
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};

/// Where a row is: its key, its time, how many came before it.
pub type Place = Bytes;

/// What an entry's key begins with in the changelog, before the side.
const ROW: u8 = 1;
/// The same for what the changelog does not have.
const BY_TIME: u8 = 0x81;
const WAITING: u8 = 0x82;
const NEXT: u8 = 0x83;
/// Time and number.
const PLACE_TAIL_LEN: usize = 16;
/// Whether it has met any, and its event time.
const ROW_HEADER_LEN: usize = 1 + 1 + 8;

/// A row as the changelog has it.
#[derive(Clone, Debug)]
pub struct KeptRow {
    value: Bytes,
}

impl KeptRow {
    fn new(row: &[u8], event_time_ms: Option<i64>, matched: bool) -> KeptRow {
        let mut value = Vec::with_capacity(ROW_HEADER_LEN + row.len());
        value.push(u8::from(matched));
        encode_time(event_time_ms, &mut value);
        value.extend_from_slice(row);
        KeptRow { value: value.into() }
    }

    fn parse(value: Bytes) -> Option<KeptRow> {
        (value.len() >= ROW_HEADER_LEN).then_some(KeptRow { value })
    }

    pub fn row(&self) -> &[u8] {
        &self.value[ROW_HEADER_LEN..]
    }

    pub fn matched(&self) -> bool {
        self.value[0] != 0
    }

    pub fn event_time_ms(&self) -> Option<i64> {
        decode_time(&self.value[1..]).and_then(|(time_ms, _)| time_ms)
    }
}

#[derive(Debug)]
pub struct KeptRows {
    /// Whether rows that have met none come out when they go.
    keeps_unmatched: bool,
    rows: StateMap,
    by_time: StateMap,
    waiting: StateMap,
    numbers: Counter,
}

fn place(key: &[u8], time_ms: i64, number: u64) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.len() + PLACE_TAIL_LEN);
    place.extend_from_slice(key);
    place.extend_from_slice(&tail(time_ms, number));
    place
}

/// Time and number, in bytes of that order.
fn tail(time_ms: i64, number: u64) -> [u8; PLACE_TAIL_LEN] {
    let mut tail = [0; PLACE_TAIL_LEN];
    tail[..8].copy_from_slice(&time_key(time_ms));
    tail[8..].copy_from_slice(&number.to_be_bytes());
    tail
}

impl KeptRows {
    pub fn new(id: StateId, side: u8, keeps_unmatched: bool) -> KeptRows {
        let map = |tag: u8| StateMap::new(id.key(&[&[tag, side]]), tag == ROW);
        KeptRows {
            keeps_unmatched,
            rows: map(ROW),
            by_time: map(BY_TIME),
            waiting: map(WAITING),
            numbers: Counter::new(id.key(&[&[NEXT, side]])),
        }
    }

    pub fn maps(&mut self) -> [&mut StateMap; 4] {
        [&mut self.rows, &mut self.by_time, &mut self.waiting, self.numbers.map()]
    }

    pub fn len(&self) -> usize {
        self.rows.len() as usize
    }

    /// Rows of a key from one time to another (both included), in the order of their times; only
    /// those behind `after`, if there is one.
    pub fn between(
        &self,
        key: &[u8],
        (from_ms, to_ms): (i64, i64),
        after: Option<&Place>,
    ) -> impl Iterator<Item = Result<(Place, KeptRow), DiskError>> {
        let first = place(key, from_ms, 0);
        let last = place(key, to_ms, u64::MAX);
        let from = match after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Included(&first[..]),
        };
        let range = self.rows.range(from, Bound::Included(&last));
        range.filter_map(|entry| match entry {
            Ok((place, value)) => Some(Ok((place, KeptRow::parse(value)?))),
            Err(error) => Some(Err(error)),
        })
    }

    pub fn put(
        &mut self,
        key: &[u8],
        time_ms: i64,
        row: &[u8],
        event_time_ms: Option<i64>,
        matched: bool,
    ) -> Result<(), DiskError> {
        let place = place(key, time_ms, self.numbers.next());
        self.insert(&place, KeptRow::new(row, event_time_ms, matched))
    }

    fn insert(&mut self, place: &[u8], row: KeptRow) -> Result<(), DiskError> {
        let at = &place[place.len() - PLACE_TAIL_LEN..];
        if self.keeps_unmatched {
            match row.matched() {
                false => self.waiting.put(at, Arc::from(&[][..]))?,
                true => self.waiting.remove(at)?,
            };
        }
        self.by_time.put(at, place.into())?;
        self.rows.put(place, row.value)?;
        self.numbers.used(at.last_chunk().map_or(0, |number| u64::from_be_bytes(*number)))
    }

    /// A row has met one.
    pub fn matched(&mut self, place: &Place) -> Result<(), DiskError> {
        let Some(row) = self.rows.get(place)?.and_then(KeptRow::parse) else { return Ok(()) };
        if !row.matched() {
            self.insert(place, KeptRow::new(row.row(), row.event_time_ms(), true))?;
        }
        Ok(())
    }

    pub fn remove(&mut self, place: &[u8]) -> Result<Option<KeptRow>, DiskError> {
        let Some(row) = self.rows.get(place)? else { return Ok(None) };
        self.rows.remove(place)?;
        let at = &place[place.len() - PLACE_TAIL_LEN..];
        self.by_time.remove(at)?;
        self.waiting.remove(at)?;
        Ok(KeptRow::parse(row))
    }

    /// Takes out up to `max` of the first rows, with times before this.
    pub fn take_before(&mut self, time_ms: i64, max: usize) -> Result<Vec<KeptRow>, DiskError> {
        let end = tail(time_ms, 0);
        let due = self.by_time.range(Bound::Unbounded, Bound::Excluded(&end));
        let due: Vec<Place> =
            due.take(max).map(|entry| Ok(entry?.1)).collect::<Result<_, DiskError>>()?;
        self.take(due)
    }

    /// Takes out up to `max` of the first rows that come out when they go.
    pub fn take_waiting(&mut self, max: usize) -> Result<Vec<KeptRow>, DiskError> {
        let mut places = Vec::new();
        for entry in self.waiting.range(Bound::Unbounded, Bound::Unbounded).take(max) {
            places.extend(self.by_time.get(&entry?.0)?);
        }
        self.take(places)
    }

    fn take(&mut self, places: Vec<Place>) -> Result<Vec<KeptRow>, DiskError> {
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            rows.extend(self.remove(&place)?);
        }
        Ok(rows)
    }

    /// The latest time of a row that waits, no later than this.
    pub fn last_waiting_ms(&self, bound_ms: i64) -> Option<i64> {
        // Of no row: numbers do not come to that. A disk that fails says so when it is read next.
        let last = self.waiting.last_before(&tail(bound_ms, u64::MAX)).ok().flatten()?;
        Some(split_time(&last)?.0)
    }

    pub fn first_waiting_ms(&self) -> Option<i64> {
        let (first, _) = self.waiting.first().ok().flatten()?;
        Some(split_time(&first)?.0)
    }

    fn restore(&mut self, place: &[u8], value: Option<&[u8]>) -> Option<Result<(), DiskError>> {
        if place.len() < PLACE_TAIL_LEN {
            return None;
        }
        Some(match value {
            Some(value) => self.insert(place, KeptRow::parse(value.into())?),
            None => self.remove(place).map(|_| ()),
        })
    }

    /// All was restored.
    pub fn restored(&mut self) -> Result<(), DiskError> {
        self.numbers.restored()
    }
}

/// The rows of one side that entries say are kept.
pub fn table<'a>(entries: &Entries<'a>, side: u8, schema: &SchemaRef) -> Result<RowsTable<'a>> {
    let (mut rows, mut times_ms, mut matched) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entries.iter().filter(|(key, _)| key.starts_with(&[ROW, side])) {
        let parsed = (|| {
            let (&matched, rest) = value.split_first()?;
            let (_, tail) = key.split_last_chunk::<PLACE_TAIL_LEN>()?;
            Some((split_time(tail)?.0, matched != 0, decode_time(rest)?.1))
        })();
        let (time_ms, has_matched, row) = parsed.ok_or_else(|| damaged(key))?;
        rows.push(Some(row));
        times_ms.push(Some(time_ms));
        matched.push(has_matched);
    }
    let table = RowsTable::new(schema, rows).with_times("kept_time", times_ms);
    Ok(table.with_flags("matched", matched))
}

/// Gives an entry of the changelog to the side that it is of.
pub fn restore(
    sides: &mut [KeptRows; 2],
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), StateError> {
    let restored = match key {
        [ROW, side @ 0..=1, place @ ..] => sides[usize::from(*side)].restore(place, value),
        _ => None,
    };
    let damaged = || StateError::Damaged(format!("a join's entry at key {key:02x?}"));
    Ok(restored.ok_or_else(damaged)??)
}
