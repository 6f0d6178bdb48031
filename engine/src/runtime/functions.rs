//! Functions of users whose modules are replaced while queries run.
//!
//! ```text
//! reload ─ each file: read, compiled, found to fit ─ gate closed ─ new modules in place ─ open
//!                                                        ▲
//! tasks: rows ── commit │ rows ── commit │ (wait) ───────┘ rows …
//! ```
//!
//! The rule: what one transaction holds was computed by one module of each function, and what the
//! modules before have computed is committed before the next ones compute anything. A task goes
//! through the gate with the first rows of a transaction and is out when that is committed; the
//! gate closes behind those within, so that all tasks change over together. A module that cannot
//! take the place of another is told of, and the other stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};

use super::planned::Planned;
use crate::plan::user_functions::Functions;

/// A task that has not committed by then is stuck.
const GATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The functions of all queries of a run.
#[derive(Clone, Debug)]
pub struct LiveFunctions {
    functions: Functions,
    gate: Arc<RwLock<()>>,
    /// One reload at a time.
    reloading: Arc<Mutex<()>>,
}

/// What has become of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub function: String,
    pub file: PathBuf,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its file has what it had.
    Same,
    /// It has another module.
    Replaced,
    /// It has the module that it had, because of this.
    Kept(String),
}

/// Held by a task from the first rows of a transaction until that is committed.
pub(super) type Within = OwnedRwLockReadGuard<()>;

impl LiveFunctions {
    pub(super) fn of(planned: &[Planned]) -> LiveFunctions {
        let mut functions = Functions::default();
        for task in planned {
            functions.extend(task.topology.functions.slots().cloned());
        }
        LiveFunctions { functions, gate: Arc::default(), reloading: Arc::default() }
    }

    /// Where the modules of the functions were read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.functions.slots().map(|slot| slot.path().to_owned())
    }

    /// Replaces the modules whose files have changed, all at once, between two transactions of
    /// every task. What cannot be replaced stays; the others are replaced all the same.
    pub async fn reload(&self) -> Vec<Reloaded> {
        let _only = self.reloading.lock().await;
        let functions = self.functions.clone();
        let look = move || {
            let found = functions.slots().map(|slot| (slot.clone(), slot.look()));
            found.collect::<Vec<_>>()
        };
        let Ok(found) = tokio::task::spawn_blocking(look).await else { return Vec::new() };
        let is_new = found.iter().any(|(_, found)| matches!(found, Ok(Some(_))));
        let closed = match is_new {
            true => tokio::time::timeout(GATE_TIMEOUT, self.gate.write()).await.ok(),
            false => None,
        };
        let outcomes = found.into_iter().map(|(slot, found)| {
            let outcome = match found {
                Ok(None) => Outcome::Same,
                Err(reason) => Outcome::Kept(reason),
                Ok(Some(_)) if closed.is_none() => Outcome::Kept(format!(
                    "a task has not committed for {} seconds",
                    GATE_TIMEOUT.as_secs()
                )),
                Ok(Some(module)) => {
                    slot.replace(module);
                    Outcome::Replaced
                }
            };
            Reloaded { function: slot.name.clone(), file: slot.path().to_owned(), outcome }
        });
        outcomes.collect()
    }

    /// `None` while it is closed.
    pub(super) fn try_enter(&self) -> Option<Within> {
        self.gate.clone().try_read_owned().ok()
    }

    pub(super) async fn enter(&self) -> Within {
        self.gate.clone().read_owned().await
    }
}
