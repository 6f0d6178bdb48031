//! What a broker does by itself, now and then: retention, flushes by time, compaction; and
//! what it does last.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{Broker, Topic, now_ms};
use crate::ids::TopicPartition;
use crate::log::{CompactOptions, Dirt, Pace, Partition, ReadError, StorageError};

/// How often `flush.ms` is looked at.
const FLUSH_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How many partitions are closed at a time.
const CLOSING_THREADS: usize = 32;

impl Broker {
    pub(super) fn start_jobs(self: &Arc<Self>) {
        self.start_job(self.config.retention_check_interval, |broker| {
            broker.for_each_partition(enforce_retention);
        });
        self.start_job(FLUSH_CHECK_INTERVAL, |broker| {
            broker.for_each_partition(|partition| {
                if partition.flush_is_due(now_ms()) { partition.flush_blocking() } else { Ok(()) }
            });
        });
        if self.config.cleaner_enabled {
            let stop = self.stop.clone();
            self.start_job(self.config.cleaner_backoff, move |broker| broker.compact_logs(&stop));
        }
    }

    /// Does something now and then, off the async threads.
    fn start_job(
        self: &Arc<Self>,
        interval: Duration,
        job: impl Fn(&Broker) + Clone + Send + 'static,
    ) {
        // The job must not keep alive a broker that was dropped without a shutdown.
        let (broker, stop) = (Arc::downgrade(self), self.stop.clone());
        self.jobs.spawn(async move {
            let start = tokio::time::Instant::now() + interval;
            let mut ticks = tokio::time::interval_at(start, interval);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let Some(broker) = broker.upgrade() else { return };
                let job = job.clone();
                _ = tokio::task::spawn_blocking(move || job(&broker)).await;
            }
        });
    }

    fn for_each_partition(&self, job: impl Fn(&Partition) -> Result<(), StorageError>) {
        for topic in self.topics() {
            for partition in topic.partitions() {
                if let Err(error) = job(partition) {
                    tracing::warn!(partition = %partition.id(), %error, "job failed");
                }
            }
        }
    }

    /// Compacts the logs that need it, the most urgent first, until none does. One at a time: the
    /// memory of one is what they share.
    pub(super) fn compact_logs(&self, stop: &CancellationToken) {
        let mut failed: HashSet<TopicPartition> = HashSet::new();
        let (began, pace) = (Instant::now(), Cell::new(Pace::default()));
        let moved = |bytes: usize| {
            let mut now = pace.get();
            let pause = now.after(bytes, self.cleaner_bytes_per_second_max(), began.elapsed());
            pace.set(now);
            if !pause.is_zero() {
                let pause = tokio::time::sleep(pause);
                _ = self.runtime.block_on(stop.run_until_cancelled(pause));
            }
        };
        while !stop.is_cancelled() {
            let Some(partition) = self.most_urgent(&failed) else { return };
            let options = CompactOptions {
                now_ms: now_ms(),
                memory_bytes_max: self.cleaner_dedupe_bytes(),
                stop: &|| stop.is_cancelled(),
                moved: &moved,
            };
            match partition.compact(options) {
                Ok(Some(done)) => tracing::info!(partition = %partition.id(), end = %done.end,
                    segments_before = done.segments_before, segments_after = done.segments_after,
                    bytes_before = done.bytes_before, bytes_after = done.bytes_after,
                    "compacted"),
                // Something else has changed the log meanwhile; the next round looks again.
                Ok(None) => _ = failed.insert(partition.id().clone()),
                Err(error) => leave_alone(&partition, &error),
            }
        }
    }

    fn most_urgent(&self, but: &HashSet<TopicPartition>) -> Option<Arc<Partition>> {
        let topics = self.topics();
        let partitions = topics.iter().flat_map(|topic| topic.partitions());
        let dirty = partitions.filter(|partition| !but.contains(partition.id()));
        let dirty = dirty.filter_map(|partition| match partition.dirt(now_ms()) {
            Ok(dirt) => Some((partition, dirt?)),
            Err(error) => {
                leave_alone(partition, &error);
                None
            }
        });
        let by_need = |one: &Dirt, other: &Dirt| -> Ordering {
            one.overdue.cmp(&other.overdue).then(one.ratio.total_cmp(&other.ratio))
        };
        dirty
            .max_by(|(_, one), (_, other)| by_need(one, other))
            .map(|(partition, _)| partition.clone())
    }
}

/// Closes all partitions, many at a time: each waits for the disk, which syncs several at once in
/// about the time of one. The first error is the outcome, and no other is closed the less for it.
pub(super) fn close_all(topics: &[Arc<Topic>]) -> Result<(), StorageError> {
    let all: Vec<_> = topics.iter().flat_map(|topic| topic.partitions()).collect();
    let next = AtomicUsize::new(0);
    let close = || {
        let mut result = Ok(());
        while let Some(partition) = all.get(next.fetch_add(1, atomic::Ordering::Relaxed)) {
            result = result.and(partition.close());
        }
        result
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CLOSING_THREADS.min(all.len())).map(|_| scope.spawn(close)).collect();
        let ends = threads.into_iter().map(|one| one.join().expect("closing does not panic"));
        ends.fold(Ok(()), Result::and)
    })
}

/// The log has marked itself; said once.
fn leave_alone(partition: &Partition, error: &ReadError) {
    tracing::error!(partition = %partition.id(), %error,
        "cannot compact the log; it is as it was, and grows. Look at its disk and files, then \
         restart the broker, which tries again");
}

fn enforce_retention(partition: &Partition) -> Result<(), StorageError> {
    let retained = partition.enforce_retention(now_ms())?;
    if retained.segments_deleted > 0 {
        tracing::info!(partition = %partition.id(), segments = retained.segments_deleted,
            bytes = retained.bytes_deleted, log_start = %retained.log_start,
            "deleted what retention no longer keeps");
    }
    Ok(())
}
