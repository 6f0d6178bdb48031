//! From a directory to a log: after an orderly close nothing is scanned; otherwise every batch
//! from the segment of the recovery point on is checked, and the log ends at the first bad byte.
//!
//! What is below the recovery point was synced, records and indexes both, and is trusted. A
//! segment in the scanned part must begin where the one before it ends: a gap means that a power
//! cut took the end of one file and left the next. (Compaction, which makes lawful gaps, moves the
//! recovery point past a segment before it touches it.)

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Epochs, LogCheckpoint};
use super::config::LogConfig;
use super::disk::Disk;
use super::error::{Doing, LogOpenError, StorageError};
use super::producers::Producers;
use super::repair::{SmallFiles, small_files};
use super::scan::{Cut, RecoveryReport, ScanOptions, scan};
use super::segment::{Segment, file_name};
use super::{checksums, compaction, snapshot};
use crate::ids::{LeaderEpoch, Offset};

const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// A log as found.
#[derive(Debug)]
pub(super) struct Loaded {
    /// In order of their offsets, at least one.
    pub segments: Vec<Arc<Segment>>,
    /// Scanned segments, all but the last, whose indexes and snapshot are to be written.
    pub sealed: Vec<Sealed>,
    pub start: Offset,
    pub end: Offset,
    /// Below it all is on disk.
    pub synced: Offset,
    pub recovery_point: Offset,
    pub cleaned: Offset,
    pub epochs: Epochs,
    /// Which epochs began where in the part that was scanned.
    scanned_epochs: Vec<(LeaderEpoch, Offset)>,
    pub producers: Producers,
    /// `None` after an orderly close.
    pub report: Option<RecoveryReport>,
}

/// A segment that takes no more records, and the producers' state at its end.
#[derive(Debug)]
pub(super) struct Sealed {
    pub segment: Arc<Segment>,
    pub end: Offset,
    pub snapshot: Vec<u8>,
}

pub(super) fn load(
    disk: &Arc<dyn Disk>,
    dir: &Arc<Path>,
    config: &LogConfig,
    epoch: LeaderEpoch,
    now_ms: i64,
) -> Result<Loaded, LogOpenError> {
    if disk.create_dir_all(dir).doing(dir, "create directory")? {
        // There is nothing to look for: of a thousand new partitions, that is most of the work.
        let mut loaded = empty(disk, dir, Offset::ZERO, now_ms)?;
        loaded.epochs.begin(epoch.max(LeaderEpoch::default()), loaded.end);
        return Ok(loaded);
    }
    compaction::recover(disk, dir)?;
    let files = Files::list(disk, dir)?;
    files.remove_leftovers(&**disk, dir)?;
    let segments = files.segments(disk, dir)?;
    let SmallFiles { checkpoint, mut epochs } =
        small_files(&**disk, dir, &segments, &files.snapshots)?;
    let known = checksums::load(&**disk, dir);
    for segment in &segments {
        segment.expect_indexes(known.get(&segment.base).copied());
    }
    let epoch = epochs.latest().unwrap_or_default().max(epoch);
    let loader = Loader { disk, dir, config, checkpoint, epoch, files };
    let mut loaded = if segments.is_empty() {
        empty(disk, dir, loader.checkpoint.start, now_ms)?
    } else if let Some(loaded) = loader.clean(&segments)? {
        loaded
    } else {
        let recovered = loader.recover(segments)?;
        loader.not_before_start(recovered, now_ms)?
    };
    // The file may be older than the records, of which those that were scanned tell.
    epochs.cut(loaded.end);
    for (epoch, start) in std::mem::take(&mut loaded.scanned_epochs) {
        if epochs.latest().is_none_or(|latest| latest < epoch) {
            epochs.begin(epoch, start);
        }
    }
    epochs.forget_before(loaded.start);
    let cut = loaded.report.as_ref().is_some_and(|report| !report.cuts.is_empty());
    match epochs.latest() {
        Some(LeaderEpoch(latest)) if cut && latest >= epoch.0 => {
            // Without a start that others can see, what follows must still be told apart.
            epochs.begin(LeaderEpoch(latest + 1), loaded.end);
            epochs.store(&**disk, dir)?;
        }
        Some(latest) if latest >= epoch => {}
        _ => epochs.begin(epoch, loaded.end),
    }
    loaded.epochs = epochs;
    Ok(loaded)
}

/// In the place of a log that cannot be loaded; no file is touched.
pub(super) fn unread(disk: &Arc<dyn Disk>, dir: &Arc<Path>, epoch: LeaderEpoch) -> Loaded {
    let (disk, dir) = (disk.clone(), dir.clone());
    let segment = Segment::existing(disk, dir, Offset::ZERO, 0, 0);
    let mut loaded = around(Arc::new(segment));
    loaded.epochs.begin(epoch, Offset::ZERO);
    loaded
}

/// The names in the directory, by kind.
#[derive(Debug, Default)]
struct Files {
    logs: BTreeSet<Offset>,
    snapshots: BTreeSet<Offset>,
    /// Index files without their log.
    names: BTreeSet<String>,
}

impl Files {
    fn list(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Files, StorageError> {
        let mut files = Files::default();
        for name in disk.list(dir).doing(dir, "list directory")? {
            match split(&name) {
                Some((base, "log")) => _ = files.logs.insert(base),
                Some((base, "snapshot")) => _ = files.snapshots.insert(base),
                _ => {}
            }
            files.names.insert(name);
        }
        Ok(files)
    }

    /// What a crash left in the middle of a deletion or replacement.
    fn remove_leftovers(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        for name in &self.names {
            let orphan = match split(name) {
                Some((base, "index" | "timeindex" | "txnindex")) => !self.logs.contains(&base),
                _ => name.ends_with(".deleted") || name.ends_with(".tmp"),
            };
            if orphan {
                let path = dir.join(name);
                disk.remove_file(&path).doing(&path, "delete")?;
            }
        }
        Ok(())
    }

    fn segments(
        &self,
        disk: &Arc<dyn Disk>,
        dir: &Arc<Path>,
    ) -> Result<Vec<Arc<Segment>>, StorageError> {
        let open = |base: &Offset| {
            let path = dir.join(file_name(*base, "log"));
            let metadata = disk.metadata(&path).doing(&path, "look at")?;
            let (disk, dir) = (disk.clone(), dir.clone());
            Ok(Arc::new(Segment::existing(disk, dir, *base, metadata.len, metadata.created_ms)))
        };
        self.logs.iter().map(open).collect()
    }

    fn has_indexes(&self, base: Offset) -> bool {
        ["index", "timeindex"].iter().all(|kind| self.names.contains(&file_name(base, kind)))
    }
}

/// `00000000000000000042.log` → (42, "log").
fn split(name: &str) -> Option<(Offset, &str)> {
    let (base, extension) = name.split_once('.')?;
    let digits = base.len() == 20 && base.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| base.parse().ok().map(|base| (Offset(base), extension)))?
}

/// The producers as they were below `offset`, if that was kept.
fn load_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    offset: Offset,
) -> Result<Option<Producers>, StorageError> {
    let path = dir.join(file_name(offset, "snapshot"));
    match disk.read(&path, SNAPSHOT_BYTES_MAX) {
        Ok(bytes) => Ok(snapshot::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::new(&path, "read snapshot", error)),
    }
}

/// A log without segments begins where the checkpoint says, or at 0.
fn empty(
    disk: &Arc<dyn Disk>,
    dir: &Arc<Path>,
    start: Offset,
    now_ms: i64,
) -> Result<Loaded, StorageError> {
    Ok(around(Arc::new(Segment::create(disk.clone(), dir.clone(), start, now_ms)?)))
}

/// A log of one segment with nothing in it.
fn around(segment: Arc<Segment>) -> Loaded {
    let start = segment.base;
    Loaded {
        segments: vec![segment],
        sealed: Vec::new(),
        start,
        end: start,
        synced: start,
        recovery_point: start,
        cleaned: start,
        epochs: Epochs::default(),
        scanned_epochs: Vec::new(),
        producers: Producers::default(),
        report: None,
    }
}

struct Loader<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: &'a Arc<Path>,
    config: &'a LogConfig,
    checkpoint: LogCheckpoint,
    epoch: LeaderEpoch,
    files: Files,
}

impl Loader<'_> {
    /// The log as it was closed; `None` if it was written to since, or lacks an index.
    fn clean(&self, segments: &[Arc<Segment>]) -> Result<Option<Loaded>, StorageError> {
        let Some(clean) = self.checkpoint.clean else { return Ok(None) };
        let last = segments.last().expect("the caller has looked");
        let indexed = segments.iter().all(|segment| self.files.has_indexes(segment.base));
        if last.base != clean.base || last.size() != clean.bytes || !indexed {
            return Ok(None);
        }
        let Some(producers) = self.snapshot(clean.end)? else { return Ok(None) };
        self.remove_snapshots(segments, clean.end)?;
        Ok(Some(Loaded {
            segments: segments.to_vec(),
            sealed: Vec::new(),
            start: self.checkpoint.start.max(segments[0].base),
            end: clean.end,
            synced: clean.end,
            recovery_point: clean.end,
            cleaned: self.checkpoint.cleaned.min(clean.end),
            epochs: Epochs::default(),
            scanned_epochs: Vec::new(),
            producers,
            report: None,
        }))
    }

    fn recover(&self, mut segments: Vec<Arc<Segment>>) -> Result<Loaded, StorageError> {
        let from = self.first_to_scan(&segments);
        let mut producers = self.producers_before(&segments, from)?;
        let mut report = RecoveryReport::default();
        let mut sealed: Vec<Sealed> = Vec::new();
        let mut scanned_epochs = Vec::new();
        let mut end = segments[from].base;
        let holding = self.holding_recovery_point(&segments);
        let mut index = from;
        while index < segments.len() {
            let segment = segments[index].clone();
            // Below the recovery point compaction leaves lawful gaps.
            let synced = index <= holding;
            if synced {
                end = end.max(segment.base);
            }
            if index > from && segment.base != end {
                let reason = format!("the segment before it ends at {end}");
                self.drop_from(&mut segments, index, end, &reason, &mut report)?;
                break;
            }
            if index > from {
                let snapshot = snapshot::encode(&producers);
                sealed.push(Sealed { segment: segments[index - 1].clone(), end, snapshot });
            }
            let scanned = scan(
                &segment,
                &mut producers,
                ScanOptions {
                    expected: end,
                    producers_from: Offset::ZERO,
                    verify_checksums: true,
                    contiguous: !synced || index == holding,
                    epoch_max: self.epoch,
                    index_interval_bytes: self.config.index_interval_bytes,
                },
            )?;
            scanned_epochs.extend(scanned.epochs);
            report.segments_scanned += 1;
            report.bytes_scanned += scanned.len;
            end = scanned.end;
            segment.restore(scanned.growing, scanned.good);
            index += 1;
            if let Some(reason) = scanned.fault {
                segment.truncate(scanned.good)?;
                let bytes = scanned.len - scanned.good;
                report.cut(segment.path("log"), scanned.good, bytes, end, &reason);
                self.drop_from(&mut segments, index, end, &reason, &mut report)?;
            }
        }
        self.remove_snapshots(&segments, end)?;
        let recovery_point = segments[from].base;
        Ok(Loaded {
            start: self.checkpoint.start.max(segments[0].base).min(end),
            segments,
            sealed,
            end,
            synced: recovery_point,
            recovery_point,
            cleaned: self.checkpoint.cleaned.min(end),
            epochs: Epochs::default(),
            scanned_epochs,
            producers,
            report: Some(report),
        })
    }

    /// Records up to the checkpointed start were deleted, and their offsets must not come again,
    /// even if the power cut took more than what was deleted.
    fn not_before_start(&self, recovered: Loaded, now_ms: i64) -> Result<Loaded, StorageError> {
        if recovered.end >= self.checkpoint.start {
            return Ok(recovered);
        }
        for segment in &recovered.segments {
            segment.delete()?;
        }
        let empty = empty(self.disk, self.dir, self.checkpoint.start, now_ms)?;
        Ok(Loaded { report: recovered.report, ..empty })
    }

    /// The segment that holds the recovery point, or an earlier one that lacks an index.
    fn first_to_scan(&self, segments: &[Arc<Segment>]) -> usize {
        let from = self.holding_recovery_point(segments);
        let lacking = segments.iter().position(|segment| !self.files.has_indexes(segment.base));
        lacking.map_or(from, |lacking| lacking.min(from))
    }

    fn holding_recovery_point(&self, segments: &[Arc<Segment>]) -> usize {
        let point = self.checkpoint.recovery_point;
        segments.partition_point(|segment| segment.base <= point).saturating_sub(1)
    }

    /// The producers' state at the beginning of segment `from`: a snapshot, and a replay of what
    /// lies between.
    fn producers_before(
        &self,
        segments: &[Arc<Segment>],
        from: usize,
    ) -> Result<Producers, StorageError> {
        let base = segments[from].base;
        let mut found = (Offset::ZERO, Producers::default());
        for offset in self.files.snapshots.range(..=base).rev() {
            if let Some(producers) = self.snapshot(*offset)? {
                found = (*offset, producers);
                break;
            }
        }
        let (known, mut producers) = found;
        for (segment, next) in segments[..from].iter().zip(&segments[1..]) {
            if next.base <= known {
                continue;
            }
            let scanned = scan(
                segment,
                &mut producers,
                ScanOptions {
                    expected: segment.base,
                    producers_from: known,
                    verify_checksums: false,
                    contiguous: false,
                    epoch_max: self.epoch,
                    index_interval_bytes: u32::MAX,
                },
            )?;
            if let Some(reason) = scanned.fault {
                let file = segment.path("log");
                tracing::warn!(file = %file.display(), position = scanned.good, reason,
                    "a synced segment is damaged; producers in it are not remembered");
            }
        }
        Ok(producers)
    }

    fn snapshot(&self, offset: Offset) -> Result<Option<Producers>, StorageError> {
        load_snapshot(&**self.disk, self.dir, offset)
    }

    /// Snapshots that no recovery will ask for: neither at a segment's start nor at the end.
    fn remove_snapshots(&self, segments: &[Arc<Segment>], end: Offset) -> Result<(), StorageError> {
        for offset in &self.files.snapshots {
            if *offset != end && !segments.iter().any(|segment| segment.base == *offset) {
                let path = self.dir.join(file_name(*offset, "snapshot"));
                match self.disk.remove_file(&path) {
                    // It went with its segment, which lay beyond a cut.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.doing(&path, "delete")?,
                }
            }
        }
        Ok(())
    }

    fn drop_from(
        &self,
        segments: &mut Vec<Arc<Segment>>,
        index: usize,
        end: Offset,
        reason: &str,
        report: &mut RecoveryReport,
    ) -> Result<(), StorageError> {
        for segment in segments.split_off(index) {
            report.cut(segment.path("log"), 0, segment.size(), end, reason);
            segment.delete()?;
        }
        Ok(())
    }
}

impl RecoveryReport {
    fn cut(
        &mut self,
        file: std::path::PathBuf,
        position: u64,
        bytes: u64,
        offset: Offset,
        reason: &str,
    ) {
        tracing::warn!(file = %file.display(), position, bytes, %offset, reason,
            "cut off what was not wholly written; the log goes on with this offset");
        self.cuts.push(Cut { file, position, bytes, offset, reason: reason.to_owned() });
    }
}
