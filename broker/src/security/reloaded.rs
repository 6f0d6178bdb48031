//! What is made of files, and made anew when they change.
//!
//! They are looked at when somebody needs what is in them, not more often than once in an
//! interval, by one at a time: the others take what there is. What cannot be read leaves what was
//! there before, with a line in the log.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often files are looked at, if nothing else is asked for.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value made of files.
pub struct Reloaded<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    interval: Duration,
    load: Load<T>,
    /// Held while somebody looks; never waited for.
    looking: Mutex<()>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
}

/// By what a change is seen; a file that replaces another is another inode.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl<T> Reloaded<T> {
    pub fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        interval: Duration,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Reloaded<T>, String> {
        // Before it is read: a change meanwhile is seen as one.
        let stamps = paths.iter().map(stamp).collect();
        let state = State { value: Arc::new(load()?), stamps, looked: Instant::now() };
        let (load, looking, state) = (Box::new(load), Mutex::default(), Mutex::new(state));
        Ok(Reloaded { what, paths, interval, load, looking, state })
    }

    // No code panics with the state half changed.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read last.
    pub fn current(&self) -> Arc<T> {
        self.state().value.clone()
    }

    /// Whether [`Reloaded::get`] would look at the files, and so wait for a disk.
    pub fn is_due(&self) -> bool {
        self.state().looked.elapsed() >= self.interval
    }

    /// The same as [`Reloaded::get`], for async code: files are looked at on another thread.
    pub async fn get_async(self: &Arc<Self>) -> Arc<T>
    where
        T: Send + Sync + 'static,
    {
        if !self.is_due() {
            return self.current();
        }
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.get()).await.expect("reading does not panic")
    }

    /// What is in the files now, or was within the interval.
    pub fn get(&self) -> Arc<T> {
        if self.is_due()
            && let Ok(_one_looks) = self.looking.try_lock()
        {
            self.look();
        }
        self.current()
    }

    fn look(&self) {
        let stamps: Vec<_> = self.paths.iter().map(stamp).collect();
        let before = {
            let mut state = self.state();
            state.looked = Instant::now();
            std::mem::replace(&mut state.stamps, stamps.clone())
        };
        if stamps == before {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                self.state().value = Arc::new(value);
                tracing::info!(files = ?self.paths, "took the new {}", self.what);
            }
            Err(error) => {
                tracing::warn!(error, "kept the old {}: the new cannot be used", self.what)
            }
        }
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// Reads a whole file that must be small; the error is a reason to be read by people.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read '{}': {error}", path.display());
    let len = fs::metadata(path).map_err(failed)?.len();
    if len > bytes_max {
        return Err(format!("'{}' has {len} bytes, more than {bytes_max}", path.display()));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_one_looks_others_take_what_there_is() {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, "1").unwrap();
        let first = std::sync::atomic::AtomicBool::new(true);
        let (begun, may_go_on) = (Mutex::new(begun), Mutex::new(may_go_on));
        let load = {
            let path = path.clone();
            move || {
                if !first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    begun.lock().unwrap().send(()).unwrap();
                    may_go_on.lock().unwrap().recv().unwrap();
                }
                read(&path, 10)
            }
        };
        let value = Reloaded::new("number", vec![path.clone()], Duration::ZERO, load).unwrap();
        fs::write(&path, "22").unwrap();
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| value.get());
            has_begun.recv().unwrap();
            assert_eq!(*value.get(), b"1", "nobody waits for the disk of another");
            go_on.send(()).unwrap();
            assert_eq!(*looks.join().unwrap(), b"22");
        });
        assert_eq!(*value.get(), b"22");
    }

    #[test]
    fn a_change_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        let write = |text: &str| {
            let temporary = dir.path().join("temporary");
            fs::write(&temporary, text).unwrap();
            fs::rename(&temporary, &path).unwrap();
        };
        write("1");
        let load = {
            let path = path.clone();
            move || {
                let text = String::from_utf8(read(&path, 10)?).unwrap();
                text.parse::<u32>().map_err(|error| error.to_string())
            }
        };
        let new = |interval| Reloaded::new("number", vec![path.clone()], interval, load.clone());
        let number = new(Duration::ZERO).unwrap();
        let rarely = new(Duration::from_secs(3600)).unwrap();
        assert_eq!(*number.get(), 1);
        write("2");
        assert_eq!((*number.get(), *rarely.get()), (2, 1));
        write("many");
        assert_eq!(*number.get(), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(*number.get(), 2);
        assert!(new(Duration::ZERO).unwrap_err().contains("cannot read"));
        write("12345678901");
        assert!(new(Duration::ZERO).unwrap_err().contains("more than 10"));
        write("3");
        assert_eq!(*number.get(), 3);
    }
}
