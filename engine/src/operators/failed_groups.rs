//! Groups to which an aggregate of a user's module gives no value.
//!
//! ```text
//! answers ─► the module fails ─► halved until those that fail stand alone ─► NULL in their place
//!                                    ┌───────────────────────────────────────────┘
//!              rows without them ◄───┴───► the task, which does what `on_error` says
//! ```
//!
//! The rule: what one group comes to concerns no other. A group without a value has no row: where
//! it had one, that is taken back. Its state stays, so that it has a row again if what comes later
//! gives it a value; but where the module cannot go on from that state, the group has none as long
//! as it is kept. That is so only if the task goes on without it: else the rows are not committed,
//! and a module that was put right counts them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use arrow::array::{BooleanArray, UInt64Array};
use datafusion_common::{Result, exec_datafusion_err};

use crate::rows::Rows;

/// Rows that fail, by their places, and why.
pub type Failed = BTreeMap<usize, String>;

thread_local! {
    static HEARD: RefCell<Option<Vec<FailedGroups>>> = const { RefCell::new(None) };
    static GOES_ON: Cell<bool> = const { Cell::new(false) };
}

/// Rows of groups, with NULL for what they do not come to.
#[derive(Debug)]
pub struct FailedGroups {
    pub rows: Rows,
    /// As many.
    pub reasons: Vec<String>,
}

/// Does work by this thread, and hears of groups that fail in it.
pub fn heard<T>(work: impl FnOnce() -> T) -> (T, Vec<FailedGroups>) {
    let before = HEARD.replace(Some(Vec::new()));
    let done = work();
    (done, HEARD.replace(before).unwrap_or_default())
}

/// Does work by this thread, in which groups may fail for good if it goes on without them.
pub fn going_on<T>(goes_on: bool, work: impl FnOnce() -> T) -> T {
    let before = GOES_ON.replace(goes_on);
    let done = work();
    GOES_ON.set(before);
    done
}

/// Whether a group may fail for good, and what is computed goes on without it.
pub fn goes_on() -> bool {
    GOES_ON.get()
}

/// Says that all of these rows have failed; that is an error where nobody hears it.
pub fn tell(rows: Rows, reasons: Vec<String>) -> Result<()> {
    let Some(first) = reasons.first().cloned() else { return Ok(()) };
    HEARD.with_borrow_mut(|heard| match heard {
        Some(heard) => {
            heard.push(FailedGroups { rows, reasons });
            Ok(())
        }
        None => Err(exec_datafusion_err!("{first}")),
    })
}

/// The rows that have not failed; the others are told of.
pub fn leave_out(rows: Rows, failed: Failed) -> Result<Rows> {
    if failed.is_empty() {
        return Ok(rows);
    }
    let places: UInt64Array = failed.keys().map(|at| Some(*at as u64)).collect();
    let passed = without(&rows, &failed)?;
    tell(rows.take(&places)?, failed.into_values().collect())?;
    Ok(passed)
}

/// The rows that have not failed, where the others were told of before.
pub fn without(rows: &Rows, failed: &Failed) -> Result<Rows> {
    let passed: BooleanArray = (0..rows.len()).map(|at| Some(!failed.contains_key(&at))).collect();
    rows.filter(&passed)
}
