//! Rows of one side that are waited for.
//!
//! ```text
//! rows       key, time_ms, number → row          (one key's rows lie together, by time)
//! by_time    time_ms, number → where in `rows`   (what goes next)
//! waiting    time_ms, number                     (what comes out when it goes)
//! numbers    that of the next row
//! ```
//!
//! Where only rows of equal times meet (the windows of a window join), rows lie by time first, and
//! what goes next is what stands first:
//!
//! ```text
//! rows       time_ms, key, number → row
//! waiting    time_ms, key, number
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

/// Where a row is: its key and its time, as the layout has them, and how many came before it.
pub type Place = Bytes;

/// What an entry's key begins with in the changelog, before the side.
const ROW: u8 = 1;
/// The same for what the changelog does not have.
const BY_TIME: u8 = 0x81;
const WAITING: u8 = 0x82;
const NEXT: u8 = 0x83;
/// Time and number.
const PLACE_MIN: usize = 16;
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

/// How rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    KeyFirst,
    /// For rows that meet those of their own time alone.
    TimeFirst,
}

impl Layout {
    fn place(self, key: &[u8], time_ms: i64, number: u64) -> Vec<u8> {
        let mut place = Vec::with_capacity(key.len() + PLACE_MIN);
        match self {
            Layout::KeyFirst => {
                place.extend_from_slice(key);
                place.extend_from_slice(&time_key(time_ms));
            }
            Layout::TimeFirst => {
                place.extend_from_slice(&time_key(time_ms));
                place.extend_from_slice(key);
            }
        }
        place.extend_from_slice(&number.to_be_bytes());
        place
    }

    /// By what a row is among those that wait.
    fn waiting(self, place: &[u8]) -> &[u8] {
        match self {
            Layout::KeyFirst => &place[place.len() - PLACE_MIN..],
            Layout::TimeFirst => place,
        }
    }

    fn time_ms(self, place: &[u8]) -> Option<i64> {
        Some(split_time(self.waiting(place))?.0)
    }
}

#[derive(Debug)]
pub struct KeptRows {
    layout: Layout,
    /// Whether rows that have met none come out when they go.
    keeps_unmatched: bool,
    rows: StateMap,
    by_time: StateMap,
    waiting: StateMap,
    numbers: Counter,
}

impl KeptRows {
    pub fn new(id: StateId, side: u8, layout: Layout, keeps_unmatched: bool) -> KeptRows {
        let map = |tag: u8| StateMap::new(id.key(&[&[tag, side]]), tag == ROW);
        KeptRows {
            layout,
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
        let first = self.layout.place(key, from_ms, 0);
        let last = self.layout.place(key, to_ms, u64::MAX);
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

    /// Those that were put are to be [`KeptRows::kept`] before the next commit.
    pub fn put(
        &mut self,
        key: &[u8],
        time_ms: i64,
        row: &[u8],
        event_time_ms: Option<i64>,
        matched: bool,
    ) -> Result<(), DiskError> {
        let place = self.layout.place(key, time_ms, self.numbers.next());
        self.insert(&place, KeptRow::new(row, event_time_ms, matched))
    }

    pub fn kept(&mut self) -> Result<(), DiskError> {
        self.numbers.keep()
    }

    fn insert(&mut self, place: &[u8], row: KeptRow) -> Result<(), DiskError> {
        if self.keeps_unmatched {
            let at = self.layout.waiting(place);
            match row.matched() {
                false => self.waiting.put(at, Arc::from(&[][..]))?,
                true => self.waiting.remove(at)?,
            };
        }
        if self.layout == Layout::KeyFirst {
            self.by_time.put(self.layout.waiting(place), place.into())?;
        }
        self.rows.put(place, row.value)?;
        self.numbers.used(place.last_chunk().map_or(0, |number| u64::from_be_bytes(*number)));
        Ok(())
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
        self.forget(place)?;
        Ok(KeptRow::parse(row))
    }

    /// A row goes that is known to be there.
    fn forget(&mut self, place: &[u8]) -> Result<(), DiskError> {
        self.rows.remove(place)?;
        let at = self.layout.waiting(place);
        if self.layout == Layout::KeyFirst {
            self.by_time.remove(at)?;
        }
        if self.keeps_unmatched {
            self.waiting.remove(at)?;
        }
        Ok(())
    }

    /// Takes out up to `max` of the first rows, with times before this.
    pub fn take_before(&mut self, time_ms: i64, max: usize) -> Result<Vec<KeptRow>, DiskError> {
        let end = time_key(time_ms);
        let first = match self.layout {
            Layout::KeyFirst => &self.by_time,
            Layout::TimeFirst => &self.rows,
        };
        let due = first.range(Bound::Unbounded, Bound::Excluded(&end)).take(max);
        let due: Vec<(Bytes, Bytes)> = due.collect::<Result<_, _>>()?;
        if self.layout == Layout::KeyFirst {
            return self.take(due.into_iter().map(|(_, place)| place).collect());
        }
        let mut rows = Vec::with_capacity(due.len());
        for (place, row) in due {
            self.forget(&place)?;
            rows.extend(KeptRow::parse(row));
        }
        Ok(rows)
    }

    /// Takes out up to `max` of the first rows that come out when they go.
    pub fn take_waiting(&mut self, max: usize) -> Result<Vec<KeptRow>, DiskError> {
        let mut places = Vec::new();
        for entry in self.waiting.range(Bound::Unbounded, Bound::Unbounded).take(max) {
            let (at, _) = entry?;
            match self.layout {
                Layout::KeyFirst => places.extend(self.by_time.get(&at)?),
                Layout::TimeFirst => places.push(at),
            }
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
        let end = bound_ms.checked_add(1).map(time_key);
        // A disk that fails says so when it is read next.
        let last = match end {
            Some(end) => self.waiting.last_before(&end),
            None => self.waiting.last_with_prefix(&[]),
        };
        Some(split_time(&last.ok().flatten()?)?.0)
    }

    pub fn first_waiting_ms(&self) -> Option<i64> {
        let (first, _) = self.waiting.first().ok().flatten()?;
        Some(split_time(&first)?.0)
    }

    fn restore(&mut self, place: &[u8], value: Option<&[u8]>) -> Option<Result<(), DiskError>> {
        if place.len() < PLACE_MIN {
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
pub fn table<'a>(
    entries: &Entries<'a>,
    side: u8,
    layout: Layout,
    schema: &SchemaRef,
) -> Result<RowsTable<'a>> {
    let (mut rows, mut times_ms, mut matched) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entries.iter().filter(|(key, _)| key.starts_with(&[ROW, side])) {
        let parsed = (|| {
            let (&matched, rest) = value.split_first()?;
            let place = key.get(2..).filter(|place| place.len() >= PLACE_MIN)?;
            Some((layout.time_ms(place)?, matched != 0, decode_time(rest)?.1))
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
