//! Groups per window, written once when the window closes.
//!
//! The rule: a row belongs to the group of its key in the window of its event time. Every group
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
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion_common::{Result, exec_datafusion_err, plan_err};
use datafusion_physical_expr::PhysicalExpr;

use super::accumulated::Groups;
use super::runs::{GROUP, GroupState};
use super::spec::{AggregateCall, AggregateSpec};
use crate::formats::decode::times_ms;
use crate::operators::filter_project::evaluate;
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::plan::windows::GroupWindow;
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;

#[cfg(test)]
mod tests;

const NS_PER_MS: i64 = 1_000_000;

/// What to group by, a window among it, and what to compute.
#[derive(Debug)]
pub struct WindowSpec {
    aggregate: Arc<AggregateSpec>,
    /// Which group expression is the window's start, and which its end.
    start: usize,
    end: Option<usize>,
    size_ms: i64,
}

/// The operator.
pub struct WindowAggregate {
    spec: Arc<WindowSpec>,
    id: StateId,
    groups: GroupState,
    closed_up_to: Watermark,
    /// Starts of windows that end later and are closed all the same.
    closed_beyond: BTreeSet<i64>,
    /// `closed_beyond` as of the last commit.
    committed_beyond: BTreeSet<i64>,
    /// Keys in the changelog whose windows have closed since the last commit.
    obsolete: Vec<Vec<u8>>,
}

/// What the first byte of an entry's key is, beside [`GROUP`].
const CLOSED: u8 = 2;

impl WindowSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        window: &GroupWindow,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> Result<WindowSpec> {
        if window.size_ns % NS_PER_MS != 0 || window.offset_ns % NS_PER_MS != 0 {
            return plan_err!("windows begin and end at whole milliseconds");
        }
        let is_key = |index: &usize| *index != window.start && Some(*index) != window.end;
        let keys = (0..group.len()).filter(is_key).collect();
        Ok(WindowSpec {
            aggregate: Arc::new(AggregateSpec { group, keys, calls, schema }),
            start: window.start,
            end: window.end,
            size_ms: window.size_ns / NS_PER_MS,
        })
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.aggregate.group[self.start];
        write!(f, "aggregate per window of {} ms, start {start}{}", self.size_ms, self.aggregate)
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
            true => Distribution::by([group[self.start].clone()]),
            false => Distribution::by(self.aggregate.keys.iter().map(|&key| group[key].clone())),
        }
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WindowAggregate {
            id,
            groups: GroupState::new(self.aggregate.clone(), id)?,
            closed_up_to: Watermark::MIN,
            closed_beyond: BTreeSet::new(),
            committed_beyond: BTreeSet::new(),
            obsolete: Vec::new(),
            spec: self,
        }))
    }
}

impl WindowAggregate {
    fn window_starts(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let starts = evaluate(batch, self.spec.aggregate.group[self.spec.start].as_ref())?;
        times_ms(&starts).ok_or_else(|| {
            exec_datafusion_err!("a window's start is {}, not a timestamp", starts.data_type())
        })
    }

    fn prepare_open(
        &self,
        rows: Rows,
        window_starts_ms: Int64Array,
        late: usize,
        untimed: usize,
    ) -> Result<Prepared> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(window_starts_ms)];
        let spec = &self.spec.aggregate;
        spec.arguments(&rows.batch, &mut columns)?;
        let keys = spec.key_rows(&rows.batch, self.groups.key_codec.as_ref())?;
        Ok(Prepared { rows, columns, keys, late, untimed })
    }

    fn span_ms(&self) -> Option<(i64, i64)> {
        match (self.groups.new.span_ms, self.groups.committed.span_ms()) {
            (Some(new), Some(old)) => Some((new.0.min(old.0), new.1.max(old.1))),
            (new, old) => new.or(old),
        }
    }

    fn close_up_to(&mut self, watermark: Watermark) {
        self.closed_up_to = self.closed_up_to.max(watermark);
        let first_open = self.closed_up_to.0.saturating_sub(self.spec.size_ms).saturating_add(1);
        self.closed_beyond = self.closed_beyond.split_off(&first_open);
    }

    /// The start of the latest open window that starts no later than `bound_ms`.
    fn latest_start_ms(&self, bound_ms: i64) -> Option<i64> {
        let new = self.groups.new.table.window_starts_ms().iter().copied();
        new.filter(|start| *start <= bound_ms)
            .max()
            .max(self.groups.committed.latest_start_ms(bound_ms))
    }

    fn starts_beyond(&self, bound_ms: i64) -> Vec<i64> {
        let new = self.groups.new.table.window_starts_ms().iter().copied();
        let all = new.chain(self.groups.committed.starts_ms());
        all.filter(|start| *start > bound_ms).collect()
    }

    /// Takes out the groups of all windows that start no later than `last_start_ms`, as rows.
    fn take_groups(&mut self, last_start_ms: i64) -> Result<Option<Rows>> {
        if self.span_ms().is_none_or(|(first, _)| first > last_start_ms) {
            return Ok(None);
        }
        let mut closing = self.take_closing(last_start_ms)?;
        let order = closing.table.sorted();
        let columns = self.evaluate(&mut closing, &order)?;
        let batch = RecordBatch::try_new(self.spec.aggregate.schema.clone(), columns)?;
        let last_ms = |&group: &usize| {
            closing.table.window_start_ms(group).saturating_add(self.spec.size_ms - 1)
        };
        let event_times_ms = order.iter().map(last_ms).collect::<Vec<_>>().into();
        Ok(Some(Rows::new(batch, event_times_ms)))
    }

    /// Takes out the groups of all windows that start no later than `last_start_ms`, whole:
    /// committed runs in their order, then what is new.
    fn take_closing(&mut self, last_start_ms: i64) -> Result<Groups> {
        let committed = self.groups.committed.take_up_to(last_start_ms);
        let all_new_close = self.groups.new.span_ms.is_none_or(|(_, last)| last <= last_start_ms);
        if committed.is_empty() && all_new_close {
            let empty = Groups::new(&self.spec.aggregate)?;
            return Ok(std::mem::replace(&mut self.groups.new, empty));
        }
        let mut closing = Groups::new(&self.spec.aggregate)?;
        let mut groups = Vec::new();
        let mut runs = Vec::new();
        for (window_start_ms, window) in &committed {
            for (key, group_runs) in window {
                let group = closing.table.group(*window_start_ms, key);
                for run in group_runs {
                    groups.push(group);
                    runs.push(run.state.as_ref());
                    self.obsolete.push(self.groups.group_key(*window_start_ms, run.number, key));
                }
            }
        }
        if !runs.is_empty() {
            let states = self.groups.decode(&runs)?;
            closing.merge(&self.spec.aggregate, &states, &groups)?;
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

    /// The output columns of `groups` in the order of `order`.
    fn evaluate(&self, groups: &mut Groups, order: &[usize]) -> Result<Vec<ArrayRef>> {
        let fields = self.spec.aggregate.schema.fields();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.spec.aggregate.group.len()];
        let starts = order.iter().map(|&group| groups.table.window_start_ms(group));
        let time_type = fields[self.spec.start].data_type();
        if let Some(end) = self.spec.end {
            let ends = starts.clone().map(|start| start.saturating_add(self.spec.size_ms));
            columns[end] = Some(times_from_ms(ends, fields[end].data_type())?);
        }
        columns[self.spec.start] = Some(times_from_ms(starts, time_type)?);
        let keys = order.iter().map(|&group| groups.table.key(group));
        for (&index, column) in self.spec.aggregate.keys.iter().zip(self.groups.key_columns(keys)?)
        {
            columns[index] = Some(column);
        }
        let mut columns: Vec<ArrayRef> = columns.into_iter().flatten().collect();
        columns.extend(GroupState::answers(groups, order)?);
        Ok(columns)
    }

    /// Notes which windows beyond the watermark are closed.
    fn commit_closed(&mut self, changes: &mut Vec<Change>) {
        let key = |start: &i64| self.id.key(&[&[CLOSED], &start.to_be_bytes()]);
        let gone = self.committed_beyond.difference(&self.closed_beyond);
        changes.extend(gone.map(|start| Change { key: key(start), value: None }));
        let new = self.closed_beyond.difference(&self.committed_beyond);
        changes.extend(new.map(|start| Change { key: key(start), value: Some(Vec::new()) }));
        self.committed_beyond.clone_from(&self.closed_beyond);
    }
}

impl Operator for WindowAggregate {
    /// Finds windows, keys and arguments of rows.
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let starts = self.window_starts(&rows.batch)?;
        let is_open = |start: i64| {
            start.saturating_add(self.spec.size_ms) > self.closed_up_to.0
                && (self.closed_beyond.is_empty() || !self.closed_beyond.contains(&start))
        };
        let untimed = starts.null_count();
        let late = starts.iter().flatten().filter(|&start| !is_open(start)).count();
        if untimed + late == 0 {
            return self.prepare_open(rows, starts, 0, 0);
        }
        let open: BooleanArray =
            starts.iter().map(|start| Some(start.is_some_and(is_open))).collect();
        let rows = rows.filter(&open)?;
        let starts = starts.iter().flatten().filter(|&start| is_open(start)).collect();
        self.prepare_open(rows, starts, late, untimed)
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { columns, keys, .. } = rows;
        let starts = columns[0].as_primitive::<Int64Type>().values();
        if starts.is_empty() {
            return Ok(());
        }
        self.groups.new.take(&self.spec.aggregate, starts, keys.as_ref(), &columns[1..])
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        if watermark > self.closed_up_to {
            self.close_up_to(watermark);
            out.extend(self.take_groups(watermark.0.saturating_sub(self.spec.size_ms))?);
        }
        Ok(())
    }

    /// Windows that start later than `bound_ms` do not move the watermark: they are remembered one
    /// by one as closed, so that no clock that is wrong by years makes all that follows late.
    fn finish(&mut self, bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        let beyond: Vec<i64> = self.starts_beyond(bound_ms);
        self.closed_beyond.extend(beyond);
        out.extend(self.take_groups(i64::MAX)?);
        Ok(())
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let last = self.latest_start_ms(bound_ms)?;
        Some(Watermark(last.saturating_add(self.spec.size_ms)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        Some(self.span_ms()?.0)
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        let obsolete = std::mem::take(&mut self.obsolete);
        changes.extend(obsolete.into_iter().map(|key| Change { key, value: None }));
        self.groups.commit(changes)?;
        self.commit_closed(changes);
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&GROUP, rest) => self.groups.restore(rest, value),
            (&CLOSED, rest) => {
                let start_ms = i64::from_be_bytes(rest.try_into().map_err(|_| damaged())?);
                self.closed_beyond.insert(start_ms);
                self.committed_beyond.insert(start_ms);
                Ok(())
            }
            _ => Err(damaged()),
        }
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        self.closed_up_to = watermark;
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: self.groups.committed.windows(), groups: self.groups.committed.groups() }
    }
}

fn times_from_ms(times: impl Iterator<Item = i64>, data_type: &DataType) -> Result<ArrayRef> {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = TimestampMillisecondArray::from_iter_values(times).with_timezone_opt(zone);
    Ok(cast(&times, data_type)?)
}
