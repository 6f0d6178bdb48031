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
//! gives it a value.

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::{BooleanArray, UInt64Array};
use datafusion_common::{Result, exec_datafusion_err};

use crate::rows::Rows;

/// Rows that fail, by their places, and why.
pub type Failed = BTreeMap<usize, String>;

thread_local! {
    static HEARD: RefCell<Option<Vec<FailedGroups>>> = const { RefCell::new(None) };
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
