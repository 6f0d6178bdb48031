//! One segment: a `.log` file of whole batches and its indexes.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::checksums::IndexChecksums;
use super::disk::{Disk, DiskFile};
use super::error::{Doing, StorageError};
use super::header::{self, BatchHeader};
use super::index::{self, AbortedTransaction, Growing};
use super::scan::{ScanOptions, scan};
use super::snapshot;
use crate::ids::{LeaderEpoch, Offset};
use crate::record::{BatchError, HEADER_LEN, RecordBatch};

/// How much is read at once to find a batch between two index entries.
const PROBE_LEN: usize = 16 << 10;
/// The largest index file that is taken for one: 4 GiB of log at one entry per 61-byte batch.
const INDEX_BYTES_MAX: u64 = 1 << 30;
/// `index.interval.bytes`, where indexes are made anew.
const REBUILT_INTERVAL_BYTES: u32 = 4096;

/// Why a segment cannot be read.
#[derive(Debug)]
pub(super) enum SegmentError {
    Storage(StorageError),
    Damaged { offset: Offset, source: BatchError },
}

impl SegmentError {
    /// Whether the segment was deleted or replaced since the reader looked it up.
    pub fn is_gone(&self) -> bool {
        matches!(self, SegmentError::Storage(error)
            if error.source.kind() == io::ErrorKind::NotFound)
    }
}

impl From<StorageError> for SegmentError {
    fn from(error: StorageError) -> SegmentError {
        SegmentError::Storage(error)
    }
}

/// Readers and the one writer share it. The writer alone appends; bytes below `size` are whole
/// batches and change no more.
#[derive(Debug)]
pub(super) struct Segment {
    /// Unlike its base, it never belongs to another segment.
    pub id: u64,
    pub base: Offset,
    /// When its first batch was written, by the broker's clock.
    pub created_ms: i64,
    dir: Arc<Path>,
    disk: Arc<dyn Disk>,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    size: AtomicU64,
    indexes: Mutex<Indexes>,
    /// Its names no longer are, or soon will not be, those of its files.
    retired: AtomicBool,
}

#[derive(Debug)]
enum Indexes {
    /// In memory; the files are missing or older.
    Growing(Growing),
    /// In the files; what was asked for often is remembered.
    Written {
        largest: Option<Option<(i64, Offset)>>,
        aborted: Option<Arc<[AbortedTransaction]>>,
        /// Of the files, as far as that is known.
        checksums: Option<IndexChecksums>,
        /// The files have been found to be as they were written.
        checked: bool,
    },
}

/// `00000000000000000042.log`.
pub(super) fn file_name(base: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base.0)
}

impl Indexes {
    fn written(growing: &mut Growing, checksums: IndexChecksums) -> Indexes {
        Indexes::Written {
            largest: Some(growing.largest),
            aborted: Some(std::mem::take(&mut growing.aborted).into()),
            checksums: Some(checksums),
            checked: true,
        }
    }
}

impl Segment {
    /// A new, empty segment; the file exists when this returns, its name is not yet durable.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: Arc<Path>,
        base: Offset,
        now_ms: i64,
    ) -> Result<Segment, StorageError> {
        let path = dir.join(file_name(base, "log"));
        let file = disk.open(&path).doing(&path, "create segment")?;
        file.set_len(0).doing(&path, "create segment")?;
        let segment = Segment::existing(disk, dir, base, 0, now_ms);
        *segment.file() = Some(file);
        *segment.indexes() = Indexes::Growing(Growing::default());
        Ok(segment)
    }

    /// A segment as it lies on disk.
    pub fn existing(
        disk: Arc<dyn Disk>,
        dir: Arc<Path>,
        base: Offset,
        size: u64,
        created_ms: i64,
    ) -> Segment {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Segment {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            base,
            created_ms,
            dir,
            disk,
            file: Mutex::new(None),
            size: AtomicU64::new(size),
            indexes: Mutex::new(Indexes::Written {
                largest: None,
                aborted: None,
                checksums: None,
                checked: false,
            }),
            retired: AtomicBool::new(false),
        }
    }

    /// What compaction has made of earlier segments: usable at once, by its open file and its
    /// indexes in memory, before it has its names.
    pub fn replacement(self, file: Arc<dyn DiskFile>, growing: Growing) -> Segment {
        *self.file() = Some(file);
        *self.indexes() = Indexes::Growing(growing);
        self
    }

    /// The index files have their names, so nothing need be kept in memory.
    pub fn settle(&self) {
        let mut indexes = self.indexes();
        if let Indexes::Growing(growing) = &mut *indexes {
            let checksums = growing.checksums();
            *indexes = Indexes::written(growing, checksums);
        }
        drop(indexes);
        self.close();
    }

    /// What its index files were when they were written, if that is known.
    pub fn expect_indexes(&self, expected: Option<IndexChecksums>) {
        if let Indexes::Written { checksums, .. } = &mut *self.indexes() {
            *checksums = expected;
        }
    }

    /// Whether its indexes are only in memory.
    pub fn awaits_indexes(&self) -> bool {
        matches!(&*self.indexes(), Indexes::Growing(_))
    }

    /// What is to be expected of its index files.
    pub fn checksums(&self) -> Option<IndexChecksums> {
        match &*self.indexes() {
            Indexes::Written { checksums, .. } => *checksums,
            Indexes::Growing(_) => None,
        }
    }

    /// Closes the file until somebody reads again. Not while its records are only in memory: an
    /// error in writing them back could then go unnoticed.
    pub fn close(&self) {
        if matches!(&*self.indexes(), Indexes::Written { .. }) {
            *self.file() = None;
        }
    }

    #[cfg(test)]
    pub fn is_open(&self) -> bool {
        self.file().is_some()
    }

    /// From here on its names may be another's: who has its file open may go on reading that, all
    /// others must look the segment up again.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// Passes on what was found by one of its names, if the name was still its own by then.
    fn still_own<T>(&self, found: T) -> Result<T, StorageError> {
        if !self.retired.load(Ordering::SeqCst) {
            return Ok(found);
        }
        let gone = io::Error::new(io::ErrorKind::NotFound, "deleted or compacted meanwhile");
        Err(StorageError::new(&self.path("log"), "read segment", gone))
    }

    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(file_name(self.base, extension))
    }

    /// The log file, opened when first needed.
    pub fn open(&self) -> Result<Arc<dyn DiskFile>, StorageError> {
        let mut file = self.file();
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let path = self.path("log");
        let opened = self.disk.open_existing(&path).doing(&path, "open segment")?;
        let opened = self.still_own(opened)?;
        *file = Some(opened.clone());
        Ok(opened)
    }

    fn file(&self) -> MutexGuard<'_, Option<Arc<dyn DiskFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn indexes(&self) -> MutexGuard<'_, Indexes> {
        self.indexes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer does.
impl Segment {
    /// Writes batches at the end. After an error the file is as long as before, or `Err` of the
    /// outer result says that even that failed.
    pub fn append(
        &self,
        parts: &mut [IoSlice<'_>],
        size: u64,
    ) -> Result<Result<(), StorageError>, StorageError> {
        let path = || self.path("log");
        let file = match self.open() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        match file.append(parts) {
            Ok(()) => {
                self.size.fetch_add(size, Ordering::Release);
                Ok(Ok(()))
            }
            Err(error) => {
                file.set_len(self.size()).doing(&path(), "cut off a torn write")?;
                Ok(Err(StorageError::new(&path(), "write records", error)))
            }
        }
    }

    /// Makes the indexes ready to grow; says how many entries the offset index has.
    pub fn prepare(&self) -> Result<usize, StorageError> {
        let mut indexes = self.checked_indexes()?;
        match &*indexes {
            Indexes::Growing(growing) => Ok(growing.offsets.len()),
            Indexes::Written { .. } => {
                let growing = self.load_indexes()?;
                let entries = growing.offsets.len();
                *indexes = Indexes::Growing(growing);
                Ok(entries)
            }
        }
    }

    /// Enters a batch into the indexes.
    pub fn index(&self, header: &BatchHeader, position: u64, interval: u32) {
        self.with_growing(|growing| growing.add(self.base, header, position, interval));
    }

    pub fn index_aborted(&self, transaction: AbortedTransaction) {
        self.with_growing(|growing| growing.aborted.push(transaction));
    }

    fn with_growing(&self, change: impl FnOnce(&mut Growing)) {
        match &mut *self.indexes() {
            Indexes::Growing(growing) => change(growing),
            Indexes::Written { .. } => unreachable!("the writer prepares before it appends"),
        }
    }

    fn load_indexes(&self) -> Result<Growing, StorageError> {
        let [offsets, times, aborted] = self.read_indexes()?;
        Ok(Growing::decode(self.base, &offsets, &times, &aborted))
    }

    /// The index files as they are; one that is not there, or cannot be one, is empty.
    fn read_indexes(&self) -> Result<[Vec<u8>; 3], StorageError> {
        let read = |extension| {
            let path = self.path(extension);
            match self.disk.read(&path, INDEX_BYTES_MAX) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::InvalidData
                    ) =>
                {
                    Ok(Vec::new())
                }
                read => read.doing(&path, "read index"),
            }
        };
        let files = [read("index")?, read("timeindex")?, read("txnindex")?];
        // What is missing under a name must not be taken from a segment that is gone.
        self.still_own(files)
    }

    /// The indexes, once their files are known to be what was written: damaged ones are made anew.
    fn checked_indexes(&self) -> Result<MutexGuard<'_, Indexes>, StorageError> {
        let mut indexes = self.indexes();
        if let Indexes::Written { checksums, checked, .. } = &mut *indexes
            && !*checked
        {
            let [offsets, times, aborted] = self.read_indexes()?;
            if *checksums == Some(IndexChecksums::of(&offsets, &times, &aborted)) {
                *checked = true;
            } else {
                *indexes = self.rebuild_indexes()?;
            }
        }
        Ok(indexes)
    }

    /// Makes the indexes anew from the records.
    fn rebuild_indexes(&self) -> Result<Indexes, StorageError> {
        tracing::warn!(segment = %self.path("log").display(),
            "its indexes are damaged, or from another program; making them anew from the records");
        let growing = self.index_records()?;
        // The segment may be losing its names; maintenance, which knows, writes the files.
        self.still_own(Indexes::Growing(growing))
    }

    fn index_records(&self) -> Result<Growing, StorageError> {
        let refuse = |reason: String| {
            let reason = io::Error::new(io::ErrorKind::InvalidData, reason);
            Err(StorageError::new(&self.path("log"), "make its indexes anew", reason))
        };
        let path = self.path("snapshot");
        let snapshot = match self.disk.read(&path, INDEX_BYTES_MAX) {
            Ok(bytes) => snapshot::decode(&bytes),
            Err(_) => None,
        };
        // Nothing was open before the first record of all.
        let begins_log = self.base == Offset::ZERO;
        let producers_known = snapshot.is_some() || begins_log;
        let options = ScanOptions {
            expected: self.base,
            producers_from: self.base,
            verify_checksums: true,
            contiguous: false,
            epoch_max: LeaderEpoch(i32::MAX),
            index_interval_bytes: REBUILT_INTERVAL_BYTES,
        };
        let mut scanned = scan(self, &mut snapshot.unwrap_or_default(), options)?;
        if let Some(reason) = scanned.fault {
            return refuse(format!("at position {}: {reason}", scanned.good));
        }
        if scanned.markers > 0 && !producers_known {
            return refuse(format!(
                "{} is damaged too, so nobody knows which transactions were open; \
                 delete {} and restart the broker, which then reads the log from its beginning",
                path.display(),
                self.path("index").display()
            ));
        }
        scanned.growing.add_largest_time(self.base);
        Ok(scanned.growing)
    }

    fn write_index_files(&self, growing: &Growing) -> Result<IndexChecksums, StorageError> {
        let (offsets, times) = (growing.encode_offsets(), growing.encode_times());
        let aborted = growing.encode_aborted();
        let disk = &*self.disk;
        index::write(disk, &self.path("index"), &offsets)?;
        index::write(disk, &self.path("timeindex"), &times)?;
        let path = self.path("txnindex");
        // Most segments have no aborted transaction, and Kafka then has no file.
        if !aborted.is_empty() || disk.metadata(&path).is_ok() {
            index::write(disk, &path, &aborted)?;
        }
        Ok(IndexChecksums::of(&offsets, &times, &aborted))
    }

    /// Replaces the indexes by those that a scan has found, and the size likewise.
    pub fn restore(&self, growing: Growing, size: u64) {
        *self.indexes() = Indexes::Growing(growing);
        self.size.store(size, Ordering::Release);
    }

    /// Writes the index files durably, if they are behind.
    pub fn write_indexes(&self) -> Result<(), StorageError> {
        let mut growing = match &mut *self.indexes() {
            Indexes::Growing(growing) => {
                growing.add_largest_time(self.base);
                growing.clone()
            }
            Indexes::Written { .. } => return Ok(()),
        };
        let checksums = self.write_index_files(&growing)?;
        let mut indexes = self.indexes();
        // The writer may have gone on meanwhile; then the files are behind again.
        let unchanged = matches!(&*indexes, Indexes::Growing(now)
            if now.largest == growing.largest && now.offsets.len() == growing.offsets.len()
                && now.aborted.len() == growing.aborted.len());
        if unchanged {
            *indexes = Indexes::written(&mut growing, checksums);
        }
        Ok(())
    }

    /// Cuts the segment at `position`, where the batch with `offset` begins.
    pub fn truncate(&self, position: u64) -> Result<(), StorageError> {
        let path = self.path("log");
        self.open()?.set_len(position).doing(&path, "truncate")?;
        self.size.store(position, Ordering::Release);
        Ok(())
    }

    /// Takes the segment's files out of the log: renamed, so that a crash in between leaves
    /// nothing that would be taken for a segment, then deleted.
    pub fn delete(&self) -> Result<(), StorageError> {
        self.retire();
        let extensions = ["index", "timeindex", "txnindex", "snapshot", "log"];
        let mut renamed = Vec::new();
        for extension in extensions {
            let path = self.path(extension);
            let deleted = path.with_added_extension("deleted");
            match self.disk.rename(&path, &deleted) {
                Ok(()) => renamed.push(deleted),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::new(&path, "rename", error)),
            }
        }
        for path in renamed {
            self.disk.remove_file(&path).doing(&path, "delete")?;
        }
        Ok(())
    }
}

/// What readers do.
impl Segment {
    /// Where the first batch that ends at or after `offset` begins; `None` if there is none.
    pub fn locate(&self, offset: Offset) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let from = self.position_before(offset)?;
        self.find(from, |header| header.last_offset() >= offset)
    }

    /// The first batch at or after `position` for which `wanted` holds.
    pub fn find(
        &self,
        mut position: u64,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let size = self.size();
        let mut probe = Vec::new();
        // Where `probe` begins in the file.
        let mut start = 0;
        while position < size {
            let within = position.checked_sub(start).map(|at| at as usize);
            let bytes = within.and_then(|at| probe.get(at..at + HEADER_LEN));
            let Some(bytes) = bytes else {
                probe = self.read_at(position, PROBE_LEN)?;
                start = position;
                if probe.len() < HEADER_LEN {
                    let need = HEADER_LEN;
                    return Err(self.damaged(BatchError::CutShort { have: probe.len(), need }));
                }
                continue;
            };
            let header = BatchHeader::parse(bytes).map_err(|source| self.damaged(source))?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size as u64;
        }
        Ok(None)
    }

    /// Up to `len` bytes from `position`, fewer at the segment's end.
    pub fn read_at(&self, position: u64, len: usize) -> Result<Vec<u8>, StorageError> {
        let len = (self.size().saturating_sub(position)).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        if len > 0 {
            let file = self.open()?;
            file.read_exact_at(&mut bytes, position).doing(&self.path("log"), "read records")?;
        }
        Ok(bytes)
    }

    /// The whole batch whose header was found at `position`.
    pub fn batch_at(&self, position: u64, size: usize) -> Result<RecordBatch, SegmentError> {
        let bytes = Bytes::from(self.read_at(position, size)?);
        RecordBatch::parse(bytes).map_err(|source| self.damaged(source))
    }

    /// The first batch that holds a record of `timestamp_ms` or later, as far as its header tells.
    pub fn locate_time(
        &self,
        timestamp_ms: i64,
    ) -> Result<Option<(u64, BatchHeader)>, SegmentError> {
        let offset = match &*self.checked_indexes()? {
            Indexes::Growing(growing) => Some(growing.offset_before(self.base, timestamp_ms)),
            Indexes::Written { .. } => None,
        };
        let offset = match offset {
            Some(offset) => offset,
            None => {
                let path = self.path("timeindex");
                self.still_own(index::find_offset(&*self.disk, &path, self.base, timestamp_ms)?)?
            }
        };
        let from = self.position_before(offset)?;
        self.find(from, |header| header.max_timestamp_ms >= timestamp_ms)
    }

    /// The largest timestamp in this segment and the last offset of the batch that holds it.
    pub fn largest_timestamp(&self) -> Result<Option<(i64, Offset)>, StorageError> {
        match &mut *self.checked_indexes()? {
            Indexes::Growing(growing) => Ok(growing.largest),
            Indexes::Written { largest: Some(largest), .. } => Ok(*largest),
            Indexes::Written { largest, .. } => {
                let last = index::last_time(&*self.disk, &self.path("timeindex"))?;
                let last = self.still_own(last)?;
                let last = last
                    .map(|entry| (entry.timestamp_ms, index::absolute(self.base, entry.relative)));
                *largest = Some(last);
                Ok(last)
            }
        }
    }

    /// Bytes of its larger index.
    pub fn index_bytes(&self) -> Result<u64, StorageError> {
        if let Indexes::Growing(growing) = &*self.checked_indexes()? {
            let offsets = growing.offsets.len() * index::OFFSET_ENTRY_LEN;
            return Ok(offsets.max(growing.times.len() * index::TIME_ENTRY_LEN) as u64);
        }
        let len = |extension| {
            let path = self.path(extension);
            self.disk.metadata(&path).map(|metadata| metadata.len).doing(&path, "look at")
        };
        self.still_own(len("index")?.max(len("timeindex")?))
    }

    /// When it was last written to, by the file's own time.
    pub fn modified_ms(&self) -> Result<i64, StorageError> {
        let path = self.path("log");
        let metadata = self.disk.metadata(&path).doing(&path, "look at")?;
        self.still_own(metadata.modified_ms)
    }

    /// Transactions whose abort marker lies in this segment, in order of their ends.
    pub fn aborted(&self) -> Result<Arc<[AbortedTransaction]>, StorageError> {
        match &mut *self.checked_indexes()? {
            Indexes::Growing(growing) => Ok(growing.aborted.as_slice().into()),
            Indexes::Written { aborted: Some(aborted), .. } => Ok(aborted.clone()),
            Indexes::Written { aborted, .. } => {
                let path = self.path("txnindex");
                let bytes = match self.disk.read(&path, INDEX_BYTES_MAX) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    read => read.doing(&path, "read index")?,
                };
                // No file means none, and so must not be taken from a segment that is gone.
                let bytes = self.still_own(bytes)?;
                let entries: Arc<[AbortedTransaction]> = index::decode_aborted(&bytes).into();
                *aborted = Some(entries.clone());
                Ok(entries)
            }
        }
    }

    fn position_before(&self, offset: Offset) -> Result<u64, StorageError> {
        if let Indexes::Growing(growing) = &*self.checked_indexes()? {
            return Ok(growing.position_before(self.base, offset));
        }
        let position = index::find_position(&*self.disk, &self.path("index"), self.base, offset)?;
        self.still_own(position)
    }

    fn damaged(&self, source: BatchError) -> SegmentError {
        SegmentError::Damaged { offset: self.base, source }
    }
}

/// The last offset of each of `bytes`' whole batches decides where a read ends: the length of
/// the batches that begin before `end`, and the offset after them.
pub(super) fn whole_batches(
    bytes: &[u8],
    end: Offset,
) -> Result<(usize, Option<Offset>), BatchError> {
    let (mut len, mut next) = (0, None);
    for found in header::walk(bytes) {
        let (position, header) = found?;
        if header.base_offset >= end {
            break;
        }
        len = position + header.size;
        next = Some(header.next_offset());
    }
    Ok((len, next))
}
