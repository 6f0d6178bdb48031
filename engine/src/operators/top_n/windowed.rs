//! The first rows of each partition of a window, told once, when the window has closed.
//!
//! The rule: rows are partitioned by a window, and perhaps by more. When the watermark has passed
//! the window's end, the rows of each of its partitions up to the limit come out, window after
//! window and partition after partition in the order of their keys; rows that come for it
//! afterwards are late: left out and counted. So are rows without a window.
//!
//! Before a partition in its bytes stands the end of its window, so that those that close first
//! lie first.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::{Result, exec_datafusion_err};

use super::changing::ChangingPartitions;
use super::ranked::{Ranked, Top};
use super::updating::restore_row;
use crate::describe::{Described, Keeps, Until, Words};
use crate::formats::decode::times_ms;
use crate::operators::aggregate::closed::{CLOSED, ClosedWindows};
use crate::operators::filter_project::evaluate;
use crate::operators::ordered_rows;
use crate::operators::ordered_rows::{EncodedRows, OrderedRows, RowCodec};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};
use crate::time::Watermark;

/// Rows that come out together: bounds the memory that closing takes.
const CLOSED_TOGETHER_MAX: usize = 8192;

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
    codec: RowCodec,
    rows: OrderedRows,
    closed: ClosedWindows,
    /// Windows with ends up to here are coming out.
    closing: Option<i64>,
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
            rows: OrderedRows::new(id),
            // Windows are known by their ends.
            closed: ClosedWindows::new(id, 0),
            closing: None,
            spec: self,
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

    /// Brings out the next ones of the partitions that close.
    fn close(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let Some(last_end_ms) = self.closing else { return Ok(()) };
        let end = last_end_ms.checked_add(1).map(time_key);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let due = self.rows.partitions().range(Bound::Unbounded, to).take(CLOSED_TOGETHER_MAX);
        let due: Vec<Bytes> = due.map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
        let mut ranked: Vec<Ranked> = Vec::new();
        let mut closed = 0;
        for partition in &due {
            ranked.extend(self.spec.top.of(&self.rows, partition)?);
            self.rows.remove_all(partition)?;
            closed += 1;
            if ranked.len() >= CLOSED_TOGETHER_MAX {
                break;
            }
        }
        if closed == due.len() && due.len() < CLOSED_TOGETHER_MAX {
            self.closing = None;
        }
        if !ranked.is_empty() {
            let none = vec![false; ranked.len()];
            out.push(self.spec.top.rows(&self.codec, &ranked, none)?);
        }
        Ok(())
    }

    /// The end of the first window that ends no earlier than that.
    fn first_end_from(&self, end_ms: i64) -> Option<i64> {
        let from = time_key(end_ms);
        let mut after = self.rows.partitions().range(Bound::Included(&from), Bound::Unbounded);
        // A disk that fails says so to whoever reads from it next.
        let (first, _) = after.next()?.ok()?;
        Some(split_time(&first)?.0)
    }

    fn ends_ms(&self) -> impl Iterator<Item = i64> {
        std::iter::successors(self.first_end_from(i64::MIN), |end_ms| {
            self.first_end_from(end_ms.checked_add(1)?)
        })
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
        let is_open = |end: i64| self.closed.is_open(end, 0);
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
        let partitions = columns[0].as_binary::<i32>();
        let ends = ends.as_primitive::<Int64Type>();
        let windowed = ends.iter().zip(partitions).map(|(end_ms, partition)| {
            Some([&time_key(end_ms?)[..], partition.unwrap_or_default()].concat())
        });
        columns[0] = Arc::new(windowed.collect::<BinaryArray>());
        Ok(Prepared { rows, columns, keys: None, late, untimed })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        let mut changing = ChangingPartitions::default();
        let top = &self.spec.top;
        changing.add(top, &self.rows, &EncodedRows::of(&columns), &rows.event_times_ms)?;
        changing.take(top).try_for_each(|partition| partition.keep(&mut self.rows))
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark <= self.closed.up_to {
            return Ok(());
        }
        self.closed.close_up_to(watermark)?;
        self.closing = Some(watermark.0);
        self.close(out)
    }

    fn finish(&mut self, bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        let last = self.last_end_ms(bound_ms);
        let beyond: Vec<i64> = self.ends_ms().filter(|end_ms| *end_ms > last).collect();
        self.closed.close_beyond(beyond)?;
        self.closing = Some(i64::MAX);
        self.close(out)
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        self.close(out)?;
        Ok(self.closing.is_some())
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let end = time_key(self.last_end_ms(bound_ms).saturating_add(1));
        let last = self.rows.partitions().last_before(&end).ok().flatten()?;
        Some(Watermark(split_time(&last)?.0))
    }

    fn earliest_ms(&self) -> Option<i64> {
        let end_ms = self.first_end_from(i64::MIN)?;
        Some(end_ms.saturating_sub(self.spec.window.size_ms))
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps: Vec<&mut StateMap> = self.rows.maps().into();
        maps.push(self.closed.map());
        maps
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&CLOSED, rest)) => self.closed.restore(rest, value),
            _ => restore_row(&mut self.rows, key, value),
        }
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        Ok(self.closed.restored(watermark)?)
    }

    fn kept(&self) -> Kept {
        Kept { windows: self.ends_ms().count(), groups: self.rows.len() }
    }
}
