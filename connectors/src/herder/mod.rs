//! Connectors that come and go while the worker runs: what `millstream connect` is.
//!
//! ```text
//! files, REST ─► Herder ─► one Connector each ─► one Worker for each task
//!                   ▲              │
//!                   └──── View ◄───┘ how it stands
//! ```
//!
//! - [`connector`]: one connector and its tasks; [`restart`]: when a failed one is started again;
//!   [`offsets`]: how far they are, and changing that; `signals`: what they are asked for.
//!
//! A connector's name is all that there is of it at a time: changes of the same connector are
//! carried out one after the other. Those made over REST are gone when the worker ends, as in
//! Kafka Connect's standalone mode; their offsets stay.

pub mod connector;
pub mod offsets;
pub(crate) mod restart;
mod signals;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::client::Client;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::{ConfigProblem, ConnectorConfig, validate_with};
use crate::worker::WorkerOptions;
use connector::{Connector, ORDERS_MAX, Order, Ordered, Setup};
pub use connector::{Target, TaskState, TaskView, View};

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

/// Looks after connectors.
#[derive(Debug)]
pub struct Herder {
    client: Arc<dyn Client>,
    options: HerderOptions,
    connectors: Mutex<BTreeMap<String, Handle>>,
    /// Held while one is created, changed or deleted.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Handle {
    orders: mpsc::Sender<Ordered>,
    view: watch::Receiver<View>,
    running: JoinHandle<()>,
    base_dir: PathBuf,
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

/// Whether there was a connector before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    Changed,
}

impl Herder {
    pub fn new(client: Arc<dyn Client>, options: HerderOptions) -> Herder {
        Herder { client, options, connectors: Mutex::default(), changing: Default::default() }
    }

    pub fn options(&self) -> &HerderOptions {
        &self.options
    }

    fn connectors(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All connectors, by name.
    pub fn names(&self) -> Vec<String> {
        self.connectors().keys().cloned().collect()
    }

    /// How a connector stands.
    pub fn view(&self, name: &str) -> Result<View, HerderError> {
        Ok(self.watch(name)?.borrow().clone())
    }

    /// How a connector stands, now and from now on.
    pub fn watch(&self, name: &str) -> Result<watch::Receiver<View>, HerderError> {
        let connectors = self.connectors();
        let found = connectors.get(name).map(|handle| handle.view.clone());
        found.ok_or_else(|| HerderError::NotFound(name.to_owned()))
    }

    /// Checks a connector's properties as [`put`](Herder::put) does.
    pub fn check(
        &self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
        let base_dir = self.connectors().get(name).map(|handle| handle.base_dir.clone());
        let base_dir = base_dir.unwrap_or_else(|| self.options.base_dir.clone());
        validate_with(name, properties, &base_dir, &self.options.worker)
    }

    /// Creates a connector; an error if there is one of that name.
    pub async fn create(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
        target: Target,
    ) -> Result<(), HerderError> {
        let config = self.check(name, &properties).map_err(HerderError::Invalid)?;
        self.create_checked(config, properties, target, self.options.base_dir.clone()).await
    }

    /// Creates a connector whose properties were found right, and stand in a file in `base_dir`.
    pub async fn create_checked(
        &self,
        config: ConnectorConfig,
        properties: BTreeMap<String, String>,
        target: Target,
        base_dir: PathBuf,
    ) -> Result<(), HerderError> {
        let _changing = self.changing.lock().await;
        let name = config.name().to_owned();
        if self.connectors().contains_key(&name) {
            return Err(HerderError::Exists(name));
        }
        let setup = Setup {
            client: self.client.clone(),
            options: self.options.options.clone(),
            graceful: self.options.graceful,
        };
        let (connector, view) = Connector::new(setup, Arc::new(config), properties, target);
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let running = tokio::spawn(connector.run(waiting));
        self.connectors().insert(name, Handle { orders, view, running, base_dir });
        Ok(())
    }

    /// Changes a connector, or creates it.
    pub async fn put(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<Put, HerderError> {
        if !self.connectors().contains_key(name) {
            match self.create(name, properties.clone(), Target::Running).await {
                Ok(()) => return Ok(Put::Created),
                // Somebody else was quicker.
                Err(HerderError::Exists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let config = self.check(name, &properties).map_err(HerderError::Invalid)?;
        let kind = config.plugin().kind();
        let before = self.view(name)?.config.plugin().kind();
        if kind != before {
            let words = "a source cannot become a sink, nor a sink a source";
            return Err(HerderError::Refused(format!("connector '{name}': {words}")));
        }
        let _changing = self.changing.lock().await;
        self.order(name, Order::Configure(Arc::new(config), properties)).await?;
        Ok(Put::Changed)
    }

    /// Says what a connector is meant to do from now on.
    pub async fn set_target(&self, name: &str, target: Target) -> Result<(), HerderError> {
        self.order(name, Order::SetTarget(target)).await
    }

    /// Starts a connector's tasks anew, all or those that have failed.
    pub async fn restart_tasks(&self, name: &str, only_failed: bool) -> Result<(), HerderError> {
        self.order(name, Order::RestartTasks { only_failed }).await
    }

    /// Starts one task anew.
    pub async fn restart_task(&self, name: &str, number: usize) -> Result<(), HerderError> {
        if number >= self.view(name)?.tasks.len() {
            return Err(HerderError::NoTask(name.to_owned(), number));
        }
        self.order(name, Order::RestartTask(number)).await
    }

    /// Stops a connector in order and forgets it; its offsets stay.
    pub async fn delete(&self, name: &str) -> Result<(), HerderError> {
        let _changing = self.changing.lock().await;
        self.order(name, Order::End).await?;
        let handle = self.connectors().remove(name);
        if let Some(handle) = handle {
            let _ = handle.running.await;
        }
        Ok(())
    }

    /// Forgets which topics a connector has used.
    pub fn reset_topics(&self, name: &str) -> Result<(), HerderError> {
        self.view(name)?.forget_topics();
        Ok(())
    }

    /// Stops all connectors in order.
    pub async fn shutdown(&self) {
        let _changing = self.changing.lock().await;
        let all = std::mem::take(&mut *self.connectors());
        let ends = all.into_values().map(|handle| async move {
            let (done, _) = oneshot::channel();
            let _ = handle.orders.send((Order::End, done)).await;
            let _ = handle.running.await;
        });
        futures::future::join_all(ends).await;
    }

    async fn order(&self, name: &str, order: Order) -> Result<(), HerderError> {
        let gone = || HerderError::NotFound(name.to_owned());
        let orders = self.connectors().get(name).map(|handle| handle.orders.clone());
        let (done, carried_out) = oneshot::channel();
        orders.ok_or_else(gone)?.send((order, done)).await.map_err(|_| gone())?;
        carried_out.await.map_err(|_| gone())
    }
}
