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
//! - [`spec`]: what to group by and compute; [`accumulated`]: groups with their accumulators.
//!
//! The accumulators hold only what has come since the last commit, of all windows together, so a
//! batch is taken in one go whatever windows its rows lie in, and a commit costs what has changed,
//! not what is kept. Everything older is bytes in [`crate::state`].

mod accumulated;
mod spec;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMillisecondArray, UInt64Array,
};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, Rows as KeyRows};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_expr::EmitTo;
use datafusion_physical_expr::PhysicalExpr;

use self::accumulated::{Groups, take_states};
pub use self::spec::{AggregateCall, AggregateSpec};
use super::filter_project::{evaluate, mask, select};
use crate::formats::Rows;
use crate::formats::decode::times_ms;
use crate::state::changelog::{Change, RestoredRun, group_key, group_value};
use crate::state::store::{Run, WindowStore};
use crate::time::Watermark;

#[cfg(test)]
mod tests;

/// Runs are not merged beyond this, so that no record of the changelog outgrows what a topic
/// takes (`max.message.bytes` is 1 MiB by default).
const RUN_BYTES_MAX: usize = 256 << 10;

/// The operator.
pub struct WindowAggregate {
    spec: Arc<AggregateSpec>,
    /// Of the group keys; `None` if windows are all there is to group by.
    key_codec: Option<RowConverter>,
    /// Of all states of all calls; `None` if there are none.
    state_codec: Option<RowConverter>,
    fingerprint: u64,
    new: Groups,
    committed: WindowStore,
    closed_up_to: Watermark,
    /// Starts of windows that end later and are closed all the same.
    closed_beyond: BTreeSet<i64>,
    /// Keys in the changelog whose windows have closed since the last commit.
    obsolete: Vec<Vec<u8>>,
}

/// Rows that were looked at and not yet taken: nothing can go wrong with them any more.
pub struct Prepared {
    window_starts_ms: Vec<i64>,
    keys: Option<KeyRows>,
    /// Per call: its arguments, and which rows it takes.
    args: Vec<(Vec<ArrayRef>, Option<BooleanArray>)>,
    /// Rows whose window had closed.
    pub late: usize,
    /// Rows without an event time.
    pub untimed: usize,
}

impl WindowAggregate {
    /// An operator with nothing kept; `fingerprint` marks what it writes.
    pub fn new(spec: Arc<AggregateSpec>, fingerprint: u64) -> Result<WindowAggregate> {
        let fields = spec.schema.fields();
        let states = spec.calls.iter().flat_map(|call| &call.state_fields);
        Ok(WindowAggregate {
            key_codec: AggregateSpec::codec(
                spec.keys.iter().map(|&index| fields[index].data_type()),
            )?,
            state_codec: AggregateSpec::codec(states.map(|field| field.data_type()))?,
            fingerprint,
            new: Groups::new(&spec)?,
            committed: WindowStore::default(),
            closed_up_to: Watermark::MIN,
            closed_beyond: BTreeSet::new(),
            obsolete: Vec::new(),
            spec,
        })
    }

    /// Takes up where an earlier run left off.
    pub fn restore_closed(
        &mut self,
        closed_up_to: Watermark,
        closed_beyond: impl IntoIterator<Item = i64>,
    ) {
        self.closed_up_to = closed_up_to;
        self.closed_beyond.extend(closed_beyond);
    }

    pub fn restore(&mut self, run: RestoredRun<'_>) {
        self.committed.restore(run.window_start_ms, run.key, run.run);
    }

    /// Windows that end no later are closed.
    pub fn closed_up_to(&self) -> Watermark {
        self.closed_up_to
    }

    /// Starts of windows that end later and are closed all the same.
    pub fn closed_beyond(&self) -> &BTreeSet<i64> {
        &self.closed_beyond
    }

    /// Windows and groups that were committed and are open.
    pub fn committed(&self) -> (usize, usize) {
        (self.committed.windows(), self.committed.groups())
    }

    /// Finds windows, keys and arguments of rows. Changes nothing, so an expression that fails
    /// for some row leaves no trace.
    pub fn prepare(&self, rows: &Rows) -> Result<Prepared> {
        let starts = self.window_starts(&rows.batch)?;
        let is_open = |start: i64| {
            start.saturating_add(self.spec.size_ms) > self.closed_up_to.0
                && (self.closed_beyond.is_empty() || !self.closed_beyond.contains(&start))
        };
        let untimed = starts.null_count();
        let late = starts.iter().flatten().filter(|&start| !is_open(start)).count();
        if untimed + late == 0 {
            return self.prepare_open(&rows.batch, starts.values().to_vec(), 0, 0);
        }
        let open: BooleanArray =
            starts.iter().map(|start| Some(start.is_some_and(is_open))).collect();
        let rows = select(rows, &open)?;
        let starts = starts.iter().flatten().filter(|&start| is_open(start)).collect();
        self.prepare_open(&rows.batch, starts, late, untimed)
    }

    fn window_starts(&self, batch: &RecordBatch) -> Result<Int64Array> {
        let starts = evaluate(batch, self.spec.group[self.spec.start].as_ref())?;
        times_ms(&starts).ok_or_else(|| {
            exec_datafusion_err!("a window's start is {}, not a timestamp", starts.data_type())
        })
    }

    fn prepare_open(
        &self,
        batch: &RecordBatch,
        window_starts_ms: Vec<i64>,
        late: usize,
        untimed: usize,
    ) -> Result<Prepared> {
        let evaluate_all = |exprs: &mut dyn Iterator<Item = &Arc<dyn PhysicalExpr>>| {
            exprs.map(|expr| evaluate(batch, expr.as_ref())).collect::<Result<Vec<_>>>()
        };
        let mut key_exprs = self.spec.keys.iter().map(|&index| &self.spec.group[index]);
        let keys = evaluate_all(&mut key_exprs)?;
        let keys = match &self.key_codec {
            Some(codec) => Some(codec.convert_columns(&keys)?),
            None => None,
        };
        let args = self
            .spec
            .calls
            .iter()
            .map(|call| {
                let filter = match &call.filter {
                    Some(filter) => Some(mask(batch, filter.as_ref())?),
                    None => None,
                };
                Ok((evaluate_all(&mut call.args.iter())?, filter))
            })
            .collect::<Result<_>>()?;
        Ok(Prepared { window_starts_ms, keys, args, late, untimed })
    }

    /// Takes rows that were prepared. After an error the operator is good for nothing more.
    pub fn apply(&mut self, rows: Prepared) -> Result<()> {
        if rows.window_starts_ms.is_empty() {
            return Ok(());
        }
        let groups = self.new.table.groups(&rows.window_starts_ms, rows.keys.as_ref());
        self.new.extend_span(&rows.window_starts_ms);
        let total = self.new.table.len();
        for (accumulator, (args, filter)) in self.new.accumulators.iter_mut().zip(&rows.args) {
            accumulator.update_batch(args, &groups, filter.as_ref(), total)?;
        }
        Ok(())
    }

    /// The start of the earliest window that is open.
    pub fn earliest_start_ms(&self) -> Option<i64> {
        Some(self.span_ms()?.0)
    }

    fn span_ms(&self) -> Option<(i64, i64)> {
        match (self.new.span_ms, self.committed.span_ms()) {
            (Some(new), Some(old)) => Some((new.0.min(old.0), new.1.max(old.1))),
            (new, old) => new.or(old),
        }
    }

    /// Closes the windows that end no later than `watermark`; their groups, if there are any.
    pub fn close(&mut self, watermark: Watermark) -> Result<Option<Rows>> {
        if watermark <= self.closed_up_to {
            return Ok(None);
        }
        self.close_up_to(watermark);
        self.take_groups(watermark.0.saturating_sub(self.spec.size_ms))
    }

    /// Closes the windows that start no later than `bound_ms`: nothing more is waited for. The
    /// watermark moves to the end of the latest of them.
    pub fn close_idle(&mut self, bound_ms: i64) -> Result<Option<Rows>> {
        let Some(last) = self.latest_start_ms(bound_ms) else { return Ok(None) };
        self.close(Watermark(last.saturating_add(self.spec.size_ms)))
    }

    /// Closes all windows: the input has ended. Windows that start later than `bound_ms` do not
    /// move the watermark: they are remembered one by one as closed, so that no clock that is
    /// wrong by years makes all that comes after it late.
    pub fn close_all(&mut self, bound_ms: i64) -> Result<Option<Rows>> {
        let beyond: Vec<i64> = self.starts_beyond(bound_ms);
        if let Some(last) = self.latest_start_ms(bound_ms) {
            self.close_up_to(Watermark(last.saturating_add(self.spec.size_ms)));
        }
        self.closed_beyond.extend(beyond);
        self.take_groups(i64::MAX)
    }

    fn close_up_to(&mut self, watermark: Watermark) {
        self.closed_up_to = self.closed_up_to.max(watermark);
        let first_open = self.closed_up_to.0.saturating_sub(self.spec.size_ms).saturating_add(1);
        self.closed_beyond = self.closed_beyond.split_off(&first_open);
    }

    /// The start of the latest open window that starts no later than `bound_ms`.
    fn latest_start_ms(&self, bound_ms: i64) -> Option<i64> {
        let new = self.new.table.window_starts_ms().iter().copied();
        new.filter(|start| *start <= bound_ms).max().max(self.committed.latest_start_ms(bound_ms))
    }

    fn starts_beyond(&self, bound_ms: i64) -> Vec<i64> {
        let new = self.new.table.window_starts_ms().iter().copied();
        let all = new.chain(self.committed.starts_ms());
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
        let batch = RecordBatch::try_new(self.spec.schema.clone(), columns)?;
        let last_ms = |&group: &usize| {
            closing.table.window_start_ms(group).saturating_add(self.spec.size_ms - 1)
        };
        let event_times_ms = order.iter().map(last_ms).collect::<Vec<_>>().into();
        Ok(Some(Rows { batch, event_times_ms }))
    }

    /// Takes out the groups of all windows that start no later than `last_start_ms`, whole:
    /// committed runs in their order, then what is new.
    fn take_closing(&mut self, last_start_ms: i64) -> Result<Groups> {
        let committed = self.committed.take_up_to(last_start_ms);
        let all_new_close = self.new.span_ms.is_none_or(|(_, last)| last <= last_start_ms);
        if committed.is_empty() && all_new_close {
            let empty = Groups::new(&self.spec)?;
            return Ok(std::mem::replace(&mut self.new, empty));
        }
        let mut closing = Groups::new(&self.spec)?;
        let mut groups = Vec::new();
        let mut runs = Vec::new();
        for (window_start_ms, window) in &committed {
            for (key, group_runs) in window {
                let group = closing.table.group(*window_start_ms, key);
                for run in group_runs {
                    groups.push(group);
                    runs.push(run.state.as_ref());
                    self.obsolete.push(group_key(*window_start_ms, run.number, key));
                }
            }
        }
        if !runs.is_empty() {
            let states = self.decode(&runs)?;
            closing.merge(&self.spec, &states, &groups)?;
        }
        if self.new.table.is_empty() {
            return Ok(closing);
        }
        let empty = Groups::new(&self.spec)?;
        let mut new = std::mem::replace(&mut self.new, empty);
        let states = new.states()?;
        let (close, keep): (Vec<usize>, Vec<usize>) = (0..new.table.len())
            .partition(|&group| new.table.window_start_ms(group) <= last_start_ms);
        closing.absorb(&self.spec, &new.table, &states, &close)?;
        self.new.absorb(&self.spec, &new.table, &states, &keep)?;
        Ok(closing)
    }

    /// The output columns of `groups` in the order of `order`.
    fn evaluate(&self, groups: &mut Groups, order: &[usize]) -> Result<Vec<ArrayRef>> {
        let fields = self.spec.schema.fields();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.spec.group.len()];
        let starts = order.iter().map(|&group| groups.table.window_start_ms(group));
        let time_type = fields[self.spec.start].data_type();
        if let Some(end) = self.spec.end {
            let ends = starts.clone().map(|start| start.saturating_add(self.spec.size_ms));
            columns[end] = Some(times_from_ms(ends, fields[end].data_type())?);
        }
        columns[self.spec.start] = Some(times_from_ms(starts, time_type)?);
        if let Some(codec) = &self.key_codec {
            let parser = codec.parser();
            let keys = order.iter().map(|&group| parser.parse(groups.table.key(group)));
            for (&index, column) in self.spec.keys.iter().zip(codec.convert_rows(keys)?) {
                columns[index] = Some(column);
            }
        }
        let mut columns: Vec<ArrayRef> = columns.into_iter().flatten().collect();
        let order: UInt64Array = order.iter().map(|&group| Some(group as u64)).collect();
        for accumulator in &mut groups.accumulators {
            let values = accumulator.evaluate(EmitTo::All)?;
            columns.push(take(&values, &order, None)?);
        }
        Ok(columns)
    }

    /// Takes what is new into the committed state; the changes to write for that.
    pub fn commit(&mut self) -> Result<Vec<Change>> {
        let mut changes: Vec<Change> = std::mem::take(&mut self.obsolete)
            .into_iter()
            .map(|key| Change { key, value: None })
            .collect();
        if self.new.table.is_empty() {
            return Ok(changes);
        }
        let states = self.new.states()?;
        let encoded = self.encode(&states)?;
        let mut merging = Merging::default();
        for group in 0..self.new.table.len() {
            let (window_start_ms, key) =
                (self.new.table.window_start_ms(group), self.new.table.key(group));
            let state = encoded.as_ref().map_or(&[][..], |rows| rows.row(group).data());
            let runs = self.committed.runs(window_start_ms, key);
            let kept = runs_to_keep(runs, state.len());
            if kept == runs.len() {
                let number = runs.last().map_or(0, |run| run.number + 1);
                let run = Run { number, state: state.into() };
                changes.push(self.put(group, run));
                continue;
            }
            for run in &runs[kept..] {
                merging.groups.push(merging.of.len());
                merging.runs.push(run.state.clone());
            }
            for run in &runs[kept + 1..] {
                let key = group_key(window_start_ms, run.number, key);
                changes.push(Change { key, value: None });
            }
            merging.of.push((group, runs[kept].number));
        }
        self.merge_runs(merging, &states, &mut changes)?;
        self.new.clear(&self.spec)?;
        Ok(changes)
    }

    /// Merges committed runs with what is new of the same groups.
    fn merge_runs(
        &mut self,
        merging: Merging,
        states: &[Vec<ArrayRef>],
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        if merging.of.is_empty() {
            return Ok(());
        }
        let mut merged = Groups::new(&self.spec)?;
        let runs: Vec<&[u8]> = merging.runs.iter().map(AsRef::as_ref).collect();
        let total = merging.of.len();
        merged.merge_into(&self.spec, &self.decode(&runs)?, &merging.groups, total)?;
        let new: Vec<usize> = merging.of.iter().map(|(group, _)| *group).collect();
        let new_states = take_states(states, &new)?;
        merged.merge_into(&self.spec, &new_states, &(0..total).collect::<Vec<_>>(), total)?;
        let encoded = self.encode(&merged.states()?)?;
        for (at, (group, number)) in merging.of.iter().enumerate() {
            let state = encoded.as_ref().map_or(&[][..], |rows| rows.row(at).data());
            let run = Run { number: *number, state: state.into() };
            changes.push(self.put(*group, run));
        }
        Ok(())
    }

    fn put(&mut self, group: usize, run: Run) -> Change {
        let (window_start_ms, key) =
            (self.new.table.window_start_ms(group), self.new.table.key(group));
        let change = Change {
            key: group_key(window_start_ms, run.number, key),
            value: Some(group_value(self.fingerprint, &run.state)),
        };
        self.committed.put(window_start_ms, key, run);
        change
    }

    fn encode(&self, states: &[Vec<ArrayRef>]) -> Result<Option<KeyRows>> {
        let Some(codec) = &self.state_codec else { return Ok(None) };
        let fields = self.spec.calls.iter().flat_map(|call| &call.state_fields);
        let columns = states
            .iter()
            .flatten()
            .zip(fields)
            .map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column.clone()),
                false => cast(column, field.data_type()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(codec.convert_columns(&columns)?))
    }

    /// The states of each call, one row per run.
    fn decode(&self, runs: &[&[u8]]) -> Result<Vec<Vec<ArrayRef>>> {
        let Some(codec) = &self.state_codec else { return Ok(Vec::new()) };
        let parser = codec.parser();
        let mut columns = codec.convert_rows(runs.iter().map(|run| parser.parse(run)))?.into_iter();
        let calls = self.spec.calls.iter();
        Ok(calls.map(|call| columns.by_ref().take(call.state_fields.len()).collect()).collect())
    }
}

/// Groups whose last committed runs are to be merged with what is new.
#[derive(Default)]
struct Merging {
    /// The group, and the number that the merged run gets.
    of: Vec<(usize, u32)>,
    /// Runs to merge, each with its place in `of`.
    runs: Vec<Box<[u8]>>,
    groups: Vec<usize>,
}

/// How many of a group's runs stay as they are when one of `new_len` bytes comes: the last ones
/// are merged with it while they are no more than twice as large.
fn runs_to_keep(runs: &[Run], new_len: usize) -> usize {
    let mut merged_len = new_len;
    let mut kept = runs.len();
    while let Some(run) = kept.checked_sub(1).map(|last| &runs[last]) {
        if run.state.len() > 2 * merged_len || run.state.len() + merged_len > RUN_BYTES_MAX {
            break;
        }
        merged_len += run.state.len();
        kept -= 1;
    }
    kept
}

fn times_from_ms(times: impl Iterator<Item = i64>, data_type: &DataType) -> Result<ArrayRef> {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let times = TimestampMillisecondArray::from_iter_values(times).with_timezone_opt(zone);
    Ok(cast(&times, data_type)?)
}
