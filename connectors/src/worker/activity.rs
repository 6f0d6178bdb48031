//! What can be seen of a task while it is at work: since when it has been, and with which topics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use broker::ids::TopicPartition;

/// Shared by a task and whoever watches it.
#[derive(Debug)]
pub(crate) struct Activity {
    created: Instant,
    /// In ms since `created`, plus 1; 0: it waits for something to do.
    busy_since: AtomicU64,
    topics: Mutex<BTreeSet<Arc<str>>>,
}

impl Default for Activity {
    fn default() -> Activity {
        let (busy_since, topics) = (AtomicU64::new(0), Mutex::default());
        Activity { created: Instant::now(), busy_since, topics }
    }
}

impl Activity {
    /// There is something to do from now on, or still is.
    pub(crate) fn begin(&self) {
        let since = self.created.elapsed().as_millis() as u64 + 1;
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        // Where it has not ended since, it began before.
        let _ = self.busy_since.compare_exchange(0, since, set, get);
    }

    /// It is done.
    pub(crate) fn end(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    /// For how long it has been at one thing.
    pub(crate) fn busy(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.created.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    /// A topic was read or written.
    pub(crate) fn used(&self, partition: &TopicPartition) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains(&partition.topic) {
            topics.insert(partition.topic.clone());
        }
    }

    pub(crate) fn topics(&self) -> BTreeSet<Arc<str>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn forget_topics(&self) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_busy_from_beginning_to_end() {
        let activity = Activity::default();
        assert_eq!(activity.busy(), None);
        activity.begin();
        assert!(activity.busy().is_some_and(|busy| busy < Duration::from_secs(60)));
        activity.end();
        assert_eq!(activity.busy(), None);
    }
}
