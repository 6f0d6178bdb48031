//! What a log needs from time to time: retention, deletion of records, truncation, forgetting
//! silent producers.
//!
//! Segments go as a whole, oldest first, and never the one being written to, which is rolled
//! first if all of it has expired. All of this excludes flushes, which would otherwise write
//! indexes for files that are gone.

use std::sync::Arc;

use super::config::LogConfig;
use super::error::{Doing, ReadError, StorageError};
use super::partition::{Partition, Writer, locked};
use super::recovery::{Sealed, load_snapshot};
use super::scan::{ScanOptions, scan};
use super::segment::Segment;
use super::snapshot;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// `producer.id.expiration.ms`
const PRODUCER_SILENCE_MS: i64 = super::config::DAY_MS;

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
        let _no_flush = locked(&self.flushing);
        let mut writer = self.writer();
        if writer.closed {
            return Ok(Retained { log_start: writer.start, ..Retained::default() });
        }
        writer.producers.expire(now_ms, PRODUCER_SILENCE_MS);
        let mut count = expired(&writer, &config, now_ms)?;
        if count == writer.segments.len() {
            if writer.active().size() == 0 {
                count -= 1;
            } else {
                self.roll(&mut writer, now_ms)?;
            }
        }
        self.delete_first(writer, count)
    }

    /// Moves the log start up to `before`, for good: it is on disk when this returns. Records
    /// from the high watermark on cannot be deleted.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, ReadError> {
        let failed = |source| ReadError::Storage { partition: self.id.clone(), source };
        let _no_flush = locked(&self.flushing);
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
        self.store_checkpoint(None).map_err(failed)?;
        let mut writer = self.writer();
        self.publish(&mut writer);
        let bases = writer.segments.iter().skip(1).take_while(|next| next.base <= before);
        let count = bases.count();
        self.delete_first(writer, count).map_err(failed)?;
        Ok(before)
    }

    /// Takes the first `count` segments out of the log, then deletes their files.
    fn delete_first(
        &self,
        mut writer: std::sync::MutexGuard<'_, Writer>,
        count: usize,
    ) -> Result<Retained, StorageError> {
        let deleted: Vec<Arc<Segment>> = writer.segments.drain(..count).collect();
        writer.start = writer.start.max(writer.segments[0].base);
        let log_start = writer.start;
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
            self.write_snapshot(last)?;
        }
        for segment in &deleted {
            segment.delete()?;
        }
        self.disk.sync_dir(&self.dir).doing(&self.dir, "sync directory")?;
        let bytes_deleted = deleted.iter().map(|segment| segment.size()).sum();
        Ok(Retained { segments_deleted: deleted.len(), bytes_deleted, log_start })
    }

    /// Cuts the log so that it ends with `end`, which must not lie within a batch: a batch that
    /// begins before it and ends after it goes too. A new leader epoch begins.
    pub fn truncate(&self, end: Offset, now_ms: i64) -> Result<Offset, ReadError> {
        let failed = |source| ReadError::Storage { partition: self.id.clone(), source };
        let config = self.config();
        let _no_flush = locked(&self.flushing);
        let mut writer = self.writer();
        if let Some(error) = writer.offline.clone() {
            return Err(failed(error));
        }
        if end < writer.start || end > writer.end {
            let (start, log_end) = (writer.start, writer.end);
            let partition = self.id.clone();
            return Err(ReadError::OffsetOutOfRange {
                partition,
                offset: end,
                start,
                end: log_end,
            });
        }
        let kept = writer.segments.partition_point(|segment| segment.base < end).max(1);
        // The log must not pass for cleanly closed once it can have other contents of one size,
        // and the indexes of the segment that is cut are no longer to be trusted.
        writer.recovery_point = writer.recovery_point.min(writer.segments[kept - 1].base);
        drop(writer);
        self.store_checkpoint(None).map_err(failed)?;
        let mut writer = self.writer();
        let deleted = writer.segments.split_off(kept);
        let active = writer.active().base;
        writer.sealed.retain(|sealed| sealed.segment.base < active);
        for segment in &deleted {
            segment.delete().map_err(failed)?;
        }
        self.cut_active(&mut writer, end, &config).map_err(|error| match error {
            CutError::Storage(source) => failed(source),
            CutError::Segment(error) => self.read_error(error),
        })?;
        let epoch = LeaderEpoch(writer.epochs.latest().unwrap_or_default().0 + 1);
        let new_end = writer.end;
        writer.epochs.begin(epoch, new_end);
        writer.epochs.store(&*self.disk, &self.dir).map_err(failed)?;
        writer.dir_changed = true;
        writer.unflushed_since_ms.get_or_insert(now_ms);
        self.positions.clear();
        self.publish_segments(&writer);
        self.publish(&mut writer);
        Ok(new_end)
    }

    fn cut_active(
        &self,
        writer: &mut Writer,
        end: Offset,
        config: &LogConfig,
    ) -> Result<(), CutError> {
        let active = writer.active().clone();
        let position = active.locate(end).map_err(CutError::Segment)?;
        if let Some((position, _)) = position {
            active.truncate(position)?;
        }
        for name in self.disk.list(&self.dir).doing(&self.dir, "list directory")? {
            let offset = name.strip_suffix(".snapshot").and_then(|base| base.parse::<i64>().ok());
            if offset.is_some_and(|offset| offset > end.0) {
                let path = self.dir.join(&name);
                self.disk.remove_file(&path).doing(&path, "delete")?;
            }
        }
        // Rare enough to replay everything that is left.
        let first = writer.segments[0].base;
        let mut producers = load_snapshot(&*self.disk, &self.dir, first)?.unwrap_or_default();
        for segment in &writer.segments {
            let options = ScanOptions {
                expected: segment.base,
                producers_from: Offset::ZERO,
                verify_checksums: false,
                contiguous: false,
                epoch_max: writer.epochs.latest().unwrap_or_default(),
                index_interval_bytes: config.index_interval_bytes,
            };
            let scanned = scan(segment, &mut producers, options)?;
            if segment.base == active.base {
                writer.end = scanned.end;
                segment.restore(scanned.growing, scanned.good);
            }
        }
        // The batch that was cut off reached below the start: offsets must not go back behind it.
        if writer.end < writer.start {
            let (disk, dir, start) = (self.disk.clone(), self.dir.clone(), writer.start);
            let snapshot = snapshot::encode(&producers);
            self.write_snapshot(&Sealed { segment: active.clone(), end: start, snapshot })?;
            active.delete()?;
            let fresh = Segment::create(disk, dir, start, active.created_ms)?;
            writer.segments = vec![Arc::new(fresh)];
            writer.end = start;
        }
        writer.producers = producers;
        writer.synced = writer.synced.min(writer.end);
        writer.high_watermark = writer.high_watermark.min(writer.end);
        writer.forget_waiting();
        let mut flush = locked(&self.flush);
        flush.wanted = flush.wanted.min(writer.end);
        drop(flush);
        self.synced_up_to(writer.synced);
        Ok(())
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

enum CutError {
    Storage(StorageError),
    Segment(super::segment::SegmentError),
}

impl From<StorageError> for CutError {
    fn from(error: StorageError) -> CutError {
        CutError::Storage(error)
    }
}

/// How many of the first segments may go.
fn expired(writer: &Writer, config: &LogConfig, now_ms: i64) -> Result<usize, StorageError> {
    let total: u64 = writer.segments.iter().map(|segment| segment.size()).sum();
    let mut excess = config.retention_bytes.map_or(0, |keep| total.saturating_sub(keep));
    let ends = writer.segments.iter().skip(1).map(|next| next.base).chain([writer.end]);
    let mut count = 0;
    for (segment, end) in writer.segments.iter().zip(ends) {
        let is_active = segment.base == writer.active().base;
        let below_start = !is_active && end <= writer.start;
        let mut goes = below_start;
        if config.cleanup.delete && end <= writer.high_watermark {
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

fn is_old(segment: &Segment, config: &LogConfig, now_ms: i64) -> Result<bool, StorageError> {
    let Some(retention_ms) = config.retention_ms else { return Ok(false) };
    let written_ms = segment.modified_ms()?;
    let largest_ms = segment.largest_timestamp()?.map_or(written_ms, |(largest_ms, _)| largest_ms);
    Ok(now_ms.saturating_sub(written_ms.max(largest_ms)) > retention_ms)
}
