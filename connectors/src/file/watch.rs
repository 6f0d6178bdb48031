//! Waking up when something happens to a file.
//!
//! The directory is watched, not the file, so that renaming, replacing and creating it are seen
//! as well; the directory of what a symbolic link leads to, too. Of a pattern, the directory that
//! all its files are in is watched, with those below where files may be there. Network and FUSE
//! file systems send no events, and a directory that is not there yet cannot be watched: so there
//! is a tick as well, at which the file is looked at in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::debug;

use super::identity::FileId;
use super::tail::directory;

/// What events are about.
#[derive(Clone, Debug)]
pub enum Watched {
    File(PathBuf),
    /// All that is in it, and below it if that is asked for.
    Directory {
        path: PathBuf,
        deep: bool,
    },
}

/// Events about one path.
#[derive(Debug)]
pub struct FileWatch {
    what: Watched,
    tick: Duration,
    wake: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: Vec<(PathBuf, FileId)>,
}

impl FileWatch {
    /// Watches from now on, as far as events are to be had.
    pub fn new(what: Watched, tick: Duration) -> FileWatch {
        let wake = Arc::new(Notify::new());
        let waker = wake.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // Being opened and read is no news, and we do that ourselves.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                waker.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| debug!("{what:?}: no file events: {error}"))
            .ok();
        let mut watch = FileWatch { what, tick, wake, watcher, watched: Vec::new() };
        watch.refresh();
        watch
    }

    /// Waits for an event or the next tick. An event since the last call ends it at once.
    pub async fn changed(&mut self) {
        // Ended by the tick, nothing is lost: the caller looks at the file either way.
        if tokio::time::timeout(self.tick, self.wake.notified()).await.is_err() {
            self.refresh();
        }
    }

    /// Watches the directories that the path leads through by now.
    fn refresh(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let (wanted, mode) = match &self.what {
            Watched::File(path) => (directories_of(path), RecursiveMode::NonRecursive),
            Watched::Directory { path, deep: false } => {
                (vec![path.clone()], RecursiveMode::NonRecursive)
            }
            Watched::Directory { path, deep: true } => {
                (vec![path.clone()], RecursiveMode::Recursive)
            }
        };
        let now: Vec<(PathBuf, FileId)> =
            wanted.into_iter().filter_map(|dir| Some((dir.clone(), id_of(&dir)?))).collect();
        if now == self.watched {
            return;
        }
        for (dir, _) in self.watched.drain(..) {
            // Fails where the directory is gone, and its watch with it.
            let _ = watcher.unwatch(&dir);
        }
        for (dir, id) in now {
            match watcher.watch(&dir, mode) {
                Ok(()) => self.watched.push((dir, id)),
                Err(error) => debug!("{}: no file events: {error}", dir.display()),
            }
        }
        // Something may have happened before the watch was there.
        self.wake.notify_one();
    }
}

/// The directory that a file is in, and that of what it leads to.
fn directories_of(path: &Path) -> Vec<PathBuf> {
    let mut wanted = vec![directory(path).to_owned()];
    if let Ok(target) = path.canonicalize() {
        let dir = directory(&target).to_owned();
        if wanted[0].canonicalize().is_ok_and(|first| first != dir) {
            wanted.push(dir);
        }
    }
    wanted
}

fn id_of(dir: &Path) -> Option<FileId> {
    fs::metadata(dir).ok().map(|metadata| FileId::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);

    async fn settle(watch: &mut FileWatch) {
        watch.changed().await;
    }

    #[tokio::test]
    async fn appending_and_renaming_wake_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "").unwrap();
        let mut watch = FileWatch::new(Watched::File(path.clone()), LONG);
        settle(&mut watch).await;
        let begin = Instant::now();
        fs::write(&path, "x").unwrap();
        watch.changed().await;
        fs::rename(&path, dir.path().join("g")).unwrap();
        watch.changed().await;
        assert!(begin.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_directory_made_later_is_watched_from_the_next_tick_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/f");
        let mut watch = FileWatch::new(Watched::File(path.clone()), Duration::from_millis(5));
        settle(&mut watch).await;
        fs::create_dir(dir.path().join("later")).unwrap();
        while watch.watched.is_empty() {
            watch.changed().await;
        }
        watch.tick = LONG;
        settle(&mut watch).await;
        let begin = Instant::now();
        fs::write(&path, "x").unwrap();
        watch.changed().await;
        assert!(begin.elapsed() < LONG);
    }
}
