//! How fast compaction may read and write: `log.cleaner.io.max.bytes.per.second`.

use std::time::Duration;

/// Shorter pauses are gathered until they are worth it.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// What was not used is kept for this long only, so that no burst follows a rest.
const CREDIT_MAX: Duration = Duration::from_millis(100);

/// Spreads bytes over time. Pure: told the time, it says how long to pause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When all so far would be done at the rate, since whatever the caller counts from.
    due: Duration,
}

impl Pace {
    /// `bytes` have been read or written by `now`; says for how long to pause.
    pub fn after(&mut self, bytes: usize, bytes_per_second: f64, now: Duration) -> Duration {
        let takes = Duration::try_from_secs_f64(bytes as f64 / bytes_per_second);
        // Beyond all that can be waited for: as long as can be told.
        let takes = takes.unwrap_or(Duration::from_secs(u32::MAX.into()));
        self.due = self.due.max(now.saturating_sub(CREDIT_MAX)).saturating_add(takes);
        let ahead = self.due.saturating_sub(now);
        if ahead < PAUSE_MIN { Duration::ZERO } else { ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spread_over_time() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        for _ in 0..1_000 {
            now += pace.after(1_000, 100_000.0, now);
        }
        assert!((9.8..=10.0).contains(&now.as_secs_f64()), "1 MB at 100 kB/s took {now:?}");
    }

    #[test]
    fn a_rest_is_not_made_up_for_and_no_limit_never_pauses() {
        let mut pace = Pace::default();
        let later = Duration::from_secs(3_600);
        let pause = pace.after(1_000_000, 1_000_000.0, later);
        assert_eq!(pause, Duration::from_millis(900));
        let pause = pace.after(usize::MAX, f64::MAX, later + pause);
        assert_eq!(pause, Duration::ZERO);
        assert!(pace.after(usize::MAX, f64::MIN_POSITIVE, later) > Duration::from_secs(1 << 30));
    }
}
