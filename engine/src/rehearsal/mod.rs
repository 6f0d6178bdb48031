//! The tests of a pipeline, run in memory: no broker, no thread, no clock.
//!
//! ```text
//! Case ─ records, one at a time ─► logs ─► tasks in the order of their queries ─► logs
//!                                                  └─ rows ─► matching ─► Mismatch
//! ```
//!
//! - [`logs`]: topics in memory, and records as a test writes them;
//! - [`matching`]: what was expected beside what came.
//!
//! Records come one at a time, in the order of the file, so whether a row is late depends on that
//! order alone; of all that comes in a step, tables are read first. After each step everything
//! commits. A query has one task here, however many share it at work: its answer is the same.

mod logs;
mod matching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::ids::{Offset, TopicPartition};
use serde_json::Value as Json;

use crate::formats::RowEncoder;
use crate::pipeline::cases::{Case, Expected, query_named};
use crate::pipeline::{Format, OnError, Pipeline, Query, Span};
use crate::rows::Rows;
use crate::task::{Commit, Counts, Position, Task, TaskSetup};
use crate::time::WallTime;
use crate::topology::Topology;
use logs::{LoggedRecord, Logs};
pub use matching::{Difference, Mismatch};

/// Of more dead letters nobody reads the reasons.
const LETTERS_TOLD_MAX: usize = 5;

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    pub span: Span,
    /// Nothing if it went as expected.
    pub mismatches: Vec<Mismatch>,
}

/// Runs a test of the pipeline that it stands in.
pub fn rehearse(pipeline: &Pipeline, case: &Case) -> Outcome {
    let mut mismatches = Vec::new();
    if let Err(reason) = run(pipeline, case, &mut mismatches) {
        mismatches.push(Mismatch::failed(&case.span, reason));
    }
    Outcome { name: case.name.clone(), span: case.span.clone(), mismatches }
}

fn run(pipeline: &Pipeline, case: &Case, mismatches: &mut Vec<Mismatch>) -> Result<(), String> {
    let mut world = World::new(pipeline, case)?;
    for step in &case.steps {
        world.pass(step.wait)?;
        for input in &step.inputs {
            world.logs.produce(pipeline, input, world.now)?;
        }
        world.step()?;
        for expected in &step.expected {
            mismatches.extend(world.compare(expected, true)?);
        }
        world.mark();
    }
    if case.until_end {
        world.finish()?;
    }
    for expected in &case.expected {
        mismatches.extend(world.compare(expected, false)?);
    }
    let counts = world.counts();
    for expected in &case.counts {
        let found = counted(&counts, expected.what);
        if found != expected.count {
            mismatches.push(Mismatch::count(expected, found));
        }
    }
    Ok(())
}

/// A pipeline at work on topics in memory.
struct World<'a> {
    pipeline: &'a Pipeline,
    logs: Logs,
    queries: Vec<AtWork>,
    now: WallTime,
}

/// A query at work.
struct AtWork {
    topic: String,
    name: String,
    task: Task,
    updating: bool,
    /// Topics of the tables that it joins, and how far they have been read.
    tables: BTreeMap<TopicPartition, Offset>,
    table_topics: BTreeSet<String>,
    dead_letter_topics: BTreeSet<String>,
    /// Rows as they came, with whether each takes back an earlier one.
    rows: Vec<(String, bool)>,
    /// Of the rows, and of the records in its topic, those that came before this step.
    rows_before: usize,
    records_before: usize,
}

impl World<'_> {
    fn new<'a>(pipeline: &'a Pipeline, case: &Case) -> Result<World<'a>, String> {
        let now = WallTime(case.now_ms);
        let mut logs = Logs::for_case(case);
        let mut queries = Vec::new();
        for query in &pipeline.queries {
            queries.push(AtWork::new(query, pipeline, &mut logs, now)?);
        }
        Ok(World { pipeline, logs, queries, now })
    }

    fn pass(&mut self, time: std::time::Duration) -> Result<(), String> {
        self.now = self.now.plus(time);
        for query in &mut self.queries {
            query.task.tick(self.now).map_err(|error| query.failed(&error))?;
        }
        Ok(())
    }

    /// Lets all queries do what there is to do.
    fn step(&mut self) -> Result<(), String> {
        for query in &mut self.queries {
            query.read(&self.logs, self.now)?;
            query.commit(&mut self.logs, self.now)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        for query in &mut self.queries {
            query.read(&self.logs, self.now)?;
            query.task.finish(self.now).map_err(|error| query.failed(&error))?;
            query.commit(&mut self.logs, self.now)?;
        }
        Ok(())
    }

    /// The next step begins.
    fn mark(&mut self) {
        for query in &mut self.queries {
            query.rows_before = query.rows.len();
            query.records_before = self.logs.records(&query.topic).len();
        }
    }

    fn counts(&self) -> Vec<Counts> {
        self.queries.iter().map(|query| query.task.counts()).collect()
    }

    fn compare(&self, expected: &Expected, of_step: bool) -> Result<Option<Mismatch>, String> {
        let query = query_named(self.pipeline, &expected.of);
        let topic = query.map_or(expected.of.as_str(), |query| query.sink.topic.as_str());
        let at_work = self.queries.iter().find(|at_work| at_work.topic == topic);
        let records: Vec<LoggedRecord> = self.logs.records(topic);
        let (rows, updating) = match at_work {
            Some(query) => (query.answer(of_step), query.updating),
            None => (Vec::new(), false),
        };
        let before = match at_work {
            Some(query) if of_step && !updating => query.records_before,
            _ => 0,
        };
        let of_query = at_work.is_some();
        let mismatch = matching::compare(expected, rows, &records[before..], of_query, updating)?;
        let notes = || at_work.map_or_else(Vec::new, |query| self.left_out(query));
        Ok(mismatch.map(|mismatch| Mismatch { notes: notes(), ..mismatch }))
    }

    /// What a query has read and left out, so far.
    fn left_out(&self, query: &AtWork) -> Vec<String> {
        let counts = query.task.counts();
        let mut notes = Vec::new();
        for (count, what, why) in [
            (counts.late, "row", "came late, behind the watermark"),
            (counts.untimed, "row", "had no event time, and belongs to no window"),
            (counts.skipped, "record", "failed, and left out as on_error says"),
        ] {
            if count > 0 {
                notes.push(format!("{} {why}", matching::plural(count as usize, what)));
            }
        }
        if counts.dead_lettered > 0 {
            notes.extend(query.dead_letter_topics.iter().flat_map(|topic| self.letters(topic)));
        }
        notes
    }

    /// What dead letters say of themselves.
    fn letters(&self, topic: &str) -> Vec<String> {
        let letters = self.logs.records(topic);
        let more = letters.len().saturating_sub(LETTERS_TOLD_MAX);
        let told = letters.into_iter().take(LETTERS_TOLD_MAX).map(|letter| {
            let said = |name: &str| {
                let header = letter.headers.iter().find(|(known, _)| known == name);
                header.map_or("", |(_, value)| value.as_str())
            };
            format!(
                "a record went to '{topic}': topic '{}', partition {}, offset {}: {}",
                said("__connect.errors.topic"),
                said("__connect.errors.partition"),
                said("__connect.errors.offset"),
                said("__connect.errors.exception.message"),
            )
        });
        let more = (more > 0).then(|| format!("and {more} more went to '{topic}'"));
        told.chain(more).collect()
    }
}

impl AtWork {
    fn new(
        query: &Query,
        pipeline: &Pipeline,
        logs: &mut Logs,
        now: WallTime,
    ) -> Result<AtWork, String> {
        let mut query = query.clone();
        query.sink.print = true;
        let topology =
            Topology::new(&query, &pipeline.sources).map_err(|error| error.to_string())?;
        let partitions = |topic: &str| logs.partitions(topic);
        let inputs = topology.inputs.iter();
        let input_partitions: Vec<Vec<i32>> =
            inputs.map(|input| (0..partitions(&input.source.topic)).collect()).collect();
        let first = topology.inputs.first().map_or(1, |input| partitions(&input.source.topic));
        let sink_partitions = query.sink.partitions.unwrap_or(first);
        let table_topics: BTreeSet<String> =
            topology.tables.iter().map(|table| table.source.topic.clone()).collect();
        let on_error = topology.inputs.iter().map(|input| &input.source.on_error);
        let dead_letter_topics = on_error.filter_map(|on_error| match on_error {
            OnError::DeadLetter { topic } => Some(topic.clone()),
            OnError::Fail | OnError::Skip => None,
        });
        let dead_letter_topics = dead_letter_topics.collect();
        logs.declare(&query.sink.topic, sink_partitions);
        let updating = topology.updating;
        let setup = TaskSetup {
            topology,
            batch_rows_max: pipeline.settings.batch_rows_max,
            task: 0,
            input_partitions,
            sink_partitions,
        };
        let mut task = Task::new(setup, now).map_err(|error| error.to_string())?;
        let start = Position { next: Offset::ZERO, end: Offset::ZERO };
        let partitions: Vec<_> = task.positions().map(|(partition, _)| partition.clone()).collect();
        partitions.iter().for_each(|partition| task.start_at(partition, start, now));
        Ok(AtWork {
            topic: query.sink.topic.clone(),
            name: query.name.clone(),
            task,
            updating,
            tables: BTreeMap::new(),
            table_topics,
            dead_letter_topics,
            rows: Vec::new(),
            rows_before: 0,
            records_before: 0,
        })
    }

    fn failed(&self, error: &impl ToString) -> String {
        format!("query '{}': {}", self.name, error.to_string())
    }

    /// Reads what is there: tables, then everything else in the order in which it came.
    fn read(&mut self, logs: &Logs, now: WallTime) -> Result<(), String> {
        for topic in &self.table_topics {
            for partition in 0..logs.partitions(topic) {
                let partition = TopicPartition::new(topic.as_str(), partition);
                let next = self.tables.entry(partition.clone()).or_insert(Offset::ZERO);
                if let Some(fetched) = logs.fetch_all(&partition, *next) {
                    let read = self.task.process_table(&fetched, *next);
                    *next = fetched.next_offset;
                    read.map_err(|error| format!("query '{}': {error}", self.name))?;
                }
            }
        }
        let places: BTreeMap<TopicPartition, Position> =
            self.task.positions().map(|(partition, at)| (partition.clone(), at)).collect();
        for fetched in logs.arrivals() {
            let Some(position) = places.get(&fetched.partition) else { continue };
            if fetched.next_offset > position.next {
                self.task.process(&fetched, now).map_err(|error| self.failed(&error))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, logs: &mut Logs, now: WallTime) -> Result<(), String> {
        let commit = self.task.commit(now).map_err(|error| self.failed(&error))?;
        let Commit { outputs, printed, .. } = commit;
        // Whether batches were full before the commit is no matter here.
        for (to, builder) in outputs {
            logs.append(&to, builder).map_err(|error| self.failed(&error))?;
        }
        for rows in &printed {
            self.rows.extend(row_texts(rows).map_err(|error| self.failed(&error))?);
        }
        Ok(())
    }

    /// Rows as JSON; of an answer that is updated, those that stand.
    fn answer(&self, of_step: bool) -> Vec<String> {
        if !self.updating {
            let before = if of_step { self.rows_before } else { 0 };
            return self.rows[before..].iter().map(|(row, _)| row.clone()).collect();
        }
        let mut standing: Vec<String> = Vec::new();
        for (row, retracts) in &self.rows {
            if !retracts {
                standing.push(row.clone());
            } else if let Some(at) = standing.iter().rposition(|other| other == row) {
                standing.remove(at);
            }
        }
        standing
    }
}

fn row_texts(rows: &Rows) -> Result<Vec<(String, bool)>, String> {
    let encoder = RowEncoder::new(&Format::Json, &rows.batch.schema(), &[]);
    let encoder = encoder.map_err(|error| error.to_string())?;
    let encoded = encoder.encode(&rows.batch).map_err(|error| error.to_string())?;
    let text = |row: usize| {
        let value = encoded.value(row).unwrap_or_default();
        (String::from_utf8_lossy(value).into_owned(), rows.is_retraction(row))
    };
    Ok((0..rows.len()).map(text).collect())
}

fn counted(counts: &[Counts], what: &str) -> u64 {
    let of = |counts: &Counts| match what {
        "late" => counts.late,
        "untimed" => counts.untimed,
        "future" => counts.future,
        "skipped" => counts.skipped,
        "dead_lettered" => counts.dead_lettered,
        _ => counts.tombstones,
    };
    counts.iter().map(of).sum()
}

/// Text as JSON if it is that.
fn parsed(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

/// Shared by those that name topics again and again.
type TopicName = Arc<str>;

#[cfg(test)]
mod tests;
