//! The data directory: who owns it, and which version wrote it.
//!
//! ```text
//! <data>/
//!   .lock              locked while a broker runs; holds its process id and address
//!   meta.properties    version, cluster.id, node.id (Kafka's form)
//!   topics.json        the catalog
//!   security.json      ACLs, and verifiers of passwords
//!   <topic>-<n>/       partitions
//! ```
//!
//! The lock is the operating system's, on the open file, so it ends with the process however the
//! process ends. What is written into the file only tells a second process whom to join.

use std::ffi::CString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use uuid::Uuid;

use crate::log::disk::Disk;
use crate::log::{Doing, StorageError, encode_id};

const LOCK: &str = ".lock";
const META: &str = "meta.properties";
/// The layout of the directory that this version writes.
const VERSION: u32 = 1;
const META_BYTES_MAX: u64 = 1 << 16;
/// More than a process id and an address take.
const LOCK_BYTES_MAX: u64 = 1 << 10;

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("data directory {} is in use by {}", dir.display(), holder(*pid, address.as_deref()))]
    Locked { dir: PathBuf, pid: Option<u32>, address: Option<String> },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "data directory {} was written by a newer version (layout {found}, this one knows up to \
         {VERSION}); run that version, or another --data-dir",
        dir.display()
    )]
    Newer { dir: PathBuf, found: u32 },
    #[error("{}: malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
}

fn holder(pid: Option<u32>, address: Option<&str>) -> String {
    let process = pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
    match address {
        Some(address) => format!("{process}, a broker at {address}"),
        None => process,
    }
}

/// What `meta.properties` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// As Kafka prints ids.
    pub cluster_id: String,
    pub node_id: i32,
    /// How often the directory was opened before. Partitions take it for their leader epoch.
    pub starts: i32,
}

/// Holds a data directory; dropping it lets go.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
    path: PathBuf,
}

impl DataDirLock {
    /// Takes the directory, which is created if need be.
    pub fn acquire(dir: &Path) -> Result<DataDirLock, DataDirError> {
        std::fs::create_dir_all(dir).doing(dir, "create data directory")?;
        let path = dir.join(LOCK);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.doing(&path, "open lock")?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let (pid, address) = read_holder(&file).doing(&path, "read lock")?;
                return Err(DataDirError::Locked { dir: dir.to_owned(), pid, address });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::new(&path, "lock", error).into());
            }
        }
        let lock = DataDirLock { file, path };
        lock.write_holder(None)?;
        Ok(lock)
    }

    /// Tells other processes where this broker listens.
    pub fn announce(&self, address: &str) -> Result<(), StorageError> {
        self.write_holder(Some(address))
    }

    fn write_holder(&self, address: Option<&str>) -> Result<(), StorageError> {
        let text = format!("{}\n{}\n", std::process::id(), address.unwrap_or_default());
        let write = || {
            let mut file = &self.file;
            file.rewind()?;
            file.set_len(0)?;
            file.write_all(text.as_bytes())
        };
        write().doing(&self.path, "write lock")
    }
}

impl Drop for DataDirLock {
    /// Not by closing the file alone: a process that is being started still has it for a moment.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "cannot unlock");
        }
    }
}

fn read_holder(file: &File) -> io::Result<(Option<u32>, Option<String>)> {
    let mut text = String::new();
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text)?;
    let mut lines = text.lines();
    let pid = lines.next().and_then(|pid| pid.parse().ok());
    let address = lines.next().filter(|address| !address.is_empty()).map(str::to_owned);
    Ok((pid, address))
}

/// The volume that a directory lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    pub total_bytes: u64,
    /// To this process, which does not get what is reserved.
    pub usable_bytes: u64,
}

/// Asks the system about the volume that `dir` lies on.
// The types of the fields differ among systems.
#[allow(clippy::unnecessary_cast)]
pub(crate) fn volume(dir: &Path) -> io::Result<Volume> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with its zero byte, and the answer is read only once it was given.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        found.assume_init()
    };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize as u64);
    let (total_bytes, usable_bytes) = (bytes(found.f_blocks as u64), bytes(found.f_bavail as u64));
    Ok(Volume { total_bytes, usable_bytes })
}

/// Lets this process have as many files open as it may at most. Each partition that is written to
/// has one open, and each client another; what a process has from the start is often 1,024.
pub(crate) fn allow_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are valid for the calls.
    let raised = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            false
        } else {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Reads who this broker is, or decides it for a new directory.
pub(crate) fn load_meta(disk: &dyn Disk, dir: &Path, node_id: i32) -> Result<Meta, DataDirError> {
    let path = dir.join(META);
    let bytes = match disk.read(&path, META_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let meta = Meta { cluster_id: encode_id(Uuid::new_v4()), node_id, starts: 0 };
            store_meta(disk, &path, &meta)?;
            return Ok(meta);
        }
        Err(error) => return Err(StorageError::new(&path, "read", error).into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let value = |name: &str| {
        let pair = text.lines().filter_map(|line| line.split_once('=')).find(|pair| pair.0 == name);
        let missing = || DataDirError::Malformed {
            path: path.clone(),
            reason: format!("no line '{name}=…'"),
        };
        pair.map(|pair| pair.1.trim()).ok_or_else(missing)
    };
    let number = |name: &str| {
        let value = value(name)?;
        value.parse::<u32>().map_err(|error| DataDirError::Malformed {
            path: path.clone(),
            reason: format!("{name}={value}: {error}"),
        })
    };
    let found = number("version")?;
    if found > VERSION {
        return Err(DataDirError::Newer { dir: dir.to_owned(), found });
    }
    let (cluster_id, node_id) = (value("cluster.id")?.to_owned(), number("node.id")? as i32);
    // Directories from before this line was written have been opened once at least.
    let starts = value("starts").map_or(Ok(0), |_| number("starts"))? as i32;
    let meta = Meta { cluster_id, node_id, starts: starts + 1 };
    store_meta(disk, &path, &meta)?;
    Ok(meta)
}

fn store_meta(disk: &dyn Disk, path: &Path, meta: &Meta) -> Result<(), StorageError> {
    let Meta { cluster_id, node_id, starts } = meta;
    let text =
        format!("version={VERSION}\ncluster.id={cluster_id}\nnode.id={node_id}\nstarts={starts}\n");
    disk.replace(path, text.as_bytes()).doing(path, "write")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::disk::OsDisk;

    #[test]
    fn the_volume_has_a_size() {
        let Volume { total_bytes, usable_bytes } = volume(&std::env::temp_dir()).unwrap();
        assert!(total_bytes > 0 && usable_bytes <= total_bytes);
        let error = volume(Path::new("/no/such/directory")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    /// A test that opened the directory again at once found it locked, by its own process, while
    /// another test was starting a program: between fork and exec that has all files too.
    #[test]
    fn nobody_keeps_the_lock_of_one_that_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(dir.path()).unwrap();
        let _inherited = lock.file.try_clone().unwrap();
        drop(lock);
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_second_broker_learns_whom_to_join() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataDirLock::acquire(dir.path()).unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err();
        let DataDirError::Locked { pid, address, .. } = error else { panic!("{error}") };
        assert_eq!((pid, address), (Some(std::process::id()), None));
        lock.announce("127.0.0.1:9092").unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("a broker at 127.0.0.1:9092"), "{error}");
        drop(lock);
        DataDirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn identity_is_kept_and_a_newer_layout_refused() {
        let dir = tempfile::tempdir().unwrap();
        let meta = load_meta(&OsDisk, dir.path(), 1).unwrap();
        assert_eq!(meta.cluster_id.len(), 22);
        for starts in 1..3 {
            let again = load_meta(&OsDisk, dir.path(), 2).unwrap();
            assert_eq!(again, Meta { starts, ..meta.clone() });
        }
        let path = dir.path().join(META);
        std::fs::write(&path, "version=2\ncluster.id=x\nnode.id=1\n").unwrap();
        let error = load_meta(&OsDisk, dir.path(), 1).unwrap_err().to_string();
        assert!(error.contains("newer version (layout 2, this one knows up to 1)"), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        std::fs::write(&path, "version=1\n").unwrap();
        assert!(matches!(
            load_meta(&OsDisk, dir.path(), 1).unwrap_err(),
            DataDirError::Malformed { .. }
        ));
    }
}
