//! Who calls functions: named by the lines that these log.

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// A query of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
}

/// Does work by this thread in which functions are called by `caller`.
pub fn called_by<T>(caller: &Caller, work: impl FnOnce() -> T) -> T {
    let before = CALLER.replace(Some(caller.clone()));
    let done = work();
    CALLER.set(before);
    done
}

pub(crate) fn current() -> Option<Caller> {
    CALLER.with_borrow(Clone::clone)
}
