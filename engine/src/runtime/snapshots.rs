//! A task's state on disk: what does not fit in memory, and where a restart begins.
//!
//! State stays in memory alone while there is little of it. Beyond [`DISK_FROM_BYTES`], commits are
//! written to the state directory as well, after their transaction; beyond what the pipeline allows
//! (`state_memory`), memory keeps what is being changed and the disk has the rest.
//!
//! A restart takes up what it finds there, and the records of the changelog behind its checkpoint.
//! What cannot be right is thrown away and made anew from the changelog: a snapshot of another
//! state, one beyond the changelog's end, and one so old that the changelog may have forgotten
//! what was deleted since.
//!
//! Invariant: a checkpoint is the end of the changelog as it was when a commit began that went
//! well. Only then is it certain that all before it is the task's own: one that has been fenced
//! would see what its successor wrote.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::client::{Client, ClientError, FetchedBatches, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::now;
use super::restore::bounds;
use crate::state::StateError;
use crate::state::changelog::{Change, Meta};
use crate::state::disk::{Checkpoint, DiskError, DiskState, StateDir};
use crate::task::{Restoring, Task};

/// State that is smaller is read from the changelog in no time.
const DISK_FROM_BYTES: usize = 32 << 20;
/// How often a checkpoint is written.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// How long the changelog remembers deletions (`delete.retention.ms`): 24 hours.
pub const DELETIONS_KEPT_MS: i64 = 24 * 3600 * 1000;
/// A snapshot is good for half of that.
const CHECKPOINT_AGE_MAX_MS: i64 = DELETIONS_KEPT_MS / 2;

/// Processes that use one data directory at a time.
const PROCESSES_MAX: usize = 16;

/// The state directory of a process, opened when it is first needed.
#[derive(Debug)]
pub struct SharedStateDir {
    path: PathBuf,
    cache_bytes: u64,
    opened: Mutex<Option<StateDir>>,
}

impl SharedStateDir {
    pub fn new(path: PathBuf, cache_bytes: u64) -> SharedStateDir {
        SharedStateDir { path, cache_bytes, opened: Mutex::new(None) }
    }

    fn get(&self) -> Result<StateDir, DiskError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = &*opened {
            return Ok(dir.clone());
        }
        // Another process may run the same pipelines beside this one: each has a directory of its
        // own, and which one does not matter.
        let mut path = self.path.clone();
        for number in 2..=PROCESSES_MAX {
            match StateDir::open(&path, self.cache_bytes) {
                Err(DiskError::Locked { .. }) => path = self.numbered(number),
                dir => return Ok(opened.insert(dir?).clone()),
            }
        }
        let dir = StateDir::open(&path, self.cache_bytes)?;
        Ok(opened.insert(dir).clone())
    }

    /// `state`, `state-2`, `state-3` …
    fn numbered(&self, number: usize) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}-{number}"))
    }

    /// Whether any run has needed it.
    fn exists(&self) -> bool {
        self.path.is_dir()
    }
}

/// What may go wrong in taking up state.
#[derive(Debug)]
pub enum RestoreError {
    Client(ClientError),
    State(StateError),
}

impl From<ClientError> for RestoreError {
    fn from(error: ClientError) -> RestoreError {
        RestoreError::Client(error)
    }
}

impl From<StateError> for RestoreError {
    fn from(error: StateError) -> RestoreError {
        RestoreError::State(error)
    }
}

impl From<DiskError> for RestoreError {
    fn from(error: DiskError) -> RestoreError {
        RestoreError::State(error.into())
    }
}

impl From<BatchError> for RestoreError {
    fn from(error: BatchError) -> RestoreError {
        RestoreError::State(StateError::Damaged(error.to_string()))
    }
}

/// What came of restoring.
pub enum Outcome {
    /// A task, and where it goes on, if there was any state.
    Restored(Box<Task>, Option<Meta>, Snapshots),
    /// The snapshot is of another state and was cleared: a new task is to try again.
    Stale(Snapshots),
}

/// The snapshot of one task.
pub struct Snapshots {
    dir: Option<Arc<SharedStateDir>>,
    name: String,
    changelog: TopicPartition,
    /// What the task's state may take of memory.
    bytes_max: usize,
    disk: Option<DiskState>,
    checkpoint_at: Instant,
}

impl Snapshots {
    pub fn new(
        dir: Option<Arc<SharedStateDir>>,
        name: String,
        changelog: TopicPartition,
        bytes_max: usize,
    ) -> Snapshots {
        let checkpoint_at = Instant::now() + CHECKPOINT_INTERVAL;
        Snapshots { dir, name, changelog, bytes_max, disk: None, checkpoint_at }
    }

    /// Begins to take up the task's state: with what an earlier run has left on disk.
    pub async fn follow(self, client: &dyn Client, task: Task) -> Result<Following, RestoreError> {
        let (start, end) = bounds(client, &self.changelog).await?;
        let found = self.found(start, end)?;
        let mut restoring = Restoring::new(task, self.bytes_max);
        let (mut from, mut expected) = (start, None);
        if let Some((disk, checkpoint)) = found
            && restoring.open(&disk, &checkpoint.state)?
        {
            (from, expected) = (Offset(checkpoint.next).max(start), Some(checkpoint.state));
        }
        Ok(Following { snapshots: self, restoring, next: from, expected })
    }

    /// What an earlier run has left, if it can be of use.
    fn found(
        &self,
        start: Offset,
        end: Offset,
    ) -> Result<Option<(DiskState, Checkpoint)>, DiskError> {
        let Some(dir) = self.dir.as_ref().filter(|dir| dir.exists()) else { return Ok(None) };
        let dir = dir.get()?;
        if !dir.has(&self.name) {
            return Ok(None);
        }
        let disk = dir.task(&self.name)?;
        let fits = |checkpoint: &Checkpoint| {
            let age_ms = now().0.saturating_sub(checkpoint.at_ms);
            (start..=end).contains(&Offset(checkpoint.next))
                && (0..CHECKPOINT_AGE_MAX_MS).contains(&age_ms)
        };
        Ok(disk.checkpoint()?.filter(fits).map(|checkpoint| (disk, checkpoint)))
    }

    /// An empty part of the state directory, if there is a directory.
    fn fresh(&self) -> Result<Option<DiskState>, DiskError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        dir.get()?.fresh(&self.name).map(Some)
    }

    /// Whether so much has changed that memory should be given back by a commit.
    pub fn wants_commit(&self, task: &mut Task) -> bool {
        self.dir.is_some() && task.state_bytes() > self.bytes_max.saturating_mul(2)
    }

    /// Whether there is so much by now that a disk is to be put beneath: with a commit, after which
    /// nothing was changed.
    pub fn wants_disk(&self, task: &mut Task) -> bool {
        let bytes_max = DISK_FROM_BYTES.min(self.bytes_max);
        self.dir.is_some() && self.disk.is_none() && task.state_bytes() > bytes_max
    }

    /// A transaction with these changes has been written. `spills`: nothing was changed since they
    /// were taken. `checkpoint`: where the changelog ended when the transaction was begun.
    pub fn committed(
        &mut self,
        task: &mut Task,
        (changes, derived): (&[Change], &[Change]),
        spills: bool,
        checkpoint: Option<Offset>,
    ) -> Result<(), RestoreError> {
        match &self.disk {
            Some(disk) => disk.apply(changes.iter().chain(derived))?,
            None if spills => {
                let Some(disk) = self.fresh()? else { return Ok(()) };
                task.spill(&disk)?;
                // With the meta record among them.
                disk.apply(changes.iter())?;
                self.disk = Some(disk);
            }
            None => return Ok(()),
        }
        task.settled();
        if task.state_bytes() > self.bytes_max {
            task.evict();
        }
        if let (Some(disk), Some(next)) = (&self.disk, checkpoint) {
            let (state, at_ms) = (task.state().to_owned(), now().0);
            disk.set_checkpoint(&Checkpoint { state, next: next.0, at_ms })?;
        }
        Ok(())
    }

    /// Whether all of the task's state is on disk, so that a checkpoint there is of use.
    pub fn is_on_disk(&self, task: &Task) -> bool {
        self.disk.is_some() && task.is_all_in_maps()
    }

    /// Where the changelog ends, if the commit that is about to begin is to leave a checkpoint.
    pub async fn begin_checkpoint(
        &mut self,
        client: &dyn Client,
        task: &Task,
        is_last: bool,
    ) -> Result<Option<Offset>, ClientError> {
        let is_due = is_last || Instant::now() >= self.checkpoint_at;
        if !is_due || !self.is_on_disk(task) {
            return Ok(None);
        }
        self.checkpoint_at = Instant::now() + CHECKPOINT_INTERVAL;
        let (_, end) = bounds(client, &self.changelog).await?;
        Ok(Some(end))
    }
}

/// A task whose state is being taken up, record by record of its changelog.
pub struct Following {
    snapshots: Snapshots,
    restoring: Restoring,
    /// The next record to read.
    next: Offset,
    /// What the state is called that was found on disk.
    expected: Option<String>,
}

impl Following {
    /// Takes what was fetched. How many records are there that it has not taken.
    fn take(&mut self, fetched: &FetchedBatches) -> Result<u64, RestoreError> {
        for batch in &fetched.batches {
            for record in batch.records()?.iter() {
                let record = record?;
                if record.offset >= self.next {
                    self.restoring.take(record.key, record.value)?;
                }
            }
        }
        if self.restoring.wants_disk()
            && let Some(disk) = self.snapshots.fresh()?
        {
            self.restoring.spill(disk)?;
        }
        self.next = fetched.next_offset.max(self.next);
        Ok(fetched.end_offset.since(self.next).max(0) as u64)
    }

    /// Follows the changelog as it grows, until it is stopped; tells how far it is behind.
    pub async fn keep_up(
        &mut self,
        client: &dyn Client,
        stop: &CancellationToken,
        mut behind: impl FnMut(u64),
    ) -> Result<(), RestoreError> {
        let changelog = self.snapshots.changelog.clone();
        let (_, end) = bounds(client, &changelog).await?;
        behind(end.since(self.next).max(0) as u64);
        let options = ReaderOptions::partitions(vec![(changelog, self.next)]);
        let mut reader = client.reader(options).await?;
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                event = reader.next() => event?,
            };
            if let ReaderEvent::Batches(fetched) = event {
                behind(self.take(&fetched)?);
            }
        }
    }

    /// Takes up all that is committed, and says how many of how many records have been read.
    pub async fn finish(
        mut self,
        client: &dyn Client,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Outcome, RestoreError> {
        let changelog = self.snapshots.changelog.clone();
        let (_, end) = bounds(client, &changelog).await?;
        let first = self.next;
        let total = end.since(first).max(0) as u64;
        progress(0, total);
        if self.next < end {
            let options = ReaderOptions::partitions(vec![(changelog, self.next)]);
            let mut reader = client.reader(options).await?;
            while self.next < end {
                // Whoever waits may have to stop, however fast records come.
                tokio::task::consume_budget().await;
                let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
                self.take(&fetched)?;
                progress(self.next.since(first).max(0) as u64, total);
            }
        }
        let Following { mut snapshots, restoring, expected, .. } = self;
        let restored = restoring.finish(now())?;
        snapshots.disk = restored.disk;
        let found = restored.meta.as_ref().map(|meta| meta.state.as_str());
        if expected.is_some() && expected.as_deref() != found {
            (snapshots.disk, _) = (None, snapshots.fresh()?);
            return Ok(Outcome::Stale(snapshots));
        }
        Ok(Outcome::Restored(Box::new(restored.task), restored.meta, snapshots))
    }
}
