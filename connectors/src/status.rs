//! What connectors are doing, for whoever displays it.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::plugin::ConnectorKind;
use crate::worker::TaskFailure;

/// One connector, all its tasks together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectorStatus {
    pub name: String,
    pub kind: ConnectorKind,
    pub state: ConnectorState,
    /// Records moved since it was started here.
    pub records: u64,
    /// Bytes of input (of a source) or output (of a sink) since then.
    pub bytes: u64,
    /// What `bytes` will be when all input that is there is done, where that is known.
    pub total_bytes: Option<u64>,
    /// Records or pieces of input that were left out, and counted instead.
    pub skipped: u64,
    /// What keeps a task from its work, that tries again by itself.
    pub trouble: Option<String>,
    /// Whether all input of a source that was there when it began is durable, however much comes
    /// since.
    pub is_filled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorState {
    Starting,
    Running,
    /// All input that is there is done; more may come.
    CaughtUp,
    /// All that it was asked to do is done.
    Finished,
    /// Why, and what to do.
    Failed(String),
}

impl ConnectorState {
    /// Whether nothing will happen any more.
    pub fn is_over(&self) -> bool {
        matches!(self, ConnectorState::Finished | ConnectorState::Failed(_))
    }

    /// The state of tasks together is the one that most asks for attention.
    fn rank(&self) -> u8 {
        match self {
            ConnectorState::Finished => 0,
            ConnectorState::CaughtUp => 1,
            ConnectorState::Running => 2,
            ConnectorState::Starting => 3,
            ConnectorState::Failed(_) => 4,
        }
    }
}

/// What one task has to say.
#[derive(Clone, Debug)]
struct TaskStatus {
    connector: usize,
    /// Which of the connector's tasks it is.
    number: usize,
    state: ConnectorState,
    records: u64,
    bytes: u64,
    remaining_bytes: Option<u64>,
    skipped: u64,
    trouble: Option<String>,
    is_filled: bool,
}

/// Gathers what tasks report.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    tasks: Mutex<Vec<TaskStatus>>,
    connectors: watch::Sender<Vec<ConnectorStatus>>,
}

impl StatusBoard {
    pub(crate) fn new(connectors: Vec<(String, ConnectorKind)>) -> Arc<StatusBoard> {
        let connectors = connectors.into_iter().map(|(name, kind)| ConnectorStatus {
            name,
            kind,
            state: ConnectorState::Starting,
            records: 0,
            bytes: 0,
            total_bytes: None,
            skipped: 0,
            trouble: None,
            is_filled: false,
        });
        let connectors = watch::Sender::new(connectors.collect());
        Arc::new(StatusBoard { tasks: Mutex::default(), connectors })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<ConnectorStatus>> {
        self.connectors.subscribe()
    }

    /// A new task of the connector at that place.
    pub(crate) fn task(self: &Arc<StatusBoard>, connector: usize, number: usize) -> Reporter {
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks.push(TaskStatus {
            connector,
            number,
            state: ConnectorState::Starting,
            records: 0,
            bytes: 0,
            remaining_bytes: None,
            skipped: 0,
            trouble: None,
            is_filled: false,
        });
        Reporter { board: self.clone(), task: tasks.len() - 1 }
    }

    /// The tasks that have failed, of connectors of that kind or of all.
    pub(crate) fn failures(&self, kind: Option<ConnectorKind>) -> Vec<TaskFailure> {
        let tasks = self.tasks.lock().expect("no holder of this lock panics");
        let connectors = self.connectors.borrow();
        let failed = tasks.iter().filter_map(|task| {
            let ConnectorState::Failed(reason) = &task.state else { return None };
            let connector = &connectors[task.connector];
            kind.is_none_or(|kind| kind == connector.kind).then(|| TaskFailure {
                connector: connector.name.clone(),
                task: task.number,
                reason: reason.clone(),
            })
        });
        failed.collect()
    }

    fn is_in(&self, task: usize, trouble: Option<&str>) -> bool {
        let tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks[task].trouble.as_deref() == trouble
    }

    fn update(&self, task: usize, change: impl FnOnce(&mut TaskStatus)) {
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        change(&mut tasks[task]);
        let connector = tasks[task].connector;
        let of_it = || tasks.iter().filter(|task| task.connector == connector);
        let state = of_it().map(|task| &task.state).max_by_key(|state| state.rank());
        self.connectors.send_modify(|connectors| {
            let status = &mut connectors[connector];
            status.state = state.expect("the task itself is one").clone();
            status.records = of_it().map(|task| task.records).sum();
            status.bytes = of_it().map(|task| task.bytes).sum();
            status.skipped = of_it().map(|task| task.skipped).sum();
            status.trouble = of_it().find_map(|task| task.trouble.clone());
            status.is_filled = of_it().all(|task| task.is_filled);
            let remaining: Option<u64> = of_it().map(|task| task.remaining_bytes).sum();
            status.total_bytes = remaining.map(|remaining| status.bytes + remaining);
        });
    }
}

/// One task's way to the board.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    board: Arc<StatusBoard>,
    task: usize,
}

impl Reporter {
    pub(crate) fn state(&self, state: ConnectorState) {
        self.board.update(self.task, |task| task.state = state);
    }

    /// What keeps the task from its work, or that nothing does.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        // It is told after each turn: whoever looks is woken when there is something new.
        if !self.board.is_in(self.task, trouble.as_deref()) {
            self.board.update(self.task, |task| task.trouble = trouble);
        }
    }

    /// All input that was there when the task began is durable.
    pub(crate) fn filled(&self) {
        self.board.update(self.task, |task| task.is_filled = true);
    }

    pub(crate) fn progress(
        &self,
        state: ConnectorState,
        records: u64,
        bytes: u64,
        skipped: u64,
        remaining_bytes: Option<u64>,
    ) {
        self.board.update(self.task, |task| {
            task.state = state;
            task.records += records;
            task.bytes += bytes;
            task.skipped += skipped;
            task.remaining_bytes = remaining_bytes;
        });
    }
}

/// A task's way to say, while it is busy, what keeps it from its work; cheap to clone.
#[derive(Clone, Debug)]
pub struct Trouble(Reporter);

impl Trouble {
    pub(crate) fn new(reporter: Reporter) -> Trouble {
        Trouble(reporter)
    }

    /// An attempt has failed, for that reason; there will be another.
    pub fn is(&self, reason: impl Into<String>) {
        self.0.trouble(Some(reason.into()));
    }

    /// An attempt has succeeded.
    pub fn is_over(&self) {
        self.0.trouble(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_the_sum_of_its_tasks_and_as_bad_as_the_worst() {
        let board = StatusBoard::new(vec![("a".to_owned(), ConnectorKind::Source)]);
        let (one, two) = (board.task(0, 0), board.task(0, 1));
        let statuses = board.subscribe();
        one.progress(ConnectorState::CaughtUp, 2, 20, 1, Some(5));
        assert_eq!(statuses.borrow()[0].state, ConnectorState::Starting);
        assert_eq!(statuses.borrow()[0].total_bytes, None);
        two.progress(ConnectorState::Running, 3, 30, 0, Some(50));
        let now = statuses.borrow()[0].clone();
        assert_eq!((now.records, now.bytes, now.skipped), (5, 50, 1));
        assert_eq!((now.state, now.total_bytes), (ConnectorState::Running, Some(105)));
        one.filled();
        assert!(!statuses.borrow()[0].is_filled, "one of two");
        two.filled();
        assert!(statuses.borrow()[0].is_filled);
        two.state(ConnectorState::Failed("why".to_owned()));
        one.state(ConnectorState::Finished);
        let failures = board.failures(Some(ConnectorKind::Source));
        assert_eq!(failures[0].to_string(), "connector 'a', task 1: why");
        assert_eq!(board.failures(Some(ConnectorKind::Sink)), []);
        assert_eq!(statuses.borrow()[0].state, ConnectorState::Failed("why".to_owned()));
    }
}
