//! Connectors that come and go while workers run: what `millstream connect` is.
//!
//! ```text
//! files, REST ─► Herder ─► one Connector each ─► one Worker for each task
//!                   ▲              │
//!                   └──── View ◄───┘ how it stands
//! ```
//!
//! - [`standalone`]: one worker, which has all tasks; [`distributed`]: several, which share them.
//! - [`connector`]: one connector and its tasks; [`restart`]: when a failed one is started again;
//!   [`offsets`]: how far they are, and changing that; `signals`: what they are asked for.
//!
//! A connector's name is all that there is of it at a time: changes of the same connector are
//! carried out one after the other.

pub mod connector;
pub mod distributed;
pub mod offsets;
pub(crate) mod restart;
pub(crate) mod signals;
pub mod standalone;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker::client::Client;
use broker::ids::Offset;
use thiserror::Error;

use crate::config::{ConfigProblem, ConnectorConfig};
use crate::worker::WorkerOptions;
pub use connector::{Target, TaskState, TaskView, View};
pub use distributed::Distributed;
use offsets::Held;
pub use standalone::Standalone;

/// How a worker looks after connectors.
#[derive(Clone, Debug)]
pub struct HerderOptions {
    /// The worker's own properties: converters and config providers.
    pub worker: BTreeMap<String, String>,
    /// Where relative paths of connectors start that come over REST.
    pub base_dir: PathBuf,
    /// How the worker is called in states: `127.0.0.1:8083`.
    pub worker_id: String,
    pub options: WorkerOptions,
    /// How long a task may take to end in order.
    pub graceful: Duration,
}

/// Looks after connectors: what REST and commands ask and order.
#[async_trait]
pub trait Herder: Send + Sync + Debug {
    fn options(&self) -> &HerderOptions;

    fn client(&self) -> &Arc<dyn Client>;

    /// All connectors, by name.
    fn names(&self) -> Vec<String>;

    /// How a connector stands.
    fn view(&self, name: &str) -> Result<View, HerderError>;

    /// Checks a connector's properties as [`put`](Herder::put) does.
    fn check(
        &self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<ConnectorConfig, Vec<ConfigProblem>>;

    /// Creates a connector; an error if there is one of that name.
    async fn create(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
        target: Target,
    ) -> Result<(), HerderError>;

    /// Changes a connector, or creates it.
    async fn put(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<Put, HerderError>;

    /// Says what a connector is meant to do from now on.
    async fn set_target(&self, name: &str, target: Target) -> Result<(), HerderError>;

    /// Starts a connector's tasks anew, all or those that have failed.
    async fn restart_tasks(&self, name: &str, only_failed: bool) -> Result<(), HerderError>;

    /// Starts one task anew.
    async fn restart_task(&self, name: &str, number: usize) -> Result<(), HerderError>;

    /// Stops a connector in order and forgets it; its offsets stay.
    async fn delete(&self, name: &str) -> Result<(), HerderError>;

    /// Forgets which topics a connector has used.
    async fn reset_topics(&self, name: &str) -> Result<(), HerderError>;

    /// Keeps a stopped connector as it is while its offsets are changed.
    async fn hold(&self, name: &str) -> Result<Held<'_>, HerderError>;

    /// Has all workers log so much of something. False: there is this one alone.
    async fn order_level(&self, _logger: &str, _level: &str) -> Result<bool, HerderError> {
        Ok(false)
    }

    /// Waits until levels have been ordered for all workers, and gives those from a place on, with
    /// the place where those begin that come later; `None` is the place of now. Where a worker is
    /// alone, none come.
    async fn next_levels(&self, _from: Option<Offset>) -> (Offset, Vec<(String, String)>) {
        std::future::pending().await
    }

    /// Ends in order what runs here.
    async fn shutdown(&self);
}

/// Why an order cannot be carried out.
#[derive(Debug, Error)]
pub enum HerderError {
    #[error("connector '{0}' does not exist")]
    NotFound(String),
    #[error("connector '{0}' has no task {1}")]
    NoTask(String, usize),
    #[error("connector '{0}' exists already")]
    Exists(String),
    #[error("{}", in_words(.0))]
    Invalid(Vec<ConfigProblem>),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

fn in_words(problems: &[ConfigProblem]) -> String {
    let count = problems.len();
    let mut words =
        format!("connector configuration is invalid and contains the following {count} error(s):");
    for problem in problems {
        words.push('\n');
        words.push_str(&problem.in_words());
    }
    words
}

/// What is only to be changed of a stopped connector.
fn not_stopped(name: &str) -> HerderError {
    HerderError::Refused(format!(
        "connectors must be in the STOPPED state before their offsets can be modified; \
         for this one: PUT /connectors/{name}/stop"
    ))
}

/// A connector stays a source, or a sink.
fn check_kind(view: &View, config: &ConnectorConfig) -> Result<(), HerderError> {
    match view.kind() {
        Some(before) if before != config.plugin().kind() => {
            let words = "a source cannot become a sink, nor a sink a source";
            let name = config.name();
            Err(HerderError::Refused(format!("connector '{name}': {words}")))
        }
        _ => Ok(()),
    }
}

/// Whether there was a connector before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    Changed,
}
