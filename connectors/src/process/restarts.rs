//! When a program that has failed is started again.

use std::time::Duration;

use crate::config::Settings;

#[derive(Clone, Debug)]
pub struct Restarts {
    /// `None`: without end.
    max: Option<u32>,
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Restarts {
    pub fn new(settings: &Settings) -> Restarts {
        let ms = |key| Duration::from_millis(settings.integer(key) as u64);
        Restarts {
            max: u32::try_from(settings.integer("process.restarts.max")).ok(),
            first: ms("process.restart.backoff.ms"),
            longest: ms("process.restart.backoff.max.ms"),
            failures: 0,
        }
    }

    /// It has failed: how long to wait before the next start. `None`: that was too often.
    pub fn failed(&mut self) -> Option<Duration> {
        self.failures += 1;
        if self.max.is_some_and(|max| self.failures > max) {
            return None;
        }
        let doubled = 2u32.saturating_pow((self.failures - 1).min(31));
        Some(self.first.saturating_mul(doubled).min(self.longest))
    }

    /// It has done something: the next failure is the first of another series.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end_unless_something_is_done() {
        let ms = Duration::from_millis;
        let mut restarts = Restarts { max: Some(3), first: ms(100), longest: ms(300), failures: 0 };
        assert!(!restarts.is_failing());
        let pauses: Vec<_> = (0..4).map(|_| restarts.failed()).collect();
        assert_eq!(pauses, [Some(ms(100)), Some(ms(200)), Some(ms(300)), None]);
        restarts.progressed();
        assert_eq!(restarts.failed(), Some(ms(100)));
    }
}
