//! The loop of one task of a query: reader → task → producer.
//!
//! - [`commit`]: what is written at once, and what is told once it is.

mod commit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::client::{Client, ClientError, Reader, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use udfs::Caller;

use super::ends::ends;
use super::evolution::is_forgotten;
use super::functions::{LiveFunctions, Within};
use super::planned::Planned;
use super::progress::Reports;
use super::restore::{Note, Place, places};
use super::snapshots::{Following, Outcome, RestoreError, SharedStateDir, Snapshots};
use super::tables::TableReader;
use super::topics::Partitions;
use super::writer::Writer;
use super::{Phase, PrintedRows, ResumedFrom, RunError, Started, Upstream, now};
use crate::operators::Kept;
use crate::state::changelog::Meta;
use crate::task::{Task, TaskError};
use crate::topology::Topology;
use commit::{Standing, UnderWay, ended};

/// A tick that is further away is asked for again.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How often records that only tasks of the query read are deleted.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// A place that is not committed again is forgotten in time, and so is a transactional id
/// (`offsets.retention.minutes`, `transactional.id.expiration.ms`: 7 days).
const REFRESH_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How long work may go on that was begun before it was to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Output that waits for a commit is committed early beyond this.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// A task of a query, about to run.
pub struct QueryRun {
    planned: Planned,
    partitions: Partitions,
    client: Arc<dyn Client>,
    reset_state: bool,
    state_dir: Option<Arc<SharedStateDir>>,
    completed: watch::Receiver<bool>,
    upstream: Upstream,
    until_end: bool,
    filling: Option<watch::Receiver<BTreeSet<String>>>,
    done: watch::Sender<bool>,
    functions: LiveFunctions,
    caller: Caller,
    reports: Arc<Reports>,
    printing: mpsc::Sender<PrintedRows>,
    stop: CancellationToken,
    /// Set when it is to stop and has not for a while.
    unwanted: Arc<AtomicBool>,
    /// A copy of the task's state that was kept while it ran elsewhere.
    copy: Option<Following>,
}

/// Why the loop wakes up.
enum Wake {
    Stop,
    /// Nothing more is written to the inputs.
    Complete,
    Event(ReaderEvent),
    TableEvent(ReaderEvent),
    Committed,
    Time,
}

/// A query at work, with what it is connected to.
struct Running {
    task: Task,
    /// `None` if no table is joined.
    tables: Option<TableReader>,
    reader: Box<dyn Reader>,
    /// `None` if its rows are shown and nothing is written.
    writer: Option<Writer>,
    snapshots: Snapshots,
    resumed_from: Option<ResumedFrom>,
    /// Where inputs end, once they are complete.
    ends: Option<BTreeMap<TopicPartition, Offset>>,
    under_way: Option<UnderWay>,
    /// When the last commit began.
    committed_at: Option<Instant>,
    /// When what is there is committed once more, though nothing has come.
    refresh_at: Instant,
    purged_at: Option<Instant>,
    /// Modules of functions stay what they are.
    within: Option<Within>,
}

impl QueryRun {
    pub(super) fn new(
        planned: Planned,
        shared: &Started,
        partitions: &Partitions,
        upstream: Upstream,
        done: watch::Sender<bool>,
        stop: CancellationToken,
    ) -> QueryRun {
        QueryRun {
            reset_state: shared.options.reset_state.is_of(&planned.query),
            caller: Caller { pipeline: planned.pipeline.clone(), query: planned.query.clone() },
            planned,
            partitions: partitions.clone(),
            client: shared.client.clone(),
            state_dir: shared.state_dir.clone(),
            completed: shared.completed.clone(),
            upstream,
            until_end: shared.options.until_end,
            filling: shared.options.filling.clone(),
            done,
            functions: shared.functions.clone(),
            reports: shared.reports.clone(),
            printing: shared.printing.clone(),
            stop,
            unwanted: Arc::default(),
            copy: None,
        }
    }

    /// With a copy of the task's state to begin with.
    pub(super) fn with_copy(self, copy: Option<Following>) -> QueryRun {
        QueryRun { copy, ..self }
    }

    /// True when all input was read, false when it was stopped before.
    pub async fn run(mut self) -> Result<bool, RunError> {
        let copy = self.copy.take();
        let started = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            started = self.start(copy) => Some(started?),
        };
        // Restoring takes long: whoever stops it need not wait for that.
        let Some(mut running) = started else {
            self.set_phase(Phase::Finished);
            return Ok(false);
        };
        let (stop, unwanted) = (self.stop.clone(), self.unwanted.clone());
        let giving_up = tokio::spawn(async move {
            stop.cancelled().await;
            sleep(STOP_GRACE).await;
            unwanted.store(true, Ordering::Relaxed);
        });
        let result = self.work(&mut running).await;
        giving_up.abort();
        if let Some(writer) = running.writer.take() {
            // What is open is thrown away with whatever made it fail; if even that fails, the next
            // producer of this id aborts it.
            writer.close().await;
        }
        let complete = result?;
        self.report(Standing::of(&mut running), Phase::Finished);
        if complete {
            self.done.send_replace(true);
        }
        Ok(complete)
    }

    /// Fences earlier instances, takes up what they left, and opens the inputs.
    async fn start(&self, copy: Option<Following>) -> Result<Running, RunError> {
        let writer = match &self.planned.shown {
            Some(_) => None,
            None => {
                let writer = Writer::open(self.client.as_ref(), &self.planned).await;
                Some(writer.map_err(self.client_error("it cannot start to write"))?)
            }
        };
        let (mut task, meta, snapshots) = self.restored(copy).await?;
        if writer.is_some() {
            let rules = self.client.topic_rules(self.planned.writes()).await;
            let rules = rules.map_err(self.client_error("the settings of its topic"))?;
            task.set_output_bytes_max(rules.batch_bytes_max.unwrap_or(usize::MAX));
            // An answer that is updated has a key, if it is only one row.
            let Topology { writes, sink, updating, .. } = &self.planned.topology;
            let has_key = writes.is_some() || *updating || !sink.key.is_empty();
            if rules.is_compacted && !has_key {
                return Err(RunError::Keyless {
                    pipeline: self.planned.pipeline.clone(),
                    query: self.planned.query.clone(),
                    topic: sink.topic.clone(),
                });
            }
        }
        let tables = self.load_tables(&mut task).await?;
        let places = match &self.planned.shown {
            Some(shown) => shown.places(),
            None => self.places(meta.as_ref()).await?,
        };
        for Place { partition, position, note, .. } in &places {
            if let Some(latest_ms) = note.and_then(|note| note.latest_ms) {
                task.restore_clock(partition, latest_ms);
            }
            task.start_at(partition, *position, now());
        }
        if places.iter().any(|place| place.note.is_some_and(|note| note.latest_ms.is_some())) {
            // Whoever reads what this task writes hears how far it has come, new rows or not.
            task.tick(now()).map_err(|error| self.task_error(error))?;
        }
        let assigned = places.iter().map(|place| (place.partition.clone(), place.position.next));
        let reader = self.client.reader(ReaderOptions::partitions(assigned.collect())).await;
        let reader = reader.map_err(self.client_error("it cannot start to read"))?;
        let resumed = places.iter().filter(|place| place.resumed && !self.reset_state);
        let resumed: Vec<_> = resumed.collect();
        let Kept { windows, groups } = task.kept();
        let resumed_from = (!resumed.is_empty()).then(|| ResumedFrom {
            offsets: resumed
                .iter()
                .map(|place| (place.partition.clone(), place.position.next))
                .collect(),
            windows,
            groups,
        });
        let mut running = Running {
            task,
            tables,
            reader,
            writer,
            snapshots,
            resumed_from,
            ends: self.planned.shown.as_ref().and_then(|shown| shown.ends()),
            under_way: None,
            committed_at: None,
            refresh_at: Instant::now() + REFRESH_INTERVAL,
            purged_at: None,
            within: None,
        };
        self.report(Standing::of(&mut running), Phase::Running);
        Ok(running)
    }

    /// A task with the state that the last commit left.
    async fn restored(
        &self,
        copy: Option<Following>,
    ) -> Result<(Task, Option<Meta>, Snapshots), RunError> {
        let Planned { state_bytes_max, .. } = self.planned;
        let (name, changelog) = (self.planned.id(), self.planned.changelog());
        let mut snapshots =
            Snapshots::new(self.state_dir.clone(), name, changelog, state_bytes_max);
        if self.planned.shown.is_some() {
            let setup = self.planned.setup_in(&self.partitions);
            let task = Task::showing(setup, now()).map_err(|error| self.task_error(error))?;
            return Ok((task, None, snapshots));
        }
        let client = self.client.as_ref();
        let mut copy = copy;
        loop {
            let following = match copy.take() {
                Some(copy) => copy,
                None => {
                    let task = self.planned.fresh_task(&self.partitions)?;
                    if !task.is_stateful() {
                        return Ok((task, None, snapshots));
                    }
                    let following = snapshots.follow(client, task).await;
                    following.map_err(|error| self.restore_error(error))?
                }
            };
            self.set_phase(Phase::Restoring);
            let progress = |read, total| self.report_restoring(read, total);
            let restored = following.finish(client, progress).await;
            snapshots = match restored.map_err(|error| self.restore_error(error))? {
                Outcome::Restored(task, meta, snapshots) => return Ok((*task, meta, snapshots)),
                Outcome::Stale(snapshots) => snapshots,
            };
        }
    }

    /// Reads the tables that are joined to their ends, once whatever fills them has done so.
    async fn load_tables(&self, task: &mut Task) -> Result<Option<TableReader>, RunError> {
        let topics: BTreeSet<String> =
            self.planned.topology.tables.iter().map(|table| table.source.topic.clone()).collect();
        let looked_up = self.planned.topology.looked_up();
        if !looked_up.is_empty() {
            self.set_phase(Phase::LoadingTables);
            self.filled(&looked_up).await;
        }
        if topics.is_empty() {
            return Ok(None);
        }
        self.set_phase(Phase::LoadingTables);
        self.filled(&topics).await;
        if self.until_end {
            all_done(&self.upstream.tables).await;
        }
        let partitions = |topic: &String| self.partitions.get(topic).copied().unwrap_or(1);
        let tables: Vec<(String, i32)> =
            topics.into_iter().map(|topic| (topic.clone(), partitions(&topic))).collect();
        let fed = &self.upstream.topics;
        let opened = TableReader::open(self.client.as_ref(), tables, fed).await;
        let mut reader = opened.map_err(self.client_error("reading its tables"))?;
        while !reader.is_loaded() {
            tokio::task::consume_budget().await;
            let event = reader.next().await.map_err(self.client_error("reading its tables"))?;
            reader.process(event, task).map_err(|error| self.task_error(error))?;
        }
        Ok(Some(reader))
    }

    /// Waits until no connector of the file is still filling one of them.
    async fn filled(&self, topics: &BTreeSet<String>) {
        if let Some(mut filling) = self.filling.clone() {
            // Whoever would say more is gone.
            let _ = filling.wait_for(|filling| filling.is_disjoint(topics)).await;
        }
    }

    async fn places(&self, meta: Option<&Meta>) -> Result<Vec<Place>, RunError> {
        let partitions = self.planned.reads_of(&self.partitions);
        let client = self.client.as_ref();
        let is_other = |(topic, id): &(&String, &String)| {
            self.partitions.ids.get(*topic).is_some_and(|now| now != *id)
        };
        if let Some((topic, _)) = meta.and_then(|meta| meta.topics.iter().find(is_other)) {
            let (pipeline, query) = (self.planned.pipeline.clone(), self.planned.query.clone());
            return Err(RunError::OtherTopic { pipeline, query, topic: topic.clone() });
        }
        let places = places(client, &self.planned.group(), partitions, meta, false)
            .await
            .map_err(self.client_error("its place in its inputs cannot be found"))?;
        let tasks = self.planned.tasks;
        let mut notes = places.iter().filter_map(|place| place.note);
        if let Some(Note { tasks: found, .. }) = notes.find(|note| note.tasks != tasks)
            && self.planned.is_stateful
        {
            let (pipeline, query) = (self.planned.pipeline.clone(), self.planned.query.clone());
            return Err(RunError::OtherTasks { pipeline, query, found, tasks });
        }
        // One that has nothing to read looks too, before it leaves a mark of its own.
        let is_new = places.iter().all(|place| !place.resumed);
        if meta.is_none() && is_new && is_forgotten(client, &self.planned).await? {
            let (pipeline, query) = (self.planned.pipeline.clone(), self.planned.query.clone());
            return Err(RunError::Forgotten { pipeline, query });
        }
        for Place { partition, position, lost, .. } in &places {
            if position.next > position.end {
                return Err(RunError::Recreated {
                    pipeline: self.planned.pipeline.clone(),
                    query: self.planned.query.clone(),
                    partition: partition.clone(),
                    next: position.next,
                    end: position.end,
                });
            }
            if *lost > 0 {
                tracing::warn!(
                    pipeline = %self.planned.pipeline, query = %self.planned.query, %partition,
                    lost, "records were deleted by retention before they were read"
                );
            }
        }
        Ok(places)
    }

    /// True when all input was read, false when it was stopped before.
    async fn work(&self, running: &mut Running) -> Result<bool, RunError> {
        let mut complete = std::pin::pin!(inputs_complete(&self.completed, &self.upstream.inputs));
        loop {
            if running.at_end() {
                self.enter(running).await?;
                let finished = self.as_caller(|| running.task.finish(now()));
                finished.map_err(|error| self.task_error(error))?;
                self.commit_last(running).await?;
                return Ok(true);
            }
            let wake_at = self.wake_at(running);
            let wake = tokio::select! {
                biased;
                () = self.stop.cancelled() => Wake::Stop,
                () = &mut complete, if running.ends.is_none() => Wake::Complete,
                () = ended(&mut running.under_way) => Wake::Committed,
                event = next_of_tables(&mut running.tables) => {
                    Wake::TableEvent(event.map_err(self.client_error("reading its tables"))?)
                }
                event = running.reader.next() => {
                    Wake::Event(event.map_err(self.client_error("reading its inputs"))?)
                }
                () = sleep_until(wake_at) => Wake::Time,
            };
            self.enter(running).await?;
            match wake {
                Wake::Stop => {
                    self.commit_last(running).await?;
                    return Ok(false);
                }
                Wake::Committed => self.settle(running).await?,
                Wake::Complete => running.ends = Some(self.ends(&running.task).await?),
                Wake::Event(ReaderEvent::Batches(fetched)) => {
                    if !self.compute(|| running.task.process(&fetched, now()))? {
                        return Ok(false);
                    }
                    self.send(running).await?;
                }
                Wake::TableEvent(event) => {
                    if let Some(tables) = &mut running.tables {
                        let processed = tables.process(event, &mut running.task);
                        processed.map_err(|error| self.task_error(error))?;
                    }
                }
                // A reader of given partitions has no group that could move them.
                Wake::Event(ReaderEvent::Assigned(_) | ReaderEvent::Revoked(_)) => {}
                Wake::Time => {
                    if running.refresh_at <= Instant::now() {
                        running.task.touch();
                    }
                    if !self.compute(|| running.task.tick(now()))? {
                        return Ok(false);
                    }
                    self.send(running).await?;
                }
            }
            self.commit_if_due(running).await?;
            if !running.task.is_dirty() {
                running.within = None;
            }
        }
    }

    async fn commit_if_due(&self, running: &mut Running) -> Result<(), RunError> {
        let is_too_much = |running: &mut Running| {
            running.task.pending_bytes() >= PENDING_BYTES_MAX
                || running.snapshots.wants_commit(&mut running.task)
        };
        if is_too_much(running) {
            self.settle(running).await?;
        }
        let is_due = running.task.is_dirty() && self.commit_at(running) <= Instant::now();
        if running.under_way.is_none() && (is_due || is_too_much(running)) {
            self.commit(running).await?;
        }
        Ok(())
    }

    /// Computes what may take long; false if it was given up, since it is to stop: what there is
    /// since the last commit is worth nothing then, and is computed again by whoever goes on.
    fn compute(&self, work: impl FnOnce() -> Result<(), TaskError>) -> Result<bool, RunError> {
        let (done, gave_up) = udfs::interruptible(&self.unwanted, || self.as_caller(work));
        if gave_up {
            return Ok(false);
        }
        done.map_err(|error| self.task_error(error)).map(|()| true)
    }

    /// Lets functions know on whose behalf they are called.
    fn as_caller<T>(&self, work: impl FnOnce() -> T) -> T {
        udfs::called_by(&self.caller, work)
    }

    /// What is computed from now on is by the modules that are there now, up to the next commit.
    async fn enter(&self, running: &mut Running) -> Result<(), RunError> {
        if running.within.is_some() || self.planned.topology.functions.is_empty() {
            return Ok(());
        }
        running.within = match self.functions.try_enter() {
            Some(within) => Some(within),
            None => {
                // The gate waits for what is being written.
                self.settle(running).await?;
                Some(self.functions.enter().await)
            }
        };
        Ok(())
    }

    /// Sends output that need not wait for a commit.
    async fn send(&self, running: &mut Running) -> Result<(), RunError> {
        let at_once = running.writer.as_ref().is_some_and(Writer::writes_at_once);
        let ready = if at_once { running.task.take_written() } else { running.task.take_ready() };
        match &mut running.writer {
            Some(writer) => writer.send(ready).await.map_err(self.client_error("writing")),
            None => Ok(()),
        }
    }

    fn commit_at(&self, running: &Running) -> Instant {
        match running.committed_at {
            Some(last) => last + self.planned.commit_interval,
            None => Instant::now(),
        }
    }

    /// When something is to be done although nothing is read.
    fn wake_at(&self, running: &Running) -> Instant {
        let is_due = running.task.is_dirty() && running.under_way.is_none();
        let commit = is_due.then(|| self.commit_at(running));
        let tick = running.task.next_tick().map(|tick| {
            let wait_ms = u64::try_from(tick.0.saturating_sub(now().0)).unwrap_or_default();
            Instant::now() + Duration::from_millis(wait_ms).min(WAIT_MAX)
        });
        [commit, tick].into_iter().flatten().fold(running.refresh_at, Instant::min)
    }

    async fn ends(&self, task: &Task) -> Result<BTreeMap<TopicPartition, Offset>, RunError> {
        let partitions = task.positions().map(|(partition, _)| partition.clone());
        let found = ends(self.client.as_ref(), partitions, &self.upstream.topics).await;
        found.map_err(self.client_error("finding the end of its inputs"))
    }

    fn report_restoring(&self, read: u64, total: u64) {
        let Planned { query_index, task_index, .. } = self.planned;
        self.reports.report(query_index, task_index, |progress| progress.restored = (read, total));
    }

    fn set_phase(&self, phase: Phase) {
        let Planned { query_index, task_index, .. } = self.planned;
        self.reports.report(query_index, task_index, |progress| progress.phase = phase);
    }

    fn task_error(&self, error: TaskError) -> RunError {
        self.planned.task_error(error)
    }

    fn restore_error(&self, error: RestoreError) -> RunError {
        self.planned.restore_error(error)
    }

    fn client_error(&self, doing: &'static str) -> impl Fn(ClientError) -> RunError {
        move |error| self.planned.client_error(doing, error)
    }
}

/// Waits until nothing more is written to the inputs: neither from outside nor by other queries.
async fn inputs_complete(completed: &watch::Receiver<bool>, upstream: &[watch::Receiver<bool>]) {
    all_done(std::slice::from_ref(completed)).await;
    all_done(upstream).await;
}

async fn next_of_tables(tables: &mut Option<TableReader>) -> Result<ReaderEvent, ClientError> {
    match tables {
        Some(tables) => tables.next().await,
        None => std::future::pending().await,
    }
}

async fn all_done(signals: &[watch::Receiver<bool>]) {
    for signal in signals {
        if signal.clone().wait_for(|is_set| *is_set).await.is_err() {
            // Whoever would have said so is gone: it failed, and this query is about to be
            // stopped.
            std::future::pending::<()>().await;
        }
    }
}

impl Running {
    fn at_end(&self) -> bool {
        let Some(ends) = &self.ends else { return false };
        self.task.positions().all(|(partition, position)| {
            ends.get(partition).is_none_or(|end| position.next >= *end)
        })
    }
}
