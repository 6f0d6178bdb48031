//! Several workers, which share connectors and their tasks: Kafka Connect's distributed mode.
//!
//! ```text
//!                 ┌───────── topic of connectors ─────────┐
//! REST ─► change ─┘  (any worker writes, one at a time)   ▼
//!                                         what there is to run, at every worker
//! group GROUP ─ each says what it runs ─ the leader shares out ─► tasks of each
//!                                                             │
//! REST ◄─ every worker ◄─ topic of statuses ◄─ publisher ◄────┘
//! ```
//!
//! - [`configs`]: the topic of connectors; [`statuses`]: that of how tasks stand; [`followed`]:
//!   how either is read; [`publisher`]: who writes the latter.
//! - [`tasks`]: who gets which; [`member`]: being one of the group; [`gate`]: what keeps a task
//!   from running twice; [`settings`]: what a worker's properties say.
//!
//! Invariants:
//! - A task runs at most at one worker that the group knows. One that it has forgotten writes
//!   nothing any more: its source tasks are fenced by their transactional ids before they write
//!   elsewhere, its sink tasks by the generation of their group.
//! - No task of a configuration writes before those of all earlier ones are fenced.
//! - How many tasks a connector has stands in the topic of connectors too. A worker at which its
//!   properties mean something else, or nothing, runs none of them, and says that those it was
//!   given have failed.
//! - Every worker answers every request: what is there stands in topics, which all follow, and
//!   what is ordered is written there. No worker has to reach another.

mod configs;
mod followed;
pub(crate) mod gate;
mod member;
mod publisher;
pub mod settings;
mod statuses;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use broker::client::Client;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::offsets::Held;
use super::{
    Herder, HerderError, HerderOptions, Put, Target, TaskState, TaskView, View, check_kind,
    not_stopped,
};
use crate::config::{ConfigProblem, ConnectorConfig, validate_with};
use crate::worker::task_count;
use broker::ids::Offset;
pub(super) use configs::ATTEMPTS_MAX;
use configs::{Change, ConfigTopic, Declared, Restart};
use member::Here;
use publisher::Publisher;
use settings::GroupSettings;
use statuses::{Entry, StatusTopic};
use tasks::TaskId;

/// How much longer than a task may take to end its end may take to be known.
const STOPPED_PATIENCE: Duration = Duration::from_secs(5);

/// One worker of a group.
#[derive(Debug)]
pub struct Distributed {
    group: Arc<Group>,
    stop: CancellationToken,
    running: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What a worker knows of its group, and runs of it.
struct Group {
    client: Arc<dyn Client>,
    options: HerderOptions,
    settings: GroupSettings,
    configs: Arc<ConfigTopic>,
    statuses: Arc<StatusTopic>,
    publisher: Publisher,
    checked: Mutex<BTreeMap<String, Checked>>,
    /// Connectors of which this worker was given tasks.
    here: Mutex<BTreeMap<Arc<str>, Here>>,
    /// What was shared out when this worker last led.
    shared_out: Mutex<BTreeSet<TaskId>>,
    /// See [`tasks::Says::instance`].
    instance: String,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a connector's properties mean at this worker, which has files and an environment of its
/// own.
#[derive(Clone)]
struct Checked {
    at: Offset,
    config: Result<Arc<ConnectorConfig>, String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    fn check(
        &self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
        validate_with(name, properties, &self.options.base_dir, &self.options.worker)
    }

    fn checked(&self, name: &str, declared: &Declared) -> Result<Arc<ConnectorConfig>, String> {
        let known = locked(&self.checked).get(name).cloned();
        if let Some(known) = known.filter(|known| known.at == declared.at) {
            return known.config;
        }
        let config = self.check(name, &declared.properties).map(Arc::new);
        let config = config.map_err(|problems| HerderError::Invalid(problems).to_string());
        let checked = Checked { at: declared.at, config: config.clone() };
        locked(&self.checked).insert(name.to_owned(), checked);
        config
    }

    /// A connector that is to have so many tasks, or why none of them can be run at this worker.
    fn runnable(
        &self,
        name: &str,
        declared: &Declared,
        tasks: usize,
    ) -> Result<Arc<ConnectorConfig>, String> {
        let config = self.checked(name, declared)?;
        match task_count(&config) {
            own if own == tasks => Ok(config),
            own => Err(format!(
                "its properties make {own} tasks at this worker, and {tasks} where they were \
                 written; let values that stand elsewhere be the same at all workers, then put \
                 the connector again"
            )),
        }
    }

    /// All tasks that are to be shared out, and up to where the topic of connectors was read.
    fn tasks(&self) -> (BTreeSet<TaskId>, Offset) {
        let now = self.configs.now();
        let mut all = BTreeSet::new();
        for name in now.state.names().filter(|name| now.state.target(name) != Target::Stopped) {
            let connector: Arc<str> = name.into();
            let task = |number| TaskId { connector: connector.clone(), number };
            all.extend((0..now.state.tasks(name).unwrap_or(0)).map(task));
        }
        (all, now.position())
    }

    /// The numbers of tasks that nobody has written down yet, as far as this worker knows them.
    fn uncounted(&self, configs: &configs::Configs) -> Vec<Change> {
        let names = configs.names().filter(|name| configs.tasks(name).is_none());
        let counted = names.filter_map(|name| {
            let config = self.checked(name, configs.get(name)?).ok()?;
            Some(Change::tasks(name, task_count(&config)))
        });
        counted.collect()
    }

    fn view(&self, name: &str) -> Result<View, HerderError> {
        let now = self.configs.now();
        let declared = now.state.get(name);
        let declared = declared.ok_or_else(|| HerderError::NotFound(name.to_owned()))?;
        let target = now.state.target(name);
        let tasks = now.state.tasks(name);
        let (config, trace) = match self.checked(name, declared) {
            Ok(config) => (Some(config), None),
            // Where others understand it, it is the tasks of those who do not that have failed.
            Err(trace) => (None, tasks.is_none().then_some(trace)),
        };
        let count = match target {
            Target::Running | Target::Paused => tasks.unwrap_or(0),
            Target::Stopped => 0,
        };
        let here = locked(&self.here).get(name).map(|here| here.view().borrow().clone());
        let statuses = self.statuses.now();
        let tasks = (0..count).map(|number| {
            let task = TaskId { connector: name.into(), number };
            let own = here.as_ref().filter(|view| view.has(number));
            own.and_then(|view| view.tasks.get(number).cloned())
                .unwrap_or_else(|| elsewhere(statuses.state.get(&task)))
        });
        Ok(View {
            config,
            trace,
            properties: declared.properties.clone(),
            target,
            tasks: tasks.collect(),
            share: None,
            used: statuses.state.topics(name),
            activities: here.map(|view| view.activities).unwrap_or_default(),
        })
    }

    /// Waits until no worker says that it runs a task of that connector.
    async fn until_let_go(&self, name: &str) {
        let mut seen = self.statuses.watch();
        let let_go = seen.wait_for(|seen| {
            let mut all = seen.state.of(name).filter_map(|task| seen.state.get(task));
            all.all(|status| status.state == TaskState::Unassigned)
        });
        let patience = self.options.graceful + STOPPED_PATIENCE;
        // Who does not say so in time is dead, or fenced.
        let _ = tokio::time::timeout(patience, let_go).await;
    }
}

/// A task of which only its status is known.
fn elsewhere(status: Option<&statuses::Status>) -> TaskView {
    let Some(status) = status else {
        let (state, worker_id, trace) = (TaskState::Unassigned, None, None);
        return TaskView { state, worker_id, trace, records: 0, skipped: 0 };
    };
    TaskView {
        state: status.state,
        worker_id: Some(status.worker_id.clone()).filter(|id| !id.is_empty()),
        trace: status.trace.clone(),
        records: status.records,
        skipped: status.skipped,
    }
}

impl Distributed {
    /// Joins the group. Must be called within a tokio runtime.
    pub async fn start(
        client: Arc<dyn Client>,
        mut options: HerderOptions,
        settings: GroupSettings,
    ) -> Result<Distributed, HerderError> {
        options.options.offsets_topic = settings.offsets_topic.clone();
        options.options.transactional_prefix.clone_from(&settings.group);
        // Who takes over a dead worker's tasks takes over what its sinks had to write, too.
        options.options.session_timeout = settings.session_timeout;
        let configs = ConfigTopic::open(client.clone(), &settings.config_topic, &settings.group);
        let configs = Arc::new(configs.await?);
        let statuses = StatusTopic::open(client.clone(), &settings.status_topic).await?;
        let statuses = Arc::new(statuses);
        let publisher = Publisher::start(statuses.clone(), &options.worker_id);
        let group = Arc::new(Group {
            client,
            options,
            settings,
            configs,
            statuses,
            publisher,
            checked: Mutex::default(),
            here: Mutex::default(),
            shared_out: Mutex::default(),
            instance: Uuid::new_v4().to_string(),
        });
        let stop = CancellationToken::new();
        let running = tokio::spawn(member::run(group.clone(), stop.clone()));
        Ok(Distributed { group, stop, running: tokio::sync::Mutex::new(Some(running)) })
    }

    async fn change(
        &self,
        name: &str,
        change: impl Fn(&configs::Configs) -> Vec<Change> + Send + Sync,
    ) -> Result<(), HerderError> {
        let decide = |configs: &configs::Configs| match configs.get(name) {
            Some(_) => Ok(change(configs)),
            None => Err(HerderError::NotFound(name.to_owned())),
        };
        self.group.configs.change(decide).await
    }
}

impl Drop for Distributed {
    /// As a crash: what runs here stops where it is.
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().take() {
            running.abort();
        }
    }
}

#[async_trait]
impl Herder for Distributed {
    fn options(&self) -> &HerderOptions {
        &self.group.options
    }

    fn client(&self) -> &Arc<dyn Client> {
        &self.group.client
    }

    fn names(&self) -> Vec<String> {
        self.group.configs.now().state.names().map(str::to_owned).collect()
    }

    fn view(&self, name: &str) -> Result<View, HerderError> {
        self.group.view(name)
    }

    fn check(
        &self,
        name: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
        self.group.check(name, properties)
    }

    async fn create(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
        target: Target,
    ) -> Result<(), HerderError> {
        let config = self.check(name, &properties).map_err(HerderError::Invalid)?;
        let decide = |configs: &configs::Configs| match configs.get(name) {
            Some(_) => Err(HerderError::Exists(name.to_owned())),
            None => Ok(vec![
                Change::target(name, target),
                Change::connector(name, &properties),
                Change::tasks(name, task_count(&config)),
            ]),
        };
        self.group.configs.change(decide).await
    }

    async fn put(
        &self,
        name: &str,
        properties: BTreeMap<String, String>,
    ) -> Result<Put, HerderError> {
        let config = self.check(name, &properties).map_err(HerderError::Invalid)?;
        if let Ok(view) = self.view(name) {
            check_kind(&view, &config)?;
        }
        let is_there = AtomicBool::new(false);
        let decide = |configs: &configs::Configs| {
            let known = configs.get(name);
            is_there.store(known.is_some(), Ordering::Relaxed);
            let tasks = task_count(&config);
            // One that stays as it is goes on.
            let is_same = known.is_some_and(|known| known.properties == properties)
                && configs.tasks(name) == Some(tasks);
            if is_same {
                return Ok(Vec::new());
            }
            Ok(vec![Change::connector(name, &properties), Change::tasks(name, tasks)])
        };
        self.group.configs.change(decide).await?;
        Ok(if is_there.into_inner() { Put::Changed } else { Put::Created })
    }

    async fn set_target(&self, name: &str, target: Target) -> Result<(), HerderError> {
        let change = |configs: &configs::Configs| {
            let is_other = configs.target(name) != target;
            is_other.then(|| Change::target(name, target)).into_iter().collect()
        };
        self.change(name, change).await
    }

    async fn restart_tasks(&self, name: &str, only_failed: bool) -> Result<(), HerderError> {
        let restart = Restart::Tasks { connector: name.to_owned(), only_failed };
        self.change(name, |_| vec![Change::restart(&restart)]).await
    }

    async fn restart_task(&self, name: &str, number: usize) -> Result<(), HerderError> {
        if number >= self.view(name)?.tasks.len() {
            return Err(HerderError::NoTask(name.to_owned(), number));
        }
        let restart = Restart::Task { connector: name.to_owned(), number };
        self.change(name, |_| vec![Change::restart(&restart)]).await
    }

    async fn delete(&self, name: &str) -> Result<(), HerderError> {
        self.change(name, |_| Change::deleted(name)).await?;
        let forgotten: Vec<Entry> = {
            let statuses = self.group.statuses.now();
            let tasks = statuses.state.of(name).map(|task| Entry::task(task, None));
            let topics = statuses.state.topics(name);
            tasks.chain(topics.iter().map(|topic| Entry::unused(topic, name))).collect()
        };
        self.group.publisher.write(forgotten).await;
        Ok(())
    }

    async fn reset_topics(&self, name: &str) -> Result<(), HerderError> {
        let view = self.view(name)?;
        let used = view.used.iter().map(|topic| Entry::unused(topic, name)).collect();
        self.group.publisher.write(used).await;
        view.forget_topics();
        Ok(())
    }

    async fn hold(&self, name: &str) -> Result<Held<'_>, HerderError> {
        let group = &*self.group;
        let is_stopped = |configs: &configs::Configs| {
            configs.get(name).is_some() && configs.target(name) == Target::Stopped
        };
        group.configs.read_to_end().await?;
        let declared = group.view(name)?;
        if declared.target != Target::Stopped {
            return Err(not_stopped(name));
        }
        group.until_let_go(name).await;
        // What is written as part of this is not if somebody resumes it meanwhile.
        let changing = group.configs.begin().await?;
        if !is_stopped(&changing.configs) {
            return Err(not_stopped(name));
        }
        let config = changing.configs.get(name).map(|declared| group.checked(name, declared));
        let config = config.transpose().map_err(HerderError::Failed)?;
        let config = config.ok_or_else(|| HerderError::NotFound(name.to_owned()))?;
        let tasks = changing.configs.fenced_tasks(name);
        gate::fence(&group.client, &group.options.options, name, tasks).await?;
        let (producer, alone) = changing.into_parts();
        Ok(Held::new(config, producer, alone))
    }

    async fn order_level(&self, logger: &str, level: &str) -> Result<bool, HerderError> {
        let decide = |_: &configs::Configs| Ok(vec![Change::level(logger, level)]);
        self.group.configs.change(decide).await.map(|()| true)
    }

    async fn next_levels(&self, from: Option<Offset>) -> (Offset, Vec<(String, String)>) {
        let mut seen = self.group.configs.watch();
        let Some(from) = from else { return (seen.borrow().position(), Vec::new()) };
        let ordered = seen.wait_for(|seen| !seen.state.levels_from(from).is_empty()).await;
        let ordered = ordered.ok().map(|seen| (seen.position(), seen.state.levels_from(from)));
        match ordered {
            Some(ordered) => ordered,
            // Reading goes on for as long as this is there.
            None => std::future::pending().await,
        }
    }

    async fn shutdown(&self) {
        self.stop.cancel();
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            // If it has failed, it has said so.
            let _ = running.await;
        }
    }
}
