//! The small files of a log that cannot be read, made anew from what else its directory has.
//!
//! Nobody may cut anything off for want of them: what was synced lies below the newest snapshot,
//! which is written only once that is so, and of the leader epochs the batches themselves tell.
//! What only the file knew is gone, and a warning says what follows from that.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Epochs, LogCheckpoint};
use super::disk::Disk;
use super::error::{LogOpenError, StorageError};
use super::producers::Producers;
use super::scan::{ScanOptions, scan};
use super::segment::Segment;
use crate::ids::{LeaderEpoch, Offset};

/// What the small files say, or what was found in their place.
pub(super) struct SmallFiles {
    pub checkpoint: LogCheckpoint,
    pub epochs: Epochs,
}

pub(super) fn small_files(
    disk: &dyn Disk,
    dir: &Path,
    segments: &[Arc<Segment>],
    snapshots: &BTreeSet<Offset>,
) -> Result<SmallFiles, LogOpenError> {
    // Without a segment nobody knows where the log goes on, and no offset may come twice.
    let made_anew = |first: &Arc<Segment>| LogCheckpoint {
        start: first.base,
        recovery_point: snapshots.last().copied().unwrap_or_default().max(first.base),
        ..LogCheckpoint::default()
    };
    let (checkpoint, found) = match (LogCheckpoint::load(disk, dir), segments.first()) {
        (Ok(Some(found)), _) => (found, true),
        (Err(LogOpenError::Malformed { path, reason }), Some(first)) => {
            let checkpoint = made_anew(first);
            tracing::warn!(file = %path.display(), found = %reason, log_start = %checkpoint.start,
                recovery_point = %checkpoint.recovery_point,
                "the checkpoint of a log cannot be read: a new one was made from its segments. No \
                 record is lost, but some that DeleteRecords had removed may be there again, from \
                 the log start on: delete them once more");
            (checkpoint, false)
        }
        // A power cut came before the first was written, or somebody has removed it.
        (Ok(None), Some(first)) => (made_anew(first), false),
        (Ok(None), None) => (LogCheckpoint::default(), true),
        (Err(error), _) => return Err(error),
    };
    let (mut epochs, known) = match Epochs::load(disk, dir) {
        Ok(epochs) => (epochs, true),
        Err(LogOpenError::Malformed { path, reason }) => {
            tracing::warn!(file = %path.display(), found = %reason,
                "the leader epochs of a log cannot be read: they were taken from its records");
            (Epochs::default(), false)
        }
        Err(error) => return Err(error),
    };
    // The file of epochs may be older than a recovery point that another file had.
    if !known || !found && !snapshots.is_empty() {
        learn_epochs(segments, &mut epochs)?;
        epochs.store(disk, dir)?;
    }
    if !found && !snapshots.is_empty() {
        checkpoint.store(disk, dir)?;
    }
    Ok(SmallFiles { checkpoint, epochs })
}

/// Adds the epochs that begin in the log's batches. Those after a damaged one are not asked: their
/// own segment's recovery does that, or nobody reads them.
fn learn_epochs(segments: &[Arc<Segment>], epochs: &mut Epochs) -> Result<(), StorageError> {
    for segment in segments {
        let options = ScanOptions {
            expected: segment.base,
            producers_from: Offset(i64::MAX),
            // An epoch lies outside of the checksum, but not of what a torn write tears.
            verify_checksums: true,
            contiguous: false,
            epoch_max: LeaderEpoch(i32::MAX - 1),
            index_interval_bytes: u32::MAX,
        };
        let scanned = scan(segment, &mut Producers::default(), options)?;
        for (epoch, start) in scanned.epochs {
            if epochs.latest().is_none_or(|latest| latest < epoch) {
                epochs.begin(epoch, start);
            }
        }
    }
    Ok(())
}
