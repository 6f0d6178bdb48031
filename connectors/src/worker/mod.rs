//! Runs the tasks of a set of connectors.
//!
//! Each task is a tokio task of its own. A task that fails reports it and ends; what to do about
//! it is its caller's choice. Dropping the worker stops everything on the spot, as a crash would;
//! [`Worker::shutdown`] lets tasks commit what they have.
//!
//! - [`source`]: drives a source task; [`sink`]: drives a sink task; [`activity`]: what can be
//!   seen of either while it is at work.

pub(crate) mod activity;
mod sink;
mod source;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, NewTopic};
use futures::FutureExt;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, warn};

use activity::Activity;

use crate::config::ConnectorConfig;
use crate::herder::distributed::gate::Gate;
use crate::offsets;
use crate::plugin::{ConnectorKind, Tasks};
use crate::status::{ConnectorState, ConnectorStatus, Reporter, StatusBoard};
use crate::task::TaskError;

/// Kafka's own default, of all consumers.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// How to run connectors.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Sources end where their input ends.
    pub until_end: bool,
    /// How often to commit while there is always more to do. A source whose input is drained
    /// commits at once.
    pub commit_interval: Duration,
    /// Where sources keep how far they are, as it is to be made if it is not there.
    pub offsets_topic: NewTopic,
    /// What the transactional ids of tasks begin with.
    pub transactional_prefix: String,
    /// Silence after which a sink's task is taken for dead, and others take over its partitions.
    pub session_timeout: Duration,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            until_end: false,
            commit_interval: Duration::from_millis(200),
            offsets_topic: offsets::default_topic(),
            transactional_prefix: "connect".to_owned(),
            session_timeout: SESSION_TIMEOUT,
        }
    }
}

impl WorkerOptions {
    /// Of a source's task, wherever it runs: there is one of that name at a time.
    pub(crate) fn transactional_id(&self, connector: &str, task: usize) -> String {
        format!("{}-{connector}-{task}", self.transactional_prefix)
    }
}

/// Running connectors.
#[derive(Debug)]
pub struct Worker {
    board: Arc<StatusBoard>,
    stop: CancellationToken,
    finish_sinks: CancellationToken,
    tasks: JoinSet<()>,
}

/// What connectors have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub connectors: Vec<ConnectorStatus>,
}

/// Tasks that failed, at least one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct WorkerError {
    pub failures: Vec<TaskFailure>,
}

/// A task that failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("connector '{connector}', task {task}: {reason}")]
pub struct TaskFailure {
    pub connector: String,
    pub task: usize,
    pub reason: String,
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            write!(f, "{}{failure}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

/// Which task of its connector one is.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub number: usize,
    pub activity: Arc<Activity>,
    /// What it has to pass before it starts, if it is a group's.
    pub gate: Option<Gate>,
}

/// What every task is given.
struct TaskSetup {
    client: Arc<dyn Client>,
    config: Arc<ConnectorConfig>,
    task: usize,
    options: WorkerOptions,
    reporter: Reporter,
    stop: CancellationToken,
    activity: Arc<Activity>,
    gate: Option<Gate>,
}

impl Worker {
    /// Starts all tasks. Must be called within a tokio runtime.
    pub fn start(
        client: Arc<dyn Client>,
        connectors: Vec<ConnectorConfig>,
        options: WorkerOptions,
    ) -> Worker {
        let named = connectors.iter().map(|one| (one.name().to_owned(), one.plugin().kind()));
        let mut worker = Worker {
            board: StatusBoard::new(named.collect()),
            stop: CancellationToken::new(),
            finish_sinks: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        for (index, config) in connectors.into_iter().enumerate() {
            if let Some(warning) = config.warning() {
                warn!("{warning}");
            }
            worker.start_connector(&client, index, Arc::new(config), &options);
        }
        worker
    }

    fn start_connector(
        &mut self,
        client: &Arc<dyn Client>,
        index: usize,
        config: Arc<ConnectorConfig>,
        options: &WorkerOptions,
    ) {
        for number in 0..task_count(&config) {
            let place = Place { number, ..Place::default() };
            self.start_one(client, index, &config, options, place);
        }
    }

    /// Starts one task alone, of a connector that others look after. Must be
    /// called within a tokio runtime.
    pub(crate) fn start_task(
        client: &Arc<dyn Client>,
        config: &Arc<ConnectorConfig>,
        options: &WorkerOptions,
        place: Place,
    ) -> Worker {
        let mut worker = Worker {
            board: StatusBoard::new(vec![(config.name().to_owned(), config.plugin().kind())]),
            stop: CancellationToken::new(),
            finish_sinks: CancellationToken::new(),
            tasks: JoinSet::new(),
        };
        worker.start_one(client, 0, config, options, place);
        worker
    }

    fn start_one(
        &mut self,
        client: &Arc<dyn Client>,
        index: usize,
        config: &Arc<ConnectorConfig>,
        options: &WorkerOptions,
        place: Place,
    ) {
        let Place { number, activity, gate } = place;
        let setup = TaskSetup {
            client: client.clone(),
            config: config.clone(),
            task: number,
            options: options.clone(),
            reporter: self.board.task(index, number),
            stop: self.stop.clone(),
            activity,
            gate,
        };
        // Whatever a task says in the logs says whose it is.
        let span = error_span!("connector", name = config.name(), task = number);
        match config.plugin().tasks {
            Tasks::Source(make) => {
                if let Some(task) = make(config).into_iter().nth(number) {
                    let running = supervise(setup, move |it| source::run(it, task));
                    self.tasks.spawn(running.instrument(span));
                }
            }
            Tasks::Sink(make) => {
                if let Some(task) = make(config).into_iter().nth(number) {
                    let finish = self.finish_sinks.clone();
                    let running = supervise(setup, move |it| sink::run(it, task, finish));
                    self.tasks.spawn(running.instrument(span));
                }
            }
        }
    }

    /// What all connectors are doing, now and from now on.
    pub fn statuses(&self) -> watch::Receiver<Vec<ConnectorStatus>> {
        self.board.subscribe()
    }

    /// Waits until all sources have ended, as they do when reading until the end, or one has
    /// failed.
    pub async fn sources_finished(&self) -> Result<(), WorkerError> {
        self.over(ConnectorKind::Source).await
    }

    /// Lets sinks write what is in their topics at this moment, and waits until all have, or one
    /// has failed. What is written is durable then, and its offsets are committed.
    pub async fn finish_sinks_at_end(&self) -> Result<(), WorkerError> {
        self.finish_sinks.cancel();
        self.over(ConnectorKind::Sink).await
    }

    /// Waits until a connector has failed; for good if none does.
    pub async fn failed(&self) -> WorkerError {
        let failed = |all: &Vec<ConnectorStatus>| {
            all.iter().any(|one| matches!(one.state, ConnectorState::Failed(_)))
        };
        // The board outlives this borrow, so there is always an answer.
        let _ = self.statuses().wait_for(failed).await;
        WorkerError { failures: self.board.failures(None) }
    }

    /// Stops all tasks once they have committed what they have.
    pub async fn shutdown(mut self) -> Result<Summary, WorkerError> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let failures = self.board.failures(None);
        if !failures.is_empty() {
            return Err(WorkerError { failures });
        }
        Ok(Summary { connectors: self.board.subscribe().borrow().clone() })
    }

    async fn over(&self, kind: ConnectorKind) -> Result<(), WorkerError> {
        let over = |all: &Vec<ConnectorStatus>| {
            let mut of_kind = all.iter().filter(|one| one.kind == kind);
            let failed = |one: &ConnectorStatus| matches!(one.state, ConnectorState::Failed(_));
            of_kind.clone().any(failed) || of_kind.all(|one| one.state.is_over())
        };
        let _ = self.statuses().wait_for(over).await;
        let failures = self.board.failures(Some(kind));
        if failures.is_empty() { Ok(()) } else { Err(WorkerError { failures }) }
    }
}

/// How many tasks a connector has.
pub(crate) fn task_count(config: &ConnectorConfig) -> usize {
    match config.plugin().tasks {
        Tasks::Source(make) => make(config).len(),
        Tasks::Sink(make) => make(config).len(),
    }
}

/// How a task ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It has done all there was to do.
    Finished,
    /// It was told to stop.
    Stopped,
}

/// Runs one task and sees that its end is known, whatever it is.
async fn supervise<F>(setup: TaskSetup, run: impl FnOnce(TaskSetup) -> F)
where
    F: Future<Output = Result<Ended, TaskError>>,
{
    let (connector, task) = (setup.config.name().to_owned(), setup.task);
    let reporter = setup.reporter.clone();
    let reason = match AssertUnwindSafe(run(setup)).catch_unwind().await {
        Ok(Ok(Ended::Finished)) => {
            return reporter.state(ConnectorState::Finished);
        }
        Ok(Ok(Ended::Stopped)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            format!("panicked, which is a fault of Millstream: {text}")
        }
    };
    let failure = TaskFailure { connector, task, reason };
    error!("{failure}");
    reporter.state(ConnectorState::Failed(failure.reason));
}
