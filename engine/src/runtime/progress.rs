//! How queries stand, put together from what their tasks report.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::{Phase, QueryProgress, ResumedFrom, Standby};
use crate::tally::Account;
use crate::task::Counts;
use crate::time::Watermark;

/// How a task stands.
#[derive(Clone, Debug)]
pub struct TaskProgress {
    pub phase: Phase,
    pub counts: Counts,
    pub watermark: Option<Watermark>,
    pub lag: u64,
    pub tables: Vec<(String, u64)>,
    pub resumed_from: Option<ResumedFrom>,
    /// How far a copy of its state is behind, which is kept while it runs elsewhere.
    pub behind: Option<u64>,
    /// Records of its changelog that were read back, and how many there are.
    pub restored: (u64, u64),
    /// Which part of the query it runs.
    pub part: usize,
    pub account: Account,
    /// How full its output was at the last commit, of what may wait for one.
    pub buffered_percent: u8,
    /// It reads records, and not only what other tasks of the query give.
    pub is_first: bool,
    /// Its rows are those of the query.
    pub is_last: bool,
}

impl TaskProgress {
    pub fn starting(part: usize, is_first: bool, is_last: bool) -> TaskProgress {
        TaskProgress {
            phase: Phase::Starting,
            counts: Counts::default(),
            watermark: None,
            lag: 0,
            tables: Vec::new(),
            resumed_from: None,
            behind: None,
            restored: (0, 0),
            part,
            account: Account::default(),
            buffered_percent: 0,
            is_first,
            is_last,
        }
    }
}

/// What all tasks of all queries have reported.
#[derive(Debug)]
pub struct Reports {
    /// By query, then by task.
    tasks: Mutex<Vec<Vec<TaskProgress>>>,
    queries: watch::Sender<Vec<QueryProgress>>,
}

impl Reports {
    pub fn new(
        queries: watch::Sender<Vec<QueryProgress>>,
        tasks: Vec<Vec<TaskProgress>>,
    ) -> Reports {
        Reports { tasks: Mutex::new(tasks), queries }
    }

    /// Changes what a task has reported.
    pub fn report(&self, query: usize, task: usize, change: impl FnOnce(&mut TaskProgress)) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tasks[query][task]);
        self.queries.send_modify(|queries| together(&mut queries[query], &tasks[query]));
    }

    /// One of its tasks has failed.
    pub fn failed(&self, query: usize, reason: &str) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks[query].iter_mut().for_each(|task| task.phase = Phase::Failed);
        self.queries.send_modify(|queries| {
            queries[query].failure.get_or_insert(reason.into());
            together(&mut queries[query], &tasks[query]);
        });
    }

    /// What all tasks of a query have counted.
    pub fn query(&self, query: usize) -> QueryProgress {
        self.queries.borrow()[query].clone()
    }
}

fn together(query: &mut QueryProgress, tasks: &[TaskProgress]) {
    let phases = tasks.iter().map(|task| task.phase);
    query.phase = phases.min().unwrap_or(Phase::Starting);
    query.counts = Counts::default();
    query.lag = tasks.iter().map(|task| task.lag).sum();
    let buffered = tasks.iter().map(|task| task.buffered_percent).max();
    query.buffered_percent = buffered.unwrap_or_default();
    query.tables.clear();
    query.restored = (0, 0);
    query.standby = Standby::default();
    query.parts.clear();
    let mut resumed = ResumedFrom { offsets: Vec::new(), windows: 0, groups: 0 };
    let mut watermarks = Vec::new();
    for task in tasks {
        let Counts { rows_in, rows_out, late, untimed, future, .. } = task.counts;
        let Counts { tombstones, skipped, dead_lettered, .. } = task.counts;
        let counts = &mut query.counts;
        counts.rows_in += if task.is_first { rows_in } else { 0 };
        counts.rows_out += if task.is_last { rows_out } else { 0 };
        counts.late += late;
        counts.untimed += untimed;
        counts.future += future;
        counts.tombstones += tombstones;
        counts.skipped += skipped;
        counts.dead_lettered += dead_lettered;
        if let Some(behind) = task.behind {
            query.standby.tasks += 1;
            query.standby.behind = query.standby.behind.saturating_add(behind);
        }
        query.restored.0 += task.restored.0;
        query.restored.1 += task.restored.1;
        query.parts.resize(query.parts.len().max(task.part + 1), Account::default());
        query.parts[task.part] += &task.account;
        if query.tables.is_empty() {
            query.tables.clone_from(&task.tables);
        }
        if task.is_last {
            watermarks.push(task.watermark);
        }
        if let Some(from) = &task.resumed_from {
            resumed.offsets.extend(from.offsets.iter().cloned());
            resumed.windows += from.windows;
            resumed.groups += from.groups;
        }
    }
    // One that has no watermark yet holds back the others.
    query.watermark = watermarks.into_iter().min().flatten();
    query.resumed_from = (!resumed.offsets.is_empty()).then_some(resumed);
}
