//! What is made of files, and made anew when they change.
//!
//! They are looked at when somebody needs what is in them, not more often than once in an
//! interval. What cannot be read leaves what was there before, with a line in the log.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
        Ok(Reloaded { what, paths, interval, load: Box::new(load), state: Mutex::new(state) })
    }

    pub fn get(&self) -> Arc<T> {
        // No code panics with the state half changed.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < self.interval {
            return state.value.clone();
        }
        let stamps: Vec<_> = self.paths.iter().map(stamp).collect();
        if stamps != state.stamps {
            match (self.load)() {
                Ok(value) => {
                    state.value = Arc::new(value);
                    tracing::info!(files = ?self.paths, "took the new {}", self.what);
                }
                Err(error) => {
                    tracing::warn!(error, "kept the old {}: the new cannot be used", self.what)
                }
            }
            state.stamps = stamps;
        }
        state.looked = Instant::now();
        state.value.clone()
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
