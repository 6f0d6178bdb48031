//! Walking a segment from end to end, as recovery does: every batch is checked, the indexes and
//! the producers' state come out anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::disk::DiskFile;
use super::error::{Doing, StorageError};
use super::header::BatchHeader;
use super::index::Growing;
use super::producers::{Marker, Producers};
use super::segment::Segment;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::batch::at;
use crate::record::{BatchError, HEADER_LEN, RecordBatch};

/// How much is read at once.
const CHUNK_LEN: usize = 4 << 20;

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanOptions {
    /// Batches below it must not occur.
    pub expected: Offset,
    /// Batches below it do not count for the producers: they are in the snapshot already.
    pub producers_from: Offset,
    pub verify_checksums: bool,
    /// Whether each batch must begin where the one before it ends, which compaction undoes.
    pub contiguous: bool,
    /// The log's latest; no batch can have a later one.
    pub epoch_max: LeaderEpoch,
    pub index_interval_bytes: u32,
}

/// What a walk has found.
#[derive(Debug)]
pub(super) struct Scanned {
    pub growing: Growing,
    /// Each leader epoch and the first offset that has it.
    pub epochs: Vec<(LeaderEpoch, Offset)>,
    /// Bytes of good batches, and the bytes in the file.
    pub good: u64,
    pub len: u64,
    /// The offset after the last good batch.
    pub end: Offset,
    /// Batches that ended transactions.
    pub markers: u64,
    /// Why it ends before the file does.
    pub fault: Option<String>,
}

/// Walks `segment` up to its end or the first bad byte.
pub(super) fn scan(
    segment: &Segment,
    producers: &mut Producers,
    options: ScanOptions,
) -> Result<Scanned, StorageError> {
    let path = segment.path("log");
    let file = segment.open()?;
    let len = file.len().doing(&path, "read segment")?;
    let mut scanned = Scanned {
        growing: Growing::default(),
        epochs: Vec::new(),
        good: 0,
        len,
        end: options.expected,
        markers: 0,
        fault: None,
    };
    let mut window = Window::new(file, &path, len);
    while scanned.good < len {
        match window.batch(scanned.good)? {
            Ok((header, bytes)) => {
                if let Err(reason) = step(segment.base, &header, bytes, &scanned, options) {
                    scanned.fault = Some(reason);
                    break;
                }
                let interval = options.index_interval_bytes;
                scanned.growing.add(segment.base, &header, scanned.good, interval);
                if header.base_offset >= options.producers_from {
                    replay(&header, bytes, producers, &mut scanned.growing);
                }
                scanned.markers += u64::from(header.is_control());
                if scanned.epochs.last().is_none_or(|(latest, _)| *latest < header.epoch) {
                    scanned.epochs.push((header.epoch, header.base_offset));
                }
                scanned.good += header.size as u64;
                scanned.end = header.next_offset();
            }
            Err(error) => {
                scanned.fault = Some(error.to_string());
                break;
            }
        }
    }
    Ok(scanned)
}

fn step(
    base: Offset,
    header: &BatchHeader,
    bytes: &[u8],
    before: &Scanned,
    options: ScanOptions,
) -> Result<(), String> {
    let gap = options.contiguous && header.base_offset > before.end;
    if gap || header.base_offset < before.end {
        return Err(format!("batch at offset {} after {}", header.base_offset, before.end));
    }
    if header.last_offset_delta < 0 || header.last_offset().since(base) > i64::from(i32::MAX) {
        return Err(format!("batch at offset {} spans impossibly many", header.base_offset));
    }
    // Outside the checksum, as the base offset is.
    let epoch_min = before.epochs.last().map_or(LeaderEpoch(0), |(latest, _)| *latest);
    if header.epoch > options.epoch_max || header.epoch < epoch_min {
        let (offset, epoch) = (header.base_offset, header.epoch.0);
        return Err(format!("batch at offset {offset} has leader epoch {epoch}"));
    }
    if options.verify_checksums {
        let computed = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        if computed != header.crc {
            let (offset, found) = (header.base_offset, header.crc);
            return Err(BatchError::Checksum { offset, found, computed }.to_string());
        }
    }
    Ok(())
}

/// Lets the producers' state follow a batch.
fn replay(header: &BatchHeader, bytes: &[u8], producers: &mut Producers, growing: &mut Growing) {
    if !header.producer_id.is_some() {
        return;
    }
    if !header.is_control() {
        producers.add(header);
    } else if let Some(marker) = marker(bytes)
        && let Some(aborted) = producers.add_marker(header, marker)
    {
        growing.aborted.push(aborted);
    }
}

/// The marker in a control batch; `None` for kinds that are none of ours.
fn marker(bytes: &[u8]) -> Option<Marker> {
    let batch = RecordBatch::parse(Bytes::copy_from_slice(bytes)).ok()?;
    marker_of(&batch)
}

pub(super) fn marker_of(batch: &RecordBatch) -> Option<Marker> {
    let records = batch.records().ok()?;
    let record = records.iter().next()?.ok()?;
    // Value: version i16, coordinator epoch i32.
    let epoch = record.value?.get(2..6)?.try_into().ok()?;
    Some(Marker {
        control_type: record.control_type()?,
        coordinator_epoch: i32::from_be_bytes(epoch),
    })
}

/// A stretch of a file in memory that moves along.
pub(super) struct Window<'a> {
    file: Arc<dyn DiskFile>,
    path: &'a Path,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub fn new(file: Arc<dyn DiskFile>, path: &'a Path, len: u64) -> Window<'a> {
        Window { file, path, len, start: 0, bytes: Vec::new() }
    }

    /// The batch at `position`, whole. Positions must grow.
    #[allow(clippy::type_complexity)]
    pub fn batch(
        &mut self,
        position: u64,
    ) -> Result<Result<(BatchHeader, &[u8]), BatchError>, StorageError> {
        self.hold(position, HEADER_LEN)?;
        let header = match BatchHeader::parse(self.from(position)) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let remain = self.len - position;
        if header.size as u64 > remain {
            let (have, need) = (remain as usize, header.size);
            return Ok(Err(BatchError::CutShort { have, need }));
        }
        self.hold(position, header.size)?;
        Ok(Ok((header, &self.from(position)[..header.size])))
    }

    fn from(&self, position: u64) -> &[u8] {
        &self.bytes[(position - self.start) as usize..]
    }

    /// Reads on so that `len` bytes from `position` are here, or as many as the file has.
    fn hold(&mut self, position: u64, len: usize) -> Result<(), StorageError> {
        let len = (len as u64).min(self.len - position);
        if position + len <= self.start + self.bytes.len() as u64 {
            return Ok(());
        }
        let kept = (position - self.start) as usize;
        self.bytes.drain(..kept.min(self.bytes.len()));
        self.start = position;
        let have = self.bytes.len();
        let want = len.max(CHUNK_LEN as u64).min(self.len - position) as usize;
        self.bytes.resize(want, 0);
        let at = position + have as u64;
        self.file.read_exact_at(&mut self.bytes[have..], at).doing(self.path, "read segment")
    }
}

/// What recovery did to a log that was not closed in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    pub segments_scanned: usize,
    pub bytes_scanned: u64,
    /// What was cut off, if anything; all of it unacknowledged or damaged.
    pub cuts: Vec<Cut>,
}

/// A stretch that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub file: PathBuf,
    pub position: u64,
    pub bytes: u64,
    /// The log goes on with this offset.
    pub offset: Offset,
    pub reason: String,
}
