//! One worker, which has all connectors and all of their tasks.
//!
//! What is changed over REST is gone when the worker ends, as in Kafka Connect's standalone mode;
//! offsets stay.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use broker::client::{Client, ProducerOptions};
use tokio::sync::watch;

use super::connector::{Desired, Handle, Order, Setup};
use super::offsets::Held;
use super::{Herder, HerderError, HerderOptions, Put, Target, View, check_kind, not_stopped};
use crate::config::{ConfigProblem, ConnectorConfig, validate_with};

/// See the module.
#[derive(Debug)]
pub struct Standalone {
    client: Arc<dyn Client>,
    options: HerderOptions,
    connectors: Mutex<BTreeMap<String, Known>>,
    /// Held while one is created, changed, resumed or deleted, or its offsets are.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    handle: Handle,
    base_dir: PathBuf,
}

impl Standalone {
    pub fn new(client: Arc<dyn Client>, options: HerderOptions) -> Standalone {
        Standalone { client, options, connectors: Mutex::default(), changing: Default::default() }
    }

    fn connectors(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a connector stands, now and from now on.
    pub fn watch(&self, name: &str) -> Result<watch::Receiver<View>, HerderError> {
        Ok(self.handle(name)?.view)
    }

    fn handle(&self, name: &str) -> Result<Handle, HerderError> {
        let found = self.connectors().get(name).map(|known| known.handle.clone());
        found.ok_or_else(|| HerderError::NotFound(name.to_owned()))
    }

    async fn order(&self, name: &str, order: Order) -> Result<(), HerderError> {
        let gone = || HerderError::NotFound(name.to_owned());
        self.handle(name)?.order(order).await.map_err(|_| gone())
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
            worker_id: self.options.worker_id.as_str().into(),
            graceful: self.options.graceful,
        };
        let config = Arc::new(config);
        let desired = Desired { config, properties, target, share: None, gate: None };
        let handle = Handle::start(setup, desired);
        self.connectors().insert(name, Known { handle, base_dir });
        Ok(())
    }
}

#[async_trait]
impl Herder for Standalone {
    fn options(&self) -> &HerderOptions {
        &self.options
    }

    fn client(&self) -> &Arc<dyn Client> {
        &self.client
    }

    fn names(&self) -> Vec<String> {
        self.connectors().keys().cloned().collect()
    }

    fn view(&self, name: &str) -> Result<View, HerderError> {
        Ok(self.watch(name)?.borrow().clone())
    }

    fn check(
        &self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
        let base_dir = self.connectors().get(name).map(|known| known.base_dir.clone());
        let base_dir = base_dir.unwrap_or_else(|| self.options.base_dir.clone());
        validate_with(name, properties, &base_dir, &self.options.worker)
    }

    async fn create(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
        target: Target,
    ) -> Result<(), HerderError> {
        let config = self.check(name, &properties).map_err(HerderError::Invalid)?;
        self.create_checked(config, properties, target, self.options.base_dir.clone()).await
    }

    async fn put(
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
        check_kind(&self.view(name)?, &config)?;
        let _changing = self.changing.lock().await;
        self.order(name, Order::Configure(Arc::new(config), properties)).await?;
        Ok(Put::Changed)
    }

    async fn set_target(&self, name: &str, target: Target) -> Result<(), HerderError> {
        let _changing = self.changing.lock().await;
        self.order(name, Order::SetTarget(target)).await
    }

    async fn restart_tasks(&self, name: &str, only_failed: bool) -> Result<(), HerderError> {
        self.order(name, Order::RestartTasks { only_failed }).await
    }

    async fn restart_task(&self, name: &str, number: usize) -> Result<(), HerderError> {
        if number >= self.view(name)?.tasks.len() {
            return Err(HerderError::NoTask(name.to_owned(), number));
        }
        self.order(name, Order::RestartTask(number)).await
    }

    async fn delete(&self, name: &str) -> Result<(), HerderError> {
        let _changing = self.changing.lock().await;
        self.order(name, Order::End).await?;
        self.connectors().remove(name);
        Ok(())
    }

    async fn reset_topics(&self, name: &str) -> Result<(), HerderError> {
        self.view(name)?.forget_topics();
        Ok(())
    }

    async fn hold(&self, name: &str) -> Result<Held<'_>, HerderError> {
        let changing = self.changing.lock().await;
        let view = self.view(name)?;
        let (Target::Stopped, Some(config)) = (view.target, view.config) else {
            return Err(not_stopped(name));
        };
        let prefix = &self.options.options.transactional_prefix;
        let transactional_id = Some(format!("{prefix}-{name}-offsets"));
        let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
        let producer = self.client.producer(options).await;
        let producer = producer.map_err(|error| HerderError::Failed(error.to_string()))?;
        Ok(Held::new(config, producer, changing))
    }

    async fn shutdown(&self) {
        let _changing = self.changing.lock().await;
        let all = std::mem::take(&mut *self.connectors());
        let ends = all.into_values().map(|known| async move { known.handle.end().await });
        futures::future::join_all(ends).await;
    }
}
