//! What is remembered of rows beside rows: by partition and in order, and when to look again.
//!
//! ```text
//! rows     see [`ordered_rows`](crate::operators::ordered_rows)  (logged)
//! running  2 u8, partition → see [`Running::value`]              (logged)
//! given    3 u8, partition → time i64 up to which rows have come out ahead of the watermark
//!                                                                (logged)
//! waiting  time i64, place of a row → length of its partition    (rows that have not come out)
//! due      watermark i64, partition → nothing                    (when something may be forgotten)
//! ```
//!
//! A row that has come out says so, unless its time does: those before `out_before_ms` have, where
//! no row waits for others.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use datafusion_common::Result;

use super::calls::Running;
use super::frame::Reach;
use crate::operators::ordered_rows::{Entry, OrderedRows, Place, ROW};
use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};
use crate::time::Watermark;

const RUNNING: u8 = 2;
const GIVEN: u8 = 3;
/// The same for what the changelog does not have.
const WAITING: u8 = 0x82;
const DUE: u8 = 0x83;

pub struct KeptRows {
    reach: Reach,
    rows: OrderedRows,
    running: StateMap,
    given: StateMap,
    waiting: StateMap,
    due: StateMap,
    /// All rows of earlier times have come out, but for those that wait for others.
    pub out_before_ms: i64,
}

/// Partitions in which rows wait, and up to which time these were looked for.
pub struct Waiting {
    pub partitions: BTreeSet<Bytes>,
    pub before_ms: i64,
}

fn at(time_ms: i64, of: &[u8]) -> Vec<u8> {
    [&time_key(time_ms)[..], of].concat()
}

impl KeptRows {
    pub fn new(id: StateId, reach: Reach) -> KeptRows {
        let map = |kind: u8, is_logged| StateMap::new(id.key(&[&[kind]]), is_logged);
        KeptRows {
            reach,
            rows: OrderedRows::new(id),
            running: map(RUNNING, true),
            given: map(GIVEN, true),
            waiting: map(WAITING, false),
            due: map(DUE, false),
            out_before_ms: i64::MIN,
        }
    }

    pub fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps: Vec<&mut StateMap> = self.rows.maps().into();
        maps.extend([&mut self.running, &mut self.given, &mut self.waiting, &mut self.due]);
        maps
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.rows.len().max(self.running.len() as usize)
    }

    pub fn add(&mut self, place: &Place, time_ms: i64) -> Result<(), DiskError> {
        self.rows.add(place, Some(time_ms))?;
        self.wait(place, time_ms)
    }

    fn wait(&mut self, place: &Place, time_ms: i64) -> Result<(), DiskError> {
        let partition_len = place.partition().len() as u32;
        let value: Bytes = Arc::from(&partition_len.to_be_bytes()[..]);
        self.waiting.put(&at(time_ms, place.bytes()), value)?;
        Ok(())
    }

    /// The rows of a partition, each with its time and whether it has come out.
    pub fn of(
        &self,
        partition: &[u8],
    ) -> impl Iterator<Item = Result<(Place, i64, Entry), DiskError>> {
        let out_before_ms = match self.reach.following_rows {
            0 => self.out_before_ms,
            _ => i64::MIN,
        };
        self.rows.of(partition).map(move |row| {
            let (place, entry) = row?;
            let time_ms = entry.time_ms.unwrap_or(i64::MIN);
            let given = entry.given || time_ms < out_before_ms;
            Ok((place, time_ms, Entry { given, ..entry }))
        })
    }

    /// Notes that a row has come out.
    pub fn give(&mut self, place: &Place, time_ms: i64, entry: Entry) -> Result<(), DiskError> {
        self.waiting.remove(&at(time_ms, place.bytes()))?;
        if time_ms < self.out_before_ms && self.reach.following_rows == 0 {
            return Ok(());
        }
        self.rows.put(place, Entry { given: true, ..entry })
    }

    pub fn remove(&mut self, place: &Place) -> Result<(), DiskError> {
        self.rows.remove(place)
    }

    /// Forgets all of a partition, in which no row waits.
    pub fn forget(&mut self, partition: &[u8]) -> Result<(), DiskError> {
        self.rows.remove_all(partition)?;
        self.running.remove(partition)?;
        self.given.remove(partition)?;
        Ok(())
    }

    pub fn running(&self, partition: &[u8]) -> Result<Running, DiskError> {
        let value = self.running.get(partition)?;
        Ok(value.and_then(|value| Running::parse(&value)).unwrap_or_default())
    }

    pub fn set_running(&mut self, partition: &[u8], running: &Running) -> Result<(), DiskError> {
        let before = self.running(partition)?;
        if *running == Running::default() {
            self.running.remove(partition)?;
        } else if before != *running {
            self.running.put(partition, running.value().into())?;
        }
        Ok(())
    }

    /// Up to which time rows have come out that the watermark has not passed.
    pub fn given_up_to_ms(&self, partition: &[u8]) -> Result<Option<i64>, DiskError> {
        if self.given.is_empty() {
            return Ok(None);
        }
        let value = self.given.get(partition)?;
        Ok(value.and_then(|value| Some(split_time(&value)?.0)))
    }

    pub fn set_given(&mut self, partition: &[u8], up_to_ms: i64) -> Result<(), DiskError> {
        self.given.put(partition, Arc::from(&time_key(up_to_ms)[..]))?;
        Ok(())
    }

    pub fn forget_given(&mut self, partition: &[u8]) -> Result<(), DiskError> {
        self.given.remove(partition)?;
        Ok(())
    }

    /// Whether rows of that time have come out ahead of the watermark.
    pub fn is_given(&self, partition: &[u8], time_ms: i64) -> Result<bool, DiskError> {
        Ok(self.given_up_to_ms(partition)?.is_some_and(|given| time_ms <= given))
    }

    /// Where the first rows wait that lie between these times: those of `max` rows, and of all that
    /// are as late as the last of them.
    pub fn waiting(&self, from_ms: i64, before_ms: i64, max: usize) -> Result<Waiting, DiskError> {
        let (from, to) = (time_key(from_ms), time_key(before_ms));
        let mut waiting = Waiting { partitions: BTreeSet::new(), before_ms };
        let range = self.waiting.range(Bound::Included(&from), Bound::Excluded(&to));
        for (count, entry) in range.enumerate() {
            let (key, partition_len) = entry?;
            let Some((time_ms, place)) = split_time(&key) else { continue };
            if count >= max && time_ms >= waiting.before_ms {
                break;
            }
            if count + 1 == max {
                waiting.before_ms = time_ms.saturating_add(1);
            }
            let len = partition_len[..].try_into().map_or(0, u32::from_be_bytes);
            waiting.partitions.extend(place.get(..len as usize).map(Bytes::from));
        }
        Ok(waiting)
    }

    /// The latest time of a row that waits, no later than this.
    pub fn last_waiting_ms(&self, bound_ms: i64) -> Option<i64> {
        let end = time_key(bound_ms.saturating_add(1));
        // A disk that fails says so when it is read next.
        let last = self.waiting.last_before(&end).ok().flatten()?;
        Some(split_time(&last)?.0)
    }

    pub fn first_waiting_ms(&self) -> Option<i64> {
        let (first, _) = self.waiting.first().ok().flatten()?;
        Some(split_time(&first)?.0)
    }

    /// Has a partition looked at once the watermark is beyond that.
    pub fn look_again(&mut self, partition: &[u8], beyond_ms: i64) -> Result<(), DiskError> {
        self.due.put(&at(beyond_ms, partition), Arc::from(&[][..]))?;
        Ok(())
    }

    /// Takes out up to `max` partitions that are to be looked at.
    pub fn take_due(
        &mut self,
        watermark: Watermark,
        max: usize,
    ) -> Result<BTreeSet<Bytes>, DiskError> {
        let to = time_key(watermark.0);
        let due = self.due.range(Bound::Unbounded, Bound::Excluded(&to)).take(max);
        let due: Vec<Bytes> = due.map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
        let mut partitions = BTreeSet::new();
        for key in due {
            self.due.remove(&key)?;
            partitions.extend(split_time(&key).map(|(_, partition)| Bytes::from(partition)));
        }
        Ok(partitions)
    }

    /// Takes up an entry, or learns that it has gone.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("an entry of rows beside rows: {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&ROW, rest) => {
                let [before, after] = self.rows.restore(rest, value)?;
                if let Some((place, Entry { time_ms: Some(time_ms), .. })) = before {
                    self.waiting.remove(&at(time_ms, place.bytes()))?;
                }
                let Some((place, entry)) = after else { return Ok(()) };
                if let Some(time_ms) = entry.time_ms.filter(|_| !entry.given) {
                    self.wait(&place, time_ms)?;
                }
                self.look_again(place.partition(), i64::MIN)?;
            }
            (&RUNNING, partition) => {
                value.map_or(Some(Running::default()), Running::parse).ok_or_else(damaged)?;
                self.running.restore(partition, value)?;
                self.look_again(partition, i64::MIN)?;
            }
            (&GIVEN, partition) => {
                self.given.restore(partition, value)?;
                self.look_again(partition, i64::MIN)?;
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// All was restored.
    pub fn restored(&mut self, out_before_ms: i64) -> Result<(), DiskError> {
        self.out_before_ms = out_before_ms;
        if self.reach.following_rows > 0 {
            return Ok(());
        }
        // Those have come out, and nothing was written of that.
        let end = time_key(out_before_ms);
        loop {
            let out = self.waiting.range(Bound::Unbounded, Bound::Excluded(&end)).next();
            let Some((key, _)) = out.transpose()? else { return Ok(()) };
            self.waiting.remove(&key)?;
        }
    }
}
