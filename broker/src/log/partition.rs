//! One partition's log: one writer, any number of readers, fsyncs shared by all who wait.
//!
//! ```text
//! append ──► validate ──► [writer lock: check producer, roll, stamp, write, index] ──► publish
//!                                                                  │
//!                acks=all, flush.messages, a roll ─────────────────┴─► flush, one at a time:
//!                                               [lock: what to sync] fdatasync [lock: publish]
//! read   ──► what is visible ──► segment, position ──► pread        (without the writer lock)
//! ```
//!
//! Locks are taken in this order: maintenance, flushing, writer.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use prometheus_client::metrics::histogram::Histogram;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::checkpoint::{Epochs, create_metadata};
use super::config::LogConfig;
use super::disk::Disk;
use super::error::{LogOpenError, ReadError, StorageError};
use super::open_files::OpenFiles;
use super::producers::Producers;
use super::read::PositionCache;
use super::recovery::{Loaded, Sealed, load, unread};
use super::scan::RecoveryReport;
use super::segment::Segment;
use super::traffic::Traffic;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicPartition};

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
    /// How long each fsync of records takes, in seconds.
    pub fsyncs: Option<Histogram>,
    /// Shared by all logs whose open files are to be bounded together.
    pub open_files: Arc<OpenFiles>,
    /// Of what is appended from now on, unless the log has had a later one. It is durable before
    /// the log is opened, so no record of an earlier start can have it.
    pub epoch: LeaderEpoch,
    pub now_ms: i64,
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
    /// Held while names of segments change: deletion, compaction, the end of the topic.
    pub(super) maintenance: Mutex<()>,
    /// Held while the log is compacted.
    pub(super) compacting: Mutex<()>,
    /// Held while syncing, and by whatever must not overlap with that ([`Flushing`]).
    pub(super) flushing: Mutex<()>,
    pub(super) flush: Mutex<FlushState>,
    pub(super) synced: watch::Sender<Synced>,
    pub(super) positions: PositionCache,
    pub(super) open_files: Arc<OpenFiles>,
    /// Compaction has failed here, and would again.
    pub(super) uncleanable: AtomicBool,
    pub(super) traffic: Traffic,
    pub(super) fsyncs: Option<Histogram>,
    report: Option<RecoveryReport>,
    /// Why the log could not be opened.
    unread: Option<StorageError>,
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
    /// Compaction has been through all below it.
    pub cleaned: Offset,
    pub epochs: Epochs,
    /// The file of epochs has the latest, or that has no records yet.
    pub epochs_stored: bool,
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

    pub fn epoch(&self) -> LeaderEpoch {
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

/// Shown to whatever replaces a file in the log's directory: two who do that at a time would
/// write into each other's, and the later one could put back what it had read before.
pub(super) type Flushing<'a> = MutexGuard<'a, ()>;

/// No code panics with one of these locks held and the state half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partition {
    /// Opens the log in `options.dir`, which is created if need be; recovers it if it was not
    /// closed in order.
    pub fn open(options: PartitionOptions) -> Result<Arc<Partition>, LogOpenError> {
        let PartitionOptions { topic_id, dir, config, disk, epoch, now_ms, .. } = &options;
        let dir: Arc<Path> = dir.as_path().into();
        let loaded = load(disk, &dir, config, *epoch, *now_ms)?;
        create_metadata(&**disk, &dir, *topic_id)?;
        let opened = Partition::with(options, dir, loaded, None);
        opened.publish(&mut locked(&opened.writer));
        // What a scan has found is in the page cache, perhaps not on disk; a reader must not see
        // what a power cut could still take back.
        if opened.report.is_some() {
            opened.flush_blocking()?;
        }
        Ok(opened)
    }

    /// Stands in for a log that cannot be opened: it takes and shows nothing, and leaves the files
    /// as they are for the next start.
    pub fn unread(options: PartitionOptions, error: LogOpenError) -> Arc<Partition> {
        let dir: Arc<Path> = options.dir.as_path().into();
        let loaded = unread(&options.disk, &dir, options.epoch);
        let error = match error {
            LogOpenError::Storage(error) => error,
            LogOpenError::Malformed { path, reason } => {
                let source = io::Error::new(io::ErrorKind::InvalidData, reason);
                StorageError::new(&path, "make sense of the file", source)
            }
        };
        let partition = Partition::with(options, dir, loaded, Some(error.clone()));
        partition.writer().offline = Some(error.clone());
        partition.is_offline.store(true, Ordering::Release);
        partition.synced.send_modify(|synced| synced.failed = Some(error));
        partition
    }

    fn with(
        options: PartitionOptions,
        dir: Arc<Path>,
        loaded: Loaded,
        unread: Option<StorageError>,
    ) -> Arc<Partition> {
        let PartitionOptions { partition, config, disk, runtime, fsyncs, .. } = options;
        let Loaded { segments, sealed, start, end, synced, recovery_point, cleaned, .. } = loaded;
        Arc::new(Partition {
            id: partition,
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
                cleaned,
                epochs: loaded.epochs,
                epochs_stored: false,
                producers: loaded.producers,
                dir_changed: loaded.report.is_some() || end == Offset::ZERO,
                unflushed_since_ms: None,
                offline: None,
                closed: false,
            }),
            visible: RwLock::default(),
            subscribers: Mutex::default(),
            is_offline: AtomicBool::new(false),
            maintenance: Mutex::default(),
            compacting: Mutex::default(),
            flushing: Mutex::default(),
            flush: Mutex::default(),
            synced: watch::Sender::new(Synced { offset: synced, failed: None }),
            positions: PositionCache::default(),
            open_files: options.open_files,
            uncleanable: AtomicBool::new(false),
            traffic: Traffic::default(),
            fsyncs,
            report: loaded.report,
            unread,
        })
    }

    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
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
        let _no_maintenance = locked(&self.maintenance);
        let _no_flush = locked(&self.flushing);
        let mut writer = self.writer();
        writer.closed = true;
        // Their names may soon be another topic's.
        writer.segments.iter().for_each(|segment| segment.retire());
        let deleted = io::Error::new(io::ErrorKind::NotFound, "the topic was deleted");
        let error = StorageError::new(&self.dir, "use the log", deleted);
        writer.offline = Some(error.clone());
        self.is_offline.store(true, Ordering::Release);
        self.publish(&mut writer);
        self.synced.send_modify(|synced| synced.failed = Some(error));
    }

    /// The newest epoch of a producer that has written or was fenced here lately.
    pub fn producer_epoch(&self, id: ProducerId) -> Option<ProducerEpoch> {
        self.writer().producers.epoch(id)
    }

    /// The producers of transactions that no marker has ended.
    pub fn open_transactions(&self) -> Vec<(ProducerId, ProducerEpoch)> {
        self.writer().producers.with_open().collect()
    }

    /// Whether appends are refused for good: the broker shuts down, or the topic was deleted.
    pub fn is_closed(&self) -> bool {
        self.writer().closed
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        locked(&self.writer)
    }

    /// Whether the log could be opened. One that went offline since can be read as far as it is
    /// synced; of this one nothing is known.
    pub fn check_opened(&self) -> Result<(), ReadError> {
        let failed = |source| ReadError::Storage { partition: self.id.clone(), source };
        self.unread.clone().map_or(Ok(()), |source| Err(failed(source)))
    }

    /// Why the partition takes nothing any more, if that is so.
    pub fn offline(&self) -> Option<StorageError> {
        if self.is_offline.load(Ordering::Acquire) { self.writer().offline.clone() } else { None }
    }
}
