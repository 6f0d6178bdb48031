//! Panics of expressions as errors of their rows.
//!
//! Kernels of Arrow panic where a column of text grows beyond 2 GiB, as `repeat(s, n)` lets it. A
//! row that does that is a record like any other that cannot be computed: it is told of, skipped or
//! put aside, and its neighbours pass. Nothing is shared with what was computed before, so nothing
//! is left half done.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use datafusion_common::{DataFusionError, Result};

thread_local! {
    /// What panics here is told by an error.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Computes something, and says so if it panics.
pub fn guarded<T>(compute: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                tell(panic);
            }
        }));
    });
    let before = IS_GUARDED.replace(true);
    let computed = catch_unwind(AssertUnwindSafe(compute));
    IS_GUARDED.set(before);
    computed.unwrap_or_else(|panic| Err(DataFusionError::Execution(text(panic.as_ref()))))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it cannot be computed: {}", said.unwrap_or("the reason is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(guarded(|| Ok(1)).unwrap(), 1);
        let error = guarded(|| -> Result<()> { panic!("byte array offset overflow") });
        let said = "Execution error: it cannot be computed: byte array offset overflow";
        assert_eq!(error.unwrap_err().strip_backtrace(), said);
        assert!(guarded(|| guarded(|| -> Result<()> { panic!("inner") })).is_err());
        assert!(!IS_GUARDED.get());
    }
}
