//! How one log behaves: the topic's settings in the form that the log works with.

use crate::record::{Compression, TimestampType};

/// Settings of a log. Names, meaning and defaults are those of Kafka's topic configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    pub segment_bytes: u32,
    pub segment_ms: i64,
    /// Segments are begun by up to so much earlier, so that not all logs begin one at a time.
    pub segment_jitter_ms: i64,
    /// Room for the index of one segment; the segment rolls when it is full.
    pub segment_index_bytes: u32,
    pub index_interval_bytes: u32,
    pub max_message_bytes: usize,
    /// `None`: kept forever.
    pub retention_ms: Option<i64>,
    /// `None`: without bound.
    pub retention_bytes: Option<u64>,
    pub cleanup: Cleanup,
    pub compaction: Compaction,
    pub timestamp_type: TimestampType,
    /// How far behind and ahead of the broker's clock a producer's timestamps may be.
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// `None`: as the producer sent it.
    pub compression: Option<Compression>,
    /// Set explicitly, it replaces the rule that acks=all waits for an fsync: see
    /// [`LogConfig::waits_for_sync`].
    pub flush_messages: Option<i64>,
    pub flush_ms: Option<i64>,
    /// `producer.id.expiration.ms`, of the broker: producers that are silent for longer are
    /// forgotten.
    pub producer_expiration_ms: i64,
}

/// `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    pub delete: bool,
    /// Every record needs a key then.
    pub compact: bool,
}

/// When a compacted log is compacted, and what that may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compaction {
    /// `min.cleanable.dirty.ratio`
    pub dirty_ratio_min: f64,
    /// Records stay for as long at least, and are compacted after as long at most.
    pub lag_ms_min: i64,
    pub lag_ms_max: i64,
    /// `delete.retention.ms`: how long tombstones and markers stay once compaction has met them.
    pub delete_retention_ms: i64,
}

impl Eq for Compaction {}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction {
            dirty_ratio_min: 0.5,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX,
            delete_retention_ms: DAY_MS,
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: (1 << 20) + crate::record::LENGTH_PREFIX,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            cleanup: Cleanup { delete: true, compact: false },
            compaction: Compaction::default(),
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: HOUR_MS,
            compression: None,
            flush_messages: None,
            flush_ms: None,
            producer_expiration_ms: DAY_MS,
        }
    }
}

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

impl LogConfig {
    /// At which age a segment that began at `base` is followed by another.
    pub fn segment_age_ms_max(&self, base: crate::ids::Offset) -> i64 {
        let jitter_ms = self.segment_jitter_ms.min(self.segment_ms - 1);
        // The same for a segment however often it is asked for, and spread over the whole range.
        let share = (base.0 as u64 ^ 0x5851_f42d_4c95_7f2d).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let early_ms = if jitter_ms > 0 { (share >> 1) as i64 % (jitter_ms + 1) } else { 0 };
        let age_ms = self.segment_ms - early_ms;
        // What is written to is not compacted, so it must not be written to for longer than that.
        if self.cleanup.compact { age_ms.min(self.compaction.lag_ms_max) } else { age_ms }
    }

    /// The time to report to a producer, if the broker sets timestamps.
    pub fn append_time_ms(&self, now_ms: i64) -> Option<i64> {
        (self.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms)
    }

    /// Whether an append is acknowledged only once it is on disk, if `unflushed` records, itself
    /// included, are not yet.
    ///
    /// Without `flush.messages` and `flush.ms` that is so for acks=all: there is no replica to
    /// lean on. A topic that sets one of them has chosen how much a power cut may cost: every
    /// `flush.messages` records one append waits, whatever its acks, and no others do.
    pub fn waits_for_sync(&self, acks: crate::client::Acks, unflushed: i64) -> bool {
        match (self.flush_messages, self.flush_ms) {
            (None, None) => acks == crate::client::Acks::All,
            (messages, _) => messages.is_some_and(|messages| unflushed >= messages),
        }
    }
}
