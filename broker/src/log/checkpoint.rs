//! The small text files of a partition's directory, each replaced as a whole.
//!
//! ```text
//! partition.metadata        version: 0
//!                           topic_id: <22 characters of URL-safe base64>       Kafka's
//!
//! leader-epoch-checkpoint   0                  version
//!                           <count>
//!                           <epoch> <start offset>, one line each              Kafka's
//!
//! log-checkpoint            0                  version                         ours
//!                           start <log start offset>
//!                           recovery <offset below which all is on disk>
//!                           cleaned <offset below which compaction has been>
//!                           clean <base> <bytes> <end>     only after an orderly close: the
//!                                                          last segment, its size, the log end
//! ```
//!
//! Kafka keeps start offsets, recovery points and where its cleaner has been in three files of the
//! data directory, for all partitions; here each partition keeps its own, so that a partition is
//! whole in its directory, none waits for another, and none inherits what was true of a deleted
//! one of its name. The `clean` line holds as long as the last segment is the one and
//! the size it names, so nothing needs to take it back when the log is written to again.

use std::io::{self, IoSlice};
use std::path::Path;

use uuid::Uuid;

use super::disk::Disk;
use super::error::{Doing, LogOpenError, StorageError};
use crate::ids::{LeaderEpoch, Offset};

const FILE_BYTES_MAX: u64 = 1 << 20;
const METADATA: &str = "partition.metadata";
const EPOCHS: &str = "leader-epoch-checkpoint";
const LOG: &str = "log-checkpoint";

/// What `log-checkpoint` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogCheckpoint {
    pub start: Offset,
    pub recovery_point: Offset,
    pub cleaned: Offset,
    pub clean: Option<CleanEnd>,
}

/// Where the log ended when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CleanEnd {
    pub base: Offset,
    pub bytes: u64,
    pub end: Offset,
}

impl LogCheckpoint {
    /// `None` if there is no such file yet.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<LogCheckpoint>, LogOpenError> {
        let path = dir.join(LOG);
        let Some(text) = load(disk, &path)? else { return Ok(None) };
        let checkpoint = LogCheckpoint::parse(&text);
        checkpoint.map(Some).ok_or_else(|| malformed(&path, &text))
    }

    fn parse(text: &str) -> Option<LogCheckpoint> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let mut checkpoint = LogCheckpoint::default();
        for line in lines {
            let mut words = line.split(' ');
            let name = words.next()?;
            let mut number = || words.next()?.parse::<i64>().ok().filter(|number| *number >= 0);
            match name {
                "start" => checkpoint.start = Offset(number()?),
                "recovery" => checkpoint.recovery_point = Offset(number()?),
                "cleaned" => checkpoint.cleaned = Offset(number()?),
                "clean" => {
                    checkpoint.clean = Some(CleanEnd {
                        base: Offset(number()?),
                        bytes: number()? as u64,
                        end: Offset(number()?),
                    });
                }
                _ => return None,
            }
        }
        Some(checkpoint)
    }

    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let mut text = format!("0\nstart {}\nrecovery {}\n", self.start, self.recovery_point);
        if self.cleaned > Offset::ZERO {
            text += &format!("cleaned {}\n", self.cleaned);
        }
        if let Some(clean) = self.clean {
            text += &format!("clean {} {} {}\n", clean.base, clean.bytes, clean.end);
        }
        let path = dir.join(LOG);
        disk.replace(&path, text.as_bytes()).doing(&path, "write checkpoint")
    }
}

/// Which leader epoch began at which offset, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Epochs, LogOpenError> {
        let path = dir.join(EPOCHS);
        let Some(text) = load(disk, &path)? else { return Ok(Epochs::default()) };
        Epochs::parse(&text).ok_or_else(|| malformed(&path, &text))
    }

    fn parse(text: &str) -> Option<Epochs> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let entry = |line: &str| {
            let (epoch, start) = line.split_once(' ')?;
            Some((LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?)))
        };
        let entries: Vec<_> = lines.map(entry).collect::<Option<_>>()?;
        (entries.len() == count).then_some(Epochs(entries))
    }

    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let mut text = format!("0\n{}\n", self.0.len());
        for (epoch, start) in &self.0 {
            text += &format!("{} {start}\n", epoch.0);
        }
        let path = dir.join(EPOCHS);
        disk.replace(&path, text.as_bytes()).doing(&path, "write checkpoint")
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// Epochs without records are forgotten.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        self.0.retain(|(_, known)| *known < start);
        self.0.push((epoch, start));
    }

    /// Records from `end` on are gone, or never were.
    pub fn cut(&mut self, end: Offset) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// Records below `start` are gone; so are epochs that had no others.
    pub fn forget_before(&mut self, start: Offset) {
        let first = self.0.partition_point(|(_, known)| *known <= start).saturating_sub(1);
        self.0.drain(..first);
        if let Some((_, known)) = self.0.first_mut() {
            *known = start.max(*known);
        }
    }

    /// Where the latest began.
    pub fn latest_start(&self) -> Option<Offset> {
        self.0.last().map(|(_, start)| *start)
    }

    /// The epoch that `offset` belongs to.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let mut begun = self.0.iter().rev().filter(|(_, start)| *start <= offset);
        begun.next().map(|(epoch, _)| *epoch)
    }

    /// Where the last epoch up to `epoch` ended, in a log that ends at `log_end`. One from before
    /// all that is known ended where that begins.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.0.partition_point(|(known, _)| *known <= epoch);
        let end = self.0.get(after).map_or(log_end, |(_, start)| *start);
        match after.checked_sub(1) {
            Some(found) => Some((self.0[found].0, end)),
            None => (!self.0.is_empty() && epoch >= LeaderEpoch(0)).then_some((epoch, end)),
        }
    }
}

/// Writes the topic's id into a new partition's directory; the first flush makes it durable.
pub(super) fn create_metadata(disk: &dyn Disk, dir: &Path, id: Uuid) -> Result<(), StorageError> {
    let path = dir.join(METADATA);
    if disk.metadata(&path).is_ok_and(|metadata| metadata.len > 0) {
        return Ok(());
    }
    let text = format!("version: 0\ntopic_id: {}\n", encode_id(id));
    let write = || disk.open(&path)?.append(&mut [IoSlice::new(text.as_bytes())]);
    write().doing(&path, "write metadata")
}

pub(super) fn sync_metadata(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(METADATA);
    disk.open_existing(&path).and_then(|file| file.sync_data()).doing(&path, "sync")
}

/// The topic's id as Kafka prints it: URL-safe base64 without padding.
pub fn encode_id(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 22 digits of 6 bits: 128 bits and 4 of zero after them.
    let digit = |index: u32| {
        let shift = 128 - 6 * (index as i32 + 1);
        let bits = if shift >= 0 { id.as_u128() >> shift } else { id.as_u128() << -shift };
        char::from(ALPHABET[(bits & 63) as usize])
    };
    (0..22).map(digit).collect()
}

fn load(disk: &dyn Disk, path: &Path) -> Result<Option<String>, LogOpenError> {
    match disk.read(path, FILE_BYTES_MAX) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(LogOpenError::Malformed {
                path: path.to_owned(),
                reason: error.utf8_error().to_string(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::new(path, "read checkpoint", error).into()),
    }
}

fn malformed(path: &Path, text: &str) -> LogOpenError {
    let start: String = text.chars().take(80).collect();
    LogOpenError::Malformed { path: path.to_owned(), reason: format!("{start:?}") }
}
