//! Commits of a task: rows, changes of state and its place in the input, in one transaction.
//!
//! ```text
//! commit ─ takes all that there is ─→ transaction ─→ settle ─ state to disk, rows shown, progress
//!                │                                     ▲
//!                └── the task goes on ─────────────────┘
//! ```
//!
//! While a transaction is being written the task goes on reading and computing; what comes of that
//! belongs to the next one, which begins when this one has ended. What is told of a commit is how
//! things stood when it was taken.

use broker::client::{ClientError, Committing};
use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;

use super::{PENDING_BYTES_MAX, PURGE_INTERVAL, QueryRun, REFRESH_INTERVAL, Running};
use crate::rows::Rows;
use crate::runtime::functions::Within;
use crate::runtime::{Phase, PrintedRows, ResumedFrom, RunError, now};
use crate::state::changelog::Change;
use crate::tally::Account;
use crate::task::{Commit, Counts};
use crate::time::Watermark;

/// A commit that is being written.
pub(super) struct UnderWay {
    committing: Committing,
    /// How it ended, once that is known.
    ended: Option<Result<(), ClientError>>,
    changes: Vec<Change>,
    derived: Vec<Change>,
    offsets: Vec<(TopicPartition, Offset)>,
    /// State is put on disk with this one, and nothing was changed since.
    spills: bool,
    /// Where the changelog ended when it was begun, if a checkpoint is to be left.
    checkpoint: Option<Offset>,
    standing: Standing,
    printed: Vec<Rows>,
    _within: Option<Within>,
}

/// How a task stands.
pub(super) struct Standing {
    counts: Counts,
    watermark: Option<Watermark>,
    lag: u64,
    account: Account,
    /// Of what output may wait for a commit.
    buffered_percent: u8,
    tables: Vec<(String, u64)>,
    resumed_from: Option<ResumedFrom>,
}

impl Standing {
    pub(super) fn of(running: &mut Running) -> Standing {
        let task = &running.task;
        Standing {
            counts: task.counts(),
            watermark: task.watermark().filter(|watermark| *watermark != Watermark::MIN),
            lag: task.lag(),
            account: task.account(),
            buffered_percent: 0,
            tables: task.tables().map(|(name, rows)| (name.to_owned(), rows)).collect(),
            resumed_from: running.resumed_from.clone(),
        }
    }
}

/// Waits until what is being written has ended; for good if nothing is. Safe to cancel.
pub(super) async fn ended(under_way: &mut Option<UnderWay>) {
    match under_way {
        Some(UnderWay { ended: Some(_), .. }) => {}
        Some(under_way) => under_way.ended = Some((&mut under_way.committing).await),
        None => std::future::pending().await,
    }
}

impl QueryRun {
    /// Writes all there is, and waits for it: nothing comes after it. State on disk is left with a
    /// checkpoint at its end.
    pub(super) async fn commit_last(&self, running: &mut Running) -> Result<(), RunError> {
        self.commit(running).await?;
        self.settle(running).await?;
        if running.snapshots.is_on_disk(&running.task) {
            // One more, empty as it is, tells whether the first one was the last of the changelog.
            running.task.touch();
            self.commit_as(running, true).await?;
            self.settle(running).await?;
        }
        Ok(())
    }

    /// Begins to write all there is, once what is being written has ended.
    pub(super) async fn commit(&self, running: &mut Running) -> Result<(), RunError> {
        self.commit_as(running, false).await
    }

    async fn commit_as(&self, running: &mut Running, is_last: bool) -> Result<(), RunError> {
        self.settle(running).await?;
        let Running { snapshots, task, .. } = &mut *running;
        let checkpoint = snapshots.begin_checkpoint(self.client.as_ref(), task, is_last).await;
        let checkpoint = checkpoint.map_err(self.client_error("the end of its changelog"))?;
        let buffered = running.task.pending_bytes().saturating_mul(100) / PENDING_BYTES_MAX;
        let commit = self.as_caller(|| running.task.commit(now()));
        let commit = commit.map_err(|error| self.task_error(error))?;
        let within = running.within.take();
        let Commit { outputs, changes, derived, offsets, printed } = commit;
        let spills = running.snapshots.wants_disk(&mut running.task);
        running.committed_at = Some(Instant::now());
        running.refresh_at = Instant::now() + REFRESH_INTERVAL;
        let buffered_percent = u8::try_from(buffered).unwrap_or(u8::MAX);
        let standing = Standing { buffered_percent, ..Standing::of(running) };
        // A task with nothing to read may still have something to tell the next ones.
        let is_empty = offsets.is_empty() && outputs.is_empty();
        let Some(writer) = running.writer.as_mut().filter(|_| !is_empty) else {
            return self.tell(standing, printed).await;
        };
        let committing = async {
            writer.send(outputs).await?;
            writer.send_changes(&changes).await?;
            let task = &running.task;
            let noted = offsets
                .iter()
                .map(|(at, offset)| (at.clone(), *offset, self.planned.note(task, at)));
            let mark = self.planned.mark().filter(|_| offsets.is_empty());
            writer.commit(noted.chain(mark)).await
        };
        let committing = committing.await.map_err(self.client_error("committing"))?;
        running.under_way = Some(UnderWay {
            committing,
            ended: None,
            changes,
            derived,
            offsets,
            spills,
            checkpoint,
            standing,
            printed,
            _within: within,
        });
        if spills { self.settle(running).await } else { Ok(()) }
    }

    /// Waits until what is being written has ended, if anything is, and tells of it.
    pub(super) async fn settle(&self, running: &mut Running) -> Result<(), RunError> {
        if running.under_way.is_none() {
            return Ok(());
        }
        ended(&mut running.under_way).await;
        let Some(UnderWay {
            ended: Some(result),
            changes,
            derived,
            offsets,
            spills,
            checkpoint,
            standing,
            printed,
            ..
        }) = running.under_way.take()
        else {
            return Ok(());
        };
        result.map_err(self.client_error("committing"))?;
        let Running { task, snapshots, .. } = &mut *running;
        let changes = (changes.as_slice(), derived.as_slice());
        let kept = snapshots.committed(task, changes, spills, checkpoint);
        kept.map_err(|error| self.restore_error(error))?;
        self.purge(running, &offsets).await?;
        self.tell(standing, printed).await
    }

    async fn tell(&self, standing: Standing, printed: Vec<Rows>) -> Result<(), RunError> {
        self.report(standing, Phase::Running);
        let updating = self.planned.topology.updating;
        for rows in printed {
            let (pipeline, query) = (self.planned.pipeline.clone(), self.planned.query.clone());
            // Nobody may be looking.
            let _ = self.printing.send(PrintedRows { pipeline, query, rows, updating }).await;
        }
        Ok(())
    }

    /// Deletes what other tasks of the query have told this one and will never be read again:
    /// offsets before it are committed. What was aborted stays where nothing else was told: records
    /// that were deleted say to who starts the query that there were some.
    async fn purge(
        &self,
        running: &mut Running,
        committed: &[(TopicPartition, Offset)],
    ) -> Result<(), RunError> {
        let exchanges = &self.planned.topology.exchanges;
        let is_due = running.purged_at.is_none_or(|at| at.elapsed() >= PURGE_INTERVAL);
        if exchanges.is_empty() || !is_due {
            return Ok(());
        }
        running.purged_at = Some(Instant::now());
        let read = committed.iter().filter(|(partition, _)| {
            exchanges.iter().any(|input| input.exchange.topic == *partition.topic)
                && running.task.has_read(partition)
        });
        let read: Vec<(TopicPartition, Offset)> = read.cloned().collect();
        let purged = self.client.delete_records(&read).await;
        purged.map_err(self.client_error("deleting what was read of other tasks"))
    }

    pub(super) fn report(&self, standing: Standing, phase: Phase) {
        let (query, task) = (self.planned.query_index, self.planned.task_index);
        self.reports.report(query, task, |progress| {
            progress.phase = phase;
            progress.counts = standing.counts;
            progress.watermark = standing.watermark;
            progress.lag = standing.lag;
            progress.account = standing.account;
            progress.buffered_percent = standing.buffered_percent;
            progress.tables = standing.tables;
            progress.resumed_from = standing.resumed_from;
        });
    }
}
