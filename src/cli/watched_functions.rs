//! `--watch-functions`: modules of functions are looked at once a second. Files are compared by
//! time and length rather than watched by the system, which hears nothing of network and container
//! mounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use engine::runtime::{LiveFunctions, Outcome, Reloaded};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How long a change may go unseen.
const EVERY: Duration = Duration::from_secs(1);

type Stamps = BTreeMap<PathBuf, Option<(SystemTime, u64)>>;

/// The files of functions, as they were seen last.
pub struct WatchedFunctions {
    functions: LiveFunctions,
    ticks: Interval,
    seen: Stamps,
    /// They have changed since, and may still be being written.
    changing: bool,
    reloading: Option<JoinHandle<Vec<Reloaded>>>,
}

impl WatchedFunctions {
    pub fn new(functions: LiveFunctions) -> WatchedFunctions {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing was seen yet: files may have changed since they were loaded.
        let seen = Stamps::new();
        WatchedFunctions { functions, ticks, seen, changing: false, reloading: None }
    }

    /// Waits until a file has changed and stays as it is, and takes it up. Safe to cancel.
    pub async fn reloaded(&mut self) -> Vec<Reloaded> {
        loop {
            if let Some(reloading) = &mut self.reloading {
                let reloaded = reloading.await;
                self.reloading = None;
                let mut reloaded = reloaded.unwrap_or_default();
                reloaded.retain(|one| one.outcome != Outcome::Same);
                return reloaded;
            }
            self.ticks.tick().await;
            let now = stamps(&self.functions);
            if now != self.seen {
                self.seen = now;
                self.changing = true;
            } else if self.changing {
                self.changing = false;
                let functions = self.functions.clone();
                self.reloading = Some(tokio::spawn(async move { functions.reload().await }));
            }
        }
    }
}

fn stamps(functions: &LiveFunctions) -> Stamps {
    let stamp = |path: &PathBuf| {
        let found = path.metadata().ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    functions.files().map(|path| (path.clone(), stamp(&path))).collect()
}
