//! Compaction: of each key, the latest record stays.
//!
//! ```text
//! Dirt::of ─► offset map of the dirty part ─► groups of neighbours ─► each: rewrite ─► swap in
//!             (bounded; the rest waits for     from the log's start    (Filter)        (Swap)
//!              the next pass)                  to where the map ends
//! ```
//!
//! - [`plan`]: what is dirty, and how segments are grouped; [`filter`]: what remains of a batch;
//!   [`offset_map`]: where each key was last; [`swap`]: replacing files; [`pace`]: how fast. Here:
//!   the rim.
//!
//! Invariants: only segments that are sealed, on disk and below the last stable offset are
//! touched, so recovery never scans them. A record goes only if one that replaces it is on disk.
//! Nothing is read or written under the writer lock; readers that hold a segment that is replaced
//! go on with its open file or look again. What fails before a swap is decided leaves the log as
//! it was.

mod filter;
mod offset_map;
mod pace;
mod plan;
mod swap;

use std::io::IoSlice;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use self::filter::{Aborted, Fate, Filter, LastOfProducer};
use self::offset_map::OffsetMap;
pub use self::pace::Pace;
pub use self::plan::Dirt;
use self::plan::SealedSegment;
use self::swap::Swap;
use super::config::LogConfig;
use super::disk::DiskFile;
use super::error::{Doing, ReadError, StorageError};
use super::header::BatchHeader;
use super::index::Growing;
use super::partition::{Partition, locked};
use super::read::aborted_within;
use super::scan::Window;
use super::segment::{Segment, SegmentError};
use crate::ids::{Offset, ProducerId};
use crate::record::{BatchError, RecordBatch};

pub(super) use swap::recover;

/// How much is gathered before it is written.
const WRITE_LEN: usize = 1 << 20;

/// How to compact.
#[derive(Clone, Copy)]
pub struct CompactOptions<'a> {
    pub now_ms: i64,
    /// For the offset map.
    pub memory_bytes_max: usize,
    /// Asked now and then; once it says so, the pass ends where it is.
    pub stop: &'a dyn Fn() -> bool,
    /// Told of all bytes that were read or written; it may pause.
    pub moved: &'a dyn Fn(usize),
}

/// What a pass has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub segments_before: usize,
    pub segments_after: usize,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// The log is compacted up to here.
    pub end: Offset,
}

/// Why a pass has ended early.
enum Halt {
    /// It was told to, or the segments are no longer there.
    Stopped,
    Failed(SegmentError),
}

impl From<SegmentError> for Halt {
    fn from(error: SegmentError) -> Halt {
        if error.is_gone() { Halt::Stopped } else { Halt::Failed(error) }
    }
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Halt {
        SegmentError::from(error).into()
    }
}

impl Partition {
    /// What there is to compact, if the topic's settings ask for it by now.
    pub fn dirt(&self, now_ms: i64) -> Result<Option<Dirt>, ReadError> {
        let config = self.config();
        let unfit = self.is_uncleanable() || self.offline().is_some() || self.is_closed();
        if !config.cleanup.compact || unfit {
            return Ok(None);
        }
        match self.look_at_dirt(&self.segments(), &config, now_ms) {
            Ok(dirt) => Ok(dirt.filter(|dirt| dirt.is_enough(&config))),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => {
                self.uncleanable.store(true, Ordering::Relaxed);
                Err(self.read_error(error))
            }
        }
    }

    fn look_at_dirt(
        &self,
        segments: &[Arc<Segment>],
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<Option<Dirt>, SegmentError> {
        let (cleaned, recovery_point) = {
            let writer = self.writer();
            (writer.cleaned, writer.recovery_point)
        };
        let limit = recovery_point.min(self.visible().last_stable);
        let mut sealed = Vec::with_capacity(segments.len());
        for pair in segments.windows(2) {
            let [segment, next] = pair else { unreachable!("windows of two") };
            let dirty = next.base > cleaned;
            let (mut largest_ms, mut first_ms) = (None, None);
            if dirty && config.compaction.lag_ms_min > 0 {
                largest_ms = segment.largest_timestamp()?.map(|(largest_ms, _)| largest_ms);
            }
            if dirty && config.compaction.lag_ms_max < i64::MAX {
                first_ms = segment.find(0, |_| true)?.map(|(_, first)| first.max_timestamp_ms);
            }
            let (base, end, bytes) = (segment.base, next.base, segment.size());
            sealed.push(SealedSegment { base, end, bytes, index_bytes: 0, largest_ms, first_ms });
        }
        Ok(Dirt::of(&sealed, cleaned, limit, config, now_ms))
    }

    /// Compacts the log once, as far as the memory goes; `None` if there is nothing to do. Blocks
    /// for as long as it takes to read the whole log and to write what remains.
    pub fn compact(&self, options: CompactOptions<'_>) -> Result<Option<Compacted>, ReadError> {
        let _one_at_a_time = locked(&self.compacting);
        match self.compact_once(options) {
            Ok(compacted) => Ok(compacted),
            Err(Halt::Stopped) => Ok(None),
            Err(Halt::Failed(error)) => {
                self.uncleanable.store(true, Ordering::Relaxed);
                Err(self.read_error(error))
            }
        }
    }

    /// Whether compaction has failed here. It would fail again, so the log is left alone until it
    /// is opened anew.
    pub fn is_uncleanable(&self) -> bool {
        self.uncleanable.load(Ordering::Relaxed)
    }

    fn compact_once(&self, options: CompactOptions<'_>) -> Result<Option<Compacted>, Halt> {
        let config = self.config();
        let segments = self.segments();
        let Some(dirt) = self.look_at_dirt(&segments, &config, options.now_ms)? else {
            return Ok(None);
        };
        // Recovery must know that it need not scan what will have gaps.
        self.store_cleaned(None)?;
        let count = segments.partition_point(|segment| segment.base < dirt.to);
        let mut pass = Pass::new(self, &segments[..count], dirt, &config, options)?;
        let reached = segments.partition_point(|segment| segment.base < pass.filter.mapped_to);
        let mut compacted = Compacted { end: pass.filter.mapped_to, ..Compacted::default() };
        for range in plan::group(&self.sealed_segments(&segments[..=reached])?, &config) {
            let group = &segments[range];
            compacted.segments_before += group.len();
            compacted.segments_after += 1;
            compacted.bytes_before += group.iter().map(|segment| segment.size()).sum::<u64>();
            compacted.bytes_after += pass.replace(group)?;
        }
        self.store_cleaned(Some(compacted.end))?;
        Ok(Some(compacted))
    }

    /// Writes down how far the log is compacted.
    fn store_cleaned(&self, cleaned: Option<Offset>) -> Result<(), Halt> {
        let _no_maintenance = locked(&self.maintenance);
        let flushing = locked(&self.flushing);
        self.check_running()?;
        if let Some(cleaned) = cleaned {
            self.writer().cleaned = cleaned;
            self.store_index_checksums(&flushing)?;
        }
        self.store_checkpoint(&flushing, None)?;
        Ok(())
    }

    /// All but the last, as they are grouped.
    fn sealed_segments(&self, segments: &[Arc<Segment>]) -> Result<Vec<SealedSegment>, Halt> {
        let sealed = segments.windows(2).map(|pair| {
            let (segment, next) = (&pair[0], &pair[1]);
            Ok(SealedSegment {
                base: segment.base,
                end: next.base,
                bytes: segment.size(),
                index_bytes: segment.index_bytes()?,
                ..SealedSegment::default()
            })
        });
        sealed.collect()
    }

    /// The log must still be this topic's whenever a name is used.
    fn check_running(&self) -> Result<(), Halt> {
        let writer = self.writer();
        if writer.closed || writer.offline.is_some() { Err(Halt::Stopped) } else { Ok(()) }
    }

    /// Puts `new` in the place of `group`, on disk and for readers.
    fn swap_in(&self, swap: Swap<'_>, group: &[Arc<Segment>], new: Rewritten) -> Result<(), Halt> {
        let _no_maintenance = locked(&self.maintenance);
        self.check_running()?;
        let place = |segments: &[Arc<Segment>]| {
            let at = segments.iter().position(|segment| segment.id == group[0].id)?;
            // Whatever deletes segments begins with the first.
            Some(at..at + group.len())
        };
        if place(&self.segments()).is_none() {
            return Err(Halt::Stopped);
        }
        swap.write_indexes(&new.growing)?;
        swap.commit()?;
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let segment = Segment::existing(disk, dir, swap.base, new.bytes, group[0].created_ms);
        let segment = Arc::new(segment.replacement(new.file, new.growing));
        {
            let mut writer = self.writer();
            let place = place(&writer.segments).expect("only maintenance changes old segments");
            writer.segments.splice(place, [segment.clone()]);
            self.publish_segments(&writer);
        }
        group.iter().for_each(|old| old.retire());
        if let Err(error) = swap.finish(group[1..].iter().map(|old| old.base)) {
            // A restart would finish it; until then names and segments do not agree.
            self.take_offline(&mut self.writer(), error.clone());
            return Err(error.into());
        }
        segment.settle();
        Ok(())
    }
}

/// A segment as a group has become, not yet in its place.
struct Rewritten {
    file: Arc<dyn DiskFile>,
    growing: Growing,
    bytes: u64,
    changed: bool,
}

/// One walk through the log.
struct Pass<'a> {
    partition: &'a Partition,
    filter: Filter,
    index_interval_bytes: u32,
    options: CompactOptions<'a>,
}

impl<'a> Pass<'a> {
    /// Finds out where each key was last in the dirty part of `segments`.
    fn new(
        partition: &'a Partition,
        segments: &[Arc<Segment>],
        dirt: Dirt,
        config: &LogConfig,
        options: CompactOptions<'a>,
    ) -> Result<Pass<'a>, Halt> {
        let all = partition.segments();
        let aborted = aborted_within(&all, segments[0].base, dirt.to)?;
        let span = dirt.to.since(dirt.from) as u64;
        let filter = Filter {
            latest: OffsetMap::new(span, options.memory_bytes_max),
            mapped_to: dirt.to,
            aborted: Aborted::new(aborted),
            last_of_producers: partition.last_of_producers(),
            end: dirt.to,
            now_ms: options.now_ms,
            delete_retention_ms: config.compaction.delete_retention_ms,
            met: Default::default(),
        };
        let index_interval_bytes = config.index_interval_bytes;
        let mut pass = Pass { partition, filter, index_interval_bytes, options };
        let first = segments.partition_point(|segment| segment.base <= dirt.from);
        for segment in &segments[first.saturating_sub(1)..] {
            let mut full = None;
            pass.walk(segment, dirt.from, |pass, batch| {
                full = pass.map(batch, dirt.from)?;
                Ok(if full.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if let Some(full) = full {
                pass.filter.mapped_to = full;
                break;
            }
        }
        Ok(pass)
    }

    /// Enters the keys of a batch into the map; says with which offset it was full.
    fn map(&mut self, batch: &RecordBatch, from: Offset) -> Result<Option<Offset>, BatchError> {
        if batch.is_control() || self.filter.aborted.find(batch).is_some() {
            return Ok(None);
        }
        for record in batch.records()?.iter() {
            let record = record?;
            let Some(key) = record.key.filter(|_| record.offset >= from) else { continue };
            if !self.filter.latest.put(key, record.offset) {
                return Ok(Some(record.offset));
            }
        }
        Ok(None)
    }

    /// Walks the batches of `segment` from the one with `from` on.
    fn walk(
        &mut self,
        segment: &Segment,
        from: Offset,
        mut each: impl FnMut(&mut Self, &RecordBatch) -> Result<ControlFlow<()>, BatchError>,
    ) -> Result<(), Halt> {
        let Some((mut position, _)) = segment.locate(from)? else { return Ok(()) };
        let (path, len) = (segment.path("log"), segment.size());
        let damaged = |offset| move |source| SegmentError::Damaged { offset, source };
        let mut window = Window::new(segment.open()?, &path, len);
        while position < len {
            if (self.options.stop)() {
                return Err(Halt::Stopped);
            }
            let (header, bytes) = window.batch(position)?.map_err(damaged(segment.base))?;
            position += header.size as u64;
            (self.options.moved)(header.size);
            let batch = RecordBatch::parse(Bytes::copy_from_slice(bytes));
            let batch = batch.map_err(damaged(header.base_offset))?;
            if each(self, &batch).map_err(damaged(header.base_offset))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Rewrites a group and puts it in place; says how many bytes it has become.
    fn replace(&mut self, group: &[Arc<Segment>]) -> Result<u64, Halt> {
        let Partition { disk, dir, .. } = self.partition;
        let (disk, dir) = (disk.clone(), dir.clone());
        let swap = Swap { disk: &*disk, dir: &dir, base: group[0].base };
        let path = swap.path("log", "cleaned");
        let result = self.rewrite(group, &path).and_then(|new| {
            let bytes = new.bytes;
            if group.len() == 1 && !new.changed {
                let _no_maintenance = locked(&self.partition.maintenance);
                self.partition.check_running()?;
                swap.discard()?;
                group[0].close();
                return Ok(bytes);
            }
            self.partition.swap_in(swap, group, new).map(|()| bytes)
        });
        if result.is_err() {
            let _no_maintenance = locked(&self.partition.maintenance);
            // An offline partition may have decided the swap; a restart looks at it.
            if self.partition.check_running().is_ok()
                && let Err(error) = swap.discard()
            {
                let mut writer = self.partition.writer();
                self.partition.take_offline(&mut writer, error);
            }
        }
        result
    }

    fn rewrite(&mut self, group: &[Arc<Segment>], path: &Path) -> Result<Rewritten, Halt> {
        let file = {
            let _no_maintenance = locked(&self.partition.maintenance);
            self.partition.check_running()?;
            let file = self.partition.disk.open(path).doing(path, "create segment")?;
            file.set_len(0).doing(path, "create segment")?;
            file
        };
        let (base, interval) = (group[0].base, self.index_interval_bytes);
        let mut new = Rewritten { file, growing: Growing::default(), bytes: 0, changed: false };
        let mut pending = Vec::new();
        let moved = self.options.moved;
        let write = |file: &dyn DiskFile, pending: &mut Vec<u8>| {
            moved(pending.len());
            let written = file.append(&mut [IoSlice::new(pending)]);
            pending.clear();
            written.doing(path, "write records")
        };
        let mut failed = None;
        for segment in group {
            self.walk(segment, segment.base, |pass, batch| {
                let (fate, aborted) = pass.filter.next(batch)?;
                new.growing.aborted.extend(aborted);
                new.changed |= fate != Fate::Stays;
                let remains = match &fate {
                    Fate::Goes => return Ok(ControlFlow::Continue(())),
                    Fate::Stays => batch,
                    Fate::Becomes(batch) => batch,
                };
                let header = BatchHeader::parse(remains.bytes())?;
                new.growing.add(base, &header, new.bytes, interval);
                new.bytes += remains.size() as u64;
                pending.extend_from_slice(remains.bytes());
                if pending.len() >= WRITE_LEN {
                    failed = write(&*new.file, &mut pending).err();
                }
                let stop = failed.is_some();
                Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            if let Some(error) = failed.take() {
                return Err(error.into());
            }
        }
        write(&*new.file, &mut pending)?;
        // Retention goes by when the records were written.
        let modified_ms = group[group.len() - 1].modified_ms()?;
        new.file.set_modified_ms(modified_ms).doing(path, "set time")?;
        new.file.sync_data().doing(path, "sync (fdatasync)")?;
        new.growing.add_largest_time(base);
        Ok(new)
    }
}

impl Partition {
    fn last_of_producers(&self) -> std::collections::HashMap<ProducerId, LastOfProducer> {
        let writer = self.writer();
        let last = |producer: &super::producers::Producer| match producer.batches.back() {
            Some(batch) => LastOfProducer::Data(batch.last_offset),
            None => LastOfProducer::Marker(producer.epoch),
        };
        writer.producers.iter().map(|(id, producer)| (id, last(producer))).collect()
    }
}
