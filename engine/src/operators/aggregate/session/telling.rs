//! Sessions that are told more than once: before they are over, or corrected afterwards.
//!
//! The rule is that of [`window_updates`](super::super::window_updates). What a session gave is
//! taken back when it grows, for its bounds are part of its row; so is what each of several gave
//! that became one. What was told is what is settled: committed runs, and bounds as they were
//! before they changed.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::BooleanArray;
use arrow_row::{RowConverter, SortField};
use datafusion_common::Result;

use super::{CLOSED_TOGETHER_MAX, Over, SessionAggregate};
use crate::describe::words::duration_text;
use crate::operators::aggregate::sessions::Placed;
use crate::operators::failed_groups::without;
use crate::rows::Rows;
use crate::time::Watermark;

/// When sessions are told more than once.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// From their first row on, not only once they are over.
    pub early: bool,
    /// How long after its end a session takes rows.
    pub grace_ms: i64,
}

impl Telling {
    pub(in crate::operators::aggregate) fn in_words(self) -> Vec<String> {
        let mut words = Vec::new();
        if self.early {
            words.push("told whenever they change".to_owned());
        }
        if self.grace_ms > 0 {
            let grace = duration_text(self.grace_ms);
            words.push(format!("corrected by rows up to {grace} late"));
        }
        words
    }
}

/// A key and a session's id.
type Name = (Box<[u8]>, i64);

/// The first and last times, as they were settled last, of sessions that have changed since; of
/// those that are new, none.
#[derive(Default)]
pub(super) struct Undo(BTreeMap<Name, Option<(i64, i64)>>);

impl Undo {
    pub fn note(&mut self, key: &[u8], placed: &Placed) {
        for (first, session) in &placed.before {
            let bounds = Some((*first, session.last));
            self.0.entry((key.into(), session.id)).or_insert(bounds);
        }
        if placed.before.is_empty() {
            self.0.entry((key.into(), placed.id)).or_insert(None);
        }
    }
}

impl SessionAggregate {
    /// Whether a session with this last time is told when the watermark is there.
    fn is_told(&self, telling: Telling, last: i64) -> bool {
        telling.early || self.spec.is_over(last, self.closed_up_to)
    }

    /// Takes what is new into the committed state, and tells what of it is to be told.
    pub(super) fn settle_and_tell(&mut self, telling: Telling, out: &mut Vec<Rows>) -> Result<()> {
        let undo = std::mem::take(&mut self.undo).0;
        if undo.is_empty() {
            return Ok(());
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for ((key, id), bounds) in undo {
            if let Some((_, session)) = self.sessions.find(&key, id)? {
                after.push((key.clone(), session.id));
            }
            if let Some((first, last)) = bounds.filter(|(_, last)| self.is_told(telling, *last)) {
                before.push(Over { first, key: key.into(), id, last, told: false });
            }
        }
        before.sort_unstable();
        after.sort_unstable();
        after.dedup();
        let old = match self.rows_of(&before)? {
            Some((rows, failed)) => Some(without(&rows, &failed)?),
            None => None,
        };
        self.settle()?;
        let mut now = Vec::new();
        for (key, id) in after {
            let Some((first, session)) = self.sessions.find(&key, id)? else { continue };
            if self.is_told(telling, session.last) {
                let last = session.last;
                now.push(Over { first, key: key.into(), id, last, told: false });
            }
        }
        now.sort_unstable();
        let new = self.told_rows_of(&now)?;
        out.extend(changes(old, new)?);
        Ok(())
    }

    /// Tells sessions that have ended since, and forgets those whose grace is over.
    pub(super) fn advance_telling(
        &mut self,
        telling: Telling,
        watermark: Watermark,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let spec = self.spec.clone();
        let before = self.closed_up_to;
        let first = self.sessions.first_last();
        let any_ended = first.is_some_and(|last| spec.is_over(last, watermark));
        if any_ended {
            self.settle_and_tell(telling, out)?;
        }
        self.closed_up_to = watermark;
        if !any_ended {
            return Ok(());
        }
        if !telling.early {
            self.tell_ended((spec.over_before(before), spec.over_before(watermark)), out)?;
        }
        let forgotten = Watermark(watermark.0.saturating_sub(telling.grace_ms));
        loop {
            let before = spec.over_before(forgotten);
            let over = self.sessions.take_over(before, CLOSED_TOGETHER_MAX)?;
            self.forget_runs(&over)?;
            if over.len() < CLOSED_TOGETHER_MAX {
                return Ok(());
            }
        }
    }

    /// Tells sessions with last times in between.
    fn tell_ended(&self, between: (i64, i64), out: &mut Vec<Rows>) -> Result<()> {
        let ended = self.sessions.last_between(false, between, usize::MAX)?;
        for ended in ended.chunks(CLOSED_TOGETHER_MAX) {
            out.extend(self.told_rows_of(ended)?);
        }
        Ok(())
    }

    /// The input has ended: tells what has not been told. Sessions stay, as told.
    pub(super) fn finish_telling(&mut self, telling: Telling, out: &mut Vec<Rows>) -> Result<()> {
        self.settle_and_tell(telling, out)?;
        if !telling.early {
            self.tell_ended((self.spec.over_before(self.closed_up_to), i64::MAX), out)?;
        }
        loop {
            let told = self.sessions.tell(CLOSED_TOGETHER_MAX)?;
            self.forget_runs(&told)?;
            if told.len() < CLOSED_TOGETHER_MAX {
                return Ok(());
            }
        }
    }
}

/// Old rows taken back and new ones, less those that are the same.
fn changes(old: Option<Rows>, new: Option<Rows>) -> Result<Option<Rows>> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => {
            let schema = new.batch.schema();
            let fields = schema.fields().iter();
            let fields = fields.map(|field| SortField::new(field.data_type().clone()));
            let codec = RowConverter::new(fields.collect())?;
            let old_rows = codec.convert_columns(old.batch.columns())?;
            let new_rows = codec.convert_columns(new.batch.columns())?;
            let told: BTreeSet<&[u8]> = old_rows.iter().map(|row| row.data()).collect();
            let stays: BTreeSet<&[u8]> =
                new_rows.iter().map(|row| row.data()).filter(|row| told.contains(row)).collect();
            let moves = |rows: &arrow_row::Rows| -> BooleanArray {
                rows.iter().map(|row| Some(!stays.contains(row.data()))).collect()
            };
            (Some(old.filter(&moves(&old_rows))?), Some(new.filter(&moves(&new_rows))?))
        }
        both => both,
    };
    let old = old.map(|old| {
        let all = BooleanArray::from(vec![true; old.len()]);
        Rows::changes(old.batch, old.event_times_ms, all)
    });
    let parts: Vec<Rows> = old.into_iter().chain(new).collect();
    match parts.first() {
        Some(part) => Ok(Some(Rows::concat(&part.batch.schema(), &parts)?)),
        None => Ok(None),
    }
}
