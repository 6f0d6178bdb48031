//! When a task that has failed is started again.

use std::time::Duration;

use crate::config::{ConfigKey, KeyType, Presence, Settings};

pub(crate) const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "tasks.restart.max",
        key_type: KeyType::Integer { min: 0, max: 1_000_000 },
        presence: Presence::Default("5"),
        doc: "How often `millstream connect` starts a failed task again that has done nothing since",
        example: "20",
    },
    ConfigKey {
        name: "tasks.restart.backoff.ms",
        key_type: KeyType::Integer { min: 1, max: 3_600_000 },
        presence: Presence::Default("1000"),
        doc: "The pause before the first such start; it doubles from one to the next",
        example: "5000",
    },
    ConfigKey {
        name: "tasks.restart.backoff.max.ms",
        key_type: KeyType::Integer { min: 1, max: 86_400_000 },
        presence: Presence::Default("60000"),
        doc: "The longest such pause",
        example: "300000",
    },
    ConfigKey {
        name: "task.liveness.timeout.ms",
        key_type: KeyType::Integer { min: 100, max: 86_400_000 },
        presence: Presence::Default("60000"),
        doc: "How long a task may be at one thing before its state is DEGRADED",
        example: "10000",
    },
];

/// The pauses between starts, and how many there are.
#[derive(Clone, Debug)]
pub(super) struct Restarts {
    max: u64,
    first: Duration,
    longest: Duration,
    /// Failures in a row, without anything done between them.
    failures: u64,
}

impl Restarts {
    pub(super) fn new(settings: &Settings) -> Restarts {
        let ms = |key| Duration::from_millis(settings.integer(key) as u64);
        Restarts {
            max: settings.integer("tasks.restart.max") as u64,
            first: ms("tasks.restart.backoff.ms"),
            longest: ms("tasks.restart.backoff.max.ms"),
            failures: 0,
        }
    }

    /// How long to wait before the next start; `None`: there is none.
    pub(super) fn failed(&mut self, progressed: bool) -> Option<Duration> {
        if progressed {
            self.failures = 0;
        }
        let doublings = self.failures.min(31) as u32;
        self.failures += 1;
        (self.failures <= self.max)
            .then(|| self.first.saturating_mul(1 << doublings).min(self.longest))
    }

    /// Somebody has looked after it.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_further_and_further_apart_and_end_unless_something_is_done() {
        let seconds = Duration::from_secs;
        let mut restarts = Restarts { max: 4, first: seconds(1), longest: seconds(5), failures: 0 };
        let mut pauses = |progressed| restarts.failed(progressed).map(|pause| pause.as_secs());
        let all: Vec<_> = (0..6).map(|_| pauses(false)).collect();
        assert_eq!(all, [Some(1), Some(2), Some(4), Some(5), None, None]);
        assert_eq!(pauses(true), Some(1));
        assert_eq!(pauses(false), Some(2));
    }
}
