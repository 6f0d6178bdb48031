//! Appending: check, stamp, write, index; all of it under the writer lock, none of it waits for an
//! fsync.

use std::io::IoSlice;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::config::LogConfig;
use super::error::{AppendError, StorageError};
use super::header::BatchHeader;
use super::partition::{Partition, Writer};
use super::producers::{Fit, Misfit, WrittenBatch};
use super::recovery::Sealed;
use super::scan::marker_of;
use super::segment::Segment;
use super::validate::{Valid, invalid, validate};
use super::{index, snapshot};
use crate::client::Acks;
use crate::ids::Offset;
use crate::record::batch::stamp;
use crate::record::{HEADER_LEN, RecordBatch};

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A socket: nothing is trusted.
    Client,
    /// A socket, and the coordinator has admitted the batch to its producer's open transaction.
    Admitted {
        /// The producer begins each transaction with sequence 0, as those of version 2 do: so
        /// where nothing is known of it, another sequence means that a batch is missing.
        from_zero: bool,
    },
    /// This process: batches are well formed.
    Embedded,
    /// A coordinator of this process, which alone may write markers.
    Coordinator,
}

impl Origin {
    pub(super) fn is_remote(self) -> bool {
        matches!(self, Origin::Client | Origin::Admitted { .. })
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
        self.traffic.appended.add(records, size);
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

    /// Whether records from a client would begin a transaction, which its coordinator must have
    /// open. [`Partition::append`] says so too, but only after it has looked at all of them.
    pub fn begins_transaction(&self, records: &[u8]) -> bool {
        let head = records.get(..HEADER_LEN).map(BatchHeader::parse);
        let Some(Ok(header)) = head else { return false };
        header.is_transactional()
            && self.writer().producers.check(&header, Origin::Client) == Err(Misfit::NotAdmitted)
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
                return Err(AppendError::NotOneBatch { partition: self.id.clone(), reason });
            }
            let (id, epoch) = (header.producer_id, header.producer_epoch);
            let checked = if header.is_control() {
                let batch = joined(head, body);
                let Some(marker) = marker_of(&batch) else {
                    return Err(invalid(&self.id, "a control batch without marker"));
                };
                let coordinator_epoch = marker.coordinator_epoch;
                let checked = writer.producers.check_marker(id, epoch, coordinator_epoch);
                checked.map(|()| Fit::New)
            } else {
                writer.producers.check(header, origin)
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
        header: &BatchHeader,
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
            || now_ms.saturating_sub(active.created_ms) > config.segment_age_ms_max(active.base);
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
