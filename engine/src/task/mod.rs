//! One query at work, as a pure state machine: (state, what was fetched, now) → outputs, changes
//! of state, offsets.
//!
//! ```text
//! process(batches, now)  decode → clocks, stage → operator → … → output
//! process_table(batches) decode → the tables that joins look rows up in
//! tick(now)              idle partitions → watermark → operators → output
//! finish(now)            operators let go of all they hold → output
//! commit()               outputs + changelog + offsets + rows to show, to be written as one
//! ```
//!
//! There is one watermark for all operators of a task: the least of all its inputs. What one of
//! them brings out when the watermark comes to W is no earlier than W was before, so W holds behind
//! it as well. A join of streams is the exception: it brings out rows that have waited for others,
//! and operators behind it are told of a watermark that lags by as much.
//!
//! - [`restoring`]: taking up what the last commit left.
//! - [`flow`]: how rows go from one operator to the next; [`output`]: into topics, that of the
//!   [`sink`] or an [`exchange`] with other tasks; [`tables`]: what joins look rows up in.
//!
//! It owns no socket, no clock and no thread, and the same calls give the same results. Whoever
//! drives it writes what [`Task::commit`] returns in one transaction, or throws the task away and
//! builds it anew from the last transaction that was written.
//!
//! Invariants: the offsets of a commit are exactly those up to which outputs and state have been
//! computed. A record that fails costs its own row, after the source's `on_error`. A window comes
//! out once, whatever happens in between.

mod exchange;
mod flow;
mod keyed;
pub mod output;
mod restoring;
mod sink;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::Array;
use broker::client::FetchedBatches;
use broker::ids::{Offset, TopicPartition};
use broker::record::{BatchBuilder, BatchError, Record, Records};
use datafusion_common::DataFusionError;
use thiserror::Error;

use crate::formats::{FormatError, RowDecoder};
use crate::operators::failed_groups::going_on;
use crate::operators::filter_project::Stage;
use crate::operators::{self, Kept, Operator, reason};
use crate::pipeline::OnError;
use crate::rows::Rows;
use crate::state::changelog::{Change, Meta, StateError, StateId};
use crate::state::disk::{DiskError, DiskState};
use crate::state::layouts::Layouts;
use crate::state::map::StateMap;
use crate::tally::{Account, InputTally, NodeTally};
use crate::time::{ExchangeClock, Progress, SourceClock, WallTime, Watermark, idle_at};
use crate::topology::{Input, Topology};
use exchange::{ExchangeReader, ExchangeWriter, Sent};
use flow::Place;
use keyed::keyed_rows;
use output::{DeadLetter, Output};
pub use restoring::{Restored, Restoring};
use tables::Tables;

#[cfg(test)]
mod tests;

/// What a task is made of.
#[derive(Clone, Debug)]
pub struct TaskSetup {
    pub topology: Topology,
    pub batch_rows_max: usize,
    /// Which of the tasks of its topology it is.
    pub task: usize,
    /// Partitions of each input's topic that it reads. Of an exchange, it reads the one of its own
    /// number.
    pub input_partitions: Vec<Vec<i32>>,
    pub sink_partitions: i32,
}

/// Entries that go to disk together.
const SPILLED_MAX: usize = 65_536;

/// A query at work.
pub struct Task {
    topology: Arc<Topology>,
    batch_rows_max: usize,
    decoders: Vec<RowDecoder>,
    clocks: Vec<SourceClock>,
    /// In the order of the topology's exchanges.
    exchanges: Vec<ExchangeReader>,
    exchange_clocks: Vec<ExchangeClock>,
    tables: Tables,
    /// In the order of the topology's nodes.
    operators: Vec<Box<dyn Operator>>,
    /// No row before it is waited for any more.
    watermark: Watermark,
    /// What the clocks said last.
    progress: Progress,
    /// When the clocks were asked last.
    ticked_at: WallTime,
    output: Output,
    positions: BTreeMap<TopicPartition, Position>,
    /// Of these it has read records, and not only passed over what was aborted.
    heard: BTreeSet<TopicPartition>,
    counts: Counts,
    /// Of each input and each node.
    input_tallies: Vec<InputTally>,
    node_tallies: Vec<NodeTally>,
    /// Something has changed since the last commit.
    dirty: bool,
    /// Names the state, see [`Meta::state`].
    state: String,
    /// See [`Meta::topics`].
    topics: BTreeMap<String, String>,
    /// By the operator's id: what its values are made of, if that may change.
    layouts: BTreeMap<String, Layouts>,
}

/// How far a partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub next: Offset,
    /// One past the last record known to be there.
    pub end: Offset,
}

/// What has happened since the task was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were rows.
    pub rows_in: u64,
    /// Rows written to the sink.
    pub rows_out: u64,
    /// Rows whose window had closed.
    pub late: u64,
    /// Rows without an event time, which belong to no window.
    pub untimed: u64,
    /// Rows too far in the future to move the watermark.
    pub future: u64,
    /// Records without a value, where that is no row.
    pub tombstones: u64,
    /// Records left out because they failed.
    pub skipped: u64,
    /// Records written to a dead-letter topic because they failed.
    pub dead_lettered: u64,
}

/// How often a quiet task looks whether more of what is open has ended meanwhile.
const QUIET_TICK_MS: i64 = 1_000;

/// All that one transaction is to hold.
#[derive(Debug, Default)]
pub struct Commit {
    pub outputs: Vec<(TopicPartition, BatchBuilder)>,
    pub changes: Vec<Change>,
    /// Changes that the changelog does not have: for the disk alone.
    pub derived: Vec<Change>,
    /// The next record to read of each partition.
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Rows to show once the transaction is committed.
    pub printed: Vec<Rows>,
}

/// Why a task cannot go on.
#[derive(Debug, Error)]
pub enum TaskError {
    #[error(
        "topic '{}', partition {}, offset {offset}: {reason}; on_error = \"skip\" or a dead-letter \
         topic would go on without it",
        from.topic, from.partition
    )]
    Record { from: TopicPartition, offset: Offset, reason: String },
    #[error(
        "topic '{topics}': a row of several records, {row}: {reason}; on_error = \"skip\" or a \
         dead-letter topic would go on without it"
    )]
    Row { topics: String, row: String, reason: String },
    #[error("topic '{}', partition {}: {error}", from.topic, from.partition)]
    Batch { from: TopicPartition, error: BatchError },
    #[error("{what}: {reason}")]
    Evaluate { what: &'static str, reason: String },
    #[error("source '{source_name}': {error}")]
    Decoder { source_name: String, error: FormatError },
    #[error("topic '{topic}': {error}")]
    Encoder { topic: String, error: FormatError },
    #[error(
        "topic '{topic}': a row{key} is a record of {size} bytes, more than max.message.bytes = \
         {size_max}; raise that (`millstream configs alter`), or leave such rows out: on_error = \
         \"skip\" or a dead-letter topic"
    )]
    TooLong { topic: String, key: String, size: usize, size_max: usize },
    #[error(transparent)]
    State(#[from] StateError),
}

impl TaskError {
    pub(crate) fn evaluate(what: &'static str) -> impl Fn(DataFusionError) -> TaskError {
        move |error| TaskError::Evaluate { what, reason: reason(error) }
    }
}

/// Records of one partition that are decoded together.
struct Chunk<'a> {
    from: &'a TopicPartition,
    records: &'a [Record<'a>],
}

impl Task {
    pub fn new(setup: TaskSetup, now: WallTime) -> Result<Task, TaskError> {
        let output = output_of(&setup.topology, setup.task, setup.sink_partitions)?;
        Task::with_output(setup, output, now)
    }

    /// A task whose rows are shown, and written nowhere.
    pub fn showing(setup: TaskSetup, now: WallTime) -> Result<Task, TaskError> {
        Task::with_output(setup, Output::shown(), now)
    }

    fn with_output(setup: TaskSetup, output: Output, now: WallTime) -> Result<Task, TaskError> {
        let TaskSetup { topology, batch_rows_max, task, input_partitions, .. } = setup;
        let mut decoders = Vec::new();
        let mut clocks = Vec::new();
        let mut positions = BTreeMap::new();
        let start = Position { next: Offset::ZERO, end: Offset::ZERO };
        for (input, partitions) in topology.inputs.iter().zip(input_partitions) {
            let decoder = RowDecoder::new(&input.source, &input.projection).map_err(|error| {
                TaskError::Decoder { source_name: input.source.name.clone(), error }
            })?;
            decoders.push(decoder);
            clocks.push(SourceClock::new(&input.source.watermark, partitions.iter().copied(), now));
            let topic: Arc<str> = input.source.topic.as_str().into();
            for partition in partitions {
                positions.insert(TopicPartition::new(topic.clone(), partition), start);
            }
        }
        let (mut exchanges, mut exchange_clocks) = (Vec::new(), Vec::new());
        for input in &topology.exchanges {
            let (reader, clock) = ExchangeReader::new(input.exchange.clone(), input.to);
            positions.insert(TopicPartition::new(reader.topic(), task as i32), start);
            exchanges.push(reader);
            exchange_clocks.push(clock);
        }
        let operators = topology.nodes.iter().map(|node| {
            let operator = node.operator.clone().start(StateId::of(&node.fingerprint));
            let operator = operator.map(|mut operator| {
                if task == 0 {
                    operator.has_unkeyed();
                }
                operator
            });
            operator.map_err(TaskError::evaluate("an operator"))
        });
        let layouts = topology.kept_for().into_iter().filter(|(_, of)| !of.parts.is_empty());
        let layouts = layouts.map(|(id, of)| (id, Layouts::new(&of.parts))).collect();
        Ok(Task {
            layouts,
            input_tallies: vec![InputTally::default(); topology.inputs.len()],
            node_tallies: vec![NodeTally::default(); topology.nodes.len()],
            tables: Tables::new(&topology.tables)?,
            operators: operators.collect::<Result<_, _>>()?,
            watermark: Watermark::MIN,
            progress: Progress::At(Watermark::MIN),
            ticked_at: now,
            exchanges,
            exchange_clocks,
            topology: Arc::new(topology),
            batch_rows_max: batch_rows_max.max(1),
            decoders,
            clocks,
            output,
            positions,
            heard: BTreeSet::new(),
            counts: Counts::default(),
            dirty: false,
            state: String::new(),
            topics: BTreeMap::new(),
        })
    }

    /// Time begins to pass for its partitions: none has been idle so far.
    fn begin_clocks(&mut self, now: WallTime) {
        for (input, clock) in self.topology.inputs.iter().zip(&mut self.clocks) {
            let partitions: Vec<i32> = clock.partitions().map(|of| of.partition).collect();
            *clock = SourceClock::new(&input.source.watermark, partitions, now);
        }
        self.ticked_at = now;
    }

    /// Whether there is state to keep in a changelog.
    pub fn is_stateful(&self) -> bool {
        !self.operators.is_empty()
    }

    /// What a state that begins now is called.
    pub fn begin_state(&mut self, name: String) {
        self.state = name;
    }

    /// By name: the ids of the topics that it reads.
    pub fn reads_topics(&mut self, ids: BTreeMap<String, String>) {
        self.topics = ids;
    }

    /// What its state is called.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// All that operators keep in maps.
    fn maps(&mut self) -> impl Iterator<Item = &mut StateMap> {
        self.operators.iter_mut().flat_map(|operator| operator.maps())
    }

    /// Whether all that operators keep is in maps.
    pub fn is_all_in_maps(&self) -> bool {
        self.operators.iter().all(|operator| operator.restores_in_place())
    }

    /// Roughly how much memory the maps take.
    pub fn state_bytes(&mut self) -> usize {
        self.maps().map(|map| map.bytes()).sum()
    }

    /// Puts an empty disk beneath the maps, and fills it.
    pub fn spill(&mut self, disk: &DiskState) -> Result<(), DiskError> {
        for map in self.maps() {
            let mut entries = map.spill(disk.clone()).peekable();
            while entries.peek().is_some() {
                let some: Vec<Change> = entries.by_ref().take(SPILLED_MAX).collect();
                disk.apply(some.iter())?;
            }
        }
        Ok(())
    }

    /// All that was committed is on disk.
    pub fn settled(&mut self) {
        self.maps().for_each(StateMap::settled);
    }

    /// All that was committed is on disk: memory is given back.
    pub fn evict(&mut self) {
        self.maps().for_each(StateMap::evict);
    }

    /// Where reading goes on in a partition, and where it ends for now.
    pub fn start_at(&mut self, partition: &TopicPartition, position: Position, now: WallTime) {
        self.positions.insert(partition.clone(), position);
        self.clocks_read(partition, false, position.next >= position.end, now);
    }

    /// The latest event time that was read from a partition, if it is read for its rows.
    pub fn latest_ms(&self, partition: &TopicPartition) -> Option<i64> {
        let inputs = self.topology.inputs.iter().zip(&self.clocks);
        let clocks = inputs.filter(|(input, _)| input.source.topic == *partition.topic);
        let latest = clocks.flat_map(|(_, clock)| clock.latest());
        // Two inputs that read one topic take its time from different columns, perhaps.
        let of_partition = latest.filter(|(number, _)| *number == partition.partition);
        of_partition.map(|(_, latest_ms)| latest_ms).min()
    }

    /// Takes up a partition's clock where an earlier run left it.
    pub fn restore_clock(&mut self, partition: &TopicPartition, latest_ms: i64) {
        for (input, clock) in self.topology.inputs.iter().zip(&mut self.clocks) {
            if input.source.topic == *partition.topic {
                clock.restore(partition.partition, latest_ms);
            }
        }
    }

    /// Whether records of a partition were read since it was made.
    pub fn has_read(&self, partition: &TopicPartition) -> bool {
        self.heard.contains(partition)
    }

    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Position)> {
        self.positions.iter().map(|(partition, position)| (partition, *position))
    }

    pub fn position(&self, partition: &TopicPartition) -> Option<Position> {
        self.positions.get(partition).copied()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What went through each step, and what is waited for.
    pub fn account(&self) -> Account {
        Account {
            inputs: self.input_tallies.clone(),
            nodes: self.node_tallies.clone(),
            kept: self.operators.iter().map(|operator| operator.kept()).collect(),
            earliest_ms: self.operators.iter().map(|operator| operator.earliest_ms()).collect(),
            partitions: self.clocks.iter().map(|clock| clock.partitions().collect()).collect(),
            watermark: Some(self.watermark).filter(|watermark| *watermark != Watermark::MIN),
        }
    }

    /// Records that are there and have not been read.
    pub fn lag(&self) -> u64 {
        let lags = self.positions.values().map(|at| at.end.since(at.next).max(0) as u64);
        lags.sum()
    }

    /// No row before it is waited for any more; `None` if nothing waits.
    pub fn watermark(&self) -> Option<Watermark> {
        self.is_stateful().then_some(self.watermark)
    }

    /// What operators remember, as of the last commit.
    pub fn kept(&self) -> Kept {
        let mut kept = Kept::default();
        self.operators.iter().for_each(|operator| kept += operator.kept());
        kept
    }

    /// Whether a commit would write anything.
    pub fn is_dirty(&self) -> bool {
        self.dirty || self.output.has_news(self.watermark, self.progress)
    }

    /// Has its place, and that of its state, committed once more.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// What the topic that it writes takes as one batch, in bytes.
    pub fn set_output_bytes_max(&mut self, bytes_max: usize) {
        self.output.set_bytes_max(bytes_max);
    }

    /// Roughly how many bytes of output wait for a commit.
    pub fn pending_bytes(&self) -> usize {
        self.output.ready_bytes()
    }

    /// All output that need not wait for a commit: what is told once per commit stays.
    pub fn take_written(&mut self) -> Vec<(TopicPartition, BatchBuilder)> {
        self.output.take_written()
    }

    /// Output batches that are full, to be sent ahead of the commit that they belong to.
    pub fn take_ready(&mut self) -> Vec<(TopicPartition, BatchBuilder)> {
        self.output.take_ready()
    }

    /// When to call [`Task::tick`] if nothing comes before: when the next partition becomes idle,
    /// or all are, when the clock reaches a window that seemed to lie in the future. That moment
    /// may have passed: it is reckoned from the last call, not from now.
    pub fn next_tick(&self) -> Option<WallTime> {
        if !self.is_stateful() && self.topology.writes.is_none() {
            return None;
        }
        let last = self.ticked_at;
        idle_at(&self.clocks, last).or_else(|| {
            if self.progress == Progress::AllIdle
                && let Some(waits_ms) = self.waits_ms(last)
            {
                return Some(WallTime(last.0.saturating_add(waits_ms.clamp(1, QUIET_TICK_MS))));
            }
            let ahead_ms = self.future_bound_ms(last).saturating_sub(last.0);
            let start_ms = self.operators.iter().filter_map(|held| held.earliest_ms()).min()?;
            let reached = WallTime(start_ms.saturating_sub(ahead_ms));
            (self.progress == Progress::AllIdle && reached > last).then_some(reached)
        })
    }

    /// How long it takes until the last of what is open has ended by the wall clock, if it has not.
    fn waits_ms(&self, last: WallTime) -> Option<i64> {
        let bound_ms = self.future_bound_ms(last);
        let all = (0..self.operators.len()).filter_map(|node| self.released_at(node, bound_ms));
        let at = all.max().filter(|at| *at > self.watermark)?;
        Some(at.0.saturating_sub(self.settled_ms(last)))
    }

    /// Takes what was fetched of one partition.
    pub fn process(&mut self, fetched: &FetchedBatches, now: WallTime) -> Result<(), TaskError> {
        let from = &fetched.partition;
        let Some(position) = self.positions.get(from).copied() else { return Ok(()) };
        let broken = |error| TaskError::Batch { from: from.clone(), error };
        let sets: Vec<Records> = fetched
            .batches
            .iter()
            .filter(|batch| batch.next_offset() > position.next)
            .map(|batch| batch.records())
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        let count: usize = sets.iter().map(Records::len).sum();
        let mut records: Vec<Record<'_>> = Vec::with_capacity(count.min(self.batch_rows_max));
        let mut read_any = false;
        for record in sets.iter().flat_map(Records::iter) {
            let record = record.map_err(broken)?;
            if record.offset < position.next {
                continue;
            }
            read_any = true;
            records.push(record);
            if records.len() == self.batch_rows_max {
                self.process_chunk(&Chunk { from, records: &records }, now)?;
                records.clear();
            }
        }
        if !records.is_empty() {
            self.process_chunk(&Chunk { from, records: &records }, now)?;
        }
        let next = fetched.next_offset.max(position.next);
        self.dirty |= next != position.next;
        let end = fetched.end_offset.max(next);
        self.positions.insert(from.clone(), Position { next, end });
        if read_any && !self.heard.contains(from) {
            self.heard.insert(from.clone());
        }
        self.clocks_read(from, read_any, next >= end, now);
        self.tick(now)
    }

    /// Takes what was fetched of one partition of a table's topic, from `from` on.
    pub fn process_table(
        &mut self,
        fetched: &FetchedBatches,
        from: Offset,
    ) -> Result<(), TaskError> {
        let partition = &fetched.partition;
        let broken = |error| TaskError::Batch { from: partition.clone(), error };
        for batch in fetched.batches.iter().filter(|batch| batch.next_offset() > from) {
            let set = batch.records().map_err(broken)?;
            let records: Vec<Record<'_>> = set
                .iter()
                .filter(|record| record.as_ref().map_or(true, |record| record.offset >= from))
                .collect::<Result<_, _>>()
                .map_err(broken)?;
            for records in records.chunks(self.batch_rows_max) {
                self.counts.skipped += self.tables.take(partition, records)?;
            }
        }
        Ok(())
    }

    /// Each table that is joined, and how many rows it has.
    pub fn tables(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tables.rows()
    }

    fn clocks_read(&mut self, from: &TopicPartition, any: bool, caught_up: bool, now: WallTime) {
        for (input, clock) in self.topology.inputs.iter().zip(&mut self.clocks) {
            if input.source.topic == *from.topic {
                clock.read(from.partition, any, caught_up, now);
            }
        }
    }

    fn process_chunk(&mut self, chunk: &Chunk<'_>, now: WallTime) -> Result<(), TaskError> {
        for exchange in 0..self.exchanges.len() {
            if self.exchanges[exchange].topic() == &*chunk.from.topic {
                self.process_exchange(exchange, chunk, now)?;
            }
        }
        for input in 0..self.topology.inputs.len() {
            if self.topology.inputs[input].source.topic != *chunk.from.topic {
                continue;
            }
            let partition = chunk.from.partition;
            let mut decoded = self.decoders[input].decode(partition, chunk.records);
            for failure in std::mem::take(&mut decoded.failures) {
                let record = &chunk.records[failure.index];
                self.fail(input, chunk, record, "decode", failure.reason.to_string())?;
            }
            self.counts.tombstones += decoded.tombstones.len() as u64;
            self.counts.rows_in += decoded.rows.batch.num_rows() as u64;
            let times = &decoded.rows.event_times_ms;
            let tally = &mut self.input_tallies[input];
            tally.records += chunk.records.len() as u64;
            tally.tombstones += decoded.tombstones.len() as u64;
            tally.rows += decoded.rows.batch.num_rows() as u64;
            tally.untimed += times.null_count() as u64;
            let future = self.clocks[input].observe(partition, times, now);
            self.counts.future += future as u64;
            let topology = self.topology.clone();
            let Input { stage, to, by_key, .. } = &topology.inputs[input];
            let (rows, kept) = match by_key {
                true => {
                    let keyed = keyed_rows(&decoded, chunk.records, stage.schema());
                    let keyed = keyed.map_err(TaskError::evaluate("a table"))?;
                    (keyed.rows, Some(keyed.records))
                }
                false => (decoded.rows, decoded.kept),
            };
            let evaluated = self.evaluate(Place::Input(input), stage, *to, rows);
            self.input_tallies[input].stage += &evaluated.tally;
            for (row, reason) in evaluated.failed {
                let index = kept.as_ref().map_or(row, |kept| kept[row]);
                self.fail(input, chunk, &chunk.records[index], "evaluate", reason)?;
            }
            for rows in evaluated.ready {
                self.take(*to, rows, now)?;
            }
        }
        Ok(())
    }

    /// Takes rows of the part before, each with what they tell of its watermark.
    fn process_exchange(
        &mut self,
        exchange: usize,
        chunk: &Chunk<'_>,
        now: WallTime,
    ) -> Result<(), TaskError> {
        for record in chunk.records {
            let reader = &self.exchanges[exchange];
            let (schema, to) = (reader.schema().clone(), reader.to);
            let read = reader.read(record.value.unwrap_or_default());
            let (sent, writer, told) = read.map_err(|reason| TaskError::Record {
                from: chunk.from.clone(),
                offset: record.offset,
                reason,
            })?;
            match sent {
                Some(Sent::Rows(rows)) => {
                    self.counts.rows_in += rows.len() as u64;
                    self.pass(Place::Exchange, &Stage::new(schema), to, rows, now)?;
                }
                Some(Sent::Combined(rows)) => self.merge(to, rows, now)?,
                None => {}
            }
            self.exchange_clocks[exchange].tell(writer, told);
            self.tick(now)?;
        }
        Ok(())
    }

    /// Does with a record that failed what its source says.
    fn fail(
        &mut self,
        input: usize,
        chunk: &Chunk<'_>,
        record: &Record<'_>,
        stage: &'static str,
        reason: String,
    ) -> Result<(), TaskError> {
        self.input_tallies[input].failed += 1;
        match &self.topology.inputs[input].source.on_error {
            OnError::Fail => {
                let from = chunk.from.clone();
                return Err(TaskError::Record { from, offset: record.offset, reason });
            }
            OnError::Skip => self.counts.skipped += 1,
            OnError::DeadLetter { topic } => {
                self.output.write_dead_letter(&DeadLetter {
                    topic: &topic.as_str().into(),
                    from: chunk.from,
                    record,
                    stage,
                    reason: &reason,
                    query: &self.topology.query,
                });
                self.counts.dead_lettered += 1;
            }
        }
        Ok(())
    }

    /// All that is to be written now, as one.
    pub fn commit(&mut self, now: WallTime) -> Result<Commit, TaskError> {
        if !self.is_dirty() {
            return Ok(Commit::default());
        }
        self.flush(now)?;
        self.dirty = false;
        let taken = self.output.take_all(self.watermark, self.progress, now);
        let (mut outputs, printed) = taken.map_err(TaskError::evaluate("an exchange"))?;
        self.leave_out_too_long()?;
        outputs.extend(self.output.take_written());
        let (mut changes, mut derived) = (Vec::new(), Vec::new());
        let goes_on = self.goes_on();
        for operator in &mut self.operators {
            let commit = || operators::commit(operator.as_mut(), &mut changes, &mut derived);
            going_on(goes_on, commit).map_err(TaskError::evaluate("an operator's state"))?;
        }
        if self.is_stateful() {
            let texts = self.topology.kept_for().into_iter().map(|(id, of)| (id, of.text));
            let mut meta = Meta::new(&self.state, texts.collect(), self.watermark);
            meta.layouts.clone_from(&self.layouts);
            meta.functions = self.topology.functions.content_hashes();
            meta.topics.clone_from(&self.topics);
            meta.told_by = self.topology.told_by();
            changes.push(self.with_places(meta).change());
        }
        let offsets = self.positions.iter().map(|(partition, at)| (partition.clone(), at.next));
        Ok(Commit { outputs, changes, offsets: offsets.collect(), derived, printed })
    }

    /// With clocks and offsets.
    fn with_places(&self, mut meta: Meta) -> Meta {
        for (input, clock) in self.topology.inputs.iter().zip(&self.clocks) {
            meta.latest_ms.entry(input.source.name.clone()).or_default().extend(clock.latest());
        }
        for (reader, clock) in self.exchanges.iter().zip(&self.exchange_clocks) {
            let told = clock.told().iter().map(|told| told.map(|told| told.0));
            meta.told_ms.insert(reader.topic().to_owned(), told.collect());
        }
        for (partition, at) in &self.positions {
            let topic = meta.offsets.entry(partition.topic.to_string()).or_default();
            topic.insert(partition.partition, at.next.0);
        }
        meta
    }
}

fn output_of(topology: &Topology, task: usize, partitions: i32) -> Result<Output, TaskError> {
    let Some(writes) = &topology.writes else {
        let (sink, schema) = (&topology.sink, topology.schema());
        let output = Output::to_sink(sink, schema, partitions, topology.updating);
        return output.map_err(|error| TaskError::Encoder { topic: sink.topic.clone(), error });
    };
    let writer = ExchangeWriter::new(writes, task);
    let writer = writer.map_err(TaskError::evaluate("an exchange"))?;
    Ok(Output::to_exchange(writer, writes.exchange.tasks))
}
