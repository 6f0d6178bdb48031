//! The first rows of each partition of a window, told once, when the window has closed.
//!
//! The rule: rows are partitioned by a window, and perhaps by more. When the watermark has passed
//! the window's end, the rows of each of its partitions up to the limit come out, window after
//! window and partition after partition in the order of their keys; rows that come for it
//! afterwards are late: left out and counted. So are rows without a window.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::{Result, exec_datafusion_err};

use super::ranked::Top;
use crate::describe::{Described, Keeps, Until, Words};
use crate::formats::decode::times_ms;
use crate::operators::filter_project::evaluate;
use crate::operators::ordered_rows;
use crate::operators::ordered_rows::{EncodedRows, OrderedRows, ROW, RowCodec};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;

/// What the first byte of an entry's key is, beside [`ROW`].
const CLOSED: u8 = 2;

/// What [`WindowTopNSpec`] adds to the columns of [`RowCodec::encode`].
const ENDS: usize = 3;

#[derive(Debug)]
pub struct WindowTopNSpec {
    pub top: Top,
    pub window: PartitionWindow,
}

/// Which of the partition's expressions is the window's start or its end.
#[derive(Clone, Copy, Debug)]
pub struct PartitionWindow {
    pub place: usize,
    pub is_start: bool,
    pub size_ms: i64,
}

/// The operator.
pub struct WindowTopN {
    spec: Arc<WindowTopNSpec>,
    id: StateId,
    codec: RowCodec,
    rows: OrderedRows,
    /// Partitions by the end of their window.
    open: BTreeMap<i64, BTreeSet<Box<[u8]>>>,
    closed_up_to: Watermark,
    /// Ends of windows that are later and closed all the same.
    closed_beyond: BTreeSet<i64>,
    /// `closed_beyond` as of the last commit.
    committed_beyond: BTreeSet<i64>,
}

impl fmt::Display for WindowTopNSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PartitionWindow { place, is_start, size_ms } = self.window;
        let bound = if is_start { "start" } else { "end" };
        let key = &self.top.ordering.partition[place];
        write!(f, "{}\n  per window of {size_ms} ms, {bound} {key}", self.top)
    }
}

impl OperatorSpec for WindowTopNSpec {
    fn schema(&self) -> &SchemaRef {
        &self.top.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        self.top.ordering.distribution()
    }

    fn describe(&self, words: &Words) -> Described {
        let until = Until::Watermark("the watermark passes the end of their window".to_owned());
        let what = format!("the first {} rows", self.top.limit);
        Described {
            title: format!("{} of each window", self.top.title()),
            details: self.top.details(words),
            keeps: Keeps::new(what, self.top.partition(words), until),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        Ok(vec![ordered_rows::table(entries, &self.top.ordering)?])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WindowTopN {
            codec: RowCodec::new(&self.top.ordering)?,
            spec: self,
            id,
            rows: OrderedRows::new(id),
            open: BTreeMap::new(),
            closed_up_to: Watermark::MIN,
            closed_beyond: BTreeSet::new(),
            committed_beyond: BTreeSet::new(),
        }))
    }
}

impl WindowTopN {
    fn ends_of(&self, bounds: &ArrayRef) -> Result<Int64Array> {
        let times = times_ms(bounds).ok_or_else(|| {
            exec_datafusion_err!("a window's bound is {}, not a timestamp", bounds.data_type())
        })?;
        let PartitionWindow { is_start, size_ms, .. } = self.spec.window;
        let size_ms = if is_start { size_ms } else { 0 };
        Ok(times.unary(|time: i64| time.saturating_add(size_ms)))
    }

    fn close(&mut self, ends: BTreeMap<i64, BTreeSet<Box<[u8]>>>) -> Result<Option<Rows>> {
        let mut ranked = Vec::new();
        for partition in ends.into_values().flatten() {
            let all = self.rows.remove_all(&partition);
            ranked.extend(self.spec.top.of(Some(&all)));
        }
        if ranked.is_empty() {
            return Ok(None);
        }
        let none = vec![false; ranked.len()];
        self.spec.top.rows(&self.codec, &ranked, none).map(Some)
    }

    /// Notes which windows beyond the watermark are closed.
    fn commit_closed(&mut self, changes: &mut Vec<Change>) {
        let key = |end: &i64| self.id.key(&[&[CLOSED], &end.to_be_bytes()]);
        let gone = self.committed_beyond.difference(&self.closed_beyond);
        changes.extend(gone.map(|end| Change { key: key(end), value: None }));
        let new = self.closed_beyond.difference(&self.committed_beyond);
        changes.extend(new.map(|end| Change { key: key(end), value: Some(Vec::new()) }));
        self.committed_beyond.clone_from(&self.closed_beyond);
    }

    /// The end of the last window that starts no later than `bound_ms`.
    fn last_end_ms(&self, bound_ms: i64) -> i64 {
        bound_ms.saturating_add(self.spec.window.size_ms)
    }
}

impl Operator for WindowTopN {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let key = &self.spec.top.ordering.partition[self.spec.window.place];
        let ends = self.ends_of(&evaluate(&rows.batch, key.as_ref())?)?;
        let is_open = |end: i64| end > self.closed_up_to.0 && !self.closed_beyond.contains(&end);
        let untimed = ends.null_count();
        let late = ends.iter().flatten().filter(|&end| !is_open(end)).count();
        let (rows, ends): (Rows, ArrayRef) = if untimed + late == 0 {
            (rows, Arc::new(ends))
        } else {
            let open: BooleanArray =
                ends.iter().map(|end| Some(end.is_some_and(is_open))).collect();
            (rows.filter(&open)?, filter(&ends, &open)?)
        };
        let mut columns = self.codec.encode(&self.spec.top.ordering, &rows.batch)?;
        columns.push(ends);
        Ok(Prepared { rows, columns, keys: None, late, untimed })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        let encoded = EncodedRows::of(&columns);
        let ends = columns[ENDS].as_primitive::<Int64Type>();
        let mut grown = BTreeSet::new();
        for at in 0..rows.len() {
            let row = encoded.get(at);
            let times = &rows.event_times_ms;
            let time_ms = times.is_valid(at).then(|| times.value(at));
            if self.spec.top.add(&mut self.rows, &row, time_ms) && grown.insert(row.partition) {
                self.open.entry(ends.value(at)).or_default().insert(row.partition.into());
            }
        }
        let top = &self.spec.top;
        grown.into_iter().for_each(|partition| top.prune(&mut self.rows, partition));
        Ok(())
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark <= self.closed_up_to {
            return Ok(());
        }
        self.closed_up_to = watermark;
        let first_open = watermark.0.saturating_add(1);
        self.closed_beyond = self.closed_beyond.split_off(&first_open);
        let later = self.open.split_off(&first_open);
        let closing = std::mem::replace(&mut self.open, later);
        out.extend(self.close(closing)?);
        Ok(())
    }

    fn finish(&mut self, bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        let last = self.last_end_ms(bound_ms);
        self.closed_beyond.extend(self.open.keys().filter(|end| **end > last));
        let closing = std::mem::take(&mut self.open);
        out.extend(self.close(closing)?);
        Ok(())
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let (end, _) = self.open.range(..=self.last_end_ms(bound_ms)).next_back()?;
        Some(Watermark(*end))
    }

    fn earliest_ms(&self) -> Option<i64> {
        let (end, _) = self.open.first_key_value()?;
        Some(end.saturating_sub(self.spec.window.size_ms))
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        self.rows.commit(changes);
        self.commit_closed(changes);
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let value = value.unwrap_or_default();
        let damaged = || StateError::Damaged(format!("a ranked row's entry at key {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&ROW, rest) => self.rows.restore(rest, value),
            (&CLOSED, rest) => {
                let end_ms = i64::from_be_bytes(rest.try_into().map_err(|_| damaged())?);
                self.closed_beyond.insert(end_ms);
                self.committed_beyond.insert(end_ms);
                Ok(())
            }
            _ => Err(damaged()),
        }
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.closed_up_to = watermark;
        let partitions: Vec<Box<[u8]>> = self.rows.keys().map(Into::into).collect();
        for partition in partitions {
            // All rows of a partition lie in one window.
            let of = self.rows.get(&partition);
            let Some((row, _)) = of.and_then(|of| of.rows.first_key_value()) else { continue };
            let columns = self.codec.decode(std::iter::once(row.row.as_ref()))?;
            let schema = self.spec.top.ordering.schema.clone();
            let batch = arrow::array::RecordBatch::try_new(schema, columns)?;
            let key = &self.spec.top.ordering.partition[self.spec.window.place];
            let ends = self.ends_of(&evaluate(&batch, key.as_ref())?)?;
            self.open.entry(ends.value(0)).or_default().insert(partition);
        }
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: self.open.len(), groups: self.rows.len() }
    }
}
