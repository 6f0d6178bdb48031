//! Rows that come out of partitions, and what is forgotten then.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::cast;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};

use super::calls::{
    self, Arguments, Job, OverCall, Results, Running, accumulated, first_within, framed, shifted,
};
use super::frame::Sorted;
use super::{NS_PER_MS, Over};
use crate::operators::filter_project::evaluate;
use crate::operators::ordered_rows::SortedRow;
use crate::rows::Rows;

/// Rows of a partition, one per copy, of which some come out.
struct Releasing {
    partition: Box<[u8]>,
    rows: Vec<SortedRow>,
    times_ms: Vec<i64>,
    first_peers: Vec<usize>,
    from: usize,
    to: usize,
    running: Running,
}

impl Releasing {
    /// The rows that `to` lies among come out together.
    fn back_to_peers(&mut self) {
        while self.to > self.from
            && self.to < self.rows.len()
            && self.rows[self.to].order == self.rows[self.to - 1].order
        {
            self.to -= 1;
        }
    }
}

impl Over {
    /// Brings out what is ready in these partitions, or all there is.
    pub(super) fn release(
        &mut self,
        partitions: BTreeSet<Box<[u8]>>,
        all: bool,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let mut releasing = Vec::new();
        for partition in &partitions {
            releasing.extend(self.releasing(partition, all));
        }
        if !releasing.is_empty() {
            out.push(self.evaluate(&mut releasing)?);
        }
        for of in releasing {
            self.forget(of);
        }
        for partition in &partitions {
            self.prune(partition);
            self.look_again(partition);
        }
        Ok(())
    }

    fn releasing(&self, partition: &[u8], all: bool) -> Option<Releasing> {
        let mut of = Releasing {
            partition: partition.into(),
            rows: Vec::new(),
            times_ms: Vec::new(),
            first_peers: Vec::new(),
            from: 0,
            to: 0,
            running: self.running.get(partition).cloned().unwrap_or_default(),
        };
        let reach = self.spec.reach;
        for (row, entry) in &self.rows.get(partition)?.rows {
            let time_ms = entry.time_ms.unwrap_or(i64::MIN);
            let ready = entry.given || all || self.is_ready(time_ms);
            // What no frame of a row that comes out reaches.
            let last_ms = of.times_ms.get(of.to.wrapping_sub(1)).copied();
            let reached =
                last_ms.is_some_and(|last| time_ms <= last.saturating_add(reach.following_ms));
            if !ready && !reached {
                break;
            }
            for _ in 0..entry.count {
                let at = of.rows.len();
                let peer = match of.rows.last() {
                    Some(last) if last.order == row.order => of.first_peers[at - 1],
                    _ => at,
                };
                of.first_peers.push(peer);
                of.rows.push(row.clone());
                of.times_ms.push(time_ms);
                of.from += usize::from(entry.given);
                of.to += usize::from(ready);
            }
        }
        if !all {
            of.to = of.to.saturating_sub(reach.following_rows).max(of.from);
            of.back_to_peers();
        }
        (of.to > of.from).then_some(of)
    }

    /// The rows that come out, with what each function says of them.
    fn evaluate(&self, releasing: &mut [Releasing]) -> Result<Rows> {
        let rows = releasing.iter().flat_map(|of| &of.rows).map(|row| row.row.as_ref());
        let columns = self.codec.decode(rows)?;
        let batch = RecordBatch::try_new(self.spec.ordering.schema.clone(), columns)?;
        let time = evaluate(&batch, self.spec.ordering.order[0].expr.as_ref())?;
        let times_ns = calls::times_ns(&time).ok_or_else(|| {
            exec_datafusion_err!("rows are sorted by {}, not by time", time.data_type())
        })?;
        let arguments: Vec<Arguments> =
            self.spec.calls.iter().map(|call| call.arguments(&batch)).collect::<Result<_>>()?;
        let mut results: Vec<Results> = self.spec.calls.iter().map(Results::of).collect();
        let before = self.states_before(releasing)?;
        let mut after: Vec<Vec<ScalarValue>> = Vec::new();
        let (mut first, mut places) = (0, Vec::new());
        for (at, of) in releasing.iter_mut().enumerate() {
            let sorted = Sorted {
                times_ns: &times_ns[first..first + of.rows.len()],
                first_peers: &of.first_peers,
            };
            let job = Job { first, sorted, from: of.from, to: of.to };
            let state = before[at].as_deref();
            after.push(self.evaluate_one(
                &job,
                &mut of.running,
                &arguments,
                state,
                &mut results,
            )?);
            let rows = of.from..of.to;
            places.extend(rows.map(|row| (of.times_ms[row], (first + row) as u64)));
            first += of.rows.len();
        }
        self.put_states(releasing, after)?;
        self.sorted_by_time(&batch, &places, results, &arguments)
    }

    fn evaluate_one(
        &self,
        job: &Job<'_>,
        running: &mut Running,
        arguments: &[Arguments],
        state: Option<&[ArrayRef]>,
        results: &mut [Results],
    ) -> Result<Vec<ScalarValue>> {
        let mut states = Vec::new();
        let mut state = state;
        for ((call, arguments), results) in self.spec.calls.iter().zip(arguments).zip(results) {
            match (call, results) {
                (OverCall::Rank(rank), Results::Ranks(ranks)) => {
                    ranks.extend(calls::ranks(*rank, job, running));
                }
                (OverCall::FirstWithin { within_ns }, Results::Flags(flags)) => {
                    flags.extend(first_within(*within_ns, job, &mut running.first_ns));
                }
                (OverCall::Shift { by, default, .. }, Results::Places(places)) => {
                    shifted(*by, default.is_some(), job, places);
                }
                (OverCall::Aggregate { call, frame }, Results::Values(values))
                    if frame.start.is_some() =>
                {
                    framed(call, frame, arguments, job, values)?;
                }
                (OverCall::Aggregate { call, frame }, Results::Values(values)) => {
                    let (of_call, rest) = match state {
                        Some(state) => {
                            let (of_call, rest) = state.split_at(call.state_fields.len());
                            (Some(of_call), Some(rest))
                        }
                        None => (None, None),
                    };
                    state = rest;
                    states.extend(accumulated(call, frame, arguments, job, of_call, values)?);
                }
                // Results are made for the calls in their order.
                _ => {}
            }
        }
        if self.needs_totals() {
            running.rows += (job.to - job.from) as u64;
            let is_first = |row: &usize| job.sorted.first_peers[*row] == *row || *row == job.from;
            running.different += (job.from..job.to).filter(is_first).count() as u64;
        }
        Ok(states)
    }

    /// What aggregates have come to before, a row each, by partition.
    fn states_before(&self, releasing: &[Releasing]) -> Result<Vec<Option<Vec<ArrayRef>>>> {
        let Some(codec) = &self.state_codec else { return Ok(vec![None; releasing.len()]) };
        let parser = codec.parser();
        let states = releasing.iter().map(|of| {
            if of.running.states.is_empty() {
                return Ok(None);
            }
            Ok(Some(codec.convert_rows([parser.parse(&of.running.states)])?))
        });
        states.collect()
    }

    fn put_states(&self, releasing: &mut [Releasing], after: Vec<Vec<ScalarValue>>) -> Result<()> {
        let Some(codec) = &self.state_codec else { return Ok(()) };
        let types = self.spec.calls.iter().flat_map(OverCall::state_types);
        let mut columns = Vec::new();
        for (at, data_type) in types.enumerate() {
            let of_all = after.iter().map(|states| states[at].clone());
            columns.push(cast(&ScalarValue::iter_to_array(of_all)?, data_type)?);
        }
        let encoded = codec.convert_columns(&columns)?;
        for (of, state) in releasing.iter_mut().zip(&encoded) {
            of.running.states = state.data().into();
        }
        Ok(())
    }

    fn sorted_by_time(
        &self,
        batch: &RecordBatch,
        places: &[(i64, u64)],
        results: Vec<Results>,
        arguments: &[Arguments],
    ) -> Result<Rows> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&at| places[at].0);
        let of_batch: UInt64Array = order.iter().map(|&at| Some(places[at].1)).collect();
        let of_results: UInt64Array = order.iter().map(|&at| Some(at as u64)).collect();
        let mut columns = arrow::compute::take_arrays(batch.columns(), &of_batch, None)?;
        let fields = &self.spec.schema.fields()[columns.len()..];
        for ((results, arguments), field) in results.into_iter().zip(arguments).zip(fields) {
            let column = results.column(arguments, field.data_type())?;
            columns.push(arrow::compute::take(&column, &of_results, None)?);
        }
        let batch = RecordBatch::try_new(self.spec.schema.clone(), columns)?;
        let times: Int64Array = order.iter().map(|&at| Some(places[at].0)).collect();
        Ok(Rows::new(batch, times))
    }

    /// Notes that rows have come out.
    fn forget(&mut self, of: Releasing) {
        let Releasing { partition, rows, times_ms, from, to, mut running, .. } = of;
        let reach = self.spec.reach;
        for row in from..to {
            let time_ms = times_ms[row];
            if let Some(count) = self.waiting.get_mut(&time_ms) {
                *count -= 1;
                if *count == 0 {
                    self.waiting.remove(&time_ms);
                }
            }
            let ready = self.is_ready(time_ms);
            self.rows.give(&partition, &rows[row], ready && reach.following_rows == 0);
            if !ready {
                running.given_up_to_ms = running.given_up_to_ms.max(Some(time_ms));
            }
        }
        let before = self.running.get(&partition);
        if before.map_or(running != Running::default(), |before| *before != running) {
            self.dirty.insert(partition.clone());
            self.running.insert(partition, running);
        }
    }

    /// Forgets what no later row reaches.
    fn prune(&mut self, partition: &[u8]) {
        let reach = self.spec.reach;
        let kept_from_ms = (self.passed.0)
            .saturating_sub(reach.following_ms)
            .saturating_sub(reach.preceding_ms)
            .saturating_sub(1);
        let of = self.rows.get(partition).into_iter().flat_map(|of| &of.rows);
        let given: Vec<_> = of.take_while(|(_, entry)| entry.given).collect();
        let mut after = given.iter().map(|(_, entry)| entry.count).sum::<u64>();
        let mut gone = Vec::new();
        for (row, entry) in given {
            let by_time = reach.preceding_ms > 0 && entry.time_ms >= Some(kept_from_ms);
            // How many rows come after this one before the first that waits.
            after -= entry.count;
            if by_time || after < reach.preceding_rows as u64 {
                break;
            }
            gone.push(row.clone());
        }
        gone.iter().for_each(|row| self.rows.remove(partition, row));
        self.prune_running(partition);
    }

    fn prune_running(&mut self, partition: &[u8]) {
        let Some(running) = self.running.get(partition) else { return };
        let mut running = running.clone();
        if running.given_up_to_ms.is_some_and(|given| self.is_ready(given)) {
            running.given_up_to_ms = None;
        }
        if self.first_ends_ms(&running).is_some_and(|end| end < self.passed.0) {
            running.first_ns = None;
        }
        if running == Running::default() {
            self.running.remove(partition);
            self.dirty.insert(partition.into());
        } else if self.running.get(partition) != Some(&running) {
            self.running.insert(partition.into(), running);
            self.dirty.insert(partition.into());
        }
    }

    fn needs_totals(&self) -> bool {
        let counts = |call: &OverCall| matches!(call, OverCall::Rank(_));
        self.spec.limit.is_some() || self.spec.calls.iter().any(counts)
    }

    /// The watermark beyond which a first row makes no later one its double.
    fn first_ends_ms(&self, running: &Running) -> Option<i64> {
        let first_ms = i64::try_from(running.first_ns?.div_euclid(NS_PER_MS.into())).ok()?;
        let within = self.spec.calls.iter().filter_map(|call| match call {
            OverCall::FirstWithin { within_ns } => Some(within_ns / NS_PER_MS + 1),
            _ => None,
        });
        let reach_ms = self.spec.reach.following_ms;
        Some(first_ms.saturating_add(within.max()?).saturating_add(reach_ms))
    }

    /// Has a partition looked at when the next of its rows may come out or be forgotten.
    pub(super) fn look_again(&mut self, partition: &[u8]) {
        let reach = self.spec.reach;
        let mut times = Vec::new();
        if let Some(of) = self.rows.get(partition) {
            let waits = |entry: &&crate::operators::ordered_rows::Entry| {
                !entry.given && entry.time_ms.is_some_and(|time| !self.is_ready(time))
            };
            times.extend(of.rows.values().find(waits).and_then(|entry| entry.time_ms));
            if reach.preceding_ms > 0 {
                let oldest = of.rows.values().next().filter(|entry| entry.given);
                let oldest = oldest.and_then(|entry| entry.time_ms);
                // Those that rows keep, whatever their time, are looked at with the next row.
                let gone = oldest.map(|oldest| oldest.saturating_add(reach.preceding_ms + 1));
                times.extend(gone.filter(|gone| !self.is_ready(*gone)));
            }
        }
        let due = times.into_iter().map(|time| time.saturating_add(reach.following_ms));
        let mut due: Vec<i64> = due.collect();
        if let Some(running) = self.running.get(partition) {
            due.extend(self.first_ends_ms(running).filter(|end| *end >= self.passed.0));
            due.extend(running.given_up_to_ms.map(|at| at.saturating_add(reach.following_ms)));
        }
        if let Some(due) = due.into_iter().min() {
            self.due.by(partition, due);
        }
    }
}
