//! Work in which calls are given up once nobody waits for it any more.
//!
//! A call ends by its own limit of time. Work that calls again and again, as the search for the
//! rows at fault in a batch does, may take many times that: so each call looks whether it is still
//! wanted before it begins.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

struct Work {
    unwanted: Arc<AtomicBool>,
    gave_up: bool,
}

/// Does work by this thread; calls that would begin in it once `unwanted` is set fail at once.
/// What it gives, and whether any call has failed so: then it is worth nothing.
pub fn interruptible<T>(unwanted: &Arc<AtomicBool>, work: impl FnOnce() -> T) -> (T, bool) {
    let own = Work { unwanted: unwanted.clone(), gave_up: false };
    let before = WORK.replace(Some(own));
    let done = work();
    let own = WORK.replace(before);
    (done, own.is_some_and(|own| own.gave_up))
}

/// Whether a call that would begin now is not wanted any more.
pub(crate) fn gives_up() -> bool {
    WORK.with_borrow_mut(|work| match work {
        Some(work) if work.unwanted.load(Ordering::Relaxed) => {
            work.gave_up = true;
            true
        }
        _ => false,
    })
}

/// What tells other threads that work for this one whether they are wanted.
pub(crate) struct Signal(Option<Arc<AtomicBool>>);

impl Signal {
    pub fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|unwanted| unwanted.load(Ordering::Relaxed))
    }
}

pub(crate) fn signal() -> Signal {
    Signal(WORK.with_borrow(|work| work.as_ref().map(|work| work.unwanted.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_is_not_wanted_is_given_up() {
        let unwanted = Arc::new(AtomicBool::new(false));
        assert!(!gives_up());
        assert_eq!(interruptible(&unwanted, gives_up), (false, false));
        unwanted.store(true, Ordering::Relaxed);
        assert_eq!(interruptible(&unwanted, || 1), (1, false));
        assert_eq!(interruptible(&unwanted, gives_up), (true, true));
        assert!(!gives_up());
    }
}
