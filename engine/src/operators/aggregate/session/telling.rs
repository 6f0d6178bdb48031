//! Sessions that are told more than once: before they are over, or corrected afterwards.
//!
//! The rule is that of [`window_updates`](super::super::window_updates). What a session gave is
//! taken back when it grows, for its bounds are part of its row; so is what each of several gave
//! that became one. What was told is what is settled: the bounds noted here, and committed runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow_row::{RowConverter, SortField};
use datafusion_common::Result;

use super::{Over, SessionAggregate};
use crate::describe::words::duration_text;
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

/// The bounds of sessions as they were settled last.
#[derive(Default)]
pub(super) struct Settled {
    /// First and last times.
    spans: BTreeMap<Name, (i64, i64)>,
    by_last: BTreeSet<(i64, Name)>,
}

impl Settled {
    pub fn put(&mut self, name: Name, first: i64, last: i64) {
        self.remove(&name);
        self.by_last.insert((last, name.clone()));
        self.spans.insert(name, (first, last));
    }

    pub fn remove(&mut self, name: &Name) {
        if let Some((_, last)) = self.spans.remove(name) {
            self.by_last.remove(&(last, name.clone()));
        }
    }

    fn over(&self, name: &Name) -> Option<Over> {
        let (first, last) = *self.spans.get(name)?;
        let (key, id) = (Arc::from(&*name.0), name.1);
        Some(Over { first, key, id, last, told: false })
    }

    /// Sessions whose last time lies in between, the second one left out, by their first times.
    fn between(&self, last: i64, before: i64) -> Vec<Over> {
        let named = self.by_last.range((last, (Box::default(), i64::MIN))..);
        let named = named.take_while(|(last, _)| *last < before);
        let mut over: Vec<Over> = named.filter_map(|(_, name)| self.over(name)).collect();
        over.sort_unstable();
        over
    }
}

impl SessionAggregate {
    /// Whether a session with this last time is told when the watermark is there.
    fn is_told(&self, telling: Telling, last: i64) -> bool {
        telling.early || self.spec.is_over(last, self.closed_up_to)
    }

    /// Takes what is new into the committed state, and tells what of it is to be told.
    pub(super) fn settle_and_tell(&mut self, telling: Telling, out: &mut Vec<Rows>) -> Result<()> {
        let table = &self.groups.new.table;
        if table.is_empty() {
            return Ok(());
        }
        let mut changed: BTreeSet<Name> = BTreeSet::new();
        for group in 0..table.len() {
            let (id, key) = (table.window_start_ms(group), table.key(group));
            let found = self.sessions.find(key, id);
            changed.extend(found.map(|(_, session)| (key.into(), session.id)));
        }
        let absorbed = self.absorbed.clone();
        let before = changed.iter().chain(&absorbed).filter_map(|name| self.settled.over(name));
        let mut before: Vec<Over> =
            before.filter(|over| self.is_told(telling, over.last)).collect();
        before.sort_unstable();
        before.dedup();
        let old = self.rows_of(&before)?;
        self.settle()?;
        absorbed.iter().for_each(|name| self.settled.remove(name));
        let mut after = Vec::new();
        for name in changed {
            let Some((first, session)) = self.sessions.find(&name.0, name.1) else { continue };
            self.settled.put(name.clone(), first, session.last);
            if self.is_told(telling, session.last) {
                after.extend(self.settled.over(&name));
            }
        }
        after.sort_unstable();
        let new = self.rows_of(&after)?;
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
        let any_ended = self.sessions.earliest().is_some_and(|last| spec.is_over(last, watermark));
        if any_ended {
            self.settle_and_tell(telling, out)?;
        }
        self.closed_up_to = watermark;
        if !any_ended {
            return Ok(());
        }
        if !telling.early {
            let ended = self.settled.between(spec.over_before(before), spec.over_before(watermark));
            out.extend(self.rows_of(&ended)?);
        }
        let forgotten = Watermark(watermark.0.saturating_sub(telling.grace_ms));
        let over = self.sessions.take_over(|last| spec.is_over(last, forgotten));
        for over in &over {
            self.forget_session(over);
            self.settled.remove(&(over.key.as_ref().into(), over.id));
        }
        self.forget_runs(&over)?;
        Ok(())
    }

    /// The input has ended: tells what has not been told.
    pub(super) fn finish_telling(&mut self, telling: Telling, out: &mut Vec<Rows>) -> Result<()> {
        self.settle_and_tell(telling, out)?;
        if !telling.early {
            let rest = self.settled.between(self.spec.over_before(self.closed_up_to), i64::MAX);
            out.extend(self.rows_of(&rest)?);
        }
        self.settled = Settled::default();
        Ok(())
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
