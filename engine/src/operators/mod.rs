//! What happens to rows between decoding and encoding. One operator per file, each with the rule
//! it keeps:
//!
//! - [`filter_project`]: rows in, rows out, nothing remembered;
//! - [`lookup_join`]: rows of a stream in, with rows of a table out;
//! - [`interval_join`]: rows of two streams in, those that are near in time out together.
//!   [`updating_join`]: the same of tables, whenever they change. [`sides`] beneath both puts
//!   pairs together;
//! - [`temporal_join`]: rows of a stream in, with rows of a table as they were at that time out;
//! - [`normalize`]: records of a table in, changes of its rows out;
//! - [`one_of_key`]: changes of rows that several tasks bring in, changes of what stands under
//!   each key out. [`latest`] beneath both: rows as they stand under their key;
//! - [`unnest`]: lists in, a row per element out;
//! - [`aggregate`]: rows in, groups out: when their window closes, or whenever they change.
//!   [`groups`] beneath it finds the group of each row; what groups hold lives in [`crate::state`];
//! - [`top_n`]: rows in, the first ones of each partition out; [`ordered_rows`] beneath it keeps
//!   rows sorted;
//! - [`idle_keys`]: around others, keys that were left alone for too long are forgotten;
//! - [`guarded`]: panics of expressions as errors of their rows; [`failed_groups`]: groups to which
//!   an aggregate gives no value;
//! - [`tables`]: what all of them keep, for people to look at.
//!
//! What remembers something is an [`Operator`], made by its [`OperatorSpec`]; a task drives it:
//!
//! ```text
//! rows ─ prepare (may fail for a row, changes nothing) ─ apply ──┐
//! watermark ─ advance ───────────────────────────────────────────┼─ rows that come out
//! before a commit ─ flush ───────────────────────────────────────┘
//! commit ─ changes of state; restore ← changes of earlier commits
//! ```
//!
//! All of them are pure: no clock, no threads, no order that depends on a hash. After an error
//! other than from `prepare`, an operator is good for nothing more.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow_row::Rows as KeyRows;
use datafusion_common::{DataFusionError, Result, internal_err};
use datafusion_physical_expr::PhysicalExpr;

use crate::describe::{Described, Words};
use crate::formats::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::state::layouts::{Layouts, Part};
use crate::state::map::StateMap;
use crate::time::Watermark;
use crate::type_names::with_types_of_files;
use aggregate::partial::{BeforeMeeting, CombinedRows, Merged};
use tables::{Entries, KeptTable};

pub mod aggregate;
pub mod failed_groups;
pub mod filter_project;
pub mod groups;
pub(crate) mod guarded;
pub mod idle_keys;
pub mod interval_join;
mod latest;
pub mod lookup_join;
pub mod normalize;
pub mod one_of_key;
pub mod ordered_rows;
pub mod over;
pub mod sides;
pub mod tables;
pub mod temporal_join;
pub mod top_n;
pub mod unnest;
pub mod updating_join;

/// What an operator is to do: part of a topology, shared by its tasks. Its `Display` says all that
/// its state depends on, beside the rows that come in.
pub trait OperatorSpec: fmt::Debug + fmt::Display + Send + Sync {
    /// Of the rows that come out.
    fn schema(&self) -> &SchemaRef;

    /// Which rows of that side have to meet in one task.
    fn distribution(&self, _side: usize) -> Distribution {
        Distribution::Together
    }

    /// The columns of rows that come out whose values say in which task they do: each of these
    /// sets by itself. None if other things say so.
    fn comes_by(&self) -> Vec<Vec<usize>> {
        Vec::new()
    }

    /// What comes out of it is told in order for each key, in whatever order changes came in: it
    /// says how its own state has changed. Not so where rows are passed on as they come.
    fn settles(&self) -> bool {
        false
    }

    /// Of that side, the rows that every task gets, whatever their key; those for which it holds.
    fn to_all(&self, _side: usize) -> Option<Arc<dyn PhysicalExpr>> {
        None
    }

    /// Whether rows of that side say what was valid when: they should be there when those that
    /// look it up come.
    fn is_looked_up(&self, _side: usize) -> bool {
        false
    }

    /// What tasks may do with rows of that side before they send them to where they meet.
    fn before_meeting(&self, _side: usize) -> BeforeMeeting {
        BeforeMeeting::Nothing
    }

    /// What it does and keeps, for people.
    fn describe(&self, words: &Words) -> Described;

    /// What these entries of its state say, as tables for people.
    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>>;

    /// What its state depends on, where parts of that may come and go while the rest is kept;
    /// `text` says what an expression over its rows is made of. `None`: all that `Display` says,
    /// and all that comes in.
    fn identity(&self, _text: &ExprText<'_>) -> Option<Identity> {
        None
    }

    /// Whether it forgets keys that are left alone.
    fn forgets(&self) -> bool {
        false
    }

    /// An operator with nothing kept, whose state is found by `id`.
    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>>;
}

/// What an expression over an operator's rows is made of, wherever their columns are.
pub type ExprText<'a> = dyn Fn(&Arc<dyn PhysicalExpr>) -> String + 'a;

/// What an operator's state depends on.
#[derive(Debug)]
pub struct Identity {
    /// State of another one is of no use.
    pub text: String,
    /// What it computes of each key.
    pub parts: Vec<Part>,
}

/// Which rows have to meet in one task.
#[derive(Clone, Debug)]
pub enum Distribution {
    /// All of them.
    Together,
    /// Those for which all of these are equal. Both sides of a join have as many, of one type
    /// each.
    ByKey(Vec<Arc<dyn PhysicalExpr>>),
}

impl Distribution {
    /// By these, if there are any.
    pub fn by(keys: impl IntoIterator<Item = Arc<dyn PhysicalExpr>>) -> Distribution {
        let keys: Vec<_> = keys.into_iter().collect();
        if keys.is_empty() { Distribution::Together } else { Distribution::ByKey(keys) }
    }
}

/// What remembers rows, or something of them.
pub trait Operator: Send {
    /// Everything that can fail for a row of that side (inputs are counted from 0). Changes
    /// nothing, so that a row that fails leaves no trace.
    fn prepare(&self, side: usize, rows: Rows) -> Result<Prepared>;

    /// Which of these rows come too late, so that [`Operator::prepare`] leaves them out.
    fn late_rows(&self, _side: usize, _rows: &Rows) -> Result<Option<Rows>> {
        Ok(None)
    }

    /// Rows without a key come here, if any come, and not to another task: an answer of them all is
    /// there from the beginning. Said before anything else.
    fn has_unkeyed(&mut self) {}

    /// Takes rows that were prepared since the last call of anything else but `prepare`.
    fn apply(&mut self, side: usize, rows: Prepared, out: &mut Vec<Rows>) -> Result<()>;

    /// Takes rows of that side that were combined before they met: none can fail by itself. Only if
    /// [`OperatorSpec::before_meeting`] says how. Brings nothing out.
    fn merge(&mut self, _side: usize, _rows: CombinedRows) -> Result<Merged> {
        internal_err!("rows that nobody combines")
    }

    /// Brings out more of what the last call had to bring out, where that is too much to be held at
    /// once. Whether there may be more still.
    fn go_on(&mut self, _out: &mut Vec<Rows>) -> Result<bool> {
        Ok(false)
    }

    /// No row before `watermark` is waited for any more. It never moves back. Here and below: an
    /// operator whose answer changes with each row waits for no time.
    fn advance(&mut self, _watermark: Watermark, _out: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    /// The input has ended: lets go of all that waits for the watermark. What waits for times
    /// beyond `bound_ms` does not move the watermark (see [`crate::time`], rule 6).
    fn finish(&mut self, _bound_ms: i64, _out: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    /// The watermark that would let go of all that waits for times no later than `bound_ms`.
    fn releases_at(&self, _bound_ms: i64) -> Option<Watermark> {
        None
    }

    /// The earliest time that anything waits for.
    fn earliest_ms(&self) -> Option<i64> {
        None
    }

    /// Brings out what was held back to be told together. Called before each commit.
    fn flush(&mut self, _out: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    /// Keys may be forgotten: what is taken back may be gone. Said before anything else.
    fn may_forget(&mut self) {}

    /// Forgets all of a key, by which its rows have to meet; what has changed of it was told.
    fn forget(&mut self, _key: &[u8]) -> Result<()> {
        Ok(())
    }

    /// How many keys were forgotten since it was started.
    fn forgotten(&self) -> u64 {
        0
    }

    /// What has changed since the last commit, beside what is in its maps (see [`commit`]).
    fn commit(&mut self, _changes: &mut Vec<Change>) -> Result<()> {
        Ok(())
    }

    /// Where it keeps what may outgrow memory.
    fn maps(&mut self) -> Vec<&mut StateMap> {
        Vec::new()
    }

    /// Whether [`Operator::restore`] takes entries as they were written: several times, or gone
    /// later (`None`). The others are given what is left of them, in the order of their keys.
    fn restores_in_place(&self) -> bool {
        false
    }

    /// Takes up what earlier commits left under `key`, which is what [`StateId::key`] was given.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError>;

    /// What values of its entries are made of, if that may change: said before [`restored`].
    ///
    /// [`restored`]: Operator::restored
    fn take_layouts(&mut self, _layouts: &Layouts) -> Result<(), StateError> {
        Ok(())
    }

    /// All was restored, and the watermark had come so far.
    fn restored(&mut self, watermark: Watermark) -> Result<()>;

    fn kept(&self) -> Kept;
}

/// All that has changed in an operator since the last commit: for the changelog, and for the disk
/// beside it.
pub fn commit(
    operator: &mut dyn Operator,
    logged: &mut Vec<Change>,
    derived: &mut Vec<Change>,
) -> Result<()> {
    operator.commit(logged)?;
    operator.maps().into_iter().for_each(|map| map.take_changes(logged, derived));
    Ok(())
}

/// Rows that were looked at and not yet taken.
pub struct Prepared {
    pub rows: Rows,
    /// What the operator has evaluated, in an order of its own.
    pub columns: Vec<ArrayRef>,
    /// Keys of the rows.
    pub keys: Option<KeyRows>,
    /// Rows left out because they came too late.
    pub late: usize,
    /// Rows left out because they have no event time.
    pub untimed: usize,
}

/// How much is remembered, as of the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Windows that are open.
    pub windows: usize,
    /// Groups in them, or whatever else the operator keeps one of by key.
    pub groups: usize,
}

impl std::ops::AddAssign for Kept {
    fn add_assign(&mut self, other: Kept) {
        self.windows += other.windows;
        self.groups += other.groups;
    }
}

/// What DataFusion says of a failure, without its name for the kind of error.
pub fn reason(error: DataFusionError) -> String {
    with_types_of_files(&match error {
        DataFusionError::Plan(reason)
        | DataFusionError::Execution(reason)
        | DataFusionError::NotImplemented(reason) => reason,
        DataFusionError::ArrowError(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    })
}
