//! Rows that come out of partitions, and what is forgotten then.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::cast;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};

use super::calls::{
    self, Arguments, Job, OverCall, Results, Running, accumulated, framed, shifted,
};
use super::frame::Sorted;
use super::{NS_PER_MS, Over};
use crate::operators::failed_groups::{Failed, leave_out};
use crate::operators::filter_project::evaluate;
use crate::operators::ordered_rows::{Entry, Place};
use crate::plan::one_within::ones;
use crate::rows::Rows;
use crate::state::map::Bytes;

/// Rows that come out together, and partitions that are looked at together: bounds the memory that
/// releasing takes.
const RELEASED_MAX: usize = 8192;

/// What is on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Releasing {
    stage: Stage,
    /// Rows are looked for from that time on.
    from_ms: i64,
    /// The input has ended.
    all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Rows of which all is known that they see, in the order of time.
    InOrder,
    /// Rows that wait for others, which will not come.
    Rest,
    /// What can be forgotten.
    Forgetting,
}

impl Releasing {
    /// All that the watermark lets go.
    pub fn ready() -> Releasing {
        Releasing { stage: Stage::InOrder, from_ms: i64::MIN, all: false }
    }

    /// All there is.
    pub fn all() -> Releasing {
        Releasing { all: true, ..Releasing::ready() }
    }
}

/// Rows of a partition, one per copy, of which some come out.
struct OfPartition {
    partition: Bytes,
    rows: Vec<(Place, Entry)>,
    times_ms: Vec<i64>,
    first_peers: Vec<usize>,
    from: usize,
    to: usize,
    running: Running,
}

impl OfPartition {
    /// The rows that `to` lies among come out together.
    fn back_to_peers(&mut self) {
        while self.to > self.from
            && self.to < self.rows.len()
            && self.rows[self.to].0.order() == self.rows[self.to - 1].0.order()
        {
            self.to -= 1;
        }
    }
}

impl Over {
    /// Brings out the next rows of those that are on their way.
    pub(super) fn release(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let Some(releasing) = self.releasing.take() else { return Ok(()) };
        let Releasing { stage, from_ms, all } = releasing;
        self.releasing = match stage {
            Stage::InOrder => {
                let end_ms = if all { i64::MAX } else { self.ready_before_ms() };
                // Rows that wait for others have been looked at, if the watermark had passed them.
                let from_ms = from_ms.max(if all { i64::MIN } else { self.kept.out_before_ms });
                let waiting = self.kept.waiting(from_ms, end_ms, RELEASED_MAX)?;
                let before_ms = waiting.before_ms;
                self.release_of(waiting.partitions, before_ms, false, out)?;
                let next = match before_ms >= end_ms {
                    false => Stage::InOrder,
                    true if all => Stage::Rest,
                    true => Stage::Forgetting,
                };
                Some(Releasing { stage: next, from_ms: before_ms, all })
            }
            Stage::Rest => {
                let waiting = self.kept.waiting(i64::MIN, i64::MAX, RELEASED_MAX)?;
                let any = !waiting.partitions.is_empty();
                self.release_of(waiting.partitions, i64::MAX, true, out)?;
                any.then_some(releasing)
            }
            Stage::Forgetting => {
                let due = self.kept.take_due(self.passed, RELEASED_MAX)?;
                due.iter().try_for_each(|partition| self.prune(partition))?;
                (!due.is_empty()).then_some(releasing)
            }
        };
        Ok(())
    }

    /// Brings out rows of these partitions before a time, or all there is.
    fn release_of(
        &mut self,
        partitions: impl IntoIterator<Item = Bytes>,
        before_ms: i64,
        all: bool,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let mut releasing = Vec::new();
        for partition in partitions {
            releasing.extend(self.of_partition(partition, before_ms, all)?);
        }
        if releasing.iter().any(|of| of.to > of.from) {
            out.push(self.evaluate(&mut releasing)?);
        }
        // What is ready by the watermark has come out now.
        self.kept.out_before_ms =
            self.kept.out_before_ms.max(before_ms.min(self.ready_before_ms()));
        for of in &releasing {
            self.forget(of)?;
            self.prune(&of.partition)?;
        }
        Ok(())
    }

    fn of_partition(
        &self,
        partition: Bytes,
        before_ms: i64,
        all: bool,
    ) -> Result<Option<OfPartition>> {
        let mut of = OfPartition {
            rows: Vec::new(),
            times_ms: Vec::new(),
            first_peers: Vec::new(),
            from: 0,
            to: 0,
            running: self.kept.running(&partition)?,
            partition,
        };
        let reach = self.spec.reach;
        for row in self.kept.of(&of.partition) {
            let (place, time_ms, entry) = row?;
            let ready = entry.given || all || time_ms < before_ms;
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
                    Some((last, _)) if last.order() == place.order() => of.first_peers[at - 1],
                    _ => at,
                };
                of.first_peers.push(peer);
                of.rows.push((place.clone(), entry));
                of.times_ms.push(time_ms);
                of.from += usize::from(entry.given);
                of.to += usize::from(ready);
            }
        }
        if !all {
            of.to = of.to.saturating_sub(reach.following_rows).max(of.from);
            of.back_to_peers();
        }
        Ok((of.to > of.from).then_some(of))
    }

    /// The rows that come out, with what each function says of them.
    fn evaluate(&self, releasing: &mut [OfPartition]) -> Result<Rows> {
        let rows = releasing.iter().flat_map(|of| &of.rows).map(|(place, _)| place.row());
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
        let (mut state, mut first_ns) = (state, running.first_ns);
        for ((call, arguments), results) in self.spec.calls.iter().zip(arguments).zip(results) {
            match (call, results) {
                (OverCall::Rank(rank), Results::Ranks(ranks)) => {
                    ranks.extend(calls::ranks(*rank, job, running));
                }
                (OverCall::OneWithin { which, within_ns }, Results::Flags(flags)) => {
                    first_ns = running.first_ns;
                    let (times_ns, rows) = (job.sorted.times_ns, job.from..job.to);
                    flags.extend(ones(*which, *within_ns, times_ns, rows, &mut first_ns));
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
        running.first_ns = first_ns;
        if self.needs_totals() {
            running.rows += (job.to - job.from) as u64;
            let is_first = |row: &usize| job.sorted.first_peers[*row] == *row || *row == job.from;
            running.different += (job.from..job.to).filter(is_first).count() as u64;
        }
        Ok(states)
    }

    /// What aggregates have come to before, a row each, by partition.
    fn states_before(&self, releasing: &[OfPartition]) -> Result<Vec<Option<Vec<ArrayRef>>>> {
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

    fn put_states(
        &self,
        releasing: &mut [OfPartition],
        after: Vec<Vec<ScalarValue>>,
    ) -> Result<()> {
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
        let mut failed = Failed::new();
        for ((results, arguments), field) in results.into_iter().zip(arguments).zip(fields) {
            if let Results::Values(values) = &results {
                let of_row = |(row, at)| Some((row, values.failed.get(at)?.clone()));
                failed.extend(order.iter().enumerate().filter_map(of_row));
            }
            let column = results.column(arguments, field.data_type())?;
            columns.push(arrow::compute::take(&column, &of_results, None)?);
        }
        let batch = RecordBatch::try_new(self.spec.schema.clone(), columns)?;
        let times: Int64Array = order.iter().map(|&at| Some(places[at].0)).collect();
        leave_out(Rows::new(batch, times), failed)
    }

    /// Notes that rows have come out.
    fn forget(&mut self, of: &OfPartition) -> Result<()> {
        let mut ahead_ms = None;
        for row in of.from..of.to {
            let ((place, entry), time_ms) = (&of.rows[row], of.times_ms[row]);
            self.kept.give(place, time_ms, *entry)?;
            if time_ms >= self.ready_before_ms() {
                ahead_ms = ahead_ms.max(Some(time_ms));
            }
        }
        if ahead_ms > self.kept.given_up_to_ms(&of.partition)?
            && let Some(ahead_ms) = ahead_ms
        {
            self.kept.set_given(&of.partition, ahead_ms)?;
        }
        Ok(self.kept.set_running(&of.partition, &of.running)?)
    }

    /// Forgets what no later row reaches.
    fn prune(&mut self, partition: &[u8]) -> Result<()> {
        let reach = self.spec.reach;
        let mut next_ms = self.kept.out_before_ms;
        let mut is_held_back = false;
        let mut given = Vec::new();
        for row in self.kept.of(partition) {
            let (place, time_ms, entry) = row?;
            if !entry.given {
                // It may wait for others although the watermark has passed it.
                is_held_back = time_ms < next_ms;
                next_ms = next_ms.min(time_ms);
                break;
            }
            given.push((place, time_ms, entry.count));
        }
        let kept_from_ms = next_ms.saturating_sub(reach.preceding_ms).saturating_sub(1);
        let mut after = given.iter().map(|(.., count)| count).sum::<u64>();
        let mut oldest_ms = None;
        for (place, time_ms, count) in given {
            let by_time = reach.preceding_ms > 0 && time_ms >= kept_from_ms;
            // How many rows come after this one before the first that waits.
            after -= count;
            if by_time || after < reach.preceding_rows as u64 {
                oldest_ms = by_time.then_some(time_ms);
                break;
            }
            self.kept.remove(&place)?;
        }
        // Those that rows keep, whatever their time, are looked at with the next row, and those
        // that are kept for one that waits, when it comes out.
        if let Some(oldest_ms) = oldest_ms
            && !is_held_back
        {
            let gone_ms = oldest_ms.saturating_add(reach.preceding_ms).saturating_add(1);
            self.kept.look_again(partition, gone_ms.saturating_add(reach.following_ms))?;
        }
        self.prune_running(partition)
    }

    fn prune_running(&mut self, partition: &[u8]) -> Result<()> {
        if let Some(given_ms) = self.kept.given_up_to_ms(partition)? {
            match given_ms < self.ready_before_ms() {
                true => self.kept.forget_given(partition)?,
                false => {
                    let passed_ms = given_ms.saturating_add(self.spec.reach.following_ms);
                    self.kept.look_again(partition, passed_ms)?;
                }
            }
        }
        let mut running = self.kept.running(partition)?;
        if let Some(end_ms) = self.first_ends_ms(&running) {
            if end_ms >= self.passed.0 {
                return Ok(self.kept.look_again(partition, end_ms)?);
            }
            running.first_ns = None;
            self.kept.set_running(partition, &running)?;
        }
        Ok(())
    }

    fn needs_totals(&self) -> bool {
        let counts = |call: &OverCall| matches!(call, OverCall::Rank(_));
        self.spec.limit.is_some() || self.spec.calls.iter().any(counts)
    }

    /// The watermark beyond which a first row makes no later one its double.
    fn first_ends_ms(&self, running: &Running) -> Option<i64> {
        let first_ms = i64::try_from(running.first_ns?.div_euclid(NS_PER_MS.into())).ok()?;
        let within = self.spec.calls.iter().filter_map(|call| match call {
            OverCall::OneWithin { within_ns, .. } => Some(within_ns / NS_PER_MS + 1),
            _ => None,
        });
        let reach_ms = self.spec.reach.following_ms;
        Some(first_ms.saturating_add(within.max()?).saturating_add(reach_ms))
    }
}
