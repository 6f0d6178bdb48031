//! Groups with what has come to them since the last commit, or with all there is when they close.

use arrow::array::{ArrayRef, AsArray, BinaryArray, UInt64Array};
use arrow::compute::take;
use arrow_row::Rows as KeyRows;
use datafusion_common::Result;
use datafusion_expr::{EmitTo, GroupsAccumulator};

use super::spec::AggregateSpec;
use crate::operators::groups::GroupTable;

/// Groups and their accumulators.
pub struct Groups {
    pub table: GroupTable,
    pub accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Starts of the earliest and the latest window.
    pub span_ms: Option<(i64, i64)>,
}

impl Groups {
    pub fn new(spec: &AggregateSpec) -> Result<Groups> {
        let accumulators = spec.new_accumulators()?;
        Ok(Groups { table: GroupTable::default(), accumulators, span_ms: None })
    }

    pub fn clear(&mut self, spec: &AggregateSpec) -> Result<()> {
        self.table.clear();
        self.accumulators = spec.new_accumulators()?;
        self.span_ms = None;
        Ok(())
    }

    /// Takes rows: the window of each, its key, and what [`AggregateSpec::arguments`] has found.
    /// The group of each.
    pub fn take(
        &mut self,
        spec: &AggregateSpec,
        window_starts_ms: &[i64],
        keys: Option<&KeyRows>,
        mut columns: &[ArrayRef],
    ) -> Result<Vec<usize>> {
        let groups = self.table.groups(window_starts_ms, keys);
        self.extend_span(window_starts_ms);
        let total = self.table.len();
        for (accumulator, call) in self.accumulators.iter_mut().zip(&spec.calls) {
            let (args, rest) = columns.split_at(call.args.len());
            let (filter, rest) = rest.split_at(usize::from(call.filter.is_some()));
            let filter = filter.first().map(AsArray::as_boolean);
            accumulator.update_batch(args, &groups, filter, total)?;
            columns = rest;
        }
        Ok(groups)
    }

    /// Takes the states of rows that were combined, at least one.
    pub fn take_combined(
        &mut self,
        spec: &AggregateSpec,
        window_starts_ms: &[i64],
        keys: Option<&BinaryArray>,
        states: &[Vec<ArrayRef>],
    ) -> Result<()> {
        let key = |row: usize| keys.map_or(&[][..], |keys| keys.value(row));
        let rows = window_starts_ms.iter().enumerate();
        let groups =
            rows.map(|(row, &start)| self.table.group(start, key(row))).collect::<Vec<_>>();
        self.extend_span(window_starts_ms);
        self.merge(spec, states, &groups)
    }

    pub fn extend_span(&mut self, window_starts_ms: &[i64]) {
        for &start in window_starts_ms {
            let (first, last) = self.span_ms.unwrap_or((start, start));
            self.span_ms = Some((first.min(start), last.max(start)));
        }
    }

    /// The states of each call, one row per group; the accumulators are empty afterwards.
    pub fn states(&mut self) -> Result<Vec<Vec<ArrayRef>>> {
        self.accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All)).collect()
    }

    pub fn merge(
        &mut self,
        spec: &AggregateSpec,
        states: &[Vec<ArrayRef>],
        groups: &[usize],
    ) -> Result<()> {
        self.merge_into(spec, states, groups, self.table.len())
    }

    pub fn merge_into(
        &mut self,
        spec: &AggregateSpec,
        states: &[Vec<ArrayRef>],
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        debug_assert_eq!(states.len(), spec.calls.len());
        for (accumulator, states) in self.accumulators.iter_mut().zip(states) {
            accumulator.merge_batch(states, groups, total)?;
        }
        Ok(())
    }

    /// Merges some groups of another table, with their states.
    pub fn absorb(
        &mut self,
        spec: &AggregateSpec,
        table: &GroupTable,
        states: &[Vec<ArrayRef>],
        groups: &[usize],
    ) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let ours: Vec<usize> = groups
            .iter()
            .map(|&group| self.table.group(table.window_start_ms(group), table.key(group)))
            .collect();
        let starts: Vec<i64> = groups.iter().map(|&group| table.window_start_ms(group)).collect();
        self.extend_span(&starts);
        self.merge(spec, &take_states(states, groups)?, &ours)
    }
}

pub fn take_states(states: &[Vec<ArrayRef>], rows: &[usize]) -> Result<Vec<Vec<ArrayRef>>> {
    let rows: UInt64Array = rows.iter().map(|&row| Some(row as u64)).collect();
    let taken = states.iter().map(|columns| {
        columns.iter().map(|column| take(column, &rows, None)).collect::<Result<Vec<_>, _>>()
    });
    Ok(taken.collect::<Result<_, _>>()?)
}
