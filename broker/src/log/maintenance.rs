//! What a log needs from time to time: retention, deletion of records, forgetting silent
//! producers.
//!
//! Segments go as a whole, oldest first, and never the one being written to, which is rolled
//! first if all of it has expired. All of this excludes flushes, which would otherwise write
//! indexes for files that are gone.

use std::sync::Arc;

use super::config::LogConfig;
use super::error::{Doing, ReadError, StorageError};
use super::partition::{Flushing, Partition, Writer, locked};
use super::segment::Segment;
use crate::ids::{Offset, ProducerEpoch, ProducerId};

/// What retention took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    pub segments_deleted: usize,
    pub bytes_deleted: u64,
    pub log_start: Offset,
}

/// A producer as others may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    pub coordinator_epoch: i32,
    pub transaction_start: Option<Offset>,
}

impl Partition {
    /// Deletes segments that `retention.ms` or `retention.bytes` no longer keeps, and those wholly
    /// below the log start.
    ///
    /// A segment's age counts from its largest timestamp or from when it was last written to,
    /// whichever is later: Kafka takes the timestamp alone, and so deletes within minutes what was
    /// loaded from an archive.
    pub fn enforce_retention(&self, now_ms: i64) -> Result<Retained, StorageError> {
        let config = self.config();
        let _no_maintenance = locked(&self.maintenance);
        self.write_rebuilt_indexes(&locked(&self.flushing))?;
        let (aged, closed) = {
            let mut writer = self.writer();
            writer.producers.expire(now_ms, config.producer_expiration_ms);
            (Aged::of(&writer), writer.closed)
        };
        if closed || self.check_opened().is_err() {
            return Ok(Retained { log_start: aged.start, ..Retained::default() });
        }
        // The writer goes on while files are looked at.
        let mut count = aged.expired(&config, now_ms)?;
        let flushing = locked(&self.flushing);
        let mut writer = self.writer();
        if count == aged.segments.len() {
            let written_to = writer.end != aged.end || writer.segments.len() != count;
            if written_to || writer.active().size() == 0 {
                count -= 1;
            } else {
                self.roll(&mut writer, now_ms)?;
            }
        }
        self.delete_first(&flushing, writer, count)
    }

    /// Replaces index files that were found damaged.
    fn write_rebuilt_indexes(&self, flushing: &Flushing<'_>) -> Result<(), StorageError> {
        let recovery_point = {
            let writer = self.writer();
            if writer.closed || writer.offline.is_some() {
                return Ok(());
            }
            writer.recovery_point
        };
        let segments = self.segments();
        let mut written = false;
        for pair in segments.windows(2) {
            // Later ones are yet to be sealed.
            if pair[1].base <= recovery_point && pair[0].awaits_indexes() {
                pair[0].write_indexes()?;
                pair[0].close();
                written = true;
            }
        }
        if written { self.store_index_checksums(flushing) } else { Ok(()) }
    }

    /// Moves the log start up to `before`, for good: it is on disk when this returns. Records
    /// from the high watermark on cannot be deleted.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, ReadError> {
        let failed = |source| ReadError::Storage { partition: self.id.clone(), source };
        let _no_maintenance = locked(&self.maintenance);
        let flushing = locked(&self.flushing);
        let mut writer = self.writer();
        if let Some(error) = writer.offline.clone() {
            return Err(failed(error));
        }
        if before < Offset::ZERO || before > writer.high_watermark {
            let (start, end) = (writer.start, writer.high_watermark);
            let partition = self.id.clone();
            return Err(ReadError::OffsetOutOfRange { partition, offset: before, start, end });
        }
        if before <= writer.start {
            return Ok(writer.start);
        }
        writer.start = before;
        drop(writer);
        self.store_checkpoint(&flushing, None).map_err(failed)?;
        let mut writer = self.writer();
        self.publish(&mut writer);
        let bases = writer.segments.iter().skip(1).take_while(|next| next.base <= before);
        let count = bases.count();
        self.delete_first(&flushing, writer, count).map_err(failed)?;
        Ok(before)
    }

    /// Takes the first `count` segments out of the log, then deletes their files.
    fn delete_first(
        &self,
        flushing: &Flushing<'_>,
        mut writer: std::sync::MutexGuard<'_, Writer>,
        count: usize,
    ) -> Result<Retained, StorageError> {
        let deleted: Vec<Arc<Segment>> = writer.segments.drain(..count).collect();
        writer.start = writer.start.max(writer.segments[0].base);
        let log_start = writer.start;
        writer.epochs.forget_before(log_start);
        if deleted.is_empty() {
            return Ok(Retained { log_start, ..Retained::default() });
        }
        // The log may start within a segment, which then still needs its indexes.
        let first = writer.segments[0].base;
        let mut pending = std::mem::take(&mut writer.sealed);
        let gone = pending.partition_point(|sealed| sealed.segment.base < first);
        writer.sealed = pending.split_off(gone);
        writer.recovery_point = writer.recovery_point.max(first);
        self.publish_segments(&writer);
        self.publish(&mut writer);
        drop(writer);
        // Of the producers that wrote to what is deleted nothing else would be left.
        if let Some(last) = pending.last() {
            self.write_snapshot(flushing, last)?;
        }
        for segment in &deleted {
            segment.delete()?;
        }
        self.disk.sync_dir(&self.dir).doing(&self.dir, "sync directory")?;
        let bytes_deleted = deleted.iter().map(|segment| segment.size()).sum();
        Ok(Retained { segments_deleted: deleted.len(), bytes_deleted, log_start })
    }

    /// The producers that have written here lately.
    pub fn producers(&self) -> Vec<ProducerDescription> {
        let writer = self.writer();
        let describe = |(producer_id, producer): (ProducerId, &super::producers::Producer)| {
            ProducerDescription {
                producer_id,
                epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                last_timestamp_ms: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_start: producer.transaction_start,
            }
        };
        let mut all: Vec<_> = writer.producers.iter().map(describe).collect();
        all.sort_unstable_by_key(|producer| producer.producer_id);
        all
    }

    /// Whether `flush.ms` asks for a flush by now.
    pub fn flush_is_due(&self, now_ms: i64) -> bool {
        let Some(flush_ms) = self.config().flush_ms else { return false };
        let since_ms = self.writer().unflushed_since_ms;
        since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= flush_ms)
    }
}

/// A log as retention looks at it.
struct Aged {
    segments: Vec<Arc<Segment>>,
    start: Offset,
    high_watermark: Offset,
    end: Offset,
}

impl Aged {
    fn of(writer: &Writer) -> Aged {
        let Writer { start, high_watermark, end, .. } = *writer;
        Aged { segments: writer.segments.clone(), start, high_watermark, end }
    }

    /// How many of the first segments may go.
    fn expired(&self, config: &LogConfig, now_ms: i64) -> Result<usize, StorageError> {
        let total: u64 = self.segments.iter().map(|segment| segment.size()).sum();
        let mut excess = config.retention_bytes.map_or(0, |keep| total.saturating_sub(keep));
        let ends = self.segments.iter().skip(1).map(|next| next.base);
        let mut count = 0;
        for (index, (segment, end)) in self.segments.iter().zip(ends.chain([self.end])).enumerate()
        {
            let is_active = index + 1 == self.segments.len();
            let below_start = !is_active && end <= self.start;
            let mut goes = below_start;
            if config.cleanup.delete && end <= self.high_watermark {
                if !is_active && excess >= segment.size() {
                    excess -= segment.size();
                    goes = true;
                }
                goes = goes || is_old(segment, config, now_ms)?;
            }
            if !goes {
                break;
            }
            count += 1;
        }
        Ok(count)
    }
}

fn is_old(segment: &Segment, config: &LogConfig, now_ms: i64) -> Result<bool, StorageError> {
    let Some(retention_ms) = config.retention_ms else { return Ok(false) };
    let written_ms = segment.modified_ms()?;
    let largest_ms = segment.largest_timestamp()?.map_or(written_ms, |(largest_ms, _)| largest_ms);
    Ok(now_ms.saturating_sub(written_ms.max(largest_ms)) > retention_ms)
}
