//! All rows of one side that came and were not taken back.
//!
//! ```text
//! rows   key, row → how often it is there, how many it meets     (one key's rows lie together)
//! ```
//!
//! A key's bytes never begin another key's (arrow-row), so all rows of a key are those that begin
//! with it. The changelog has the same entries, see [`super`].

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_common::{Result, exec_err};

use crate::operators::sides::{decode_time, encode_time};
use crate::operators::tables::{Entries, RowsTable, damaged};
use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};

/// A row behind its key.
pub type Place = Bytes;

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

impl KeptRow {
    fn encode(self) -> Bytes {
        let mut value = Vec::with_capacity(4 + 4 + 8 + 9);
        value.extend_from_slice(&self.key_len.to_be_bytes());
        value.extend_from_slice(&self.count.to_be_bytes());
        value.extend_from_slice(&self.matches.to_be_bytes());
        encode_time(self.event_time_ms, &mut value);
        value.into()
    }

    fn decode(place: &[u8], value: &[u8]) -> Option<KeptRow> {
        let (key_len, rest) = value.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (matches, rest) = rest.split_first_chunk::<8>()?;
        let (event_time_ms, _) = decode_time(rest)?;
        let key_len = u32::from_be_bytes(*key_len);
        (key_len as usize <= place.len()).then_some(KeptRow {
            key_len,
            count: u32::from_be_bytes(*count),
            matches: u64::from_be_bytes(*matches),
            event_time_ms,
        })
    }
}

#[derive(Debug)]
pub struct KeptRows {
    rows: StateMap,
}

impl KeptRows {
    pub fn new(id: StateId, side: u8) -> KeptRows {
        KeptRows { rows: StateMap::new(id.key(&[&[ROW, side]]), true) }
    }

    pub fn map(&mut self) -> &mut StateMap {
        &mut self.rows
    }

    pub fn len(&self) -> usize {
        self.rows.len() as usize
    }

    /// Rows of a key; only those behind `after`, if there is one.
    pub fn of(
        &self,
        key: &[u8],
        after: Option<&Place>,
    ) -> impl Iterator<Item = Result<(Place, KeptRow), DiskError>> {
        let entries = self.rows.with_prefix(key, after.map(AsRef::as_ref));
        entries.filter_map(|entry| match entry {
            // What is in the map was encoded here, or checked when it was restored.
            Ok((place, value)) => KeptRow::decode(&place, &value).map(|kept| Ok((place, kept))),
            Err(error) => Some(Err(error)),
        })
    }

    fn get(&self, place: &[u8]) -> Result<Option<KeptRow>, DiskError> {
        let value = self.rows.get(place)?;
        Ok(value.and_then(|value| KeptRow::decode(place, &value)))
    }

    /// Forgets all rows of a key.
    pub fn forget(&mut self, key: &[u8]) -> Result<(), DiskError> {
        self.rows.remove_with_prefix(key)
    }

    /// How often a row is there.
    pub fn count(&self, key: &[u8], row: &[u8]) -> Result<i64, DiskError> {
        Ok(self.get(&[key, row].concat())?.map_or(0, |kept| kept.count.into()))
    }

    /// A row comes once more.
    pub fn add(
        &mut self,
        key: &[u8],
        row: &[u8],
        event_time_ms: Option<i64>,
        matches: u64,
    ) -> Result<()> {
        let place = [key, row].concat();
        let key_len = key.len() as u32;
        let there = self.get(&place)?;
        let there = there.unwrap_or(KeptRow { key_len, count: 0, matches, event_time_ms });
        let kept = KeptRow { count: there.count + 1, ..there };
        self.rows.put(&place, kept.encode())?;
        Ok(())
    }

    /// A row is taken back once.
    pub fn take_back(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        let place = [key, row].concat();
        let Some(kept) = self.get(&place)? else {
            return exec_err!("a join is told of a row that goes, and that never came");
        };
        match kept.count {
            0 | 1 => self.rows.remove(&place)?,
            count => self.rows.put(&place, KeptRow { count: count - 1, ..kept }.encode())?,
        };
        Ok(())
    }

    /// A row meets one more, or one less. How many it has met before.
    pub fn meets(&mut self, place: &Place, less: bool) -> Result<u64> {
        let Some(kept) = self.get(place)? else { return Ok(0) };
        let before = kept.matches;
        let matches = if less { before.saturating_sub(1) } else { before + 1 };
        self.rows.put(place, KeptRow { matches, ..kept }.encode())?;
        Ok(before)
    }

    fn restore(&mut self, place: &[u8], value: Option<&[u8]>) -> Option<Result<(), DiskError>> {
        let changed = match value {
            Some(value) => {
                KeptRow::decode(place, value)?;
                self.rows.put(place, Arc::from(value))
            }
            None => self.rows.remove(place),
        };
        Some(changed.map(|_| ()))
    }
}

/// The rows of one side that entries say are kept.
pub fn table<'a>(entries: &Entries<'a>, side: u8, schema: &SchemaRef) -> Result<RowsTable<'a>> {
    let (mut rows, mut counts, mut matches) = (Vec::new(), Vec::new(), Vec::new());
    for (key, value) in entries.iter().filter(|(key, _)| key.starts_with(&[ROW, side])) {
        let place = &key[2..];
        let parsed = (|| {
            let (key_len, rest) = value.split_first_chunk::<4>()?;
            let (count, rest) = rest.split_first_chunk::<4>()?;
            let (met, _) = rest.split_first_chunk::<8>()?;
            let row = place.get(u32::from_be_bytes(*key_len) as usize..)?;
            Some((row, u32::from_be_bytes(*count), u64::from_be_bytes(*met)))
        })();
        let (row, count, met) = parsed.ok_or_else(|| damaged(key))?;
        rows.push(Some(row));
        counts.push(count.into());
        matches.push(met);
    }
    let table = RowsTable::new(schema, rows).with_counts("times_there", counts);
    Ok(table.with_counts("matches", matches))
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
