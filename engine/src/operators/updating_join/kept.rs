//! All rows of one side that came and were not taken back.
//!
//! ```text
//! rows   key, row → how often it is there, how many it meets     (one key's rows lie together)
//! ```
//!
//! A key's bytes never begin another key's (arrow-row), so all rows of a key are those that begin
//! with it. The changelog has the same entries, see [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use datafusion_common::{Result, exec_err};

use crate::operators::sides::{decode_time, encode_time};
use crate::state::changelog::{Change, StateError, StateId};

/// A row behind its key.
pub type Place = Arc<[u8]>;

/// What an entry's key begins with in the changelog, before the side.
const ROW: u8 = 1;

#[derive(Clone, Copy, Debug)]
pub struct KeptRow {
    pub key_len: u32,
    /// How often it is there.
    pub count: u32,
    /// How many rows of the other side it meets, where that matters.
    pub matches: u64,
    pub event_time_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub struct KeptRows {
    side: u8,
    rows: BTreeMap<Place, KeptRow>,
    changed: BTreeSet<Place>,
}

impl KeptRows {
    pub fn new(side: u8) -> KeptRows {
        KeptRows { side, ..KeptRows::default() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows of a key; only those behind `after`, if there is one.
    pub fn of<'k>(
        &'k self,
        key: &'k [u8],
        after: Option<&Place>,
    ) -> impl Iterator<Item = (&'k Place, &'k KeptRow)> {
        let from = match after {
            Some(after) => Bound::Excluded(&after[..]),
            None => Bound::Included(key),
        };
        let from = self.rows.range::<[u8], _>((from, Bound::Unbounded));
        from.take_while(move |(place, _)| place.starts_with(key))
    }

    /// A row comes once more.
    pub fn add(&mut self, key: &[u8], row: &[u8], event_time_ms: Option<i64>, matches: u64) {
        let place: Place = [key, row].concat().into();
        let kept = self.rows.entry(place.clone()).or_insert(KeptRow {
            key_len: key.len() as u32,
            count: 0,
            matches,
            event_time_ms,
        });
        kept.count += 1;
        self.changed.insert(place);
    }

    /// A row is taken back once.
    pub fn take_back(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        let place: Place = [key, row].concat().into();
        let Some(kept) = self.rows.get_mut(&place) else {
            return exec_err!("a join is told of a row that goes, and that never came");
        };
        kept.count -= 1;
        if kept.count == 0 {
            self.rows.remove(&place);
        }
        self.changed.insert(place);
        Ok(())
    }

    /// A row meets one more, or one less. How many it has met before.
    pub fn meets(&mut self, place: &Place, less: bool) -> u64 {
        let Some(kept) = self.rows.get_mut(place) else { return 0 };
        let before = kept.matches;
        kept.matches = if less { before.saturating_sub(1) } else { before + 1 };
        self.changed.insert(place.clone());
        before
    }

    pub fn commit(&mut self, id: StateId, changes: &mut Vec<Change>) {
        for place in std::mem::take(&mut self.changed) {
            let value = self.rows.get(&place).map(|kept| {
                let mut value = Vec::with_capacity(4 + 4 + 8 + 9);
                value.extend_from_slice(&kept.key_len.to_be_bytes());
                value.extend_from_slice(&kept.count.to_be_bytes());
                value.extend_from_slice(&kept.matches.to_be_bytes());
                encode_time(kept.event_time_ms, &mut value);
                value
            });
            changes.push(Change { key: id.key(&[&[ROW, self.side], &place]), value });
        }
    }

    fn restore(&mut self, place: &[u8], value: &[u8]) -> Option<()> {
        let (key_len, rest) = value.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (matches, rest) = rest.split_first_chunk::<8>()?;
        let (event_time_ms, _) = decode_time(rest)?;
        let kept = KeptRow {
            key_len: u32::from_be_bytes(*key_len),
            count: u32::from_be_bytes(*count),
            matches: u64::from_be_bytes(*matches),
            event_time_ms,
        };
        (kept.key_len as usize <= place.len()).then(|| self.rows.insert(place.into(), kept))?;
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
