//! The first rows of each partition as they stand, told whenever they change.
//!
//! The rule: what has come out, less what was taken back, are the rows up to the limit among all
//! that came in and were not taken back. A partition that changed between two flushes is told
//! once: rows that are no longer there (or have another rank, where that comes out) are taken
//! back, then those that are new come. Partitions come in the order of their keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use datafusion_physical_expr::expressions::Column;

use super::bounded::BoundedTopN;
use super::ranked::{Ranked, Top};
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::ordered_rows;
use crate::operators::ordered_rows::{EncodedRows, OrderedRows, ROW, RowCodec};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;

/// Rows that are told together: bounds the memory that telling takes.
const TOLD_MAX: usize = 8192;

#[derive(Debug)]
pub struct TopNSpec(pub Top);

/// The operator.
pub struct TopN {
    top: Top,
    codec: RowCodec,
    rows: OrderedRows,
    /// How each partition that has changed since the last flush was told.
    told: BTreeMap<Box<[u8]>, Vec<Ranked>>,
    /// Rows that are taken back may be gone.
    may_forget: bool,
}

impl fmt::Display for TopNSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl OperatorSpec for TopNSpec {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        self.0.ordering.distribution()
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        let partition = self.0.ordering.partition.iter();
        let columns = partition.map(|key| Some(key.downcast_ref::<Column>()?.index()));
        columns.collect::<Option<_>>().into_iter().collect()
    }

    fn describe(&self, words: &Words) -> Described {
        let by = self.0.partition(words);
        let keeps = match self.0.retracting {
            true => Keeps::new("all rows", by, Until::TakenBack),
            false => Keeps::new(format!("the first {} rows", self.0.limit), by, Until::Never),
        };
        Described { title: self.0.title(), details: self.0.details(words), keeps }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        Ok(vec![ordered_rows::table(entries, &self.0.ordering)?])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        if !self.0.retracting {
            return Ok(Box::new(BoundedTopN::new(self.0.clone(), OrderedRows::new(id))?));
        }
        Ok(Box::new(TopN {
            codec: RowCodec::new(&self.0.ordering)?,
            top: self.0.clone(),
            rows: OrderedRows::new(id),
            told: BTreeMap::new(),
            may_forget: false,
        }))
    }
}

/// Takes up a row's entry.
pub(super) fn restore_row(
    rows: &mut OrderedRows,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), StateError> {
    match key.split_first() {
        Some((&ROW, rest)) => rows.restore(rest, value).map(|_| ()),
        _ => Err(StateError::Damaged(format!("a ranked row's entry at key {key:02x?}"))),
    }
}

/// Rows that are told: of those that come, which take back.
#[derive(Default)]
pub(super) struct Told {
    rows: Vec<Ranked>,
    retracts: Vec<bool>,
}

impl Told {
    /// A partition has changed.
    pub(super) fn tell(&mut self, before: &[Ranked], after: &[Ranked]) {
        for (row, retracted) in difference(before, after) {
            self.rows.push(row.clone());
            self.retracts.push(retracted);
        }
    }

    pub(super) fn is_much(&self) -> bool {
        self.rows.len() >= TOLD_MAX
    }

    pub(super) fn take(&mut self, top: &Top, codec: &RowCodec, out: &mut Vec<Rows>) -> Result<()> {
        if !self.rows.is_empty() {
            let retracts = std::mem::take(&mut self.retracts);
            out.push(top.rows(codec, &std::mem::take(&mut self.rows), retracts)?);
        }
        Ok(())
    }
}

/// Rows to take back and rows that are new, from one list in order to another.
fn difference<'r>(
    before: &'r [Ranked],
    after: &'r [Ranked],
) -> impl Iterator<Item = (&'r Ranked, bool)> {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let (mut old, mut now) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (old.peek(), now.peek()) {
            (Some(was), Some(is)) if was.place() == is.place() => {
                old.next();
                now.next();
            }
            (Some(was), is) if is.is_none_or(|is| was.place() < is.place()) => {
                gone.extend(old.next());
            }
            (_, Some(_)) => new.extend(now.next()),
            (_, None) => break,
        }
    }
    let gone = gone.into_iter().map(|row| (row, true));
    gone.chain(new.into_iter().map(|row| (row, false)))
}

impl Operator for TopN {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let columns = self.codec.encode(&self.top.ordering, &rows.batch)?;
        Ok(Prepared { rows, columns, keys: None, late: 0, untimed: 0 })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        let encoded = EncodedRows::of(&columns);
        for at in 0..rows.len() {
            let row = encoded.get(at);
            if !self.told.contains_key(row.partition) {
                let told = self.top.of(&self.rows, row.partition)?;
                self.told.insert(row.partition.into(), told);
            }
            let place = row.place();
            if rows.is_retraction(at) {
                if !self.may_forget || self.rows.contains(&place)? {
                    self.rows.take_back(&place)?;
                }
                continue;
            }
            let times = &rows.event_times_ms;
            self.rows.add(&place, times.is_valid(at).then(|| times.value(at)))?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let mut told = Told::default();
        for (partition, before) in std::mem::take(&mut self.told) {
            told.tell(&before, &self.top.of(&self.rows, &partition)?);
            if told.is_much() {
                told.take(&self.top, &self.codec, out)?;
            }
        }
        told.take(&self.top, &self.codec, out)
    }

    fn may_forget(&mut self) {
        self.may_forget = true;
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.rows.remove_all(key)?)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.rows.maps().into()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        restore_row(&mut self.rows, key, value)
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.rows.len() }
    }
}
