//! Rows of one side that are waited for.
//!
//! ```text
//! rows       key, time_ms, number → row          (one key's rows lie together, by time)
//! by_time    time_ms, number → where in `rows`   (what goes next)
//! waiting    time_ms, number                     (what comes out when it goes)
//! ```
//!
//! The changelog has the same entries, see [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::operators::sides::{decode_time, encode_time};
use crate::state::changelog::{Change, StateError, StateId};

/// Where a row is: its key, its time, how many came before it.
pub type Place = Arc<[u8]>;

/// What an entry's key begins with in the changelog, before the side.
const ROW: u8 = 1;
/// Time and number.
const PLACE_TAIL_LEN: usize = 16;

#[derive(Debug)]
pub struct KeptRow {
    pub row: Arc<[u8]>,
    pub event_time_ms: Option<i64>,
    pub matched: bool,
    /// It is in the changelog.
    committed: bool,
}

#[derive(Debug, Default)]
pub struct KeptRows {
    side: u8,
    /// Whether rows that have met none come out when they go.
    keeps_unmatched: bool,
    rows: BTreeMap<Place, KeptRow>,
    by_time: BTreeMap<(i64, u64), Place>,
    waiting: BTreeSet<(i64, u64)>,
    next_number: u64,
    changed: BTreeSet<Place>,
    gone: Vec<Place>,
}

fn place(key: &[u8], time_ms: i64, number: u64) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.len() + PLACE_TAIL_LEN);
    place.extend_from_slice(key);
    // So that bytes are in the order of times.
    place.extend_from_slice(&(time_ms ^ i64::MIN).to_be_bytes());
    place.extend_from_slice(&number.to_be_bytes());
    place
}

/// Time and number of a place.
fn tail(place: &[u8]) -> Option<(i64, u64)> {
    let (rest, number) = place.split_last_chunk::<8>()?;
    let (_, time_ms) = rest.split_last_chunk::<8>()?;
    Some((i64::from_be_bytes(*time_ms) ^ i64::MIN, u64::from_be_bytes(*number)))
}

impl KeptRows {
    pub fn new(side: u8, keeps_unmatched: bool) -> KeptRows {
        KeptRows { side, keeps_unmatched, ..KeptRows::default() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows of a key from one time to another (both included), in the order of their times; only
    /// those behind `after`, if there is one.
    pub fn between(
        &self,
        key: &[u8],
        (from_ms, to_ms): (i64, i64),
        after: Option<&Place>,
    ) -> impl Iterator<Item = (&Place, &KeptRow)> {
        let first = place(key, from_ms, 0);
        let last = place(key, to_ms, u64::MAX);
        let from = match after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Included(&first[..]),
        };
        let range = (from_ms <= to_ms)
            .then(|| self.rows.range::<[u8], _>((from, Bound::Included(&last[..]))));
        range.into_iter().flatten()
    }

    pub fn put(
        &mut self,
        key: &[u8],
        time_ms: i64,
        row: Arc<[u8]>,
        event_time_ms: Option<i64>,
        matched: bool,
    ) {
        let number = self.next_number;
        self.next_number += 1;
        let place: Place = place(key, time_ms, number).into();
        self.changed.insert(place.clone());
        let row = KeptRow { row, event_time_ms, matched, committed: false };
        self.insert(place, (time_ms, number), row);
    }

    fn insert(&mut self, place: Place, at: (i64, u64), row: KeptRow) {
        if self.keeps_unmatched && !row.matched {
            self.waiting.insert(at);
        }
        self.by_time.insert(at, place.clone());
        self.rows.insert(place, row);
    }

    /// A row has met one. Whether it is the first.
    pub fn matched(&mut self, place: &Place) -> bool {
        let Some(row) = self.rows.get_mut(place) else { return false };
        if std::mem::replace(&mut row.matched, true) {
            return false;
        }
        self.changed.insert(place.clone());
        if let Some(at) = tail(place) {
            self.waiting.remove(&at);
        }
        true
    }

    pub fn remove(&mut self, place: &Place) -> Option<KeptRow> {
        let row = self.rows.remove(place)?;
        if let Some(at) = tail(place) {
            self.by_time.remove(&at);
            self.waiting.remove(&at);
        }
        self.changed.remove(place);
        if row.committed {
            self.gone.push(place.clone());
        }
        Some(row)
    }

    /// Takes out the first row, if its time is before this.
    pub fn pop_before(&mut self, time_ms: i64) -> Option<KeptRow> {
        let (&(first_ms, _), place) = self.by_time.first_key_value()?;
        if first_ms >= time_ms {
            return None;
        }
        let place = place.clone();
        self.remove(&place)
    }

    /// Takes out the first of the rows that come out when they go.
    pub fn pop_waiting(&mut self) -> Option<KeptRow> {
        let place = self.by_time.get(self.waiting.first()?)?.clone();
        self.remove(&place)
    }

    /// The latest time of a row that waits, no later than this.
    pub fn last_waiting_ms(&self, bound_ms: i64) -> Option<i64> {
        self.waiting.range(..=(bound_ms, u64::MAX)).next_back().map(|(time_ms, _)| *time_ms)
    }

    pub fn first_waiting_ms(&self) -> Option<i64> {
        self.waiting.first().map(|(time_ms, _)| *time_ms)
    }

    pub fn commit(&mut self, id: StateId, changes: &mut Vec<Change>) {
        let key = |place: &Place| id.key(&[&[ROW, self.side], place]);
        changes.extend(self.gone.iter().map(|place| Change { key: key(place), value: None }));
        for place in &self.changed {
            let Some(row) = self.rows.get_mut(place) else { continue };
            row.committed = true;
            let mut value = Vec::with_capacity(10 + row.row.len());
            value.push(u8::from(row.matched));
            encode_time(row.event_time_ms, &mut value);
            value.extend_from_slice(&row.row);
            changes.push(Change { key: id.key(&[&[ROW, self.side], place]), value: Some(value) });
        }
        self.gone.clear();
        self.changed.clear();
    }

    fn restore(&mut self, place: &[u8], value: &[u8]) -> Option<()> {
        let (&matched, rest) = value.split_first()?;
        let (event_time_ms, row) = decode_time(rest)?;
        let at = tail(place)?;
        self.next_number = self.next_number.max(at.1 + 1);
        let row =
            KeptRow { row: row.into(), event_time_ms, matched: matched != 0, committed: true };
        self.insert(place.into(), at, row);
        Some(())
    }
}

/// Gives an entry of the changelog to the side that it is of.
pub fn restore(sides: &mut [KeptRows; 2], key: &[u8], value: &[u8]) -> Result<(), StateError> {
    let restored = match key {
        [ROW, side @ 0..=1, place @ ..] => sides[usize::from(*side)].restore(place, value),
        _ => None,
    };
    restored.ok_or_else(|| StateError::Damaged(format!("a join's entry at key {key:02x?}")))
}
