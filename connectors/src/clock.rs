//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// In ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |since| since.as_millis() as i64)
}
