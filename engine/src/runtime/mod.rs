//! The rim: what connects tasks with a broker, a clock and threads.
//!
//! ```text
//! Runtime::start ─ topics that are missing ─┬─ query ─ reader → task → producer ─┐
//!                                           ├─ query ─ …                         ├─ finished
//!                                           └─ query ─ …                         ┘
//! ```
//!
//! Each task of a query has a thread of its own, since its work is computing. It commits when
//! something has changed and `commit_interval` has passed since the last commit: a row that comes
//! alone is visible at once, rows that follow share a transaction. One transaction holds outputs,
//! changes of state and input offsets, under a transactional id of the task: a second instance of
//! it fences the first, and `kill -9` at any moment loses nothing and doubles nothing.
//!
//! - [`planned`]: the tasks of a run, and their names;
//! - [`topics`]: topics that must be there before anything is read;
//! - [`evolution`]: what becomes of state when a query has changed; [`begin`]: where a query
//!   begins; [`restore`]: where a task goes on; [`ends`]: where it stops; [`snapshots`]: its state
//!   on disk; [`tables`]: what it joins; [`query`]: its loop; [`writer`]: its producers; [`reset`]:
//!   forgetting all of it;
//! - [`shown`]: queries whose rows are shown and written nowhere; [`kept`]: what a query keeps, for
//!   people to look at;
//! - [`functions`]: modules of functions that are replaced meanwhile;
//! - [`workers`]: tasks that processes share, by the rule of [`broker::client::shares`];
//!   [`progress`]: what all tasks report.
//!
//! Names that are kept in the broker: group and transactional id `<pipeline>-<query>`, changelog
//! topic `<pipeline>-<query>-changelog`. Where N > 1 tasks share a query, it has parts: task T of
//! part P has the transactional id `<pipeline>-<query>-<P>-<T>of<N>`, the group
//! `<pipeline>-<query>-<P>` (the first part that of the query) and partition T of
//! `<pipeline>-<query>-<P>of<N>-changelog`, and parts meet in topics
//! `<pipeline>-<query>-<exchange>of<N>-repartition`. Two queries, or two parts of one, that read
//! one topic each have their own place in it, hence a group each.
//!
//! Invariants: rows are shown only after their transaction is committed. A query that fails stops
//! the others of its pipeline after their last commit, and those of all pipelines where inputs end.
//! A query whose input another one writes is complete after
//! that one.

mod begin;
mod ends;
mod evolution;
mod functions;
mod kept;
mod planned;
mod progress;
mod query;
mod reset;
mod restore;
mod shown;
mod snapshots;
mod tables;
mod topics;
mod workers;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use broker::client::{Client, ClientError, NewTopic};
use broker::ids::{Offset, TopicPartition};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::describe::with_intervals;
use crate::pipeline::Pipeline;
use crate::rows::Rows;
use crate::state::StateError;
use crate::tally::Account;
use crate::task::{Counts, TaskError};
use crate::time::{WallTime, Watermark};
use crate::topology::{Topology, TopologyError};
pub use evolution::{StateChange, state_changes};
pub use functions::{LiveFunctions, Outcome, Reloaded};
pub use kept::{KeptState, read_kept};
use planned::{Planned, plan};
use progress::{Reports, TaskProgress};
use query::QueryRun;
pub(crate) use shown::without_letters;
pub use shown::{ShownFrom, ShownPartition};
use snapshots::SharedStateDir;
use workers::Worker;

/// Printed batches that wait to be shown; a reader of them that is slow slows the query.
const PRINTED_QUEUE_LEN: usize = 16;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Of which queries the state and the place are forgotten: they start from the beginning of
    /// their inputs.
    pub reset_state: Reset,
    /// [`Runtime::inputs_complete`] will be called: tables are then read only when whatever writes
    /// them has finished.
    pub until_end: bool,
    /// Other processes may run the same pipelines: each takes some of the tasks. Without it,
    /// whoever starts last runs all of them. Not together with `until_end`.
    pub shared: bool,
    /// How many other workers keep a copy of each task's state, if not as the pipeline says.
    pub standby_replicas: Option<usize>,
    /// Where state goes that is too large for memory; without it, all of it stays in memory.
    pub state_dir: Option<PathBuf>,
    /// Topics that are still being filled with what was there at the start. Tables in them are
    /// waited for: what is joined with a table before it is there finds nothing.
    pub filling: Option<watch::Receiver<BTreeSet<String>>>,
    /// How topics of sources and tables are made that are not there, by their names, where
    /// somebody has said it of whatever fills them.
    pub inputs: BTreeMap<String, NewTopic>,
}

/// Which queries forget what earlier runs did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    #[default]
    Nothing,
    All,
    /// Those of these names.
    Queries(BTreeSet<String>),
}

impl Reset {
    pub fn is_of(&self, query: &str) -> bool {
        match self {
            Reset::Nothing => false,
            Reset::All => true,
            Reset::Queries(names) => names.contains(query),
        }
    }
}

/// Pipelines at work. Dropped, they stop as with [`Runtime::stop`].
#[derive(Debug)]
pub struct Runtime {
    complete: watch::Sender<bool>,
    stop: CancellationToken,
    progress: watch::Receiver<Vec<QueryProgress>>,
    prepared: watch::Receiver<Option<Prepared>>,
    printed: Option<mpsc::Receiver<PrintedRows>>,
    functions: LiveFunctions,
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
    /// Why it has failed, if it has.
    pub failure: Option<Arc<str>>,
    pub counts: Counts,
    /// Windows that end no later are closed; `None` if the query has no windows or none closed.
    pub watermark: Option<Watermark>,
    /// Records that are there and have not been read.
    pub lag: u64,
    /// How full the output of its fullest task was at the last commit, of what may wait for one:
    /// near 100, tasks wait for the broker rather than for rows.
    pub buffered_percent: u8,
    /// Each table that it joins, and how many rows that has.
    pub tables: Vec<(String, u64)>,
    pub resumed_from: Option<ResumedFrom>,
    /// Copies that this process keeps of the state of tasks that run elsewhere.
    pub standby: Standby,
    /// While it restores its state: records that were read back, and how many there are.
    pub restored: (u64, u64),
    /// What went through each step of each part of it.
    pub parts: Vec<Account>,
}

/// Copies of the state of tasks that run in other processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standby {
    pub tasks: usize,
    /// Records of their changelogs that they do not have yet.
    pub behind: u64,
}

/// What a query is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// One of its tasks has failed: it does not go on.
    Failed,
    /// Waiting for topics and the transactional id.
    Starting,
    /// Reading its state back.
    Restoring,
    /// Reading the tables that it joins.
    LoadingTables,
    Running,
    /// All its input was there was to read, or it was stopped.
    Finished,
    /// Other processes have all of its tasks; this one stands by.
    Elsewhere,
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
    #[error(
        "pipeline '{pipeline}', query '{query}': topic '{topic}' is compacted, which needs a key in \
         each record, and this query writes none: give the sink a key or another topic, or let the \
         topic keep all records with cleanup.policy=delete"
    )]
    Keyless { pipeline: Arc<str>, query: Arc<str>, topic: String },
    #[error("pipeline '{pipeline}': topic '{topic}': {error}")]
    Topic { pipeline: Arc<str>, topic: String, error: ClientError },
    #[error("pipeline '{pipeline}', query '{query}': {error}")]
    Task { pipeline: Arc<str>, query: Arc<str>, error: TaskError },
    #[error("pipeline '{pipeline}', query '{query}': {doing}: {error}")]
    Client { pipeline: Arc<str>, query: Arc<str>, doing: &'static str, error: ClientError },
    #[error("pipeline '{pipeline}', query '{query}': {}", with_intervals(&error.to_string()))]
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
        "pipeline '{pipeline}', query '{query}': topic '{topic}' is not the one that was read: it \
         has been deleted and made again; start from its beginning with --reset-state"
    )]
    OtherTopic { pipeline: Arc<str>, query: Arc<str>, topic: String },
    #[error(
        "query '{query}' of pipeline '{pipeline}' and another one would both keep their state as \
         '{id}'; rename one of them"
    )]
    SameName { pipeline: Arc<str>, query: Arc<str>, id: String },
    #[error(
        "query '{query}' of pipeline '{pipeline}' was shared by {found} tasks, and is to be by \
         {tasks}: its state is kept task by task; set tasks = {found}, or start again without the \
         state with --reset-state"
    )]
    OtherTasks { pipeline: Arc<str>, query: Arc<str>, found: usize, tasks: usize },
    #[error(
        "query '{query}' of pipeline '{pipeline}' has state, and the broker has forgotten up to \
         where its inputs were read (offsets.retention.minutes, 7 days if nothing else is said): \
         to read them again would count them twice; start from their beginning with --reset-state"
    )]
    Forgotten { pipeline: Arc<str>, query: Arc<str> },
    #[error("a query panicked ({query}); this is a bug in Millstream")]
    Panicked { query: String },
}

impl RunError {
    /// Whether another instance of a task has taken its place: it was fenced, or what it was about
    /// to read was read there and has been deleted since.
    pub(crate) fn is_taken_over(&self) -> bool {
        let RunError::Client { error, .. } = self else { return false };
        matches!(error, ClientError::Fenced { .. } | ClientError::OffsetOutOfRange { .. })
    }
}

impl Runtime {
    /// Starts all queries of these pipelines, inside a tokio runtime. What cannot run as a stream
    /// is refused before anything is created. Each task of each part of a query takes one of the
    /// runtime's threads for blocking calls (`max_blocking_threads`, 512 if nothing else is said),
    /// of which an embedded broker needs some as well.
    pub fn start(
        client: Arc<dyn Client>,
        pipelines: Vec<Pipeline>,
        options: RuntimeOptions,
    ) -> Result<Runtime, RunError> {
        let mut planned = plan(&pipelines)?;
        if let Some(copies) = options.standby_replicas {
            planned.iter_mut().for_each(|task| task.copies_wanted = copies);
        }
        let state_memory: usize =
            pipelines.iter().map(|pipeline| pipeline.settings.state_memory).sum();
        let state_dir = options.state_dir.clone();
        let state_dir = state_dir.map(|path| SharedStateDir::new(path, state_memory as u64 / 2));
        let state_dir = state_dir.map(Arc::new);
        Ok(begin(client, options, state_dir, planned, None, Started::run))
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

    /// Waits until all topics that the queries need are there, made as they need them, or until the
    /// run has failed. What becomes of kept state where queries have changed.
    pub async fn prepared(&self) -> Vec<StateChange> {
        let mut prepared = self.prepared.clone();
        let prepared = prepared.wait_for(Option::is_some).await;
        // Whoever would say so is gone if it has failed.
        let Prepared(changes) = prepared.ok().and_then(|of| of.clone()).unwrap_or_default();
        changes
    }

    /// The functions of users that the queries call.
    pub fn functions(&self) -> &LiveFunctions {
        &self.functions
    }

    /// How all queries stand, in the order of their pipelines.
    pub fn progress(&self) -> watch::Receiver<Vec<QueryProgress>> {
        self.progress.clone()
    }

    /// Rows of the queries that print. To be taken once and read until it ends, or dropped: while
    /// neither is done, and [`Runtime::finished`] not called, queries that print wait for it.
    pub fn printed(&mut self) -> Option<mpsc::Receiver<PrintedRows>> {
        self.printed.take()
    }

    /// Waits until all queries have finished, or one has failed and the others have stopped.
    pub async fn finished(mut self) -> Result<Vec<QuerySummary>, RunError> {
        self.printed = None;
        let result = (&mut self.run).await;
        result.unwrap_or_else(|_| Err(RunError::Panicked { query: "runtime".to_owned() }))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts `run` of these tasks.
fn begin<Run>(
    client: Arc<dyn Client>,
    options: RuntimeOptions,
    state_dir: Option<Arc<SharedStateDir>>,
    planned: Vec<Planned>,
    prepared: Option<Prepared>,
    run: impl FnOnce(Started, Vec<Planned>) -> Run,
) -> Runtime
where
    Run: Future<Output = Result<Vec<QuerySummary>, RunError>> + Send + 'static,
{
    let (complete, completed) = watch::channel(false);
    let (progress, progress_seen) = watch::channel(starting(&planned));
    let (printing, printed) = mpsc::channel(PRINTED_QUEUE_LEN);
    let (prepared, prepared_seen) = watch::channel(prepared);
    let stop = CancellationToken::new();
    let functions = LiveFunctions::of(&planned);
    let started = Started {
        client,
        prepared,
        functions: functions.clone(),
        filled: options.filling.as_ref().map(|of| of.borrow().clone()).unwrap_or_default(),
        options,
        state_dir,
        completed,
        reports: Arc::new(Reports::new(progress, reported(&planned))),
        printing,
        stop: stop.clone(),
    };
    Runtime {
        complete,
        stop,
        progress: progress_seen,
        prepared: prepared_seen,
        printed: Some(printed),
        functions,
        run: tokio::spawn(run(started, planned)),
    }
}

/// How all queries stand before any task has said anything.
fn starting(planned: &[Planned]) -> Vec<QueryProgress> {
    // The last part is the one that writes the sink.
    let last_parts = planned.chunk_by(|one, other| one.query_index == other.query_index);
    let queries = last_parts.filter_map(<[Planned]>::last).map(|planned| QueryProgress {
        pipeline: planned.pipeline.clone(),
        query: planned.query.clone(),
        schema: planned.topology.schema().clone(),
        updating: planned.topology.updating,
        phase: Phase::Starting,
        failure: None,
        counts: Counts::default(),
        watermark: None,
        lag: 0,
        buffered_percent: 0,
        tables: Vec::new(),
        resumed_from: None,
        standby: Standby::default(),
        restored: (0, 0),
        parts: Vec::new(),
    });
    queries.collect()
}

fn reported(planned: &[Planned]) -> Vec<Vec<TaskProgress>> {
    let queries = planned.chunk_by(|one, other| one.query_index == other.query_index);
    let task = |planned: &Planned| {
        let Topology { inputs, writes, .. } = &planned.topology;
        TaskProgress::starting(planned.part, !inputs.is_empty(), writes.is_none())
    };
    queries.map(|tasks| tasks.iter().map(task).collect()).collect()
}

/// Topics are there, and this becomes of state that is.
#[derive(Clone, Debug, Default)]
struct Prepared(Vec<StateChange>);

/// Everything that the queries of a run share.
#[derive(Clone)]
struct Started {
    client: Arc<dyn Client>,
    options: RuntimeOptions,
    /// Topics that connectors of the run fill.
    filled: BTreeSet<String>,
    /// Set once all topics are there.
    prepared: watch::Sender<Option<Prepared>>,
    state_dir: Option<Arc<SharedStateDir>>,
    completed: watch::Receiver<bool>,
    functions: LiveFunctions,
    reports: Arc<Reports>,
    printing: mpsc::Sender<PrintedRows>,
    stop: CancellationToken,
}

impl Started {
    async fn run(self, planned: Vec<Planned>) -> Result<Vec<QuerySummary>, RunError> {
        let partitions = topics::prepare(self.client.as_ref(), &planned, &self.options.inputs);
        let partitions = partitions.await?;
        let (_, kept) = self.reset_and_kept(&planned);
        let changes = evolution::changes(self.client.as_ref(), &kept).await?;
        self.prepared.send_replace(Some(Prepared(changes)));
        if self.options.until_end {
            return self.run_in(planned, partitions).await;
        }
        self.run_while_topics_grow(planned, partitions).await
    }

    /// Tasks share out the partitions that there are when they start: when there are more, they
    /// stop with a commit and start again.
    async fn run_while_topics_grow(
        mut self,
        planned: Vec<Planned>,
        mut partitions: topics::Partitions,
    ) -> Result<Vec<QuerySummary>, RunError> {
        loop {
            let stop = self.stop.child_token();
            let run = Started { stop: stop.clone(), ..self.clone() };
            let mut running = std::pin::pin!(run.run_in(planned.clone(), partitions.clone()));
            let topic = tokio::select! {
                ended = &mut running => return ended,
                topic = topics::grown(self.client.as_ref(), &planned, &partitions) => topic,
            };
            tracing::warn!(
                topic,
                "it has more partitions now: queries stop and start to share them"
            );
            stop.cancel();
            let ended = running.await;
            if self.stop.is_cancelled() {
                return ended;
            }
            // A pipeline that has failed alone is told of, and fails once more.
            self.options.reset_state = Reset::Nothing;
            let found = topics::prepare(self.client.as_ref(), &planned, &self.options.inputs);
            partitions = found.await?;
        }
    }

    async fn run_in(
        self,
        planned: Vec<Planned>,
        partitions: topics::Partitions,
    ) -> Result<Vec<QuerySummary>, RunError> {
        let shared = self.options.shared && !self.options.until_end;
        let done: Vec<watch::Sender<bool>> =
            planned.iter().map(|_| watch::channel(false).0).collect();
        let mut queries = JoinSet::new();
        let written_by = |wanted: &dyn Fn(&str) -> bool| -> Vec<watch::Receiver<bool>> {
            let writers = planned.iter().zip(&done);
            let writers = writers.filter(|(writer, _)| wanted(writer.writes()));
            writers.map(|(_, done)| done.subscribe()).collect()
        };
        let upstreams: Vec<Upstream> = planned
            .iter()
            .map(|reader| Upstream {
                topics: self.fed(&planned, reader),
                inputs: written_by(&|topic| reader.reads(topic)),
                tables: written_by(&|topic| reader.joins(topic)),
            })
            .collect();
        let (reset, kept) = self.reset_and_kept(&planned);
        reset::reset(self.client.as_ref(), &reset, &partitions).await?;
        begin::begin(self.client.as_ref(), &kept, &partitions).await?;
        if shared {
            return self.run_shared(planned, partitions).await;
        }
        let pipelines = Pipelines::of(&planned, &self);
        for ((planned, done), upstream) in planned.into_iter().zip(done).zip(upstreams) {
            let index = planned.query_index;
            let stop = pipelines.stop(&planned);
            let run = QueryRun::new(planned, &self, &partitions, upstream, done, stop);
            let runtime = tokio::runtime::Handle::current();
            queries.spawn_blocking(move || (index, runtime.block_on(run.run())));
        }
        let reports = self.reports.clone();
        // What is shown ends when the last query does.
        drop(self);
        let mut complete = BTreeMap::new();
        let mut failed = None;
        while let Some(result) = queries.join_next().await {
            match result {
                Ok((index, Ok(is_complete))) => {
                    *complete.entry(index).or_insert(true) &= is_complete;
                }
                Ok((index, Err(error))) => {
                    pipelines.failed(index, &error);
                    failed.get_or_insert(error);
                }
                Err(error) => {
                    pipelines.panicked();
                    failed.get_or_insert(RunError::Panicked { query: error.to_string() });
                }
            }
        }
        let summary = |(index, complete)| QuerySummary::of(reports.query(index), complete);
        match failed {
            Some(error) => Err(error),
            None => Ok(complete.into_iter().map(summary).collect()),
        }
    }
}

impl Started {
    /// Tasks whose state is forgotten, and the others.
    fn reset_and_kept(&self, planned: &[Planned]) -> (Vec<Planned>, Vec<Planned>) {
        let is_reset = |task: &Planned| self.options.reset_state.is_of(&task.query);
        planned.iter().cloned().partition(is_reset)
    }

    /// Runs what a group gives this process, until it is stopped.
    async fn run_shared(
        self,
        planned: Vec<Planned>,
        partitions: topics::Partitions,
    ) -> Result<Vec<QuerySummary>, RunError> {
        let reports = self.reports.clone();
        let pipelines = Pipelines::of(&planned, &self);
        let shared = Arc::new(self);
        let mut workers = JoinSet::new();
        let queries = planned.chunk_by(|one, other| one.query_index == other.query_index);
        for (index, tasks) in queries.enumerate() {
            let stop = pipelines.stop(&tasks[0]);
            let worker = Worker::new(tasks.to_vec(), shared.clone(), partitions.clone(), stop);
            workers.spawn(async move { (index, worker.run().await) });
        }
        // What is shown ends when the last worker does.
        drop(shared);
        let mut failed = None;
        let mut summaries = BTreeMap::new();
        while let Some(ended) = workers.join_next().await {
            match ended {
                Ok((index, Ok(()))) => {
                    let query = reports.query(index);
                    summaries.insert(index, QuerySummary::of(query, false));
                }
                Ok((index, Err(error))) => {
                    pipelines.failed(index, &error);
                    failed.get_or_insert(error);
                }
                Err(error) => {
                    pipelines.panicked();
                    failed.get_or_insert(RunError::Panicked { query: error.to_string() });
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(summaries.into_values().collect()),
        }
    }

    /// Topics of a task that other tasks of the run write, or connectors do.
    fn fed(&self, planned: &[Planned], reader: &Planned) -> BTreeSet<String> {
        let of_tasks = planned.iter().map(|writer| writer.writes().to_owned());
        let all = of_tasks.chain(self.filled.iter().cloned());
        all.filter(|topic| reader.reads(topic) || reader.joins(topic)).collect()
    }

    /// How far a copy of a task's state is behind, if one is kept.
    fn set_behind(&self, of: &Planned, behind: Option<u64>) {
        self.reports.report(of.query_index, of.task_index, |progress| progress.behind = behind);
    }

    fn set_phase(&self, of: &Planned, phase: Phase) {
        self.reports.report(of.query_index, of.task_index, |progress| progress.phase = phase);
    }
}

/// What stops the queries of each pipeline of a run.
struct Pipelines {
    /// By query.
    stops: Vec<CancellationToken>,
    all: CancellationToken,
    reports: Arc<Reports>,
}

impl Pipelines {
    fn of(planned: &[Planned], shared: &Started) -> Pipelines {
        let mut of_pipelines: BTreeMap<Arc<str>, CancellationToken> = BTreeMap::new();
        let mut stops = Vec::new();
        for query in planned.chunk_by(|one, other| one.query_index == other.query_index) {
            let stop = match shared.options.until_end {
                // What one has not written the others would take for the end.
                true => shared.stop.clone(),
                false => {
                    let stop = || shared.stop.child_token();
                    of_pipelines.entry(query[0].pipeline.clone()).or_insert_with(stop).clone()
                }
            };
            stops.push(stop);
        }
        Pipelines { stops, all: shared.stop.clone(), reports: shared.reports.clone() }
    }

    fn stop(&self, task: &Planned) -> CancellationToken {
        self.stops[task.query_index].clone()
    }

    fn failed(&self, query: usize, error: &RunError) {
        self.reports.failed(query, &error.to_string());
        self.stops[query].cancel();
    }

    /// Nobody knows which it was.
    fn panicked(&self) {
        self.all.cancel();
    }
}

impl QuerySummary {
    fn of(progress: QueryProgress, complete: bool) -> QuerySummary {
        let QueryProgress { pipeline, query, counts, watermark, .. } = progress;
        QuerySummary { pipeline, query, counts, watermark, complete }
    }
}

/// What this run writes of what a query reads.
#[derive(Default)]
struct Upstream {
    topics: BTreeSet<String>,
    /// Done, each, when a task that writes inputs has finished; or tables.
    inputs: Vec<watch::Receiver<bool>>,
    tables: Vec<watch::Receiver<bool>>,
}

/// The one place where the wall clock is read.
pub(crate) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
