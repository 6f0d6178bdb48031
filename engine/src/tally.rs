//! What has gone through each step of a task, and what its operators wait for: where rows come to
//! an end.
//!
//! ```text
//! records ─ input: rows, failed … ─ stage: rows in and out of each step ─ node: rows in, late, out
//! ```
//!
//! Counted by the batch, always. Which part of a filter drops rows is only looked at as long as
//! nothing has passed it at all: that is when somebody wants to know, and it costs nothing later.

use std::ops::AddAssign;

use crate::operators::Kept;
use crate::time::{PartitionTime, Watermark};

/// How a task stands, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In the order of the topology's inputs.
    pub inputs: Vec<InputTally>,
    /// In the order of its nodes.
    pub nodes: Vec<NodeTally>,
    /// What the operator of each node keeps, as of the last commit.
    pub kept: Vec<Kept>,
    /// The earliest time that anything in it waits for.
    pub earliest_ms: Vec<Option<i64>>,
    /// Partitions of each input, and how far event time has come in them.
    pub partitions: Vec<Vec<PartitionTime>>,
    /// `None` before anything is known.
    pub watermark: Option<Watermark>,
}

/// What came of one scan of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputTally {
    pub records: u64,
    /// Records that were no rows, or whose rows could not be evaluated.
    pub failed: u64,
    /// Records without a value, where that is no row.
    pub tombstones: u64,
    pub rows: u64,
    /// Rows without an event time.
    pub untimed: u64,
    pub stage: StageTally,
}

/// What went through an operator and the stage behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTally {
    /// By side, those that came too late among them.
    pub rows_in: Vec<u64>,
    pub late: u64,
    pub untimed: u64,
    pub rows_out: u64,
    /// Keys that were left alone for too long.
    pub forgotten: u64,
    pub stage: StageTally,
}

/// One for each step of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageTally(pub Vec<StepTally>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepTally {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Of a filter through which nothing has passed yet, what each of its conditions has dropped
    /// of what those before it have left. Of lists, always, the rows without elements.
    pub dropped: Vec<Dropped>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub rows: u64,
    /// Of these, those for which the condition, or the list, was NULL.
    pub nulls: u64,
}

impl NodeTally {
    /// Rows came from that side.
    pub fn took(&mut self, side: usize, rows: u64) {
        self.rows_in.resize(self.rows_in.len().max(side + 1), 0);
        self.rows_in[side] += rows;
    }
}

impl StageTally {
    /// Whether anything has come out of that step.
    pub fn has_passed(&self, step: usize) -> bool {
        self.0.get(step).is_some_and(|tally| tally.rows_out > 0)
    }
}

/// Adds lists of counts place by place.
fn add<T: Clone + Default>(to: &mut Vec<T>, more: &[T], add: impl Fn(&mut T, &T)) {
    to.resize(to.len().max(more.len()), T::default());
    to.iter_mut().zip(more).for_each(|(to, more)| add(to, more));
}

impl AddAssign<&StageTally> for StageTally {
    fn add_assign(&mut self, other: &StageTally) {
        add(&mut self.0, &other.0, |to, more| {
            to.rows_in += more.rows_in;
            to.rows_out += more.rows_out;
            add(&mut to.dropped, &more.dropped, |to, more| {
                to.rows += more.rows;
                to.nulls += more.nulls;
            });
        });
    }
}

impl AddAssign<&InputTally> for InputTally {
    fn add_assign(&mut self, other: &InputTally) {
        let InputTally { records, failed, tombstones, rows, untimed, stage } = other;
        self.records += records;
        self.failed += failed;
        self.tombstones += tombstones;
        self.rows += rows;
        self.untimed += untimed;
        self.stage += stage;
    }
}

impl AddAssign<&NodeTally> for NodeTally {
    fn add_assign(&mut self, other: &NodeTally) {
        let NodeTally { rows_in, late, untimed, rows_out, forgotten, stage } = other;
        add(&mut self.rows_in, rows_in, |to, more| *to += more);
        self.late += late;
        self.untimed += untimed;
        self.rows_out += rows_out;
        self.forgotten += forgotten;
        self.stage += stage;
    }
}

/// Of another task of the same part: partitions stand beside each other, all else is added.
impl AddAssign<&Account> for Account {
    fn add_assign(&mut self, other: &Account) {
        add(&mut self.inputs, &other.inputs, |to, more| *to += more);
        add(&mut self.nodes, &other.nodes, |to, more| *to += more);
        add(&mut self.kept, &other.kept, |to, more| *to += *more);
        add(&mut self.earliest_ms, &other.earliest_ms, |to, more| {
            *to = [*to, *more].into_iter().flatten().min();
        });
        add(&mut self.partitions, &other.partitions, |to, more| to.extend(more.iter().copied()));
        self.watermark = [self.watermark, other.watermark].into_iter().flatten().min();
    }
}
