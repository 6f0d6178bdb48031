//! The rim: what connects tasks with a broker, a clock and threads.
//!
//! ```text
//! Runtime::start ─ topics that are missing ─┬─ query ─ reader → task → producer ─┐
//!                                           ├─ query ─ …                         ├─ finished
//!                                           └─ query ─ …                         ┘
//! ```
//!
//! Each query has a thread of its own, since its work is computing. It commits when something has
//! changed and `commit_interval` has passed since the last commit: a row that comes alone is
//! visible at once, rows that follow share a transaction. One transaction holds outputs, changes
//! of state and input offsets, under the transactional id `<pipeline>-<query>`: a second instance
//! of the same query fences the first, and `kill -9` at any moment loses nothing and doubles
//! nothing.
//!
//! - [`topics`]: topics that must be there before anything is read;
//! - [`restore`]: where a query goes on; [`tables`]: what it joins; [`query`]: its loop.
//!
//! Names that are kept in the broker: group and transactional id `<pipeline>-<query>`, changelog
//! topic `<pipeline>-<query>-changelog`. Two queries that read one topic each have their own
//! place in it, hence a group per query.
//!
//! Invariants: rows are shown only after their transaction is committed. A query that fails stops
//! all others, after their last commit. A query whose input another one writes is complete after
//! that one.

mod query;
mod restore;
mod tables;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use broker::client::{Client, ClientError};
use broker::ids::{Offset, TopicPartition};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::pipeline::Pipeline;
use crate::rows::Rows;
use crate::state::StateError;
use crate::task::{Counts, Task, TaskError, TaskSetup};
use crate::time::{WallTime, Watermark};
use crate::topology::{Topology, TopologyError};
use query::QueryRun;

/// Printed batches that wait to be shown; a reader of them that is slow slows the query.
const PRINTED_QUEUE_LEN: usize = 16;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Forget the state and the place of every query, and start from the beginning of its inputs.
    pub reset_state: bool,
    /// [`Runtime::inputs_complete`] will be called: tables are then read only when whatever writes
    /// them has finished.
    pub until_end: bool,
    /// Topics that are still being filled with what was there at the start. Tables in them are
    /// waited for: what is joined with a table before it is there finds nothing.
    pub filling: Option<watch::Receiver<BTreeSet<String>>>,
}

/// Pipelines at work.
#[derive(Debug)]
pub struct Runtime {
    complete: watch::Sender<bool>,
    stop: CancellationToken,
    progress: watch::Receiver<Vec<QueryProgress>>,
    printed: Option<mpsc::Receiver<PrintedRows>>,
    run: tokio::task::JoinHandle<Result<Vec<QuerySummary>, RunError>>,
}

/// Rows that were committed and are to be shown.
#[derive(Clone, Debug)]
pub struct PrintedRows {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
    /// Some of them take back what was shown before, if the query updates its answer.
    pub rows: Rows,
    pub updating: bool,
}

/// How a query stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryProgress {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
    /// Of the rows it writes.
    pub schema: SchemaRef,
    /// Rows that it wrote may be taken back.
    pub updating: bool,
    pub phase: Phase,
    pub counts: Counts,
    /// Windows that end no later are closed; `None` if the query has no windows or none closed.
    pub watermark: Option<Watermark>,
    /// Records that are there and have not been read.
    pub lag: u64,
    /// Each table that it joins, and how many rows that has.
    pub tables: Vec<(String, u64)>,
    pub resumed_from: Option<ResumedFrom>,
}

/// What a query is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for topics and the transactional id.
    Starting,
    /// Reading its state back.
    Restoring,
    /// Reading the tables that it joins.
    LoadingTables,
    Running,
    /// All its input was there was to read, or it was stopped.
    Finished,
}

/// Where an earlier run had come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumedFrom {
    /// The next record of each partition that had been read.
    pub offsets: Vec<(TopicPartition, Offset)>,
    /// Open windows that were restored, and the groups in them.
    pub windows: usize,
    pub groups: usize,
}

/// What a query did in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySummary {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
    pub counts: Counts,
    pub watermark: Option<Watermark>,
    /// All input was read; false if it was stopped before.
    pub complete: bool,
}

/// Why pipelines cannot run on.
#[derive(Debug, Error)]
pub enum RunError {
    #[error("pipeline '{pipeline}': {error}")]
    Topology { pipeline: Arc<str>, error: TopologyError },
    #[error("pipeline '{pipeline}': topic '{topic}': {error}")]
    Topic { pipeline: Arc<str>, topic: String, error: ClientError },
    #[error("pipeline '{pipeline}', query '{query}': {error}")]
    Task { pipeline: Arc<str>, query: Arc<str>, error: TaskError },
    #[error("pipeline '{pipeline}', query '{query}': {doing}: {error}")]
    Client { pipeline: Arc<str>, query: Arc<str>, doing: &'static str, error: ClientError },
    #[error("pipeline '{pipeline}', query '{query}': {error}")]
    State { pipeline: Arc<str>, query: Arc<str>, error: StateError },
    #[error(
        "pipeline '{pipeline}', query '{query}': topic '{}', partition {}: it was read up to \
         offset {next}, and ends at {end}: it seems to have been deleted and made again; start \
         from its beginning with --reset-state",
        partition.topic, partition.partition
    )]
    Recreated {
        pipeline: Arc<str>,
        query: Arc<str>,
        partition: TopicPartition,
        next: Offset,
        end: Offset,
    },
    #[error(
        "query '{query}' of pipeline '{pipeline}' and another one would both keep their state as \
         '{id}'; rename one of them"
    )]
    SameName { pipeline: Arc<str>, query: Arc<str>, id: String },
    #[error("query '{query}' panicked; this is a bug in Millstream")]
    Panicked { query: String },
}

/// A query and what it takes to run it.
struct Planned {
    pipeline: Arc<str>,
    query: Arc<str>,
    topology: Topology,
    commit_interval: Duration,
    batch_rows_max: usize,
    sink_partitions: Option<i32>,
}

impl Runtime {
    /// Starts all queries of these pipelines, inside a tokio runtime. What cannot run as a stream
    /// is refused before anything is created.
    pub fn start(
        client: Arc<dyn Client>,
        pipelines: Vec<Pipeline>,
        options: RuntimeOptions,
    ) -> Result<Runtime, RunError> {
        let planned = plan(&pipelines)?;
        let (complete, completed) = watch::channel(false);
        let (progress, progress_seen) = watch::channel(planned.iter().map(starting).collect());
        let (printing, printed) = mpsc::channel(PRINTED_QUEUE_LEN);
        let stop = CancellationToken::new();
        let started = Started {
            client,
            options,
            completed,
            progress: Arc::new(progress),
            printing,
            stop: stop.clone(),
        };
        let run = tokio::spawn(started.run(planned));
        Ok(Runtime { complete, stop, progress: progress_seen, printed: Some(printed), run })
    }

    /// Says that everything that is to come is in the input topics: queries read what is there
    /// now, close all windows and finish.
    pub fn inputs_complete(&self) {
        self.complete.send_replace(true);
    }

    /// Stops after what has been read is committed. State is kept, windows stay open.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// How all queries stand, in the order of their pipelines.
    pub fn progress(&self) -> watch::Receiver<Vec<QueryProgress>> {
        self.progress.clone()
    }

    /// Rows of the queries that print. To be taken once and read until it ends; if it is never
    /// taken, nothing waits for it.
    pub fn printed(&mut self) -> Option<mpsc::Receiver<PrintedRows>> {
        self.printed.take()
    }

    /// Waits until all queries have finished, or one has failed and the others have stopped.
    pub async fn finished(self) -> Result<Vec<QuerySummary>, RunError> {
        let Runtime { complete, run, printed, .. } = self;
        drop(printed);
        let result = run.await;
        drop(complete);
        result.unwrap_or_else(|_| Err(RunError::Panicked { query: "runtime".to_owned() }))
    }
}

fn plan(pipelines: &[Pipeline]) -> Result<Vec<Planned>, RunError> {
    let mut planned: Vec<Planned> = Vec::new();
    for pipeline in pipelines {
        let name: Arc<str> = pipeline.name.as_str().into();
        for query in &pipeline.queries {
            let topology = Topology::new(query, &pipeline.sources)
                .map_err(|error| RunError::Topology { pipeline: name.clone(), error })?;
            let next = Planned {
                pipeline: name.clone(),
                query: query.name.as_str().into(),
                topology,
                commit_interval: pipeline.settings.commit_interval,
                batch_rows_max: pipeline.settings.batch_rows_max,
                sink_partitions: query.sink.partitions,
            };
            if planned.iter().any(|other| other.id() == next.id()) {
                let (id, Planned { pipeline, query, .. }) = (next.id(), next);
                return Err(RunError::SameName { pipeline, query, id });
            }
            Task::new(next.setup(|_| 1), now()).map_err(|error| {
                let (pipeline, query) = (next.pipeline.clone(), next.query.clone());
                RunError::Task { pipeline, query, error }
            })?;
            planned.push(next);
        }
    }
    Ok(planned)
}

fn starting(planned: &Planned) -> QueryProgress {
    QueryProgress {
        pipeline: planned.pipeline.clone(),
        query: planned.query.clone(),
        schema: planned.topology.schema().clone(),
        updating: planned.topology.updating,
        phase: Phase::Starting,
        counts: Counts::default(),
        watermark: None,
        lag: 0,
        tables: Vec::new(),
        resumed_from: None,
    }
}

/// Everything that the queries of a run share.
struct Started {
    client: Arc<dyn Client>,
    options: RuntimeOptions,
    completed: watch::Receiver<bool>,
    progress: Arc<watch::Sender<Vec<QueryProgress>>>,
    printing: mpsc::Sender<PrintedRows>,
    stop: CancellationToken,
}

impl Started {
    async fn run(self, planned: Vec<Planned>) -> Result<Vec<QuerySummary>, RunError> {
        let partitions = topics::prepare(self.client.as_ref(), &planned).await?;
        let done: Vec<watch::Sender<bool>> =
            planned.iter().map(|_| watch::channel(false).0).collect();
        let mut queries = JoinSet::new();
        let written_by = |wanted: &dyn Fn(&str) -> bool| -> Vec<watch::Receiver<bool>> {
            let writers = planned.iter().zip(&done);
            let writers = writers.filter(|(writer, _)| wanted(&writer.topology.sink.topic));
            writers.map(|(_, done)| done.subscribe()).collect()
        };
        let upstreams: Vec<Upstream> = planned
            .iter()
            .map(|reader| Upstream {
                inputs: written_by(&|topic| reader.reads(topic)),
                tables: written_by(&|topic| reader.joins(topic)),
            })
            .collect();
        for (index, ((planned, done), upstream)) in
            planned.into_iter().zip(done).zip(upstreams).enumerate()
        {
            let run = QueryRun::new(index, planned, &self, &partitions, upstream, done);
            let runtime = tokio::runtime::Handle::current();
            queries.spawn_blocking(move || (index, runtime.block_on(run.run())));
        }
        let stop = self.stop.clone();
        // What is shown ends when the last query does.
        drop(self);
        let mut summaries = BTreeMap::new();
        let mut failed = None;
        while let Some(result) = queries.join_next().await {
            match result {
                Ok((index, Ok(summary))) => {
                    summaries.insert(index, summary);
                }
                Ok((_, Err(error))) => {
                    stop.cancel();
                    failed.get_or_insert(error);
                }
                Err(error) => {
                    stop.cancel();
                    failed.get_or_insert(RunError::Panicked { query: error.to_string() });
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(summaries.into_values().collect()),
        }
    }
}

/// Done, each, when a query of this run that writes what another one reads has finished.
struct Upstream {
    inputs: Vec<watch::Receiver<bool>>,
    tables: Vec<watch::Receiver<bool>>,
}

impl Planned {
    fn reads(&self, topic: &str) -> bool {
        self.topology.inputs.iter().any(|input| input.source.topic == topic)
    }

    fn joins(&self, topic: &str) -> bool {
        self.topology.tables.iter().any(|table| table.source.topic == topic)
    }

    /// What its task is made of, once it is known how many partitions a topic has.
    fn setup(&self, partitions: impl Fn(&str) -> i32) -> TaskSetup {
        let inputs = self.topology.inputs.iter();
        TaskSetup {
            batch_rows_max: self.batch_rows_max,
            task: 0,
            input_partitions: inputs
                .map(|input| (0..partitions(&input.source.topic)).collect())
                .collect(),
            sink_partitions: partitions(&self.topology.sink.topic),
            topology: self.topology.clone(),
        }
    }

    /// Names group and transactional id.
    fn id(&self) -> String {
        format!("{}-{}", self.pipeline, self.query)
    }

    fn changelog(&self) -> String {
        format!("{}-changelog", self.id())
    }
}

/// The one place where the wall clock is read.
fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
