//! Partitions as they change, where no row that came in is ever taken back.
//!
//! Rows beyond the limit stay there for ever, so what is kept of a partition is little: it is taken
//! into memory when its first row comes, changed there, and compared with what it was. Only what
//! differs then goes into the maps.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use arrow::array::{Array, Int64Array};
use datafusion_common::Result;

use super::ranked::{Ranks, Top};
use crate::operators::ordered_rows::{EncodedRow, EncodedRows, Entry, OrderedRows, Place};

/// Those that rows have come to.
#[derive(Default)]
pub struct ChangingPartitions(HashMap<Box<[u8]>, Changing>);

impl ChangingPartitions {
    /// Adds rows, but for those that are beyond the limit.
    pub fn add(
        &mut self,
        top: &Top,
        kept: &OrderedRows,
        rows: &EncodedRows<'_>,
        times_ms: &Int64Array,
    ) -> Result<()> {
        for at in 0..times_ms.len() {
            let row = rows.get(at);
            let time_ms = times_ms.is_valid(at).then(|| times_ms.value(at));
            if let Some(changing) = self.0.get_mut(row.partition) {
                changing.add(top, &row, time_ms);
                continue;
            }
            let mut changing = Changing::load(top, kept, row.partition)?;
            changing.add(top, &row, time_ms);
            if let Slot::Vacant(slot) = self.0.entry(row.partition.into()) {
                slot.insert(changing);
            }
        }
        Ok(())
    }

    /// All of them, in the order of their keys, and without what is beyond the limit.
    pub fn take(&mut self, top: &Top) -> impl Iterator<Item = Changing> {
        let mut all: Vec<_> = std::mem::take(&mut self.0).into_iter().collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter().map(|(_, mut changing)| {
            changing.prune(top);
            changing
        })
    }
}

/// The rows of a partition, in their order: as they were told, and as they are.
pub struct Changing {
    pub was: Vec<(Place, Entry)>,
    pub now: Vec<(Place, Entry)>,
    /// With those that are there several times.
    count: u64,
    /// When there are as many, it is looked whether some are of no use.
    prune_at: u64,
}

impl Changing {
    fn load(top: &Top, rows: &OrderedRows, partition: &[u8]) -> Result<Changing> {
        let was = rows.of(partition).collect::<Result<Vec<_>, _>>()?;
        let count = was.iter().map(|(_, entry)| entry.count).sum();
        let prune_at = top.limit.saturating_mul(2).max(2 * was.len() as u64);
        Ok(Changing { now: was.clone(), was, count, prune_at })
    }

    fn add(&mut self, top: &Top, row: &EncodedRow<'_>, time_ms: Option<i64>) {
        if self.count >= top.limit
            && let Some((last, _)) = self.now.last()
        {
            if top.keeps_latest && row.order == last.order() {
                self.count = 1;
                self.now = vec![(row.place(), Entry { time_ms, count: 1, given: false })];
                return;
            }
            if top.is_beyond(row, last) {
                return;
            }
        }
        self.count += 1;
        let ours = (row.order, row.row);
        match self.now.binary_search_by(|(place, _)| (place.order(), place.row()).cmp(&ours)) {
            Ok(at) => {
                let there = &mut self.now[at].1;
                // Whichever came first, it is the same.
                there.time_ms = there.time_ms.min(time_ms);
                there.count += 1;
            }
            Err(at) => {
                self.now.insert(at, (row.place(), Entry { time_ms, count: 1, given: false }));
                // Of many that come and go again, few are held.
                if self.now.len() as u64 > self.prune_at {
                    self.prune(top);
                    // Those that are of one rank all stay.
                    let least = top.limit.saturating_mul(2);
                    self.prune_at = least.max(2 * self.now.len() as u64);
                }
            }
        }
    }

    fn prune(&mut self, top: &Top) {
        let mut ranks = Ranks::new(top);
        let first_beyond =
            self.now.iter().position(|(at, entry)| ranks.next(at, *entry).len() == 0);
        if let Some(first_beyond) = first_beyond {
            let gone = self.now.drain(first_beyond..);
            self.count -= gone.map(|(_, entry)| entry.count).sum::<u64>();
        }
    }

    /// Puts into the maps what differs from what is there.
    pub fn keep(self, rows: &mut OrderedRows) -> Result<()> {
        let (mut was, mut now) = (self.was.iter().peekable(), self.now.iter().peekable());
        loop {
            let order = match (was.peek(), now.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((was, _)), Some((now, _))) => was.bytes().cmp(now.bytes()),
            };
            let gone = if order.is_le() { was.next() } else { None };
            let new = if order.is_ge() { now.next() } else { None };
            match (gone, new) {
                (Some((_, was)), Some((_, now))) if was == now => {}
                (was, Some((place, now))) => rows.replace(place, was.map(|was| was.1), *now)?,
                (Some((place, was)), None) => rows.drop_known(place, *was)?,
                (None, None) => {}
            }
        }
    }
}
