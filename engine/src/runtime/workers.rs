//! Tasks of a query shared among processes.
//!
//! ```text
//! group <pipeline>-<query>-workers ─ each says what it runs and has copies of
//!                                    the leader shares out ─→ tasks to run, copies to keep
//! ```
//!
//! Who gets what is the rule of [`broker::client::shares`]. Whoever is given a task runs it, from
//! the state that its changelogs have, or from the end of a copy that it has kept; whoever loses
//! one commits and stops it, and says so, before it is given to another. A worker that was too slow
//! to hear of it is fenced by the transactional ids of the tasks, as any second instance is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::client::ClientError;
use broker::client::member::{GroupMember, MemberOptions, Rebalance};
use broker::client::shares::{Given, Members, NEARLY, Says, share};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::planned::Planned;
use super::query::QueryRun;
use super::snapshots::{Following, RestoreError, Snapshots};
use super::topics::Partitions;
use super::{Phase, RunError, Started, Upstream};

/// Silence after which a worker is taken for dead, and others take over its tasks.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the others wait for a worker that stops tasks.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two times that a worker asks for tasks of which it has copies.
const REBALANCE_PAUSE: Duration = Duration::from_secs(1);
/// What workers call their kind of group, and how they understand each other.
const PROTOCOL_TYPE: &str = "millstream";
const PROTOCOL: &str = "shares-1";

/// The tasks of one query that this process may be given.
pub struct Worker {
    /// By number: a task of each part.
    tasks: BTreeMap<i32, Vec<Planned>>,
    shared: Arc<Started>,
    partitions: Partitions,
    stop: CancellationToken,
    /// Those that it has, and how to stop them.
    running: BTreeMap<i32, Running>,
    /// Of tasks that run elsewhere.
    copies: BTreeMap<i32, Copy>,
}

struct Running {
    stop: CancellationToken,
    parts: JoinSet<Result<bool, RunError>>,
}

/// A copy of what a task keeps.
struct Copy {
    stop: CancellationToken,
    /// Of each part that keeps anything, by its place.
    parts: BTreeMap<usize, CopyOfPart>,
    /// Its worker is to run the task as soon as this is nearly as far.
    is_moving: bool,
}

struct CopyOfPart {
    /// How many records of the changelog it does not have yet.
    behind: watch::Receiver<u64>,
    following: JoinHandle<Option<Following>>,
}

impl Worker {
    pub fn new(
        planned: Vec<Planned>,
        shared: Arc<Started>,
        partitions: Partitions,
        stop: CancellationToken,
    ) -> Worker {
        let mut tasks: BTreeMap<i32, Vec<Planned>> = BTreeMap::new();
        for planned in planned {
            tasks.entry(planned.task as i32).or_default().push(planned);
        }
        let (running, copies) = (BTreeMap::new(), BTreeMap::new());
        Worker { tasks, shared, partitions, stop, running, copies }
    }

    /// Until it is stopped or a task fails.
    pub async fn run(mut self) -> Result<(), RunError> {
        let mut member = self.member().await?;
        let result = self.work(&mut member).await;
        self.copies.values().for_each(|copy| copy.stop.cancel());
        let stopped = self.stop_all().await;
        // Whoever takes the tasks over fences them: they have to be done before the group is left.
        // If the coordinator is not to be reached, the others will notice by themselves.
        let _ = member.leave().await;
        result.and(stopped)
    }

    async fn member(&self) -> Result<GroupMember, RunError> {
        let Some(any) = self.tasks.values().flatten().next() else {
            return Err(RunError::Panicked { query: "without tasks".to_owned() });
        };
        let options = MemberOptions {
            group: format!("{}-workers", any.name()),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocol: PROTOCOL.to_owned(),
            session_timeout: SESSION_TIMEOUT,
            rebalance_timeout: REBALANCE_TIMEOUT,
        };
        let coordinator = self.shared.client.coordinator().await;
        Ok(GroupMember::new(coordinator.map_err(|error| self.failed(error))?, options))
    }

    async fn work(&mut self, member: &mut GroupMember) -> Result<(), RunError> {
        let stop = self.stop.clone();
        loop {
            let says = encoded(&self.says());
            let given = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                (task, error) = failure(&mut self.running) => {
                    self.lost(task, error).await?;
                    continue;
                }
                given = member.enter(says, shared_out) => given,
            };
            let Some(given) = given.map_err(|error| self.failed(error))? else {
                self.stop_all().await?;
                continue;
            };
            // One that is not understood is of another version, which shares with its like.
            let given = serde_json::from_slice(&given).unwrap_or_default();
            if self.take(given).await? {
                // Others may have now what was stopped.
                continue;
            }
            let rebalance = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                (task, error) = failure(&mut self.running) => {
                    self.lost(task, error).await?;
                    Rebalance::Others
                }
                () = ready_to_move(&self.copies) => Rebalance::Others,
                rebalance = member.rebalance() => rebalance,
            };
            if rebalance == Rebalance::Forgotten {
                self.stop_all().await?;
            }
        }
    }

    fn says(&self) -> Says {
        let mut all = self.tasks.values().flatten();
        let any = all.clone().next();
        Says {
            tasks: self.tasks.len() as i32,
            copies_wanted: any.map(|any| any.copies_wanted).unwrap_or_default(),
            is_stateful: all.any(Planned::keeps),
            runs: self.running.keys().copied().collect(),
            copies: self.copies.iter().map(|(task, copy)| (*task, copy.behind())).collect(),
        }
    }

    fn failed(&self, error: ClientError) -> RunError {
        match self.tasks.values().flatten().next() {
            Some(any) => any.client_error("sharing its tasks with other workers", error),
            None => RunError::Panicked { query: "without tasks".to_owned() },
        }
    }

    /// A task has failed. If another worker has taken it over, what was read here since the last
    /// commit is that one's to read. If not, it begins again at that commit.
    async fn lost(&mut self, task: i32, error: RunError) -> Result<(), RunError> {
        if !error.is_taken_over() {
            return Err(error);
        }
        tracing::warn!(task, %error, "another worker may have the task by now; sharing anew");
        self.stop(&[task]).await
    }

    /// Does what it is given. Whether anything was stopped.
    async fn take(&mut self, given: Given) -> Result<bool, RunError> {
        let Given { runs, copies, moving } = given;
        let is_taken = |task: &&i32| !runs.contains(task);
        let taken: Vec<i32> = self.running.keys().filter(is_taken).copied().collect();
        self.stop(&taken).await?;
        let keeps = |task: &i32| copies.contains(task) || runs.contains(task);
        let dropped: Vec<i32> = self.copies.keys().filter(|task| !keeps(task)).copied().collect();
        for task in dropped {
            self.drop_copy(task).await;
        }
        for task in runs {
            self.start(task).await;
        }
        for task in copies {
            self.copy(task, moving.contains(&task)).await;
        }
        self.tell_what_is_elsewhere();
        Ok(!taken.is_empty())
    }

    fn tell_what_is_elsewhere(&self) {
        let elsewhere = self.tasks.iter().filter(|(task, _)| !self.running.contains_key(task));
        let parts = elsewhere.flat_map(|(_, parts)| parts);
        parts.for_each(|part| self.shared.set_phase(part, Phase::Elsewhere));
    }

    async fn start(&mut self, task: i32) {
        let (false, Some(parts)) = (self.running.contains_key(&task), self.tasks.get(&task)) else {
            return;
        };
        let mut followed = BTreeMap::new();
        if let Some(copy) = self.copies.remove(&task) {
            copy.stop.cancel();
            for (part, copy) in copy.parts {
                // One that has failed is as good as none.
                followed.insert(part, copy.following.await.ok().flatten());
            }
        }
        let stop = self.stop.child_token();
        let mut running = Running { stop: stop.clone(), parts: JoinSet::new() };
        for (place, part) in parts.iter().enumerate() {
            self.shared.set_behind(part, None);
            let run = QueryRun::new(
                part.clone(),
                &self.shared,
                &self.partitions,
                Upstream::default(),
                watch::channel(false).0,
                stop.clone(),
            );
            let run = run.with_copy(followed.remove(&place).flatten());
            let runtime = tokio::runtime::Handle::current();
            running.parts.spawn_blocking(move || runtime.block_on(run.run()));
        }
        self.running.insert(task, running);
    }

    /// Begins to keep a copy of what a task keeps, unless there is one that is well.
    async fn copy(&mut self, task: i32, is_moving: bool) {
        match self.copies.get_mut(&task) {
            Some(copy) if copy.has_failed() => self.drop_copy(task).await,
            Some(copy) => {
                copy.is_moving = is_moving;
                return;
            }
            None => {}
        }
        let Some(parts) = self.tasks.get(&task).filter(|_| !self.running.contains_key(&task))
        else {
            return;
        };
        let stop = self.stop.child_token();
        let keeping = parts.iter().enumerate().filter(|(_, part)| part.keeps());
        let copied = keeping.map(|(place, part)| {
            let (behind, seen) = watch::channel(u64::MAX);
            let (part, shared) = (part.clone(), self.shared.clone());
            let (partitions, stop) = (self.partitions.clone(), stop.clone());
            let runtime = tokio::runtime::Handle::current();
            let following = tokio::task::spawn_blocking(move || {
                runtime.block_on(follow(&part, &shared, &partitions, &stop, &behind))
            });
            (place, CopyOfPart { behind: seen, following })
        });
        let parts = copied.collect();
        self.copies.insert(task, Copy { stop, parts, is_moving });
    }

    async fn drop_copy(&mut self, task: i32) {
        if let Some(copy) = self.copies.remove(&task) {
            copy.stop.cancel();
            for of_part in copy.parts.into_values() {
                // It writes to where the next one would begin.
                _ = of_part.following.await;
            }
            let parts = self.tasks.get(&task).into_iter().flatten();
            parts.for_each(|part| self.shared.set_behind(part, None));
        }
    }

    async fn stop_all(&mut self) -> Result<(), RunError> {
        let all: Vec<i32> = self.running.keys().copied().collect();
        self.stop(&all).await
    }

    /// Waits until they have committed.
    async fn stop(&mut self, taken: &[i32]) -> Result<(), RunError> {
        let stopping = taken.iter().filter_map(|number| self.running.remove(number));
        let stopping: Vec<Running> = stopping.collect();
        stopping.iter().for_each(|running| running.stop.cancel());
        let mut result = Ok(());
        for mut running in stopping {
            while let Some(ended) = running.parts.join_next().await {
                // What another worker has taken over is lost, and no failure.
                result = match outcome(ended) {
                    Err(error) if error.is_taken_over() => result,
                    ended => result.and(ended),
                };
            }
        }
        self.tell_what_is_elsewhere();
        result
    }
}

fn encoded(what: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(what).expect("maps with number keys are JSON").into()
}

/// What each is given who said something that is understood.
fn shared_out(said: Vec<(String, Bytes)>) -> Vec<(String, Bytes)> {
    let parsed = said.into_iter().filter_map(|(id, says)| {
        let says: Says = serde_json::from_slice(&says).ok()?;
        Some((id, says))
    });
    let members: Members = parsed.collect();
    share(&members).into_iter().map(|(id, given)| (id, encoded(&given))).collect()
}

/// Keeps a copy of what one part of a task keeps until it is stopped.
async fn follow(
    part: &Planned,
    shared: &Started,
    partitions: &Partitions,
    stop: &CancellationToken,
    behind: &watch::Sender<u64>,
) -> Option<Following> {
    let followed = follow_until(part, shared, partitions, stop, behind).await;
    let followed = followed.inspect_err(|error| {
        // The task itself is well; whoever is to run it begins without a copy.
        tracing::warn!(pipeline = %part.pipeline, query = %part.query, task = part.task, %error,
            "no copy of its state is kept any more");
        behind.send_replace(u64::MAX);
    });
    followed.ok()
}

async fn follow_until(
    part: &Planned,
    shared: &Started,
    partitions: &Partitions,
    stop: &CancellationToken,
    behind: &watch::Sender<u64>,
) -> Result<Following, RunError> {
    let failed = |error: RestoreError| part.restore_error(error);
    let client = shared.client.as_ref();
    let task = part.fresh_task(partitions)?;
    let (name, changelog) = (part.id(), part.changelog());
    let snapshots = Snapshots::new(shared.state_dir.clone(), name, changelog, part.state_bytes_max);
    let mut following = snapshots.follow(client, task).await.map_err(failed)?;
    let tell = |records| {
        behind.send_replace(records);
        shared.set_behind(part, Some(records));
    };
    following.keep_up(client, stop, tell).await.map_err(failed)?;
    Ok(following)
}

impl Copy {
    /// Records of the changelogs of all its parts that it does not have yet.
    fn behind(&self) -> u64 {
        let behind = self.parts.values().map(|part| *part.behind.borrow());
        behind.fold(0, u64::saturating_add)
    }

    fn has_failed(&self) -> bool {
        self.parts.values().any(|part| part.following.is_finished())
    }

    /// Waits until it is far enough for its task to move to it, or has failed.
    async fn is_ready(&self) {
        let mut parts: Vec<_> = self.parts.values().map(|part| part.behind.clone()).collect();
        while self.behind() > NEARLY && !self.has_failed() {
            let changed = parts.iter_mut().map(|behind| Box::pin(behind.changed()));
            let (changed, ..) = futures::future::select_all(changed).await;
            if changed.is_err() {
                // Whoever tells of it is gone.
                return;
            }
        }
    }
}

/// Waits until the others are to hear of a copy that is to become its task.
async fn ready_to_move(copies: &BTreeMap<i32, Copy>) {
    let moving = copies.values().filter(|copy| copy.is_moving && !copy.parts.is_empty());
    let moving: Vec<_> = moving.map(|copy| Box::pin(copy.is_ready())).collect();
    if moving.is_empty() {
        return std::future::pending().await;
    }
    // All of them stop to hear of it: not more often than that.
    tokio::time::sleep(REBALANCE_PAUSE).await;
    futures::future::select_all(moving).await;
}

/// Waits until a task fails: which one.
async fn failure(running: &mut BTreeMap<i32, Running>) -> (i32, RunError) {
    let ended = running.iter_mut().map(|(task, running)| {
        Box::pin(async move {
            match running.parts.join_next().await.map(outcome) {
                Some(Err(error)) => (*task, error),
                // A task that is not stopped does not end.
                Some(Ok(())) | None => std::future::pending().await,
            }
        })
    });
    let ended: Vec<_> = ended.collect();
    if ended.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(ended).await.0
}

fn outcome(ended: Result<Result<bool, RunError>, tokio::task::JoinError>) -> Result<(), RunError> {
    match ended {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(RunError::Panicked { query: error.to_string() }),
    }
}
