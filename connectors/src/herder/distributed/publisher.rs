//! Tells the group how the tasks stand that run here.
//!
//! What is new of a task's state is told at once, how many records it has moved now and then. Each
//! word bears the generation of the group in which it was said:
//!
//! - Who has a task speaks over what was there when it was given to him, whatever that says: the
//!   generations of a group begin anew when it was gone.
//! - After that, a word of a later generation is that of somebody who has the task since: a worker
//!   that was taken for dead, and knows no better, says no more.
//! - A word of an earlier generation that comes after his own, as of one who was cut off in the
//!   middle of saying it, is not left to stand: he says his again.

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
use super::statuses::{Entry, Status, StatusTopic, StatusWriter, Statuses};
use crate::herder::{TaskState, View};
use broker::ids::Offset;

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
    generation: Arc<AtomicI32>,
}

impl Publisher {
    /// Must be called within a tokio runtime.
    pub fn start(statuses: Arc<StatusTopic>, worker_id: &str) -> Publisher {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let publisher = Publisher { orders, generation: Arc::default() };
        let publishing = Publishing {
            statuses,
            worker_id: worker_id.into(),
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
            worker_id: "".into(),
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
    words: Words,
    topics: BTreeSet<Arc<str>>,
}

/// Who speaks.
struct Speaker {
    worker_id: Arc<str>,
    generation: i64,
}

/// What was said of a connector's tasks that run here, by their numbers.
#[derive(Debug, Default)]
struct Words(BTreeMap<usize, Word>);

/// That something was said of a task is never forgotten while it is here.
#[derive(Debug)]
struct Word {
    /// What was known of it before.
    before: Option<Offset>,
    /// The last that was said; `None`: it could not be written.
    said: Option<Status>,
}

impl Words {
    /// What is to be said now, and taken as said.
    fn news(
        &mut self,
        connector: &Arc<str>,
        view: &View,
        known: &Statuses,
        speaker: &Speaker,
        with_counts: bool,
    ) -> Vec<Entry> {
        let mut news = Vec::new();
        self.0.retain(|number, _| view.has(*number) && *number < view.tasks.len());
        for (number, task) in view.tasks.iter().enumerate().filter(|(at, _)| view.has(*at)) {
            let id = TaskId { connector: connector.clone(), number };
            let (place, known) = (known.place(&id), known.get(&id));
            let word = self.0.entry(number).or_insert(Word { before: place, said: None });
            let others = known.filter(|known| known.worker_id != speaker.worker_id);
            let since = others.filter(|_| place != word.before).map(|other| other.generation);
            if since.is_some_and(|generation| generation > speaker.generation) {
                continue;
            }
            let is_lost =
                known.is_none() || since.is_some_and(|generation| generation < speaker.generation);
            let status = Status {
                state: task.state,
                trace: task.trace.clone(),
                worker_id: speaker.worker_id.clone(),
                generation: speaker.generation,
                records: task.records,
                skipped: task.skipped,
            };
            let is_news = word.said.as_ref().is_none_or(|said| {
                let is_other_state = (said.state, &said.trace) != (status.state, &status.trace);
                is_lost || is_other_state || with_counts && *said != status
            });
            if is_news {
                news.push(Entry::task(&id, Some(&status)));
                word.said = Some(status);
            }
        }
        news
    }

    /// What was to be said last could not be written.
    fn unsaid(&mut self) {
        self.0.values_mut().for_each(|word| word.said = None);
    }
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
        let mut others = self.statuses.watch();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Watch(connector, view)) => {
                        let (words, topics) = (Words::default(), BTreeSet::new());
                        self.watched.insert(connector, Watched { view, words, topics });
                    }
                    Some(Order::Unwatch(connector)) => drop(self.watched.remove(&connector)),
                    Some(Order::Write(entries, done)) => {
                        self.write(&entries).await;
                        let _ = done.send(());
                    }
                    None => return,
                },
                () = changed(&mut self.watched) => {}
                Ok(()) = others.changed() => {}
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
                self.watched.values_mut().for_each(|watched| watched.words.unsaid());
            }
        }
    }

    /// What is to be told of tasks.
    fn news(&mut self, with_counts: bool) -> Vec<Entry> {
        let generation = i64::from(self.generation.load(Ordering::Relaxed));
        let speaker = Speaker { worker_id: self.worker_id.clone(), generation };
        let statuses = self.statuses.now();
        let mut news = Vec::new();
        for (connector, watched) in &mut self.watched {
            let view = watched.view.borrow_and_update();
            let known = &statuses.state;
            news.extend(watched.words.news(connector, &view, known, &speaker, with_counts));
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

#[cfg(test)]
mod tests {
    use super::super::followed::Apply;
    use super::*;
    use crate::herder::Target;

    /// The topic, by what was written to it.
    #[derive(Default)]
    struct Log(Statuses, i64);

    impl Log {
        fn write(&mut self, entries: Vec<Entry>) {
            for Entry(key, value) in entries {
                let value = value.map(|value| value.to_string());
                self.0.apply(Offset(self.1), &key, value.as_deref().map(str::as_bytes));
                self.1 += 1;
            }
        }

        /// Who is said to have the task, and how it stands.
        fn told(&self) -> Option<(&str, TaskState)> {
            let task = TaskId { connector: "c".into(), number: 0 };
            self.0.get(&task).map(|status| (&*status.worker_id, status.state))
        }
    }

    struct Worker {
        words: Words,
        speaker: Speaker,
        view: View,
    }

    impl Worker {
        fn new(worker_id: &str, generation: i64) -> Worker {
            let share = BTreeSet::from([0]);
            let mut view = View::failed(BTreeMap::new(), Target::Running, 1, share, "", worker_id);
            view.tasks[0].state = TaskState::Running;
            let speaker = Speaker { worker_id: worker_id.into(), generation };
            Worker { words: Words::default(), speaker, view }
        }

        fn news(&mut self, log: &Log) -> Vec<Entry> {
            self.words.news(&"c".into(), &self.view, &log.0, &self.speaker, false)
        }

        fn speaks(&mut self, log: &mut Log) {
            let news = self.news(log);
            log.write(news);
        }
    }

    /// A worker's write failed since it was cut off; when it was back, it took what it said for its
    /// first word, and wrote over the one who had the task. That one then took the task for the
    /// other's, and said no more: RESTARTING, for ever, of what was running.
    #[test]
    fn who_was_cut_off_does_not_speak_for_a_task_that_runs_elsewhere() {
        let (mut log, mut old, mut new) =
            (Log::default(), Worker::new("old", 1), Worker::new("new", 2));
        old.speaks(&mut log);
        old.view.tasks[0].state = TaskState::Restarting;
        let lost = old.news(&log);
        assert_eq!(lost.len(), 1);
        old.words.unsaid();
        new.speaks(&mut log);
        assert_eq!(old.news(&log), []);
        assert_eq!(log.told(), Some(("new", TaskState::Running)));
        // What was said before that comes later than all of this is said against.
        log.write(lost);
        assert_eq!(log.told(), Some(("old", TaskState::Restarting)));
        new.speaks(&mut log);
        assert_eq!(log.told(), Some(("new", TaskState::Running)));
        assert_eq!((old.news(&log), new.news(&log)), (vec![], vec![]));
        new.view.tasks[0].state = TaskState::Paused;
        new.speaks(&mut log);
        assert_eq!(log.told(), Some(("new", TaskState::Paused)));
    }

    #[test]
    fn who_could_not_write_writes_later() {
        let (mut log, mut worker) = (Log::default(), Worker::new("w", 1));
        worker.news(&log);
        assert_eq!(worker.news(&log).len(), 1, "it is not there");
        worker.words.unsaid();
        worker.speaks(&mut log);
        assert_eq!(log.told(), Some(("w", TaskState::Running)));
        assert_eq!(worker.news(&log), []);
    }

    #[test]
    fn generations_begin_anew_where_a_group_was_gone() {
        let (mut log, mut past, mut worker) =
            (Log::default(), Worker::new("past", 57), Worker::new("w", 1));
        past.speaks(&mut log);
        worker.news(&log);
        worker.words.unsaid();
        worker.speaks(&mut log);
        assert_eq!(log.told(), Some(("w", TaskState::Running)));
        worker.view.tasks[0].state = TaskState::Failed;
        worker.speaks(&mut log);
        assert_eq!(log.told(), Some(("w", TaskState::Failed)));
        // One who deletes a connector and creates it again may forget what is said meanwhile.
        let task = TaskId { connector: "c".into(), number: 0 };
        log.write(vec![Entry::task(&task, None)]);
        worker.speaks(&mut log);
        assert_eq!(log.told(), Some(("w", TaskState::Failed)));
    }
}
