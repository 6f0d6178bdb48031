//! Making appends durable: one fsync at a time per partition, shared by all who wait for it, and
//! what follows from it, such as index files of sealed segments and the orderly close.
//!
//! Invariants: the writer lock is never held during an fsync. What a failed fsync was to cover is
//! never acknowledged; the partition is offline from then on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::checkpoint::{CleanEnd, LogCheckpoint, sync_metadata};
use super::error::{Doing, StorageError};
use super::partition::{Flushing, Partition, Visible, Writer, locked};
use super::recovery::Sealed;
use super::segment::{Segment, file_name};
use super::{checksums, snapshot};
use crate::ids::Offset;

impl Partition {
    /// Waits until the record at `offset` is on disk.
    pub async fn synced(&self, offset: Offset) -> Result<(), StorageError> {
        let mut synced = self.synced.subscribe();
        let reached = synced
            .wait_for(|synced| synced.offset > offset || synced.failed.is_some())
            .await
            .expect("the sender lives as long as the partition");
        match &reached.failed {
            Some(error) if reached.offset <= offset => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Waits until the record at `offset` is on disk, and asks for that if need be. What
    /// others append meanwhile is not waited for.
    pub async fn sync(self: &Arc<Self>, offset: Offset) -> Result<(), StorageError> {
        if self.synced.borrow().offset <= offset {
            self.request_flush(offset.next(), false);
        }
        self.synced(offset).await
    }

    /// Sees to it that a flush covers everything below `end`. All who ask while one is running
    /// share the next.
    pub(super) fn request_flush(self: &Arc<Self>, end: Offset, again: bool) {
        let Some(runtime) = &self.runtime else { return };
        {
            let mut flush = locked(&self.flush);
            flush.wanted = flush.wanted.max(end);
            flush.again |= again;
            if flush.running {
                return;
            }
            flush.running = true;
        }
        let partition = self.clone();
        runtime.spawn_blocking(move || partition.flush_while_wanted());
    }

    fn flush_while_wanted(&self) {
        loop {
            locked(&self.flush).again = false;
            let result = self.flush_blocking();
            let mut flush = locked(&self.flush);
            let done = !flush.again && self.synced.borrow().offset >= flush.wanted;
            if result.is_err() || done {
                flush.running = false;
                return;
            }
        }
    }

    /// Makes all that has been appended so far durable; blocks meanwhile.
    pub fn flush_blocking(&self) -> Result<(), StorageError> {
        let flushing = locked(&self.flushing);
        let (target, active, sealed, dir_changed) = {
            let mut writer = self.writer();
            if let Some(error) = &writer.offline {
                return Err(error.clone());
            }
            if writer.synced == writer.end && writer.sealed.is_empty() && !writer.dir_changed {
                return Ok(());
            }
            let sealed = std::mem::take(&mut writer.sealed);
            writer.unflushed_since_ms = None;
            let dir_changed = std::mem::take(&mut writer.dir_changed);
            (writer.end, writer.active().clone(), sealed, dir_changed)
        };
        // Oldest first: were a power cut to come between, no gap would be left.
        let earlier = sealed.iter().try_for_each(|sealed| self.sync_segment(&sealed.segment));
        let mut result = earlier.and_then(|()| self.sync_segment(&active));
        if dir_changed {
            result = result.and_then(|()| self.sync_dir());
        }
        let mut writer = self.writer();
        if let Err(error) = result {
            self.take_offline(&mut writer, error.clone());
            return Err(error);
        }
        writer.synced = writer.synced.max(target);
        self.publish(&mut writer);
        self.synced_up_to(writer.synced);
        drop(writer);
        self.finish_sealed(&flushing, sealed);
        Ok(())
    }

    fn sync_segment(&self, segment: &Segment) -> Result<(), StorageError> {
        let began = Instant::now();
        segment.open()?.sync_data().doing(&segment.path("log"), "sync (fdatasync)")?;
        if let Some(fsyncs) = &self.fsyncs {
            fsyncs.observe(began.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), StorageError> {
        sync_metadata(&*self.disk, &self.dir)?;
        self.disk.sync_dir(&self.dir).doing(&self.dir, "sync directory")
    }

    /// Writes what recovery would otherwise have to find out. The records are safe by now: a
    /// failure here costs time at the next start, nothing else, and is tried again.
    fn finish_sealed(&self, flushing: &Flushing<'_>, mut sealed: Vec<Sealed>) {
        if sealed.is_empty() {
            return;
        }
        let finish = |sealed: &Sealed| -> Result<(), StorageError> {
            sealed.segment.write_indexes()?;
            // This syncs the directory too, which the indexes need.
            self.write_snapshot(flushing, sealed)
        };
        while let Some(first) = sealed.first() {
            if let Err(error) = finish(first) {
                tracing::warn!(partition = %self.id, %error, "will try again with the next flush");
                let mut writer = self.writer();
                sealed.append(&mut writer.sealed);
                writer.sealed = sealed;
                return;
            }
            let done = sealed.remove(0);
            done.segment.close();
            self.writer().recovery_point = done.end;
        }
        let stored = self
            .store_epochs(flushing)
            .and_then(|()| self.store_index_checksums(flushing))
            .and_then(|()| self.store_checkpoint(flushing, None));
        if let Err(error) = stored {
            tracing::warn!(partition = %self.id, %error, "cannot move the recovery point");
        }
    }

    pub(super) fn write_snapshot(
        &self,
        _one_at_a_time: &Flushing<'_>,
        sealed: &Sealed,
    ) -> Result<(), StorageError> {
        let path = self.dir.join(file_name(sealed.end, "snapshot"));
        self.disk.replace(&path, &sealed.snapshot).doing(&path, "write snapshot")
    }

    pub(super) fn store_checkpoint(
        &self,
        _one_at_a_time: &Flushing<'_>,
        clean: Option<CleanEnd>,
    ) -> Result<(), StorageError> {
        let (start, recovery_point, cleaned) = {
            let writer = self.writer();
            (writer.start, writer.recovery_point, writer.cleaned)
        };
        LogCheckpoint { start, recovery_point, cleaned, clean }.store(&*self.disk, &self.dir)
    }

    /// What is not known of an index costs a walk through its segment, nothing else.
    pub(super) fn store_index_checksums(
        &self,
        _one_at_a_time: &Flushing<'_>,
    ) -> Result<(), StorageError> {
        let segments = self.segments();
        let known = segments.iter().filter_map(|one| Some((one.base, one.checksums()?)));
        checksums::store(&*self.disk, &self.dir, known)
    }

    /// Recovery finds the epochs of what it scans; those below the recovery point must be on disk
    /// before that moves. An epoch without records need not be remembered.
    fn store_epochs(&self, _one_at_a_time: &Flushing<'_>) -> Result<(), StorageError> {
        let epochs = {
            let mut writer = self.writer();
            let used = writer.epochs.latest_start().is_some_and(|start| start < writer.end);
            if writer.epochs_stored || !used {
                return Ok(());
            }
            // One that begins meanwhile is to be stored again.
            writer.epochs_stored = true;
            writer.epochs.clone()
        };
        epochs.store(&*self.disk, &self.dir).inspect_err(|_| self.writer().epochs_stored = false)
    }

    /// Closes the log so that opening it again needs no scan. Appends are refused from here on;
    /// reads go on.
    pub fn close(&self) -> Result<(), StorageError> {
        self.writer().closed = true;
        if self.check_opened().is_err() {
            return Ok(());
        }
        self.flush_blocking()?;
        let flushing = locked(&self.flushing);
        let (active, end, snapshot) = {
            let writer = self.writer();
            (writer.active().clone(), writer.end, snapshot::encode(&writer.producers))
        };
        let clean = CleanEnd { base: active.base, bytes: active.size(), end };
        if self.was_closed_at(clean) {
            return Ok(());
        }
        active.write_indexes()?;
        self.store_epochs(&flushing)?;
        self.store_index_checksums(&flushing)?;
        let path = self.dir.join(file_name(end, "snapshot"));
        self.disk.replace(&path, &snapshot).doing(&path, "write snapshot")?;
        self.sync_dir()?;
        if self.writer().sealed.is_empty() {
            self.writer().recovery_point = end;
            self.store_checkpoint(&flushing, Some(clean))?;
        }
        Ok(())
    }

    /// Whether an earlier close has written all that this one would: of a thousand partitions most
    /// may have been idle.
    fn was_closed_at(&self, clean: CleanEnd) -> bool {
        let (start, cleaned, settled) = {
            let writer = self.writer();
            let used = writer.epochs.latest_start().is_some_and(|start| start < writer.end);
            let settled = writer.sealed.is_empty()
                && !writer.dir_changed
                && (writer.epochs_stored || !used)
                && !writer.segments.iter().any(|segment| segment.awaits_indexes());
            (writer.start, writer.cleaned, settled)
        };
        let written =
            LogCheckpoint { start, recovery_point: clean.end, cleaned, clean: Some(clean) };
        let found = LogCheckpoint::load(&*self.disk, &self.dir);
        settled && matches!(found, Ok(Some(found)) if found == written)
    }

    pub(super) fn synced_up_to(&self, offset: Offset) {
        self.synced.send_modify(|synced| synced.offset = offset);
    }

    /// After a failed fsync nobody knows what is on disk, and asking again would be answered
    /// with success for pages that were dropped. So the partition stays as it is until a restart
    /// has looked at what is really there.
    pub(super) fn take_offline(&self, writer: &mut Writer, error: StorageError) {
        tracing::error!(partition = %self.id, %error,
            "partition is offline: restart the broker once the disk is well");
        writer.offline = Some(error.clone());
        self.is_offline.store(true, Ordering::Release);
        self.publish(writer);
        self.synced.send_modify(|synced| synced.failed = Some(error));
    }

    /// Shows readers what they may see by now, and wakes them if that is more than before.
    pub(super) fn publish(&self, writer: &mut Writer) {
        let committed = if writer.waiting_end > writer.synced { writer.synced } else { writer.end };
        writer.high_watermark = writer.high_watermark.max(committed).min(writer.end);
        if writer.offline.is_some() {
            writer.high_watermark = writer.high_watermark.min(writer.synced);
        }
        let visible = Visible {
            log_start: writer.start,
            last_stable: writer.producers.last_stable(writer.high_watermark),
            high_watermark: writer.high_watermark,
            log_end: writer.end,
        };
        let before = {
            let mut shown = self.visible.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shown, visible)
        };
        let moved = Visible { log_end: before.log_end, ..visible } != before;
        if moved || writer.offline.is_some() {
            for subscriber in locked(&self.subscribers).values() {
                subscriber.notify_one();
            }
        }
    }
}
