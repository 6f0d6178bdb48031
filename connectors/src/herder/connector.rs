//! One connector: its tasks, what it is meant to do, and what becomes of tasks that fail.
//!
//! ```text
//!              ┌───────────── order: resume ─────────────┐
//!              ▼                                          │
//! start ─► RUNNING ── out of reach, stuck ───► DEGRADED   │
//!            │  ▲ ▲◄──────── it moves again ─────┘     PAUSED, STOPPED
//!    it fails│  │after a pause                            ▲
//!            ▼  │                                          │
//!        RESTARTING ── too often ─► FAILED      order: pause, stop
//! ```
//!
//! A tokio task of its own, which takes orders one at a time and shows how the connector stands.
//! Where workers share its tasks, it runs those that are this worker's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use broker::client::Client;
use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::distributed::gate::Gate;
use super::restart::Restarts;
use crate::config::ConnectorConfig;
use crate::plugin::{self, ConnectorKind, Plugin};
use crate::status::{ConnectorState, ConnectorStatus};
use crate::worker::activity::Activity;
use crate::worker::{Place, Worker, WorkerOptions, task_count};

/// What a connector is meant to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    #[default]
    Running,
    /// Its tasks are there and do nothing.
    Paused,
    /// It has no tasks.
    Stopped,
}

impl Target {
    /// As Kafka Connect calls it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Running => "RUNNING",
            Target::Paused => "PAUSED",
            Target::Stopped => "STOPPED",
        }
    }
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not started yet.
    Unassigned,
    /// At work, or waiting for something to do.
    Running,
    /// What it works on is out of reach, or it is at one thing for longer than
    /// `task.liveness.timeout.ms`.
    Degraded,
    Paused,
    /// Failed, and to be started again after a pause.
    Restarting,
    Failed,
}

impl TaskState {
    const ALL: [TaskState; 6] = [
        TaskState::Unassigned,
        TaskState::Running,
        TaskState::Degraded,
        TaskState::Paused,
        TaskState::Restarting,
        TaskState::Failed,
    ];

    pub(super) fn named(name: &str) -> Option<TaskState> {
        TaskState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// As Kafka Connect calls it; it does not know DEGRADED.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Unassigned => "UNASSIGNED",
            TaskState::Running => "RUNNING",
            TaskState::Degraded => "DEGRADED",
            TaskState::Paused => "PAUSED",
            TaskState::Restarting => "RESTARTING",
            TaskState::Failed => "FAILED",
        }
    }
}

/// One task, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskView {
    pub state: TaskState,
    /// Who runs it, or was given it; `None`: nobody.
    pub worker_id: Option<Arc<str>>,
    /// Why it failed last, if it is not at work since; or why it is degraded.
    pub trace: Option<String>,
    pub records: u64,
    pub skipped: u64,
}

/// One connector, for whoever looks.
#[derive(Clone, Debug)]
pub struct View {
    /// What its properties mean; `None`: they are not right where they are looked at.
    pub config: Option<Arc<ConnectorConfig>>,
    /// Why it has no tasks although it is to have some.
    pub trace: Option<String>,
    /// Its properties as they were given.
    pub properties: BTreeMap<String, String>,
    pub target: Target,
    pub tasks: Vec<TaskView>,
    /// Which of its tasks are run here; `None`: all.
    pub(super) share: Option<BTreeSet<usize>>,
    /// The topics that it is known to have used elsewhere.
    pub(super) used: BTreeSet<Arc<str>>,
    pub(super) activities: Vec<Arc<Activity>>,
}

impl View {
    /// One of which tasks were given to a worker that cannot run them.
    pub(super) fn failed(
        properties: BTreeMap<String, String>,
        target: Target,
        tasks: usize,
        share: BTreeSet<usize>,
        trace: &str,
        worker_id: &str,
    ) -> View {
        let task = TaskView {
            state: TaskState::Failed,
            worker_id: Some(worker_id.into()),
            trace: Some(trace.to_owned()),
            records: 0,
            skipped: 0,
        };
        View {
            config: None,
            trace: None,
            properties,
            target,
            tasks: vec![task; tasks],
            share: Some(share),
            used: BTreeSet::new(),
            activities: Vec::new(),
        }
    }

    /// The topics that it has read or written since it was created, or since they were forgotten.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let here = self.activities.iter().flat_map(|activity| activity.topics());
        here.chain(self.used.iter().cloned()).collect()
    }

    pub fn kind(&self) -> Option<ConnectorKind> {
        let plugin = match &self.config {
            Some(config) => Some(config.plugin()),
            None => self.properties.get(plugin::CLASS_KEY).and_then(|class| plugin::find(class)),
        };
        plugin.map(Plugin::kind)
    }

    /// Whether a task is run here.
    pub(super) fn has(&self, number: usize) -> bool {
        self.share.as_ref().is_none_or(|share| share.contains(&number))
    }

    pub(super) fn forget_topics(&self) {
        self.activities.iter().for_each(|activity| activity.forget_topics());
    }
}

/// What a connector is to be here.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub config: Arc<ConnectorConfig>,
    pub properties: BTreeMap<String, String>,
    pub target: Target,
    /// Which of its tasks are run here; `None`: all.
    pub share: Option<BTreeSet<usize>>,
    /// Which of a group's configurations it is.
    pub gate: Option<Gate>,
}

impl Desired {
    fn has(&self, number: usize) -> bool {
        self.share.as_ref().is_none_or(|share| share.contains(&number))
    }
}

/// What to do.
pub(super) enum Order {
    SetTarget(Target),
    RestartTasks {
        only_failed: bool,
    },
    RestartTask(usize),
    Configure(Arc<ConnectorConfig>, BTreeMap<String, String>),
    /// As a group says, which says that and all of it.
    Become(Box<Desired>),
    End,
}

/// An order, and whom to tell that it is carried out.
type Ordered = (Order, oneshot::Sender<()>);

/// How many orders may wait; whoever gives more waits too.
const ORDERS_MAX: usize = 16;

/// A connector that runs; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    orders: mpsc::Sender<Ordered>,
    pub view: watch::Receiver<View>,
}

/// The connector has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended;

impl Handle {
    /// Starts a connector. Must be called within a tokio runtime.
    pub fn start(setup: Setup, desired: Desired) -> Handle {
        let (connector, view) = Connector::new(setup, desired);
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        tokio::spawn(connector.run(waiting));
        Handle { orders, view }
    }

    /// Waits until the order is carried out.
    pub async fn order(&self, order: Order) -> Result<(), Ended> {
        let (done, carried_out) = oneshot::channel();
        self.orders.send((order, done)).await.map_err(|_| Ended)?;
        carried_out.await.map_err(|_| Ended)
    }

    /// Ends it in order.
    pub async fn end(&self) {
        // It may have ended already.
        let _ = self.order(Order::End).await;
    }
}

struct Slot {
    worker: Option<Worker>,
    status: Option<watch::Receiver<Vec<ConnectorStatus>>>,
    state: TaskState,
    trace: Option<String>,
    restart_at: Option<Instant>,
    restarts: Restarts,
}

/// What a task of that number has done before, in whatever configuration.
#[derive(Clone, Debug, Default)]
struct Past {
    activity: Arc<Activity>,
    records: u64,
    skipped: u64,
}

struct Connector {
    setup: Setup,
    desired: Desired,
    slots: Vec<Slot>,
    /// One for each task that there ever was.
    past: Vec<Past>,
    view: watch::Sender<View>,
}

/// How a connector's tasks are run.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub client: Arc<dyn Client>,
    pub options: WorkerOptions,
    /// See [`super::HerderOptions::worker_id`].
    pub worker_id: Arc<str>,
    /// How long a task may take to end in order.
    pub graceful: Duration,
}

impl Connector {
    /// Starts its tasks. Must be called within a tokio runtime.
    fn new(setup: Setup, desired: Desired) -> (Connector, watch::Receiver<View>) {
        let view = View {
            config: Some(desired.config.clone()),
            trace: None,
            properties: desired.properties.clone(),
            target: desired.target,
            tasks: Vec::new(),
            share: desired.share.clone(),
            used: BTreeSet::new(),
            activities: Vec::new(),
        };
        let (view, seen) = watch::channel(view);
        let (slots, past) = (Vec::new(), Vec::new());
        let mut connector = Connector { setup, desired, slots, past, view };
        connector.start();
        connector.show();
        (connector, seen)
    }

    /// Carries out orders until it is told to end.
    async fn run(mut self, mut orders: mpsc::Receiver<Ordered>) {
        loop {
            self.show();
            let next = self.next_look();
            tokio::select! {
                order = orders.recv() => match order {
                    Some((Order::End, done)) => {
                        self.end_tasks().await;
                        let _ = done.send(());
                        return;
                    }
                    Some((order, done)) => {
                        self.carry_out(order).await;
                        self.show();
                        let _ = done.send(());
                    }
                    None => return self.end_tasks().await,
                },
                number = changed(&mut self.slots) => self.look_at(number).await,
                () = tokio::time::sleep_until(next) => self.restart_due(),
            }
        }
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::SetTarget(target) if target == self.desired.target => {}
            Order::SetTarget(target) => {
                self.end_tasks().await;
                self.desired.target = target;
                self.start();
            }
            Order::RestartTasks { only_failed } => {
                for number in 0..self.slots.len() {
                    let failed = matches!(
                        self.slots[number].state,
                        TaskState::Failed | TaskState::Restarting
                    );
                    if failed || !only_failed {
                        self.restart(number).await;
                    }
                }
            }
            Order::RestartTask(number) => self.restart(number).await,
            Order::Configure(config, properties) => {
                self.end_tasks().await;
                self.desired = Desired { config, properties, ..self.desired.clone() };
                self.start();
            }
            Order::Become(desired) => self.become_as(*desired).await,
            Order::End => unreachable!("it ends the loop"),
        }
    }

    /// Brings tasks about as the target says.
    fn start(&mut self) {
        if let Some(warning) = self.desired.config.warning() {
            warn!("{warning}");
        }
        self.slots.clear();
        let count = if self.desired.target == Target::Stopped {
            0
        } else {
            task_count(&self.desired.config)
        };
        for number in 0..count {
            self.slots.push(Slot {
                worker: None,
                status: None,
                state: TaskState::Paused,
                trace: None,
                restart_at: None,
                restarts: Restarts::new(self.desired.config.settings()),
            });
            if self.past.len() < self.slots.len() {
                self.past.push(Past::default());
            }
            self.begin(number);
        }
    }

    /// Starts a task if it is to run here.
    fn begin(&mut self, number: usize) {
        match (self.desired.has(number), self.desired.target) {
            (true, Target::Running) => self.start_task(number),
            (true, _) => self.slots[number].state = TaskState::Paused,
            (false, _) => self.slots[number].state = TaskState::Unassigned,
        }
    }

    /// What has not changed goes on.
    async fn become_as(&mut self, desired: Desired) {
        let before = &self.desired;
        if (&desired.gate, desired.target) != (&before.gate, before.target) {
            self.end_tasks().await;
            self.desired = desired;
            return self.start();
        }
        let before = std::mem::replace(&mut self.desired, desired);
        for number in 0..self.slots.len() {
            if before.has(number) != self.desired.has(number) {
                self.end_task(number).await;
                self.slots[number].trace = None;
                self.slots[number].restarts.forgive();
                self.begin(number);
            }
        }
    }

    fn start_task(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let activity = self.past[number].activity.clone();
        activity.end();
        let Setup { client, options, .. } = &self.setup;
        let Desired { config, gate, .. } = &self.desired;
        let place = Place { number, activity, gate: gate.clone() };
        let worker = Worker::start_task(client, config, options, place);
        slot.status = Some(worker.statuses());
        slot.worker = Some(worker);
        slot.state = TaskState::Unassigned;
        slot.restart_at = None;
    }

    async fn restart(&mut self, number: usize) {
        let is_here = self.desired.target == Target::Running && self.desired.has(number);
        if !is_here || number >= self.slots.len() {
            return;
        }
        self.end_task(number).await;
        self.slots[number].restarts.forgive();
        self.slots[number].trace = None;
        self.start_task(number);
    }

    async fn end_tasks(&mut self) {
        for number in 0..self.slots.len() {
            self.end_task(number).await;
        }
    }

    /// Lets a task commit what it has; one that takes too long is stopped where it is.
    async fn end_task(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        slot.status = None;
        slot.restart_at = None;
        let Some(worker) = slot.worker.take() else { return };
        let (records, skipped) = counts(&worker.statuses());
        self.past[number].records += records;
        self.past[number].skipped += skipped;
        // Why it failed is known already, if it has.
        if tokio::time::timeout(self.setup.graceful, worker.shutdown()).await.is_err() {
            let name = self.desired.config.name();
            warn!("connector '{name}', task {number}: stopped, since it did not end in time");
        }
    }

    /// A task has something to say.
    async fn look_at(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(status) = &mut slot.status else { return };
        let status = status.borrow_and_update()[0].clone();
        match status.state {
            ConnectorState::Failed(reason) => {
                let progressed = status.records > 0;
                self.end_task(number).await;
                let slot = &mut self.slots[number];
                slot.trace = Some(reason);
                let name = self.desired.config.name();
                match slot.restarts.failed(progressed) {
                    Some(pause) => {
                        info!("connector '{name}', task {number}: starts again in {pause:?}");
                        slot.restart_at = Some(Instant::now() + pause);
                        slot.state = TaskState::Restarting;
                    }
                    None => slot.state = TaskState::Failed,
                }
            }
            ConnectorState::Starting => {}
            _ => {
                slot.state = match status.trouble {
                    Some(_) => TaskState::Degraded,
                    None => TaskState::Running,
                };
                slot.trace = status.trouble;
            }
        }
    }

    fn restart_due(&mut self) {
        let now = Instant::now();
        for number in 0..self.slots.len() {
            if self.slots[number].restart_at.is_some_and(|at| at <= now) {
                self.start_task(number);
            }
        }
    }

    fn liveness(&self) -> Duration {
        let ms = self.desired.config.settings().integer("task.liveness.timeout.ms");
        Duration::from_millis(ms as u64)
    }

    /// When to look although nothing has happened: a start is due, or a task may be stuck.
    fn next_look(&self) -> Instant {
        let look = Instant::now() + self.liveness() / 4;
        let due = self.slots.iter().filter_map(|slot| slot.restart_at).min();
        due.map_or(look, |due| due.min(look))
    }

    fn show(&self) {
        let liveness = self.liveness();
        let tasks = self.slots.iter().zip(&self.past).map(|(slot, past)| {
            let (records, skipped) = slot.status.as_ref().map_or((0, 0), counts);
            let stuck =
                slot.worker.is_some() && past.activity.busy().is_some_and(|busy| busy >= liveness);
            let stuck = stuck.then(|| {
                let seconds = liveness.as_secs_f32();
                format!(
                    "it is at one thing for more than {seconds} s (task.liveness.timeout.ms); what \
                     it waits for does not answer: the log may say more"
                )
            });
            TaskView {
                worker_id: Some(self.setup.worker_id.clone()),
                state: if stuck.is_some() { TaskState::Degraded } else { slot.state },
                trace: slot.trace.clone().or(stuck),
                records: past.records + records,
                skipped: past.skipped + skipped,
            }
        });
        let tasks = tasks.collect();
        let activities = self.past.iter().map(|past| past.activity.clone()).collect();
        self.view.send_modify(|view| {
            view.config = Some(self.desired.config.clone());
            view.properties.clone_from(&self.desired.properties);
            view.target = self.desired.target;
            view.share.clone_from(&self.desired.share);
            view.tasks = tasks;
            // A stopped connector has no tasks, but has used its topics.
            view.activities = activities;
        });
    }
}

/// The number of the next task that has something to say.
async fn changed(slots: &mut [Slot]) -> usize {
    let waits = slots.iter_mut().enumerate().filter_map(|(number, slot)| {
        let status = slot.status.as_mut()?;
        // The board lives in the worker, which is let go after the receiver.
        Some(async move { status.changed().await.map(|()| number) }.boxed())
    });
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    match select_all(waits).await.0 {
        Ok(number) => number,
        Err(_) => std::future::pending().await,
    }
}

/// Records moved and skipped in this run.
fn counts(status: &watch::Receiver<Vec<ConnectorStatus>>) -> (u64, u64) {
    let all = status.borrow();
    (all[0].records, all[0].skipped)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use broker::broker::{Broker, BrokerConfig};
    use broker::client::embedded::EmbeddedClient;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A connector of one task that reads the file `f` of a directory.
    async fn connector(dir: &Path, more: &[(&str, &str)]) -> (Connector, watch::Receiver<View>) {
        let broker = Broker::open(BrokerConfig::new(dir.join("data"))).await.unwrap();
        let properties =
            [("connector.class", "file-source"), ("file", "in/f"), ("topic", "t")].iter();
        let properties: BTreeMap<String, String> = properties
            .chain(more)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let config = crate::validate("c", &properties, dir).unwrap();
        let setup = Setup {
            client: Arc::new(EmbeddedClient::new(broker)),
            options: WorkerOptions::default(),
            worker_id: "w".into(),
            graceful: Duration::from_secs(5),
        };
        let desired = Desired {
            config: Arc::new(config),
            properties,
            target: Target::Running,
            share: None,
            gate: None,
        };
        Connector::new(setup, desired)
    }

    /// Whether its task comes to stand so.
    async fn is(
        seen: &mut watch::Receiver<View>,
        state: TaskState,
        patience: Duration,
    ) -> Option<TaskView> {
        let there = seen.wait_for(|view| view.tasks[0].state == state);
        let view = tokio::time::timeout(patience, there).await.ok()?.ok()?;
        Some(view.tasks[0].clone())
    }

    #[tokio::test]
    async fn a_task_at_one_thing_for_too_long_is_degraded_until_it_moves() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("in/f"), "").unwrap();
        let more = [("poll.interval.ms", "3600000"), ("task.liveness.timeout.ms", "100")];
        let (connector, mut seen) = connector(dir.path(), &more).await;
        let activity = connector.past[0].activity.clone();
        let (orders, waiting) = mpsc::channel(1);
        let running = tokio::spawn(connector.run(waiting));
        assert!(is(&mut seen, TaskState::Running, PATIENCE).await.is_some());
        let began = Instant::now();
        let degraded = loop {
            // The task itself may still end its first look at the file after this.
            if activity.busy().is_none() {
                activity.begin();
            }
            let patience = Duration::from_millis(500);
            if let Some(view) = is(&mut seen, TaskState::Degraded, patience).await {
                break view;
            }
            assert!(began.elapsed() < PATIENCE);
        };
        assert!(degraded.trace.unwrap().contains("(task.liveness.timeout.ms)"));
        activity.end();
        let running_again = is(&mut seen, TaskState::Running, PATIENCE).await.unwrap();
        assert_eq!(running_again.trace, None);
        drop(orders);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_whose_input_is_not_there_is_degraded_and_says_so_until_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (connector, mut seen) = connector(dir.path(), &[("poll.interval.ms", "10")]).await;
        let (orders, waiting) = mpsc::channel(1);
        let running = tokio::spawn(connector.run(waiting));
        let at = dir.path().join("in");
        let wants = async |seen: &mut watch::Receiver<View>, reason: &str| {
            let has = |view: &View| {
                let task = &view.tasks[0];
                task.state == TaskState::Degraded
                    && task.trace.as_ref().is_some_and(|trace| trace.contains(reason))
            };
            tokio::time::timeout(PATIENCE, seen.wait_for(has)).await.unwrap().unwrap();
        };
        wants(&mut seen, &format!("there is no directory {}", at.display())).await;
        std::fs::create_dir(&at).unwrap();
        wants(&mut seen, "in/f: there is no such file").await;
        std::fs::write(at.join("f"), "line\n").unwrap();
        let there = is(&mut seen, TaskState::Running, PATIENCE).await.unwrap();
        assert_eq!(there.trace, None);
        drop(orders);
        running.await.unwrap();
    }
}
