//! Committed state on disk: what does not fit in memory, and what makes a restart fast.
//!
//! One directory per process, by fjall (a log-structured merge tree), with a key space per task:
//!
//! ```text
//! changelog's key        its value: all entries of the changelog, the meta record among them
//! an index's own key     what operators find entries by, beside the changelog
//! 255 u8, 1 u8, prefix   how many entries a map has: u64
//! 255 u8, 2 u8           checkpoint: JSON, see [`Checkpoint`]
//! ```
//!
//! Invariants: nothing is written before the transaction that it belongs to is. One commit is
//! written whole or not at all. Losing the directory loses nothing: the changelog has it all, but
//! for what can be made from it. The changelog's records from [`Checkpoint::next`] on, applied
//! again, lead to the same state, so the checkpoint may be older than what lies beside it.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion_common::DataFusionError;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::changelog::{Change, LAYOUT};
use super::map::Bytes;

/// What entries of no map begin with: no layout of the changelog is numbered like that.
pub const LEN_PREFIX: [u8; 2] = [u8::MAX, 1];
const CHECKPOINT_KEY: [u8; 2] = [u8::MAX, 2];

/// Writes that wait in memory to be sorted, per task.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The journal of writes that are not yet in sorted files.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;
/// What reading needs at least.
const CACHE_BYTES_MIN: u64 = 8 << 20;

#[derive(Clone, Debug, Error)]
pub enum DiskError {
    #[error(
        "the state directory {} is in use by another process: give one of them another --data-dir",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error("the state directory {} cannot be {doing}: {reason}", path.display())]
    Failed { path: PathBuf, doing: &'static str, reason: String },
}

impl From<DiskError> for DataFusionError {
    fn from(error: DiskError) -> DataFusionError {
        DataFusionError::Execution(error.to_string())
    }
}

/// The directory of a process.
#[derive(Clone)]
pub struct StateDir {
    path: Arc<Path>,
    database: Database,
}

/// The part of one task.
#[derive(Clone)]
pub struct DiskState {
    path: Arc<Path>,
    database: Database,
    keyspace: Keyspace,
}

/// Up to where the changelog is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of the state: another one has another id.
    pub state: String,
    /// The first record of the changelog that is perhaps not on disk.
    pub next: i64,
    /// When it was written, in ms since 1970.
    pub at_ms: i64,
}

impl fmt::Debug for StateDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateDir({})", self.path.display())
    }
}

impl fmt::Debug for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskState({}, {:?})", self.path.display(), self.keyspace.name())
    }
}

fn failed(path: &Path, doing: &'static str) -> impl Fn(fjall::Error) -> DiskError {
    move |error| match error {
        fjall::Error::Locked => DiskError::Locked { path: path.to_owned() },
        error => {
            let reason = error.to_string();
            DiskError::Failed { path: path.to_owned(), doing, reason }
        }
    }
}

impl StateDir {
    /// Opens the directory, made if there is none. Reading keeps up to `cache_bytes` in memory.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<StateDir, DiskError> {
        let database = Database::builder(path)
            .cache_size(cache_bytes.max(CACHE_BYTES_MIN))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(1)
            .open()
            .map_err(failed(path, "opened"))?;
        Ok(StateDir { path: path.into(), database })
    }

    /// What a task has there.
    pub fn task(&self, name: &str) -> Result<DiskState, DiskError> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace = self.database.keyspace(&keyspace_name(name), options);
        Ok(DiskState {
            keyspace: keyspace.map_err(failed(&self.path, "opened"))?,
            path: self.path.clone(),
            database: self.database.clone(),
        })
    }

    /// Whether a task has anything there.
    pub fn has(&self, name: &str) -> bool {
        self.database.keyspace_exists(&keyspace_name(name))
    }

    /// The same, empty.
    pub fn fresh(&self, name: &str) -> Result<DiskState, DiskError> {
        let task = self.task(name)?;
        task.keyspace.clear().map_err(failed(&self.path, "cleared"))?;
        Ok(task)
    }
}

/// With the layout, so that no other version reads it. Names are bounded in length.
fn keyspace_name(task: &str) -> String {
    format!("{LAYOUT}-{task}")
}

impl DiskState {
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let value = self.keyspace.get(key).map_err(failed(&self.path, "read"))?;
        Ok(value.map(|value| Bytes::from(&value[..])))
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, DiskError> {
        self.keyspace.contains_key(key).map_err(failed(&self.path, "read"))
    }

    /// Entries within these bounds, in the order of their keys, as of now.
    pub fn range(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> DiskRange {
        DiskRange { entries: self.keyspace.range((from, to)), path: self.path.clone() }
    }

    /// The last key from one to another.
    pub fn last_key(&self, from: &[u8], to: Bound<Vec<u8>>) -> Result<Option<Bytes>, DiskError> {
        let from = Bound::Included(from.to_vec());
        let Some(last) = self.keyspace.range((from, to)).next_back() else { return Ok(None) };
        let key = last.key().map_err(failed(&self.path, "read"))?;
        Ok(Some(Bytes::from(&key[..])))
    }

    /// Writes what a commit has changed, all or nothing.
    pub fn apply<'c>(&self, changes: impl Iterator<Item = &'c Change>) -> Result<(), DiskError> {
        let mut batch = self.database.batch();
        for Change { key, value } in changes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key.as_slice(), value.as_slice()),
                None => batch.remove(&self.keyspace, key.as_slice()),
            }
        }
        batch.commit().map_err(failed(&self.path, "written"))
    }

    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, DiskError> {
        let value = self.get(&CHECKPOINT_KEY)?;
        // One that is not understood is of no use, and the changelog has everything.
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    /// Says up to where the changelog is on disk, after everything that was written before.
    pub fn set_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), DiskError> {
        let value = serde_json::to_vec(checkpoint).expect("text and numbers are JSON");
        let failed = failed(&self.path, "written");
        self.keyspace.insert(CHECKPOINT_KEY, value).map_err(&failed)?;
        self.database.persist(PersistMode::Buffer).map_err(failed)
    }

    /// Bytes on disk, roughly.
    pub fn bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }
}

/// See [`DiskState::range`].
pub struct DiskRange {
    entries: fjall::Iter,
    path: Arc<Path>,
}

impl Iterator for DiskRange {
    type Item = Result<(Bytes, Bytes), DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?.into_inner();
        let entry = entry.map(|(key, value)| (Bytes::from(&key[..]), Bytes::from(&value[..])));
        Some(entry.map_err(failed(&self.path, "read")))
    }
}
