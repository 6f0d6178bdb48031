//! Tasks of a query shared among processes.
//!
//! ```text
//! group <pipeline>-<query>-workers ─ assigns ─ partitions of <pipeline>-<query>-<N>-tasks
//!                                                partition T: task T of each part of the query
//! ```
//!
//! The topic of tasks is empty: it is there to be assigned. Whoever is given a partition runs its
//! tasks, from the state that its changelogs have; whoever loses one commits and stops them first.
//! A worker that was too slow to hear of it is fenced by the transactional ids of the tasks, as any
//! second instance is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, GroupOptions, Isolation, ReadFrom, Reader, ReaderEvent};
use broker::client::{ReaderOptions, WithoutOffset};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::planned::Planned;
use super::query::QueryRun;
use super::topics::Partitions;
use super::{Phase, RunError, Started, Upstream};

/// Silence after which a worker is taken for dead, and others take over its tasks.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Nothing is ever read from the topic of tasks.
const EVENT_BYTES_MAX: usize = 64 << 10;

/// The tasks of one query that this process may be given.
pub struct Worker {
    /// By number: a task of each part.
    tasks: BTreeMap<i32, Vec<Planned>>,
    shared: Arc<Started>,
    partitions: Partitions,
    /// Those that it has, and how to stop them.
    running: BTreeMap<i32, Running>,
}

struct Running {
    stop: CancellationToken,
    parts: JoinSet<Result<bool, RunError>>,
}

impl Worker {
    pub fn new(planned: Vec<Planned>, shared: Arc<Started>, partitions: Partitions) -> Worker {
        let mut tasks: BTreeMap<i32, Vec<Planned>> = BTreeMap::new();
        for planned in planned {
            tasks.entry(planned.task as i32).or_default().push(planned);
        }
        Worker { tasks, shared, partitions, running: BTreeMap::new() }
    }

    /// Until it is stopped or a task fails.
    pub async fn run(mut self) -> Result<(), RunError> {
        let mut reader = self.join().await?;
        let result = self.work(&mut *reader).await;
        let all: Vec<i32> = self.running.keys().copied().collect();
        let stopped = self.stop(&all).await;
        // Whoever takes the tasks over fences them: they have to be done before the group is left.
        drop(reader);
        result.and(stopped)
    }

    async fn work(&mut self, reader: &mut dyn Reader) -> Result<(), RunError> {
        let stop = self.shared.stop.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                failed = failure(&mut self.running) => return Err(failed),
                event = reader.next() => event.map_err(|error| self.failed(error))?,
            };
            match event {
                ReaderEvent::Assigned(given) => {
                    let given: Vec<i32> = given.iter().map(|of| of.partition).collect();
                    self.start(&given);
                }
                ReaderEvent::Revoked(taken) => {
                    let taken: Vec<i32> = taken.iter().map(|of| of.partition).collect();
                    self.stop(&taken).await?;
                }
                ReaderEvent::Batches(_) => {}
            }
        }
    }

    async fn join(&self) -> Result<Box<dyn Reader>, RunError> {
        let Some(any) = self.tasks.values().flatten().next() else {
            return Err(RunError::Panicked { query: "without tasks".to_owned() });
        };
        let options = ReaderOptions {
            from: ReadFrom::Group(GroupOptions {
                group: format!("{}-workers", any.name()),
                topics: vec![any.tasks_topic()],
                session_timeout: SESSION_TIMEOUT,
                without_offset: WithoutOffset::Latest,
            }),
            isolation: Isolation::ReadCommitted,
            event_bytes_max: EVENT_BYTES_MAX,
        };
        let client: &dyn Client = self.shared.client.as_ref();
        client.reader(options).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: broker::client::ClientError) -> RunError {
        match self.tasks.values().flatten().next() {
            Some(any) => any.client_error("sharing its tasks with other workers", error),
            None => RunError::Panicked { query: "without tasks".to_owned() },
        }
    }

    fn start(&mut self, given: &[i32]) {
        for (number, parts) in &self.tasks {
            if self.running.contains_key(number) {
                continue;
            }
            if !given.contains(number) {
                parts.iter().for_each(|part| self.shared.set_phase(part, Phase::Elsewhere));
                continue;
            }
            let stop = self.shared.stop.child_token();
            let mut running = Running { stop: stop.clone(), parts: JoinSet::new() };
            for part in parts {
                let run = QueryRun::new(
                    part.clone(),
                    &self.shared,
                    &self.partitions,
                    Upstream::default(),
                    watch::channel(false).0,
                    stop.clone(),
                );
                let runtime = tokio::runtime::Handle::current();
                running.parts.spawn_blocking(move || runtime.block_on(run.run()));
            }
            self.running.insert(*number, running);
        }
    }

    /// Waits until they have committed.
    async fn stop(&mut self, taken: &[i32]) -> Result<(), RunError> {
        let stopping: Vec<(i32, Running)> = taken
            .iter()
            .filter_map(|number| Some((*number, self.running.remove(number)?)))
            .collect();
        stopping.iter().for_each(|(_, running)| running.stop.cancel());
        let mut result = Ok(());
        for (number, mut running) in stopping {
            while let Some(ended) = running.parts.join_next().await {
                result = result.and(outcome(ended));
            }
            let parts = self.tasks.get(&number).into_iter().flatten();
            parts.for_each(|part| self.shared.set_phase(part, Phase::Elsewhere));
        }
        result
    }
}

/// Waits until a task fails.
async fn failure(running: &mut BTreeMap<i32, Running>) -> RunError {
    let ended = running.values_mut().map(|running| Box::pin(running.parts.join_next()));
    let ended: Vec<_> = ended.collect();
    if ended.is_empty() {
        return std::future::pending().await;
    }
    let (ended, _, _) = futures::future::select_all(ended).await;
    match ended.map(outcome) {
        Some(Err(error)) => error,
        // A task that is not stopped does not end.
        Some(Ok(())) | None => std::future::pending().await,
    }
}

fn outcome(ended: Result<Result<bool, RunError>, tokio::task::JoinError>) -> Result<(), RunError> {
    match ended {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(RunError::Panicked { query: error.to_string() }),
    }
}
