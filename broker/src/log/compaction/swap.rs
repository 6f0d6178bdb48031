//! Putting a compacted segment in the place of those it was made from, so that a crash at any
//! moment leaves the one or the other.
//!
//! ```text
//! <base>.{index,timeindex,txnindex,log}.cleaned     being written           ─ a crash: deleted
//!                                      .swap        whole and on disk       ─ a crash: finished
//! <base>.{index,timeindex,txnindex,log}             in place, the others deleted
//! ```
//!
//! The names are Kafka's. `<base>.log.swap` decides: it appears after the indexes have been
//! renamed and goes last, so that while it is there everything can be done once more.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ids::Offset;
use crate::log::disk::Disk;
use crate::log::error::{Doing, StorageError};
use crate::log::index::{self, Growing};
use crate::log::scan::Window;
use crate::log::segment::file_name;

const INDEXES: [&str; 3] = ["index", "timeindex", "txnindex"];

/// A place in a log's directory where a segment is being replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap<'a> {
    pub disk: &'a dyn Disk,
    pub dir: &'a Path,
    pub base: Offset,
}

impl Swap<'_> {
    /// `<base>.<kind>.cleaned`, or whatever `stage` is.
    pub fn path(&self, kind: &str, stage: &str) -> PathBuf {
        self.dir.join(file_name(self.base, &format!("{kind}.{stage}")))
    }

    fn final_path(&self, kind: &str) -> PathBuf {
        self.dir.join(file_name(self.base, kind))
    }

    /// Writes the indexes of the segment whose log is written and synced.
    pub fn write_indexes(&self, growing: &Growing) -> Result<(), StorageError> {
        let write =
            |kind, bytes: &[u8]| index::write(self.disk, &self.path(kind, "cleaned"), bytes);
        write("index", &growing.encode_offsets())?;
        write("timeindex", &growing.encode_times())?;
        // Most segments have no such file; one that is there is replaced.
        if !growing.aborted.is_empty() || self.disk.metadata(&self.final_path("txnindex")).is_ok() {
            write("txnindex", &growing.encode_aborted())?;
        }
        Ok(())
    }

    /// From here on the new segment is the one that counts.
    pub fn commit(&self) -> Result<(), StorageError> {
        for kind in INDEXES {
            self.rename(&self.path(kind, "cleaned"), &self.path(kind, "swap"))?;
        }
        self.sync_dir()?;
        self.rename(&self.path("log", "cleaned"), &self.path("log", "swap"))?;
        self.sync_dir()
    }

    /// Deletes the segments that the new one also stands for, and gives it its names.
    pub fn finish(&self, covered: impl IntoIterator<Item = Offset>) -> Result<(), StorageError> {
        for base in covered {
            for kind in ["index", "timeindex", "txnindex", "snapshot", "log"] {
                remove(self.disk, &self.dir.join(file_name(base, kind)))?;
            }
        }
        for kind in INDEXES {
            self.rename(&self.path(kind, "swap"), &self.final_path(kind))?;
        }
        self.sync_dir()?;
        self.rename(&self.path("log", "swap"), &self.final_path("log"))?;
        self.sync_dir()
    }

    /// Deletes what has been written so far. The decisive name first.
    pub fn discard(&self) -> Result<(), StorageError> {
        for kind in ["log", "index", "timeindex", "txnindex"] {
            for stage in ["swap", "cleaned"] {
                remove(self.disk, &self.path(kind, stage))?;
            }
        }
        self.sync_dir()
    }

    /// One that is not there has been renamed before, or was never needed.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        match self.disk.rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::new(from, "rename", error))
            }
            _ => Ok(()),
        }
    }

    fn sync_dir(&self) -> Result<(), StorageError> {
        self.disk.sync_dir(self.dir).doing(self.dir, "sync directory")
    }

    /// The offset after the last batch in `<base>.log.swap`.
    fn end(&self) -> Result<Offset, StorageError> {
        let path = self.path("log", "swap");
        let file = self.disk.open_existing(&path).doing(&path, "open segment")?;
        let len = file.len().doing(&path, "look at")?;
        let mut window = Window::new(file, &path, len);
        let (mut position, mut end) = (0, self.base);
        while position < len {
            let Ok((header, _)) = window.batch(position)? else { break };
            position += header.size as u64;
            end = header.next_offset();
        }
        Ok(end)
    }
}

/// Finishes what a crash has interrupted after it was decided, and undoes what was not.
pub(in crate::log) fn recover(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), StorageError> {
    let names = disk.list(dir).doing(dir, "list directory")?;
    let base = |name: &str| name.parse().ok().map(Offset);
    let with = |suffix: &str| -> BTreeSet<Offset> {
        names.iter().filter_map(|name| base(name.strip_suffix(suffix)?)).collect()
    };
    let logs = with(".log");
    for base in with(".log.swap") {
        let swap = Swap { disk: &**disk, dir, base };
        // Segments of which nothing was left are not seen to be covered. They stay, and the next
        // pass empties them again.
        let end = swap.end()?;
        let covered: Vec<Offset> =
            logs.iter().copied().filter(|other| *other > base && *other < end).collect();
        tracing::info!(dir = %dir.display(), %base, segments = covered.len() + 1,
            "finishing a compaction that was interrupted");
        swap.finish(covered)?;
    }
    for name in names {
        if name.ends_with(".cleaned") || name.ends_with(".swap") {
            remove(&**disk, &dir.join(name))?;
        }
    }
    Ok(())
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::new(path, "delete", error))
        }
        _ => Ok(()),
    }
}
