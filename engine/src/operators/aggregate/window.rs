//! Groups per window, written once when the window closes.
//!
//! The rule: a row belongs to the group of its key in the window that its columns name: the window
//! of its event time, or of the several that it was copied for. Every group
//! of a window comes out once, in order of window and then of key (ascending, NULL first), when
//! the watermark has passed the window's end; rows that come for it afterwards are late: left out
//! and counted. So are rows without an event time, which belong to no window.
//!
//! ```text
//! rows → prepare (pure: windows, keys, arguments) → apply: GroupTable → accumulators   (new)
//! commit: new ─ state() ─ merged with the group's last runs → store, changelog    (committed)
//! close:  committed + new of closing windows ─ merge → evaluate → rows
//! ```
//!
//! A window is known by one of its bounds: by its start, or, where several start together
//! (CUMULATE), by its end. Code and state call that its start, which it mostly is.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use datafusion_common::{Result, exec_datafusion_err, plan_err};
use datafusion_physical_expr::PhysicalExpr;

use super::accumulated::Groups;
use super::closed::{CLOSED, ClosedWindows};
use super::kept;
use super::partial::{BeforeMeeting, CombinedRows, Merged};
use super::runs::{GROUP, GroupState};
use super::spec::{AggregateCall, AggregateSpec};
use crate::describe::words::duration_text;
use crate::describe::{Described, Keeps, Until, Words};
use crate::formats::decode::times_ms;
use crate::operators::failed_groups::{Failed, leave_out};
use crate::operators::filter_project::evaluate;
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, ExprText, Identity, Kept, Operator, OperatorSpec, Prepared};
use crate::plan::windows::{GroupWindow, Shape};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::state::layouts::Layouts;
use crate::state::map::StateMap;
use crate::time::Watermark;

#[cfg(test)]
mod tests;

const NS_PER_MS: i64 = 1_000_000;
/// Committed groups of closing windows that are held at once; of more than that, the second
/// number at a time.
const CLOSED_TOGETHER_MAX: u64 = 65_536;
const TAKEN_MAX: usize = 8192;

/// What to group by, a window among it, and what to compute.
#[derive(Debug)]
pub struct WindowSpec {
    pub(super) aggregate: Arc<AggregateSpec>,
    /// The group expression that tells windows apart, and their order: a bound of theirs.
    pub(super) bound: usize,
    /// How long after that bound a window ends.
    pub(super) reach_ms: i64,
    /// The group expression that is the other bound, and how it is found.
    other: Option<(usize, OtherBound)>,
}

/// A bound of a window by the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OtherBound {
    /// The end, so long after the start.
    After { ms: i64 },
    /// The start of the one in a row of windows, each `size_ms` long, that the end lies in.
    Cumulated { size_ms: i64, offset_ms: i64 },
}

impl OtherBound {
    fn of(self, bound_ms: i64) -> i64 {
        match self {
            OtherBound::After { ms } => bound_ms.saturating_add(ms),
            OtherBound::Cumulated { size_ms, offset_ms } => {
                let last_ms = bound_ms.saturating_sub(1);
                last_ms.saturating_sub(last_ms.wrapping_sub(offset_ms).rem_euclid(size_ms))
            }
        }
    }
}

/// The operator.
pub struct WindowAggregate {
    spec: Arc<WindowSpec>,
    groups: GroupState,
    closed: ClosedWindows,
    /// Windows that start no later than this are on their way out.
    closing: Option<i64>,
}

impl WindowSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        window: &GroupWindow,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> Result<WindowSpec> {
        let time_type = |index: usize| schema.field(index).data_type().clone();
        for bound in [window.start, window.end].into_iter().flatten() {
            if !matches!(time_type(bound), DataType::Timestamp(_, _)) {
                return plan_err!("a window's bound is {}, not a timestamp", time_type(bound));
            }
        }
        if !window.shape.fits(TimeUnit::Millisecond) {
            return plan_err!("windows begin and end at whole milliseconds");
        }
        let size_ms = window.shape.size_ns() / NS_PER_MS;
        let (bound, reach_ms, other) = match (window.start, window.end, window.shape) {
            // Several of these start together.
            (start, Some(end), Shape::Cumulate { offset_ns, .. }) => {
                let offset_ms = offset_ns / NS_PER_MS;
                (end, 0, start.map(|start| (start, OtherBound::Cumulated { size_ms, offset_ms })))
            }
            (Some(start), end, _) => {
                (start, size_ms, end.map(|end| (end, OtherBound::After { ms: size_ms })))
            }
            (None, Some(end), _) => (end, 0, None),
            (None, None, _) => return plan_err!("a window has a start or an end"),
        };
        let is_key = |index: &usize| Some(*index) != window.start && Some(*index) != window.end;
        let keys = (0..group.len()).filter(is_key).collect();
        let aggregate = Arc::new(AggregateSpec { group, keys, calls, schema });
        Ok(WindowSpec { aggregate, bound, reach_ms, other })
    }

    /// Finds windows, keys and arguments of rows, and leaves out those whose window is not open.
    pub(super) fn prepare(
        &self,
        rows: Rows,
        groups: &GroupState,
        is_open: impl Fn(i64) -> bool,
    ) -> Result<Prepared> {
        let starts = window_bounds(&self.aggregate, self.bound, &rows.batch)?;
        let untimed = starts.null_count();
        let late = starts.iter().flatten().filter(|&start| !is_open(start)).count();
        let (rows, starts) = match untimed + late {
            0 => (rows, starts),
            _ => {
                let open: BooleanArray =
                    starts.iter().map(|start| Some(start.is_some_and(&is_open))).collect();
                let starts = starts.iter().flatten().filter(|&start| is_open(start)).collect();
                (rows.filter(&open)?, starts)
            }
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts)];
        self.aggregate.arguments(&rows.batch, &mut columns)?;
        let keys = self.aggregate.key_rows(&rows.batch, groups.key_codec.as_ref())?;
        Ok(Prepared { rows, columns, keys, late, untimed })
    }

    /// Rows whose window is not open.
    pub(super) fn late_rows(&self, rows: &Rows, is_open: impl Fn(i64) -> bool) -> Result<Rows> {
        let starts = window_bounds(&self.aggregate, self.bound, &rows.batch)?;
        let late = starts.iter().map(|start| Some(start.is_some_and(|start| !is_open(start))));
        rows.filter(&late.collect())
    }

    pub(super) fn described(&self, words: &Words, until: Until) -> Described {
        let mut by = vec!["window".to_owned()];
        by.extend(self.aggregate.keys_in_words(words));
        let mut details = self.aggregate.details(words);
        if self.reach_ms > 0 {
            details.insert(0, format!("windows of {}", duration_text(self.reach_ms)));
        }
        let keeps = Keeps::new("the aggregates", by, until);
        Described { title: "aggregate by window".to_owned(), details, keeps }
    }

    /// The columns of group expressions, for groups by window and key.
    pub(super) fn group_columns<'k>(
        &self,
        groups: &GroupState,
        of: impl Iterator<Item = (i64, &'k [u8])> + Clone,
    ) -> Result<Vec<ArrayRef>> {
        let fields = self.aggregate.schema.fields();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.aggregate.group.len()];
        let bounds = of.clone().map(|(bound_ms, _)| bound_ms);
        if let Some((index, other)) = self.other {
            let others = bounds.clone().map(|bound_ms| other.of(bound_ms));
            columns[index] = Some(times_from_ms(others, fields[index].data_type())?);
        }
        let bound = self.bound;
        columns[bound] = Some(times_from_ms(bounds, fields[bound].data_type())?);
        let keys = groups.key_columns(of.map(|(_, key)| key))?;
        for (&index, column) in self.aggregate.keys.iter().zip(keys) {
            columns[index] = Some(column);
        }
        Ok(columns.into_iter().flatten().collect())
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = &self.aggregate.group[self.bound];
        match self.reach_ms {
            0 => write!(f, "aggregate per window, end {bound}")?,
            size_ms => write!(f, "aggregate per window of {size_ms} ms, start {bound}")?,
        }
        write!(f, "{}", self.aggregate)
    }
}

impl OperatorSpec for WindowSpec {
    fn schema(&self) -> &SchemaRef {
        &self.aggregate.schema
    }

    /// By the keys, so that a group stays where it is from window to window; where there are none,
    /// by the window.
    fn distribution(&self, _side: usize) -> Distribution {
        let group = &self.aggregate.group;
        match self.aggregate.keys.is_empty() {
            true => Distribution::by([group[self.bound].clone()]),
            false => Distribution::by(self.aggregate.keys.iter().map(|&key| group[key].clone())),
        }
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        match self.aggregate.keys.is_empty() {
            true => vec![vec![self.bound]],
            false => vec![self.aggregate.keys.clone()],
        }
    }

    fn before_meeting(&self, _side: usize) -> BeforeMeeting {
        BeforeMeeting::of(&self.aggregate, Some(self.bound))
    }

    fn describe(&self, words: &Words) -> Described {
        let until = "the watermark passes the end of their window".to_owned();
        self.described(words, Until::Watermark(until))
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let table = kept::table("windows", &self.aggregate, entries, |state, places| {
            self.group_columns(state, places.iter().copied())
        });
        Ok(vec![table?])
    }

    fn identity(&self, text: &ExprText<'_>) -> Option<Identity> {
        let bound = text(&self.aggregate.group[self.bound]);
        let head = match self.reach_ms {
            0 => format!("aggregate per window, end {bound}"),
            size_ms => format!("aggregate per window of {size_ms} ms, start {bound}"),
        };
        self.aggregate.identity(head, text)
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WindowAggregate {
            groups: GroupState::new(self.aggregate.clone(), id)?,
            closed: ClosedWindows::new(id, self.reach_ms),
            closing: None,
            spec: self,
        }))
    }
}

impl WindowAggregate {
    /// The start of the earliest open window.
    fn first_start_ms(&self) -> Result<Option<i64>> {
        let new = self.groups.new.span_ms.map(|(first, _)| first);
        let committed = self.groups.committed.first_ms()?;
        Ok([new, committed].into_iter().flatten().min())
    }

    /// The start of every open window, some perhaps several times.
    fn starts_ms(&self) -> impl Iterator<Item = i64> {
        let new = self.groups.new.table.window_starts_ms().iter().copied();
        new.chain(self.groups.committed.starts_ms())
    }

    /// Takes out the groups of all windows that start no later than `last_start_ms`, as rows: those
    /// that are too many to be held together are left to [`Operator::go_on`].
    fn take_groups(&mut self, last_start_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        if self.first_start_ms()?.is_none_or(|first| first > last_start_ms) {
            return Ok(());
        }
        if self.groups.committed.groups_until(last_start_ms)? > CLOSED_TOGETHER_MAX {
            self.groups.commit()?;
            self.closing = Some(last_start_ms);
            return Ok(());
        }
        let mut closing = self.take_closing(last_start_ms)?;
        out.push(self.rows_of(&mut closing)?);
        Ok(())
    }

    /// Takes out the next ones of many committed groups; false if there are no more.
    fn take_next(&mut self, last_start_ms: i64, out: &mut Vec<Rows>) -> Result<bool> {
        let mut closing = Groups::new(&self.spec.aggregate)?;
        if !self.take_committed(last_start_ms, TAKEN_MAX, &mut closing)? {
            return Ok(false);
        }
        out.push(self.rows_of(&mut closing)?);
        Ok(true)
    }

    fn rows_of(&self, closing: &mut Groups) -> Result<Rows> {
        let order = closing.table.sorted();
        let (columns, failed) = self.evaluate(closing, &order)?;
        let batch = RecordBatch::try_new(self.spec.aggregate.schema.clone(), columns)?;
        let last_ms = |&group: &usize| {
            closing.table.window_start_ms(group).saturating_add(self.spec.reach_ms - 1)
        };
        let event_times_ms = order.iter().map(last_ms).collect::<Vec<_>>().into();
        leave_out(Rows::new(batch, event_times_ms), failed)
    }

    /// Takes out the groups of all windows that start no later than `last_start_ms`, whole:
    /// committed runs in their order, then what is new.
    fn take_closing(&mut self, last_start_ms: i64) -> Result<Groups> {
        let mut closing = Groups::new(&self.spec.aggregate)?;
        let any_committed = self.take_committed(last_start_ms, usize::MAX, &mut closing)?;
        let all_new_close = self.groups.new.span_ms.is_none_or(|(_, last)| last <= last_start_ms);
        if !any_committed && all_new_close {
            return Ok(std::mem::replace(&mut self.groups.new, closing));
        }
        if self.groups.new.table.is_empty() {
            return Ok(closing);
        }
        let empty = Groups::new(&self.spec.aggregate)?;
        let mut new = std::mem::replace(&mut self.groups.new, empty);
        let states = new.states()?;
        let (close, keep): (Vec<usize>, Vec<usize>) = (0..new.table.len())
            .partition(|&group| new.table.window_start_ms(group) <= last_start_ms);
        closing.absorb(&self.spec.aggregate, &new.table, &states, &close)?;
        self.groups.new.absorb(&self.spec.aggregate, &new.table, &states, &keep)?;
        Ok(closing)
    }

    /// Takes out up to `max` committed groups of such windows, in their order; false if there are
    /// none.
    fn take_committed(
        &mut self,
        last_start_ms: i64,
        max: usize,
        closing: &mut Groups,
    ) -> Result<bool> {
        let committed = self.groups.committed.groups_up_to(last_start_ms, None, max)?;
        let (mut groups, mut runs) = (Vec::new(), Vec::new());
        for stored in &committed {
            let group = closing.table.group(stored.window_start_ms, &stored.key);
            for run in &stored.runs {
                groups.push(group);
                runs.push(run.stored());
            }
            self.groups.committed.remove_group(stored)?;
        }
        if !runs.is_empty() {
            let states = self.groups.decode(&runs)?;
            closing.merge(&self.spec.aggregate, &states, &groups)?;
        }
        Ok(!committed.is_empty())
    }

    /// The output columns of `groups` in the order of `order`, and which of them fail.
    fn evaluate(&self, groups: &mut Groups, order: &[usize]) -> Result<(Vec<ArrayRef>, Failed)> {
        let of = order
            .iter()
            .map(|&group| (groups.table.window_start_ms(group), groups.table.key(group)));
        let mut columns = self.spec.group_columns(&self.groups, of)?;
        let (answers, failed) = GroupState::answers(groups, order)?;
        columns.extend(answers);
        Ok((columns, failed))
    }
}

impl Operator for WindowAggregate {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        self.spec.prepare(rows, &self.groups, |start_ms| self.closed.is_open(start_ms, 0))
    }

    fn late_rows(&self, _side: usize, rows: &Rows) -> Result<Option<Rows>> {
        let late = self.spec.late_rows(rows, |start_ms| self.closed.is_open(start_ms, 0))?;
        Ok(Some(late))
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { columns, keys, .. } = rows;
        let starts = columns[0].as_primitive::<Int64Type>().values();
        if starts.is_empty() {
            return Ok(());
        }
        self.groups.new.take(&self.spec.aggregate, starts, keys.as_ref(), &columns[1..])?;
        Ok(())
    }

    fn merge(&mut self, _side: usize, rows: CombinedRows) -> Result<Merged> {
        let is_open = |start_ms| self.closed.is_open(start_ms, 0);
        rows.merge_into(&mut self.groups.new, &self.spec.aggregate, is_open)
    }

    fn go_on(&mut self, out: &mut Vec<Rows>) -> Result<bool> {
        let Some(last_start_ms) = self.closing else { return Ok(false) };
        let any = self.take_next(last_start_ms, out)?;
        self.closing = self.closing.filter(|_| any);
        Ok(any)
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark > self.closed.up_to {
            self.closed.close_up_to(watermark)?;
            self.take_groups(watermark.0.saturating_sub(self.spec.reach_ms), out)?;
        }
        Ok(())
    }

    /// Windows that start later than `bound_ms` do not move the watermark: they are remembered one
    /// by one as closed, so that no clock that is wrong by years makes all that follows late.
    fn finish(&mut self, bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        let beyond: Vec<i64> = self.starts_ms().filter(|start| *start > bound_ms).collect();
        self.closed.close_beyond(beyond)?;
        self.take_groups(i64::MAX, out)
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let last = self.starts_ms().filter(|start| *start <= bound_ms).max()?;
        Some(Watermark(last.saturating_add(self.spec.reach_ms)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        // A disk that fails says so to whoever reads from it next.
        self.first_start_ms().ok().flatten()
    }

    fn commit(&mut self, _changes: &mut Vec<Change>) -> Result<()> {
        self.groups.commit()?;
        Ok(())
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps: Vec<&mut StateMap> = self.groups.committed.maps().into();
        maps.push(self.closed.map());
        maps
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&GROUP, rest) => self.groups.restore(rest, value),
            (&CLOSED, rest) => self.closed.restore(rest, value),
            _ => Err(damaged()),
        }
    }

    fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        self.groups.take_layouts(layouts)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        Ok(self.closed.restored(watermark)?)
    }

    fn kept(&self) -> Kept {
        let (windows, groups) = self.groups.committed.kept();
        Kept { windows, groups }
    }
}

/// The bound of each row's window that tells windows apart, as the group expression of that number
/// finds it. NULL for rows without a time.
pub(super) fn window_bounds(
    aggregate: &AggregateSpec,
    bound: usize,
    batch: &RecordBatch,
) -> Result<Int64Array> {
    let bounds = evaluate(batch, aggregate.group[bound].as_ref())?;
    times_ms(&bounds).ok_or_else(|| {
        exec_datafusion_err!("a window's bound is {}, not a timestamp", bounds.data_type())
    })
}

pub(super) fn times_from_ms(
    times: impl Iterator<Item = i64>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = TimestampMillisecondArray::from_iter_values(times).with_timezone_opt(zone);
    Ok(cast(&times, data_type)?)
}
