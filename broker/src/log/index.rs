//! The three sparse indexes of a segment, in Kafka's forms; all numbers big-endian.
//!
//! ```text
//! .index      relative_offset i32, position i32                 one each index.interval.bytes:
//!                                                                the last offset of the batch
//!                                                                that begins at position
//! .timeindex  timestamp i64, relative_offset i32                 the largest timestamp up to and
//!                                                                with the batch ending there
//! .txnindex   version i16 = 0, producer_id i64, first_offset i64,
//!             last_offset i64, last_stable_offset i64            one per aborted transaction
//! ```
//!
//! While a segment is written to, its indexes are kept in memory ([`Growing`]) and the files are
//! written when it is sealed or the log is closed: a crash before that costs a scan, which it
//! costs anyway. A sealed segment keeps nothing in memory; lookups bisect the file.

use std::io::IoSlice;
use std::path::Path;

use super::checksums::IndexChecksums;
use super::disk::Disk;
use super::error::{Doing, StorageError};
use super::header::BatchHeader;
use crate::ids::{Offset, ProducerId};

pub(super) const OFFSET_ENTRY_LEN: usize = 8;
pub(super) const TIME_ENTRY_LEN: usize = 12;
pub(super) const ABORTED_ENTRY_LEN: usize = 34;
const ABORTED_VERSION: i16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub relative: u32,
    pub position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub timestamp_ms: i64,
    pub relative: u32,
}

/// A transaction that was aborted: its records lie in `first_offset..=last_offset`, of which the
/// last is the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// What the last stable offset was once this transaction had ended: no transaction that ends
    /// later began before it.
    pub last_stable_offset: Offset,
}

/// The indexes of a segment that is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Growing {
    pub offsets: Vec<OffsetEntry>,
    pub times: Vec<TimeEntry>,
    pub aborted: Vec<AbortedTransaction>,
    bytes_since_entry: u64,
    /// The largest timestamp so far, and the last offset of the batch that brought it.
    pub largest: Option<(i64, Offset)>,
}

impl Growing {
    /// Takes note of a batch at `position`, written or found there.
    pub fn add(&mut self, base: Offset, header: &BatchHeader, position: u64, interval: u32) {
        let last_offset = header.last_offset();
        // A batch that compaction has emptied keeps its time, but no record of that time.
        let empty = header.records_count == 0;
        if !empty && self.largest.is_none_or(|(largest, _)| header.max_timestamp_ms > largest) {
            self.largest = Some((header.max_timestamp_ms, last_offset));
        }
        if self.bytes_since_entry > u64::from(interval) {
            let relative = relative(base, last_offset);
            self.offsets.push(OffsetEntry { relative, position: position as u32 });
            self.add_largest_time(base);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.size as u64;
    }

    /// Notes the largest timestamp so far, if it has grown since the last note.
    pub fn add_largest_time(&mut self, base: Offset) {
        let Some((timestamp_ms, offset)) = self.largest else { return };
        if self.times.last().is_none_or(|last| timestamp_ms > last.timestamp_ms) {
            self.times.push(TimeEntry { timestamp_ms, relative: relative(base, offset) });
        }
    }

    /// The position of a batch at or before the one that holds `offset`.
    pub fn position_before(&self, base: Offset, offset: Offset) -> u64 {
        let target = relative(base, offset);
        let after = self.offsets.partition_point(|entry| entry.relative <= target);
        after.checked_sub(1).map_or(0, |index| u64::from(self.offsets[index].position))
    }

    /// An offset up to which all timestamps are smaller than `timestamp_ms`.
    pub fn offset_before(&self, base: Offset, timestamp_ms: i64) -> Offset {
        let after = self.times.partition_point(|entry| entry.timestamp_ms < timestamp_ms);
        after.checked_sub(1).map_or(base, |index| absolute(base, self.times[index].relative))
    }

    pub fn encode_offsets(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.offsets.len() * OFFSET_ENTRY_LEN);
        for entry in &self.offsets {
            bytes.extend_from_slice(&entry.relative.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
        }
        bytes
    }

    pub fn encode_times(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.times.len() * TIME_ENTRY_LEN);
        for entry in &self.times {
            bytes.extend_from_slice(&entry.timestamp_ms.to_be_bytes());
            bytes.extend_from_slice(&entry.relative.to_be_bytes());
        }
        bytes
    }

    pub fn encode_aborted(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.aborted.len() * ABORTED_ENTRY_LEN);
        for entry in &self.aborted {
            bytes.extend_from_slice(&ABORTED_VERSION.to_be_bytes());
            bytes.extend_from_slice(&entry.producer_id.0.to_be_bytes());
            bytes.extend_from_slice(&entry.first_offset.0.to_be_bytes());
            bytes.extend_from_slice(&entry.last_offset.0.to_be_bytes());
            bytes.extend_from_slice(&entry.last_stable_offset.0.to_be_bytes());
        }
        bytes
    }

    /// Of what the three functions above write.
    pub fn checksums(&self) -> IndexChecksums {
        let (offsets, times) = (self.encode_offsets(), self.encode_times());
        IndexChecksums::of(&offsets, &times, &self.encode_aborted())
    }

    /// What was written by those functions.
    pub fn decode(base: Offset, offsets: &[u8], times: &[u8], aborted: &[u8]) -> Growing {
        let times: Vec<TimeEntry> = times.chunks_exact(TIME_ENTRY_LEN).map(time_entry).collect();
        Growing {
            offsets: offsets.chunks_exact(OFFSET_ENTRY_LEN).map(offset_entry).collect(),
            largest: times.last().map(|entry| (entry.timestamp_ms, absolute(base, entry.relative))),
            times,
            aborted: decode_aborted(aborted),
            bytes_since_entry: 0,
        }
    }
}

pub(super) fn decode_aborted(bytes: &[u8]) -> Vec<AbortedTransaction> {
    let field = |entry: &[u8], at: usize| i64::from_be_bytes(array(&entry[at..at + 8]));
    bytes
        .chunks_exact(ABORTED_ENTRY_LEN)
        .map(|entry| AbortedTransaction {
            producer_id: ProducerId(field(entry, 2)),
            first_offset: Offset(field(entry, 10)),
            last_offset: Offset(field(entry, 18)),
            last_stable_offset: Offset(field(entry, 26)),
        })
        .collect()
}

fn offset_entry(bytes: &[u8]) -> OffsetEntry {
    OffsetEntry {
        relative: u32::from_be_bytes(array(&bytes[..4])),
        position: u32::from_be_bytes(array(&bytes[4..8])),
    }
}

fn time_entry(bytes: &[u8]) -> TimeEntry {
    TimeEntry {
        timestamp_ms: i64::from_be_bytes(array(&bytes[..8])),
        relative: u32::from_be_bytes(array(&bytes[8..12])),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the slice has the length of the array")
}

/// Clamped to what the file's entries can hold; segments roll before that matters.
fn relative(base: Offset, offset: Offset) -> u32 {
    offset.since(base).clamp(0, i64::from(i32::MAX)) as u32
}

pub(super) fn absolute(base: Offset, relative: u32) -> Offset {
    base.plus(i64::from(relative))
}

/// [`Growing::position_before`] in a file.
pub(super) fn find_position(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    offset: Offset,
) -> Result<u64, StorageError> {
    let target = relative(base, offset);
    let entry =
        bisect::<OFFSET_ENTRY_LEN>(disk, path, |entry| offset_entry(entry).relative <= target)?;
    Ok(entry.map_or(0, |entry| u64::from(offset_entry(&entry).position)))
}

/// [`Growing::offset_before`] in a file.
pub(super) fn find_offset(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    timestamp_ms: i64,
) -> Result<Offset, StorageError> {
    let entry = bisect::<TIME_ENTRY_LEN>(disk, path, |entry| {
        time_entry(entry).timestamp_ms < timestamp_ms
    })?;
    Ok(entry.map_or(base, |entry| absolute(base, time_entry(&entry).relative)))
}

/// The last entry of a time index: the largest timestamp of its segment.
pub(super) fn last_time(disk: &dyn Disk, path: &Path) -> Result<Option<TimeEntry>, StorageError> {
    let entry = bisect::<TIME_ENTRY_LEN>(disk, path, |_| true)?;
    Ok(entry.map(|entry| time_entry(&entry)))
}

/// The last entry for which `before` holds; it holds for a first part of the entries.
fn bisect<const LEN: usize>(
    disk: &dyn Disk,
    path: &Path,
    before: impl Fn(&[u8]) -> bool,
) -> Result<Option<[u8; LEN]>, StorageError> {
    let file = disk.open_existing(path).doing(path, "open index")?;
    let (mut low, mut high) = (0, file.len().doing(path, "read index")? / LEN as u64);
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let mut entry = [0; LEN];
        file.read_exact_at(&mut entry, middle * LEN as u64).doing(path, "read index")?;
        if before(&entry) {
            found = Some(entry);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

/// Replaces an index as a whole. The name is durable once the directory is synced; until then it
/// is the old index or the new one, never a part.
pub(super) fn write(disk: &dyn Disk, path: &Path, contents: &[u8]) -> Result<(), StorageError> {
    let temporary = path.with_added_extension("tmp");
    let write = || {
        let file = disk.open(&temporary)?;
        file.set_len(0)?;
        file.append(&mut [IoSlice::new(contents)])?;
        file.sync_data()?;
        disk.rename(&temporary, path)
    };
    write().doing(path, "write index")
}
