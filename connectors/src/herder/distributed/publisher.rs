//! Tells the group how the tasks stand that run here.
//!
//! What is new of a task's state is told at once, how many records it has moved now and then. The
//! first word on a task is always written; after that, a task of which somebody else has spoken is
//! his: a worker that was taken for dead does not speak for tasks that run elsewhere by now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use super::TaskId;
use super::statuses::{Entry, Status, StatusTopic, StatusWriter};
use crate::herder::{TaskState, View};

/// How old counts of records may be, and which topics are used.
const COUNTS_INTERVAL: Duration = Duration::from_secs(2);
/// Before what has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Orders that may wait.
const ORDERS_MAX: usize = 16;

enum Order {
    Watch(Arc<str>, watch::Receiver<View>),
    Unwatch(Arc<str>),
    Write(Vec<Entry>, oneshot::Sender<()>),
}

/// A way to the task that publishes.
#[derive(Clone, Debug)]
pub(super) struct Publisher {
    orders: mpsc::Sender<Order>,
    worker_id: Arc<str>,
    generation: Arc<AtomicI32>,
}

impl Publisher {
    /// Must be called within a tokio runtime.
    pub fn start(statuses: Arc<StatusTopic>, worker_id: &str) -> Publisher {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let (worker_id, generation) = (Arc::<str>::from(worker_id), Arc::default());
        let publisher = Publisher { orders, worker_id, generation };
        let publishing = Publishing {
            statuses,
            worker_id: publisher.worker_id.clone(),
            generation: publisher.generation.clone(),
            watched: BTreeMap::new(),
            writer: None,
        };
        tokio::spawn(publishing.run(waiting));
        publisher
    }

    pub fn set_generation(&self, generation: i32) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Tells of a connector's tasks from now on.
    pub async fn watch(&self, connector: &Arc<str>, view: watch::Receiver<View>) {
        // It ends with this process only.
        let _ = self.orders.send(Order::Watch(connector.clone(), view)).await;
    }

    pub async fn unwatch(&self, connector: &Arc<str>) {
        let _ = self.orders.send(Order::Unwatch(connector.clone())).await;
    }

    /// Tells that tasks have stopped here, and waits until that is written.
    pub async fn let_go(&self, tasks: &[TaskId]) {
        let status = Status {
            state: TaskState::Unassigned,
            trace: None,
            worker_id: self.worker_id.clone(),
            generation: i64::from(self.generation.load(Ordering::Relaxed)),
            records: 0,
            skipped: 0,
        };
        self.write(tasks.iter().map(|task| Entry::task(task, Some(&status))).collect()).await;
    }

    /// Waits until these are written.
    pub async fn write(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let (done, written) = oneshot::channel();
        let _ = self.orders.send(Order::Write(entries, done)).await;
        let _ = written.await;
    }
}

/// A connector of which tasks run here.
struct Watched {
    view: watch::Receiver<View>,
    told: BTreeMap<usize, Status>,
    topics: BTreeSet<Arc<str>>,
}

struct Publishing {
    statuses: Arc<StatusTopic>,
    worker_id: Arc<str>,
    generation: Arc<AtomicI32>,
    watched: BTreeMap<Arc<str>, Watched>,
    writer: Option<StatusWriter>,
}

impl Publishing {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut counts_at = Instant::now() + COUNTS_INTERVAL;
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Watch(connector, view)) => {
                        let (told, topics) = (BTreeMap::new(), BTreeSet::new());
                        self.watched.insert(connector, Watched { view, told, topics });
                    }
                    Some(Order::Unwatch(connector)) => drop(self.watched.remove(&connector)),
                    Some(Order::Write(entries, done)) => {
                        self.write(&entries).await;
                        let _ = done.send(());
                    }
                    None => return,
                },
                () = changed(&mut self.watched) => {}
                () = tokio::time::sleep_until(counts_at) => {}
            }
            let with_counts = counts_at <= Instant::now();
            if with_counts {
                counts_at = Instant::now() + COUNTS_INTERVAL;
            }
            let mut news = self.news(with_counts);
            if with_counts {
                news.extend(self.new_topics());
            }
            if !news.is_empty() && !self.write(&news).await {
                // All of it is told again.
                self.watched.values_mut().for_each(|watched| watched.told.clear());
            }
        }
    }

    /// What is to be told of tasks.
    fn news(&mut self, with_counts: bool) -> Vec<Entry> {
        let generation = i64::from(self.generation.load(Ordering::Relaxed));
        let statuses = self.statuses.now();
        let mut news = Vec::new();
        for (connector, watched) in &mut self.watched {
            let view = watched.view.borrow_and_update();
            watched.told.retain(|number, _| view.has(*number) && *number < view.tasks.len());
            for (number, task) in view.tasks.iter().enumerate().filter(|(at, _)| view.has(*at)) {
                let status = Status {
                    state: task.state,
                    trace: task.trace.clone(),
                    worker_id: self.worker_id.clone(),
                    generation,
                    records: task.records,
                    skipped: task.skipped,
                };
                let id = TaskId { connector: connector.clone(), number };
                let is_news = match watched.told.get(&number) {
                    None => true,
                    Some(told) => {
                        let others = statuses.state.get(&id).map(|known| &known.worker_id);
                        let is_ours = others.is_none_or(|known| *known == self.worker_id);
                        let is_other_state =
                            (told.state, &told.trace) != (status.state, &status.trace);
                        is_ours && (is_other_state || with_counts && *told != status)
                    }
                };
                if is_news {
                    news.push(Entry::task(&id, Some(&status)));
                    watched.told.insert(number, status);
                }
            }
        }
        news
    }

    /// Topics that connectors have used since the last time.
    fn new_topics(&mut self) -> Vec<Entry> {
        let statuses = self.statuses.now();
        let mut news = Vec::new();
        for (connector, watched) in &mut self.watched {
            let view = watched.view.borrow();
            let known = statuses.state.topics(connector);
            if !watched.topics.is_subset(&known) {
                // Somebody has ordered to forget them.
                view.forget_topics();
                watched.topics.clear();
            }
            let task = TaskId { connector: connector.clone(), number: 0 };
            let used = view.topics();
            let unknown = used.difference(&known);
            news.extend(unknown.map(|topic| Entry::topic(topic, &task)));
            watched.topics = used;
        }
        news
    }

    /// Whether it could be written.
    async fn write(&mut self, entries: &[Entry]) -> bool {
        for _ in 0..3 {
            if self.writer.is_none() {
                self.writer = self.statuses.writer().await.ok();
            }
            let Some(writer) = &mut self.writer else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let written = match writer.write(entries).await {
                Ok(()) => self.statuses.read_to_end().await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => return true,
                Err(error) => {
                    warn!("how tasks stand could not be told: {error}; again in {PAUSE:?}");
                    self.writer = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        false
    }
}

/// Waits until one of them has something to say.
async fn changed(watched: &mut BTreeMap<Arc<str>, Watched>) {
    let waits = watched.values_mut().map(|watched| {
        async {
            if watched.view.changed().await.is_err() {
                // It has ended; it will be taken out.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    });
    let waits: Vec<_> = waits.collect();
    if waits.is_empty() {
        return std::future::pending().await;
    }
    select_all(waits).await;
}
