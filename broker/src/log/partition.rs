//! One partition's log: one writer, any number of readers, fsyncs shared by all who wait.
//!
//! ```text
//! append ──► validate ──► [writer lock: check producer, roll, stamp, write, index] ──► publish
//!                                                                  │
//!                acks=all, flush.messages, a roll ─────────────────┴─► flush, one at a time:
//!                                               [lock: what to sync] fdatasync [lock: publish]
//! read   ──► what is visible ──► segment, position ──► pread        (without the writer lock)
//! ```

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::checkpoint::{Epochs, create_metadata};
use super::config::LogConfig;
use super::disk::Disk;
use super::error::{AppendError, LogOpenError, StorageError};
use super::producers::{Fit, Misfit, Producers, WrittenBatch};
use super::read::PositionCache;
use super::recovery::{Loaded, Sealed, load};
use super::scan::{RecoveryReport, marker_of};
use super::segment::Segment;
use super::validate::{Valid, validate};
use super::{index, snapshot};
use crate::client::Acks;
use crate::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::record::batch::stamp;
use crate::record::{HEADER_LEN, RecordBatch};

/// Where a partition lives and what it runs on.
#[derive(Clone, Debug)]
pub struct PartitionOptions {
    pub partition: TopicPartition,
    pub topic_id: Uuid,
    /// The partition's own directory.
    pub dir: PathBuf,
    pub config: LogConfig,
    pub disk: Arc<dyn Disk>,
    /// Where flushes run; `None`: nowhere by themselves, the caller calls
    /// [`Partition::flush_blocking`].
    pub runtime: Option<Handle>,
    pub now_ms: i64,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A socket: nothing is trusted.
    Client,
    /// A socket, and the coordinator has admitted the batch to its producer's open transaction.
    Admitted,
    /// This process: batches are well formed.
    Embedded,
    /// A coordinator of this process, which alone may write markers.
    Coordinator,
}

impl Origin {
    pub(super) fn is_remote(self) -> bool {
        matches!(self, Origin::Client | Origin::Admitted)
    }
}

/// How to append.
#[derive(Clone, Copy, Debug)]
pub struct AppendOptions {
    pub origin: Origin,
    pub acks: Acks,
    pub now_ms: i64,
}

/// Where an append has landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// Set by the broker for LogAppendTime.
    pub append_time_ms: Option<i64>,
    pub log_start: Offset,
    /// It was in the log already: a retry of an idempotent producer.
    pub duplicate: bool,
    /// Acknowledge only once [`Partition::synced`] returns for `last_offset`.
    pub wait_for_sync: bool,
}

/// The offsets that readers go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    pub log_start: Offset,
    /// Below it all transactions have ended.
    pub last_stable: Offset,
    /// Below it all is committed: written for acks=1, on disk for acks=all.
    pub high_watermark: Offset,
    pub log_end: Offset,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    pub(super) id: TopicPartition,
    topic_id: Uuid,
    pub(super) dir: Arc<Path>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) runtime: Option<Handle>,
    config: RwLock<Arc<LogConfig>>,
    writer: Mutex<Writer>,
    pub(super) segments: RwLock<Arc<[Arc<Segment>]>>,
    pub(super) visible: RwLock<Visible>,
    /// Woken when something becomes visible.
    pub(super) subscribers: Mutex<HashMap<u64, Arc<Notify>>>,
    /// So that readers need not take the writer lock to see that all is well.
    pub(super) is_offline: AtomicBool,
    /// Held while syncing, and by whatever must not overlap with that.
    pub(super) flushing: Mutex<()>,
    pub(super) flush: Mutex<FlushState>,
    pub(super) synced: watch::Sender<Synced>,
    pub(super) positions: PositionCache,
    report: Option<RecoveryReport>,
}

#[derive(Debug, Default)]
pub(super) struct FlushState {
    pub running: bool,
    pub wanted: Offset,
    /// A flush is wanted even if nothing new is to be synced.
    pub again: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Synced {
    pub offset: Offset,
    pub failed: Option<StorageError>,
}

/// What only the holder of the writer lock sees or changes.
#[derive(Debug)]
pub(super) struct Writer {
    pub segments: Vec<Arc<Segment>>,
    pub sealed: Vec<Sealed>,
    pub start: Offset,
    pub end: Offset,
    pub synced: Offset,
    /// End of the last append that counts only once synced.
    pub waiting_end: Offset,
    pub high_watermark: Offset,
    pub recovery_point: Offset,
    pub epochs: Epochs,
    pub producers: Producers,
    /// Names in the directory have changed since it was last synced.
    pub dir_changed: bool,
    pub unflushed_since_ms: Option<i64>,
    pub offline: Option<StorageError>,
    pub closed: bool,
}

impl Writer {
    pub fn active(&self) -> &Arc<Segment> {
        self.segments.last().expect("a log has at least one segment")
    }

    /// After a truncation nothing waits for records that are gone.
    pub fn forget_waiting(&mut self) {
        self.waiting_end = self.waiting_end.min(self.end);
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epochs.latest().unwrap_or_default()
    }
}

/// Undoes [`Partition::subscribe`] when dropped.
#[derive(Debug)]
pub struct Subscription {
    partition: Arc<Partition>,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        locked(&self.partition.subscribers).remove(&self.id);
    }
}

/// No code panics with one of these locks held and the state half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partition {
    /// Opens the log in `options.dir`, which is created if need be; recovers it if it was not
    /// closed in order.
    pub fn open(options: PartitionOptions) -> Result<Arc<Partition>, LogOpenError> {
        let PartitionOptions { partition, topic_id, dir, config, disk, runtime, now_ms } = options;
        let dir: Arc<Path> = dir.into();
        let loaded = load(&disk, &dir, &config, now_ms)?;
        create_metadata(&*disk, &dir, topic_id)?;
        let Loaded { segments, sealed, start, end, synced, recovery_point, .. } = loaded;
        let opened = Arc::new(Partition {
            id: partition,
            topic_id,
            dir,
            disk,
            runtime,
            config: RwLock::new(Arc::new(config)),
            segments: RwLock::new(segments.as_slice().into()),
            writer: Mutex::new(Writer {
                segments,
                sealed,
                start,
                end,
                synced,
                waiting_end: end,
                high_watermark: synced,
                recovery_point,
                epochs: loaded.epochs,
                producers: loaded.producers,
                dir_changed: loaded.report.is_some() || end == Offset::ZERO,
                unflushed_since_ms: None,
                offline: None,
                closed: false,
            }),
            visible: RwLock::default(),
            subscribers: Mutex::default(),
            is_offline: AtomicBool::new(false),
            flushing: Mutex::default(),
            flush: Mutex::default(),
            synced: watch::Sender::new(Synced { offset: synced, failed: None }),
            positions: PositionCache::default(),
            report: loaded.report,
        });
        opened.publish(&mut locked(&opened.writer));
        // What a scan has found is in the page cache, perhaps not on disk; a reader must not see
        // what a power cut could still take back.
        if opened.report.is_some() {
            opened.flush_blocking()?;
        }
        Ok(opened)
    }

    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What opening had to repair; `None` if the log was closed in order, or new.
    pub fn recovery_report(&self) -> Option<&RecoveryReport> {
        self.report.as_ref()
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes effect from the next append on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub fn visible(&self) -> Visible {
        *self.visible.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.writer().epoch()
    }

    /// Wakes `notify` whenever the high watermark, the last stable offset or the log start moves,
    /// or the partition goes offline. Look at [`Partition::visible`] after subscribing, then wait.
    pub fn subscribe(self: &Arc<Self>, notify: &Arc<Notify>) -> Subscription {
        // Of all partitions alike: to look for a free number would cost more with each reader.
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        locked(&self.subscribers).insert(id, notify.clone());
        Subscription { partition: self.clone(), id }
    }

    /// Ends all use of the log: the topic was deleted, and another may have its name and so its
    /// directory. Waiters get an error, subscribers are woken.
    pub fn abandon(&self) {
        let _no_flush = locked(&self.flushing);
        let mut writer = self.writer();
        writer.closed = true;
        let deleted = io::Error::new(io::ErrorKind::NotFound, "the topic was deleted");
        let error = StorageError::new(&self.dir, "use the log", deleted);
        writer.offline = Some(error.clone());
        self.is_offline.store(true, Ordering::Release);
        self.publish(&mut writer);
        self.synced.send_modify(|synced| synced.failed = Some(error));
    }

    /// Whether appends are refused for good: the broker shuts down, or the topic was deleted.
    pub fn is_closed(&self) -> bool {
        self.writer().closed
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        locked(&self.writer)
    }

    /// Why the partition takes nothing any more, if that is so.
    pub fn offline(&self) -> Option<StorageError> {
        if self.is_offline.load(Ordering::Acquire) { self.writer().offline.clone() } else { None }
    }
}

/// Appending.
impl Partition {
    /// Appends whole batches and, if `options.acks` and the topic ask for it, waits until they
    /// are on disk. Once begun the append is not undone by dropping the future.
    pub async fn produce(
        self: &Arc<Self>,
        records: Bytes,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        let appended = self.append(records, options)?;
        if appended.wait_for_sync {
            self.synced(appended.last_offset).await.map_err(|source| self.storage(source))?;
        }
        Ok(appended)
    }

    /// Appends whole batches in one write. Does not wait for the disk: see
    /// [`Appended::wait_for_sync`].
    pub fn append(
        self: &Arc<Self>,
        records: Bytes,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        let config = self.config();
        let valid = validate(&self.id, records, &config, options.origin, options.now_ms)?;
        let mut writer = self.writer();
        self.check_open(&writer)?;
        if let Some(written) = self.check_producer(&writer, &valid, options.origin)? {
            return Ok(self.appended_before(&writer, written, options.acks));
        }
        let size: usize = valid.iter().map(|batch| batch.header.size).sum();
        if size > config.segment_bytes as usize {
            let (partition, max) = (self.id.clone(), config.segment_bytes as usize);
            return Err(AppendError::LargerThanSegment { partition, size, max });
        }
        let records: i64 =
            valid.iter().map(|batch| i64::from(batch.header.last_offset_delta) + 1).sum();
        let rolled = self.prepare(&mut writer, &config, size, records, options.now_ms)?;
        let base_offset = writer.end;
        self.write(&mut writer, &config, valid, size)?;
        let unflushed = writer.end.since(writer.synced);
        let wait_for_sync = config.waits_for_sync(options.acks, unflushed);
        if wait_for_sync {
            writer.waiting_end = writer.end;
        }
        writer.unflushed_since_ms.get_or_insert(options.now_ms);
        self.publish(&mut writer);
        let appended = Appended {
            base_offset,
            last_offset: writer.end.plus(-1),
            append_time_ms: config.append_time_ms(options.now_ms),
            log_start: writer.start,
            duplicate: false,
            wait_for_sync,
        };
        drop(writer);
        if wait_for_sync || rolled {
            self.request_flush(appended.last_offset.next(), rolled);
        }
        Ok(appended)
    }

    fn check_open(&self, writer: &Writer) -> Result<(), AppendError> {
        if writer.closed {
            return Err(AppendError::Closed { partition: self.id.clone() });
        }
        writer.offline.clone().map_or(Ok(()), |source| Err(self.storage(source)))
    }

    /// The batch as it was written before, if this is a retry.
    fn check_producer(
        &self,
        writer: &Writer,
        valid: &[Valid],
        origin: Origin,
    ) -> Result<Option<WrittenBatch>, AppendError> {
        for Valid { header, head, body } in valid {
            if !header.producer_id.is_some() {
                continue;
            }
            // Checked one by one, which holds only if nothing before them changes the state.
            if valid.len() > 1 {
                let reason = "batches with a producer id come one at a time".to_owned();
                return Err(AppendError::InvalidRecord { partition: self.id.clone(), reason });
            }
            let (id, epoch) = (header.producer_id, header.producer_epoch);
            let checked = if header.is_control() {
                let batch = joined(head, body);
                let Some(marker) = marker_of(&batch) else {
                    let reason = "a control batch without marker".to_owned();
                    return Err(AppendError::InvalidRecord { partition: self.id.clone(), reason });
                };
                let coordinator_epoch = marker.coordinator_epoch;
                let checked = writer.producers.check_marker(id, epoch, coordinator_epoch);
                checked.map(|()| Fit::New)
            } else {
                writer.producers.check(header, origin != Origin::Client)
            };
            match checked {
                Ok(Fit::New) => {}
                Ok(Fit::Duplicate(written)) => return Ok(Some(written)),
                Err(misfit) => return Err(self.misfit(header, head, body, misfit)),
            }
        }
        Ok(None)
    }

    fn misfit(
        &self,
        header: &super::header::BatchHeader,
        head: &[u8; HEADER_LEN],
        body: &Bytes,
        misfit: Misfit,
    ) -> AppendError {
        let (partition, producer) = (self.id.clone(), header.producer_id);
        match misfit {
            Misfit::OutOfOrder { sequence, expected } => {
                AppendError::OutOfOrderSequence { partition, producer, sequence, expected }
            }
            Misfit::OldEpoch { current } => {
                let epoch = header.producer_epoch;
                AppendError::InvalidProducerEpoch { partition, producer, epoch, current }
            }
            Misfit::NotTransactional => {
                AppendError::InvalidTransactionState { partition, producer }
            }
            Misfit::NotAdmitted => AppendError::NotAdmitted { partition, producer },
            Misfit::CoordinatorFenced { current } => {
                let epoch =
                    marker_of(&joined(head, body)).map_or(-1, |marker| marker.coordinator_epoch);
                AppendError::CoordinatorFenced { partition, producer, epoch, current }
            }
        }
    }

    fn appended_before(&self, writer: &Writer, written: WrittenBatch, acks: Acks) -> Appended {
        let config = self.config();
        Appended {
            base_offset: written.first_offset(),
            last_offset: written.last_offset,
            append_time_ms: config.append_time_ms(written.timestamp_ms),
            log_start: writer.start,
            duplicate: true,
            wait_for_sync: written.last_offset >= writer.synced && config.waits_for_sync(acks, 1),
        }
    }

    /// Makes sure that the active segment can take the batches; rolls it otherwise.
    fn prepare(
        &self,
        writer: &mut Writer,
        config: &LogConfig,
        size: usize,
        records: i64,
        now_ms: i64,
    ) -> Result<bool, AppendError> {
        let active = writer.active();
        let entries = active.prepare().map_err(|source| self.storage(source))?;
        let full = active.size() + size as u64 > u64::from(config.segment_bytes)
            || (entries + 1) * index::OFFSET_ENTRY_LEN > config.segment_index_bytes as usize
            || writer.end.plus(records).since(active.base) > i64::from(i32::MAX)
            || now_ms.saturating_sub(active.created_ms) > config.segment_ms;
        if active.size() == 0 || !full {
            return Ok(false);
        }
        self.roll(writer, now_ms).map_err(|source| self.storage(source))?;
        Ok(true)
    }

    /// Seals the active segment and begins another at the log's end.
    pub(super) fn roll(&self, writer: &mut Writer, now_ms: i64) -> Result<(), StorageError> {
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let next = Arc::new(Segment::create(disk, dir, writer.end, now_ms)?);
        let snapshot = snapshot::encode(&writer.producers);
        let segment = writer.active().clone();
        writer.sealed.push(Sealed { segment, end: writer.end, snapshot });
        writer.segments.push(next);
        writer.dir_changed = true;
        self.publish_segments(writer);
        Ok(())
    }

    pub(super) fn publish_segments(&self, writer: &Writer) {
        let segments = writer.segments.as_slice().into();
        *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments;
    }

    fn write(
        self: &Arc<Self>,
        writer: &mut Writer,
        config: &LogConfig,
        mut valid: Vec<Valid>,
        size: usize,
    ) -> Result<(), AppendError> {
        let (mut end, epoch) = (writer.end, writer.epoch());
        for batch in &mut valid {
            stamp(&mut batch.head, end, epoch);
            batch.header.base_offset = end;
            batch.header.epoch = epoch;
            end = batch.header.next_offset();
        }
        let mut parts: Vec<IoSlice<'_>> = valid
            .iter()
            .flat_map(|batch| [IoSlice::new(&batch.head), IoSlice::new(&batch.body)])
            .collect();
        let active = writer.active().clone();
        let mut position = active.size();
        match active.append(&mut parts, size as u64) {
            Ok(Ok(())) => {}
            Ok(Err(source)) => return Err(self.storage(source)),
            Err(source) => {
                self.take_offline(writer, source.clone());
                return Err(self.storage(source));
            }
        }
        for Valid { header, head, body } in &valid {
            active.index(header, position, config.index_interval_bytes);
            position += header.size as u64;
            if !header.producer_id.is_some() {
                continue;
            }
            if !header.is_control() {
                writer.producers.add(header);
            } else if let Some(marker) = marker_of(&joined(head, body))
                && let Some(aborted) = writer.producers.add_marker(header, marker)
            {
                active.index_aborted(aborted);
            }
        }
        writer.end = end;
        Ok(())
    }

    fn storage(&self, source: StorageError) -> AppendError {
        AppendError::Storage { partition: self.id.clone(), source }
    }
}

fn joined(head: &[u8; HEADER_LEN], body: &Bytes) -> RecordBatch {
    let bytes = [head.as_slice(), body].concat();
    RecordBatch::parse(Bytes::from(bytes)).expect("a valid batch put together again")
}
