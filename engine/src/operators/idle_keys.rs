//! Keys that were left alone for too long, and all that is kept of them: `state_ttl`.
//!
//! The rule: a key is forgotten once the watermark is later by more than the time to live than the
//! last row that came for it, or than the watermark was when that came, if that is later or the row
//! has no time. What was told of the key stands, and is told before; the next row of the key begins
//! anew. So for keys that are never left alone for as long, the answer is that of batch SQL; for
//! others it is that over the rows since.
//!
//! This lies around an operator that keeps something by key and never lets it go by itself. A row
//! that is taken back after its key was forgotten is left out.
//!
//! ```text
//! last     0x20 u8, key → i64, in ms       (logged)
//! by_last  last i64, key → nothing         (made from that)
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;

use super::aggregate::partial::{BeforeMeeting, CombinedRows, Merged};
use super::filter_project::evaluate;
use super::tables::{Entries, KeptTable};
use super::{Distribution, ExprText, Identity, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::words::duration_text;
use crate::describe::{Described, Until, Words};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::layouts::Layouts;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};
use crate::time::Watermark;

const FORGETS: &str = "\n  forgets keys that are left alone";

const LAST: u8 = 0x20;
/// The same for what the changelog does not have.
const BY_LAST: u8 = 0xa0;

/// When a row without a time came, if there was no watermark yet.
const NOT_KNOWN: i64 = Watermark::MIN.0;

/// Keys that are forgotten together: bounds the memory that it takes.
const FORGOTTEN_MAX: usize = 8192;

/// An operator whose keys do not live for ever.
#[derive(Debug)]
pub struct IdleKeysSpec {
    operator: Arc<dyn OperatorSpec>,
    /// Of each side, what it keeps rows by.
    keys: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    ttl_ms: i64,
}

/// The operator.
pub struct IdleKeys {
    spec: Arc<IdleKeysSpec>,
    operator: Box<dyn Operator>,
    last: Last,
    watermark: Watermark,
    /// Keys of rows that came since the last settling, and when.
    touched: HashMap<Box<[u8]>, i64>,
    forgotten: u64,
}

/// When a row came last for each key.
struct Last {
    by_key: StateMap,
    by_time: StateMap,
}

impl IdleKeysSpec {
    pub fn new(
        operator: Arc<dyn OperatorSpec>,
        keys: Vec<Vec<Arc<dyn PhysicalExpr>>>,
        ttl_ms: i64,
    ) -> IdleKeysSpec {
        IdleKeysSpec { operator, keys, ttl_ms }
    }
}

/// How long they live may change while the state stays as it is.
impl fmt::Display for IdleKeysSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{FORGETS}", self.operator)
    }
}

impl OperatorSpec for IdleKeysSpec {
    fn schema(&self) -> &SchemaRef {
        self.operator.schema()
    }

    fn distribution(&self, side: usize) -> Distribution {
        self.operator.distribution(side)
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        self.operator.comes_by()
    }

    fn before_meeting(&self, side: usize) -> BeforeMeeting {
        self.operator.before_meeting(side)
    }

    fn to_all(&self, side: usize) -> Option<Arc<dyn PhysicalExpr>> {
        self.operator.to_all(side)
    }

    fn describe(&self, words: &Words) -> Described {
        let mut described = self.operator.describe(words);
        let ttl = duration_text(self.ttl_ms);
        described.keeps.until = Until::Watermark(format!("the watermark is {ttl} past the last"));
        described
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let own = entries.iter().filter(|(key, _)| key.first() != Some(&LAST));
        let own = Entries { of: own.copied().collect(), layouts: entries.layouts.clone() };
        self.operator.tables(&own)
    }

    fn identity(&self, text: &ExprText<'_>) -> Option<Identity> {
        let identity = self.operator.identity(text)?;
        let text = format!("{}{FORGETS}", identity.text);
        Some(Identity { text, ..identity })
    }

    fn forgets(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let mut operator = self.operator.clone().start(id)?;
        operator.may_forget();
        Ok(Box::new(IdleKeys {
            operator,
            last: Last {
                by_key: StateMap::new(id.key(&[&[LAST]]), true),
                by_time: StateMap::new(id.key(&[&[BY_LAST]]), false),
            },
            watermark: Watermark::MIN,
            touched: HashMap::new(),
            forgotten: 0,
            spec: self,
        }))
    }
}

fn at(time_ms: i64, key: &[u8]) -> Vec<u8> {
    [&time_key(time_ms)[..], key].concat()
}

impl Last {
    fn of(&self, key: &[u8]) -> Result<Option<i64>, DiskError> {
        Ok(self.by_key.get(key)?.and_then(|last| Some(split_time(&last)?.0)))
    }

    fn set(&mut self, key: &[u8], time_ms: Option<i64>) -> Result<(), DiskError> {
        let before = self.of(key)?;
        if before == time_ms {
            return Ok(());
        }
        if let Some(before) = before {
            self.by_time.remove(&at(before, key))?;
        }
        match time_ms {
            Some(time_ms) => {
                self.by_time.put(&at(time_ms, key), Arc::from(&[][..]))?;
                self.by_key.put(key, Arc::from(&time_key(time_ms)[..]))?;
            }
            None => {
                self.by_key.remove(key)?;
            }
        }
        Ok(())
    }

    /// Up to `max` keys for which nothing has come since before that.
    fn before(&self, time_ms: i64, max: usize) -> Result<Vec<Bytes>, DiskError> {
        let to = time_key(time_ms);
        let keys = self.by_time.range(Bound::Unbounded, Bound::Excluded(&to)).take(max);
        let keys = keys.map(|entry| {
            let (place, _) = entry?;
            Ok(split_time(&place).map(|(_, key)| Bytes::from(key)))
        });
        keys.filter_map(Result::transpose).collect()
    }
}

impl IdleKeys {
    /// The keys of rows, as the operator has them in its bytes.
    fn keys_of(&self, side: usize, rows: &Rows) -> Result<Option<arrow_row::Rows>> {
        let exprs = &self.spec.keys[side];
        if exprs.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(exprs.len());
        for expr in exprs {
            columns.push(evaluate(&rows.batch, expr.as_ref())?);
        }
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        Ok(Some(RowConverter::new(fields.collect())?.convert_columns(&columns)?))
    }

    /// Rows without those that are taken back of keys that are gone.
    fn known(&self, side: usize, rows: Rows) -> Result<Rows> {
        if rows.retracts.is_none() {
            return Ok(rows);
        }
        let keys = self.keys_of(side, &rows)?;
        let key = |row: usize| keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
        let mut new: HashSet<&[u8]> = HashSet::new();
        let mut known = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            let key = key(row);
            if !rows.is_retraction(row) {
                new.insert(key);
            }
            let is_known = !rows.is_retraction(row)
                || new.contains(key)
                || self.touched.contains_key(key)
                || self.last.by_key.contains(key)?;
            known.push(is_known);
        }
        match known.iter().all(|is_known| *is_known) {
            true => Ok(rows),
            false => rows.filter(&BooleanArray::from(known)),
        }
    }

    fn touch(&mut self, side: usize, rows: &Rows) -> Result<()> {
        let keys = self.keys_of(side, rows)?;
        for (row, time_ms) in rows.event_times_ms.iter().enumerate() {
            let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
            self.touch_key(key, time_ms);
        }
        Ok(())
    }

    fn touch_key(&mut self, key: &[u8], time_ms: Option<i64>) {
        let time_ms = time_ms.unwrap_or(NOT_KNOWN).max(self.watermark.0);
        match self.touched.get_mut(key) {
            Some(last) => *last = (*last).max(time_ms),
            None => {
                self.touched.insert(key.into(), time_ms);
            }
        }
    }

    fn settle(&mut self) -> Result<(), DiskError> {
        for (key, time_ms) in self.touched.drain() {
            let last = self.last.of(&key)?;
            if last.is_none_or(|last| last < time_ms) {
                self.last.set(&key, Some(time_ms))?;
            }
        }
        Ok(())
    }
}

impl IdleKeys {
    /// Rows without a time that came before there was a watermark came now.
    fn watermark_is_known(&mut self) -> Result<(), DiskError> {
        loop {
            let keys = self.last.before(NOT_KNOWN + 1, FORGOTTEN_MAX)?;
            if keys.is_empty() || self.watermark.0 == NOT_KNOWN {
                return Ok(());
            }
            for key in keys {
                self.last.set(&key, Some(self.watermark.0))?;
            }
        }
    }
}

impl Operator for IdleKeys {
    fn prepare(&self, side: usize, rows: Rows) -> Result<Prepared> {
        self.operator.prepare(side, self.known(side, rows)?)
    }

    fn late_rows(&self, side: usize, rows: &Rows) -> Result<Option<Rows>> {
        self.operator.late_rows(side, rows)
    }

    fn has_unkeyed(&mut self) {
        self.operator.has_unkeyed();
    }

    fn apply(&mut self, side: usize, rows: Prepared, out: &mut Vec<Rows>) -> Result<()> {
        self.touch(side, &rows.rows)?;
        self.operator.apply(side, rows, out)
    }

    fn merge(&mut self, side: usize, rows: CombinedRows) -> Result<Merged> {
        for (row, time_ms) in rows.latest_ms.iter().enumerate() {
            let key = rows.keys.as_ref().map_or(&[][..], |keys| keys.value(row));
            self.touch_key(key, time_ms);
        }
        self.operator.merge(side, rows)
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        self.operator.go_on(out)
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        self.operator.advance(watermark, out)?;
        self.settle()?;
        self.watermark = self.watermark.max(watermark);
        self.watermark_is_known()?;
        let before_ms = self.watermark.0.saturating_sub(self.spec.ttl_ms);
        let mut told = false;
        loop {
            let idle = self.last.before(before_ms, FORGOTTEN_MAX)?;
            if !idle.is_empty() && !std::mem::replace(&mut told, true) {
                self.operator.flush(out)?;
            }
            for key in &idle {
                self.operator.forget(key)?;
                self.last.set(key, None)?;
            }
            self.forgotten += idle.len() as u64;
            if idle.len() < FORGOTTEN_MAX {
                return Ok(());
            }
        }
    }

    fn finish(&mut self, bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        self.operator.finish(bound_ms, out)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        self.operator.releases_at(bound_ms)
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.operator.earliest_ms()
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        self.operator.flush(out)
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        self.settle()?;
        self.operator.commit(changes)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps = self.operator.maps();
        maps.extend([&mut self.last.by_key, &mut self.last.by_time]);
        maps
    }

    fn restores_in_place(&self) -> bool {
        self.operator.restores_in_place()
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let [LAST, own @ ..] = key else { return self.operator.restore(key, value) };
        let damaged = || StateError::Damaged(format!("when a key was touched: {key:02x?}"));
        let last = value.map(|value| split_time(value).ok_or_else(damaged)).transpose()?;
        Ok(self.last.set(own, last.map(|(last, _)| last))?)
    }

    fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        self.operator.take_layouts(layouts)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        self.operator.restored(watermark)
    }

    fn kept(&self) -> Kept {
        self.operator.kept()
    }

    fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
