//! Reading: which bytes, up to where, and what a reader must know beside them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::error::{ReadError, StorageError};
use super::index::AbortedTransaction;
use super::partition::{Partition, Visible, locked};
use super::segment::{Segment, SegmentError, whole_batches};
use crate::client::Isolation;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::RecordBatch;

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    pub isolation: Isolation,
    pub bytes_max: usize,
    /// One batch comes whole even if it is larger than `bytes_max`, so that a reader gets on.
    pub at_least_one: bool,
}

/// A stretch of a log.
#[derive(Clone, Debug)]
pub struct LogSlice {
    /// Whole batches as they lie in the log. The first may begin before the offset asked for.
    pub records: Bytes,
    /// The offset to go on from: the one asked for if `records` is empty.
    pub next_offset: Offset,
    /// Up to where this reader could have read: high watermark or last stable offset.
    pub end_offset: Offset,
    pub visible: Visible,
    /// For read_committed: the aborted transactions that have records here.
    pub aborted: Vec<AbortedTransaction>,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub leader_epoch: LeaderEpoch,
}

/// Where reads have ended, so that the next one need not look for its beginning.
#[derive(Debug, Default)]
pub(super) struct PositionCache([Mutex<Option<Position>>; 16]);

#[derive(Clone, Copy, Debug)]
struct Position {
    offset: Offset,
    segment_id: u64,
    position: u64,
}

impl PositionCache {
    fn slot(&self, offset: Offset) -> &Mutex<Option<Position>> {
        // Fibonacci hashing: offsets of batches share their low bits.
        let hash = (offset.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(hash >> 60) as usize]
    }

    fn get(&self, segment_id: u64, offset: Offset) -> Option<u64> {
        let slot = (*locked(self.slot(offset)))?;
        (slot.offset == offset && slot.segment_id == segment_id).then_some(slot.position)
    }

    fn put(&self, segment_id: u64, offset: Offset, position: u64) {
        *locked(self.slot(offset)) = Some(Position { offset, segment_id, position });
    }

    #[cfg(test)]
    pub fn clear(&self) {
        for slot in &self.0 {
            *locked(slot) = None;
        }
    }
}

impl Partition {
    /// Reads from `from` on, as far as `options.isolation` sees, within one segment.
    pub fn read(&self, from: Offset, options: ReadOptions) -> Result<LogSlice, ReadError> {
        self.check_opened()?;
        loop {
            let visible = self.visible();
            let end_offset = match options.isolation {
                Isolation::ReadUncommitted => visible.high_watermark,
                Isolation::ReadCommitted => visible.last_stable,
            };
            if from < visible.log_start || from > visible.log_end {
                return Err(self.out_of_range(from, visible));
            }
            if from >= visible.high_watermark
                && let Some(source) = self.offline()
            {
                return Err(ReadError::Storage { partition: self.id.clone(), source });
            }
            let mut slice = LogSlice {
                records: Bytes::new(),
                next_offset: from,
                end_offset,
                visible,
                aborted: Vec::new(),
            };
            if from >= end_offset {
                return Ok(slice);
            }
            let segments = self.segments();
            match self.read_below(&segments, &mut slice, options) {
                // What was there when it was looked at how far may have been compacted since,
                // together with what has come after it.
                Ok(())
                    if slice.records.is_empty()
                        && options.at_least_one
                        && self.visible() != visible => {}
                Ok(()) => {
                    self.traffic.read.add(slice.next_offset.since(from), slice.records.len());
                    return Ok(slice);
                }
                // Retention or compaction was faster.
                Err(error) if error.is_gone() && self.have_changed(&segments) => {}
                Err(error) => return Err(self.read_error(error)),
            }
        }
    }

    fn read_below(
        &self,
        segments: &[Arc<Segment>],
        slice: &mut LogSlice,
        options: ReadOptions,
    ) -> Result<(), SegmentError> {
        let (from, end) = (slice.next_offset, slice.end_offset);
        let after = segments.partition_point(|segment| segment.base <= from);
        for segment in &segments[after.saturating_sub(1)..] {
            if segment.base >= end {
                break;
            }
            // Compaction can leave a segment whose last records are gone: then on to the next.
            let Some(position) = self.position(segment, from)? else {
                self.was_read(segments, segment);
                continue;
            };
            let Some((records, next)) = read_batches(segment, position, end, options)? else {
                break;
            };
            self.was_read(segments, segment);
            self.positions.put(segment.id, next, position + records.len() as u64);
            slice.records = records;
            slice.next_offset = next;
            break;
        }
        if options.isolation == Isolation::ReadCommitted && !slice.records.is_empty() {
            slice.aborted = aborted_within(segments, from, slice.next_offset)?;
        }
        Ok(())
    }

    fn position(&self, segment: &Segment, from: Offset) -> Result<Option<u64>, SegmentError> {
        if let Some(position) = self.positions.get(segment.id, from) {
            // At its end the segment may have been sealed since.
            return Ok((position < segment.size()).then_some(position));
        }
        Ok(segment.locate(from)?.map(|(position, _)| position))
    }

    pub(super) fn segments(&self) -> Arc<[Arc<Segment>]> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn was_read(&self, segments: &[Arc<Segment>], segment: &Arc<Segment>) {
        // The last one is written to.
        if segments.last().is_some_and(|last| last.id != segment.id) {
            self.open_files.was_read(segment);
        }
    }

    fn have_changed(&self, segments: &Arc<[Arc<Segment>]>) -> bool {
        !Arc::ptr_eq(segments, &self.segments())
    }

    /// Looks for something in the segments, once more if one of them is gone meanwhile.
    fn look<T>(
        &self,
        look: impl Fn(&[Arc<Segment>]) -> Result<T, SegmentError>,
    ) -> Result<T, ReadError> {
        self.check_opened()?;
        loop {
            let segments = self.segments();
            match look(&segments) {
                Err(error) if error.is_gone() && self.have_changed(&segments) => {}
                found => return found.map_err(|error| self.read_error(error)),
            }
        }
    }

    /// The first record of `timestamp_ms` or later that `isolation` sees.
    pub fn offset_at_timestamp(
        &self,
        timestamp_ms: i64,
        isolation: Isolation,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let visible = self.visible();
        let end = match isolation {
            Isolation::ReadUncommitted => visible.high_watermark,
            Isolation::ReadCommitted => visible.last_stable,
        };
        self.look(|segments| {
            for segment in segments.iter().filter(|segment| segment.base < end) {
                let found = self.find_time(segment, timestamp_ms, visible.log_start)?;
                if let Some(found) = found {
                    self.was_read(segments, segment);
                    return Ok((found.offset < end).then_some(found));
                }
            }
            Ok(None)
        })
    }

    fn find_time(
        &self,
        segment: &Segment,
        timestamp_ms: i64,
        start: Offset,
    ) -> Result<Option<TimestampOffset>, SegmentError> {
        let largest = segment.largest_timestamp()?;
        if largest.is_none_or(|(largest_ms, _)| largest_ms < timestamp_ms) {
            return Ok(None);
        }
        let mut next = segment.locate_time(timestamp_ms)?;
        while let Some((position, header)) = next {
            let batch = segment.batch_at(position, header.size)?;
            let found =
                first_record(&batch, |offset, time_ms| offset >= start && time_ms >= timestamp_ms);
            if let Some(found) = found? {
                return Ok(Some(found));
            }
            let after = position + header.size as u64;
            next = segment.find(after, |header| header.max_timestamp_ms >= timestamp_ms)?;
        }
        Ok(None)
    }

    /// The first record with the largest timestamp in the log (KIP-734).
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        self.look(|segments| {
            let mut largest: Option<(i64, Arc<Segment>)> = None;
            for segment in segments {
                if let Some((time_ms, _)) = segment.largest_timestamp()?
                    && largest.as_ref().is_none_or(|(most_ms, _)| time_ms > *most_ms)
                {
                    largest = Some((time_ms, segment.clone()));
                }
            }
            let Some((time_ms, segment)) = largest else { return Ok(None) };
            self.find_time(&segment, time_ms, self.visible().log_start)
        })
    }

    /// The last leader epoch up to `epoch` and where it ended (KIP-320).
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let writer = self.writer();
        writer.epochs.end_of(epoch, writer.end)
    }

    /// The leader epoch in which the record at `offset` was written, or would be.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.writer().epochs.at(offset)
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments().iter().map(|segment| segment.size()).sum()
    }

    fn out_of_range(&self, offset: Offset, visible: Visible) -> ReadError {
        let (start, end) = (visible.log_start, visible.log_end);
        ReadError::OffsetOutOfRange { partition: self.id.clone(), offset, start, end }
    }

    pub(super) fn read_error(&self, error: SegmentError) -> ReadError {
        let partition = self.id.clone();
        match error {
            SegmentError::Storage(source) => ReadError::Storage { partition, source },
            SegmentError::Damaged { offset, source } => {
                ReadError::Damaged { partition, offset, source }
            }
        }
    }
}

/// Whole batches from `position` on that begin before `end`, and the offset after them.
fn read_batches(
    segment: &Segment,
    position: u64,
    end: Offset,
    options: ReadOptions,
) -> Result<Option<(Bytes, Offset)>, SegmentError> {
    let mut bytes_max = options.bytes_max;
    loop {
        let bytes = segment.read_at(position, bytes_max)?;
        let damaged = |source| SegmentError::Damaged { offset: segment.base, source };
        let (len, next) = whole_batches(&bytes, end).map_err(damaged)?;
        if let Some(next) = next {
            let mut bytes = Bytes::from(bytes);
            bytes.truncate(len);
            return Ok(Some((bytes, next)));
        }
        let first = segment.find(position, |_| true)?;
        match first {
            Some((_, header))
                if options.at_least_one && header.base_offset < end && header.size > bytes_max =>
            {
                bytes_max = header.size;
            }
            _ => return Ok(None),
        }
    }
}

/// The aborted transactions that reach into `from..to`.
pub(super) fn aborted_within(
    segments: &[Arc<Segment>],
    from: Offset,
    to: Offset,
) -> Result<Vec<AbortedTransaction>, StorageError> {
    let mut found = Vec::new();
    // A marker at or after `from` lies in the segment of `from` or a later one.
    let after = segments.partition_point(|segment| segment.base <= from);
    for segment in &segments[after.saturating_sub(1)..] {
        for aborted in segment.aborted()?.iter() {
            if aborted.last_offset >= from && aborted.first_offset < to {
                found.push(*aborted);
            }
            if aborted.last_stable_offset >= to {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn first_record(
    batch: &RecordBatch,
    wanted: impl Fn(Offset, i64) -> bool,
) -> Result<Option<TimestampOffset>, SegmentError> {
    let damaged = |source| SegmentError::Damaged { offset: batch.base_offset(), source };
    for record in batch.records().map_err(damaged)?.iter() {
        let record = record.map_err(damaged)?;
        if wanted(record.offset, record.timestamp_ms) {
            return Ok(Some(TimestampOffset {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                leader_epoch: batch.leader_epoch(),
            }));
        }
    }
    Ok(None)
}
