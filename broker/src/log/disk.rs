//! The seam to storage: what the log asks of a file system, and nothing more.
//!
//! Two implementations: [`OsDisk`], and the simulated disk of the crash tests, which forgets at a
//! power cut what was not synced. Hence the contract is the strict one of POSIX: contents are
//! durable after [`DiskFile::sync_data`], names after [`Disk::sync_dir`], and nothing is before.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file system. Paths are whole; directories on the way must exist.
pub trait Disk: Send + Sync + Debug {
    /// Opens for reading and appending; created empty if it does not exist.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens likewise, but [`io::ErrorKind::NotFound`] if it does not exist.
    fn open_existing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Says whether it was not there before.
    fn create_dir_all(&self, dir: &Path) -> io::Result<bool>;
    /// Replaces `to` if it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes names created, renamed and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// A whole small file; at most `bytes_max`.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let file = self.open_existing(path)?;
        let len = file.len()?;
        if len > bytes_max {
            let reason = format!("{len} bytes, more than the {bytes_max} expected");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Replaces a file as a whole: at any moment, power cuts included, it has its old contents
    /// or the new ones.
    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let temporary = path.with_added_extension("tmp");
        let file = self.open(&temporary)?;
        file.set_len(0)?;
        file.append(&mut [IoSlice::new(contents)])?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().expect("a file lies in a directory"))
    }

    /// The same, with contents that are only for this user of the system to read.
    fn replace_secret(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        self.replace(path, contents)
    }
}

/// An open file. Reads take a position and run beside anything else; there is one appender.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `buffer` from `position`.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
    /// Adds `parts` at the end. After an error some of them may be there.
    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Sets when it was last written to, which retention goes by.
    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()>;
    /// Makes contents and length durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub len: u64,
    pub created_ms: i64,
    pub modified_ms: i64,
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).append(true).open(path)?)))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(path)?;
        let modified = metadata.modified()?;
        Ok(Metadata {
            len: metadata.len(),
            // Some file systems do not know when a file was created.
            created_ms: since_1970_ms(metadata.created().unwrap_or(modified)),
            modified_ms: since_1970_ms(modified),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<bool> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).map(|()| true)
            }
            Err(_) if dir.is_dir() => Ok(false),
            created => created.map(|()| true),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn replace_secret(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        const OWNER_ONLY: u32 = 0o600;
        // The file that takes the old one's place is nobody else's before anything is in it.
        let temporary = path.with_added_extension("tmp");
        let file =
            OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
        self.replace(path, contents)
    }
}

fn since_1970_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, position)
    }

    fn append(&self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match (&self.0).write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        let since_1970 = Duration::from_millis(u64::try_from(modified_ms).unwrap_or(0));
        self.0.set_modified(UNIX_EPOCH + since_1970)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
