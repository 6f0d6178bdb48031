//! The file that a sink writes, exactly once through crashes.
//!
//! Lines are appended as records come. A flush makes them durable and then replaces the
//! [`Sidecar`], which says how long the output is and up to which offsets its records go: both in
//! one atomic step. Whatever a crash leaves behind that length came after the step, so opening
//! cuts it off, and its records, which are those after the recorded offsets, are written again.
//!
//! ```text
//! out.jsonl          line line line line│line li      ◄─ cut off when opened after a crash
//! out.jsonl.offsets  length ────────────┘, partition 0: 42, partition 1: 17
//! ```
//!
//! The group's committed offsets follow the sidecar and never lead it; where they lag behind, the
//! records between are skipped.
//!
//! Only our own file is ever cut: one that begins differently or is shorter than recorded was
//! changed by others, and is appended to. While it is written, it is locked against a second
//! writer. If it is renamed meanwhile, a new one is begun at the next flush.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use broker::ids::{Offset, TopicPartition};
use thiserror::Error;
use tracing::{info, warn};

use super::csv;
use super::encoding::Encoding;
use super::identity::{FileId, HEAD_BYTES, Head};
use super::rows::{RowFormat, Rows};
use super::sidecar::{RecordedOffset, Sidecar};
use super::tail::directory;
use crate::config::ConnectorConfig;
use crate::data::Text;
use crate::task::{Put, Refused, SinkPartition, SinkRecords, TaskError, UnreadableBatch};

/// Lines are gathered up to about this size before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// More than any header has.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Why an output cannot be written.
#[derive(Debug, Error)]
pub enum OutputError {
    #[error(
        "{path}: cannot {doing}: {error}; what was not recorded as written will be written again \
         after a restart",
        path = .path.display()
    )]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error(
        "{path}: another connector or process is writing to it; give each its own file",
        path = .path.display()
    )]
    InUse { path: PathBuf },
    #[error("{path}: is not a regular file", path = .path.display())]
    NotAFile { path: PathBuf },
    #[error(
        "{path}: cannot tell which records the output holds: {error}; remove this file to append \
         from the offsets that the group has committed",
        path = .path.display()
    )]
    Sidecar { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Unreadable(#[from] UnreadableBatch),
}

/// Changes which records the output is taken to hold; what is in it stays.
pub fn alter_offsets(
    config: &ConnectorConfig,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), TaskError> {
    let path = config.path("file");
    let sidecar_path = Sidecar::path_for(&path);
    let failed = |error| OutputError::Sidecar { path: sidecar_path.clone(), error };
    let Some(mut sidecar) = Sidecar::read(&sidecar_path).map_err(failed)? else { return Ok(()) };
    for (partition, offset) in offsets {
        match (offset, sidecar.offsets.get_mut(partition)) {
            (Some(offset), Some(recorded)) => recorded.offset = *offset,
            (Some(offset), None) => {
                let recorded = RecordedOffset { offset: *offset, topic_id: None };
                sidecar.offsets.insert(partition.clone(), recorded);
            }
            (None, _) => drop(sidecar.offsets.remove(partition)),
        }
    }
    Ok(sidecar.write(&sidecar_path).map_err(failed)?)
}

/// An output being written.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sidecar_path: PathBuf,
    file: File,
    id: FileId,
    /// What the output holds now, durable or not; its length and fingerprint as of the last flush.
    state: Sidecar,
    /// What was put is not durable yet.
    dirty: bool,
    buffer: Vec<u8>,
    rows: Rows,
    /// The columns of a file of CSV, once it has some.
    columns: Option<Vec<Text>>,
}

impl Output {
    /// Opens the output, creating it and its directories, as its sidecar says.
    pub fn open(path: &Path, rows: Rows) -> Result<Output, OutputError> {
        let dir = directory(path);
        fs::create_dir_all(dir).map_err(io_error(dir, "create this directory"))?;
        let sidecar_path = Sidecar::path_for(path);
        let file = open_locked(path)?;
        let recorded = Sidecar::read(&sidecar_path)
            .map_err(|error| OutputError::Sidecar { path: sidecar_path.clone(), error })?;
        let metadata = file.metadata().map_err(io_error(path, "look at it"))?;
        let mut output = Output {
            path: path.to_owned(),
            sidecar_path,
            file,
            id: FileId::of(&metadata),
            state: Sidecar {
                length: metadata.len(),
                fingerprint: Head::default().fingerprint(),
                offsets: Default::default(),
            },
            dirty: true,
            buffer: Vec::new(),
            rows,
            columns: None,
        };
        match recorded {
            Some(recorded) => output.resume(recorded)?,
            None => output.end_last_line()?,
        }
        // Recorded before the first line comes, so that a crash from now on is undone exactly.
        output.flush()?;
        output.read_columns()?;
        Ok(output)
    }

    /// The offsets of these partitions that the output holds. Those of a topic that has been
    /// created anew since are forgotten.
    pub fn offsets(&mut self, partitions: &[SinkPartition]) -> Vec<(TopicPartition, Offset)> {
        let mut known = Vec::new();
        for SinkPartition { partition, topic_id } in partitions {
            let fresh = RecordedOffset { offset: Offset::ZERO, topic_id: *topic_id };
            let recorded = self.state.offsets.entry(partition.clone()).or_insert(fresh);
            if recorded.topic_id.is_some() && topic_id.is_some() && recorded.topic_id != *topic_id {
                let path = self.path.display();
                info!("{path}: topic '{}' was created anew", partition.topic);
                *recorded = fresh;
            }
            recorded.topic_id = topic_id.or(recorded.topic_id);
            known.push((partition.clone(), recorded.offset));
        }
        known
    }

    /// Appends each record's value as a line. Records without a value are left out.
    pub fn put(&mut self, records: &SinkRecords) -> Result<Put, OutputError> {
        self.buffer.clear();
        let (file, path, buffer) = (&mut self.file, &self.path, &mut self.buffer);
        let mut write = |buffer: &mut Vec<u8>| {
            let written = file.write_all(buffer);
            buffer.clear();
            written.map_err(io_error(path, "write to it"))
        };
        let put = put_lines(records, &mut self.rows, &mut self.columns, |lines| {
            buffer.extend_from_slice(lines);
            if buffer.len() >= WRITE_BYTES { write(buffer) } else { Ok(()) }
        })?;
        write(buffer)?;
        self.dirty = true;
        // Records passed over because they are there already take nothing back.
        let next = records.next_offset().max(records.from);
        let fresh = RecordedOffset { offset: next, topic_id: None };
        let recorded = self.state.offsets.entry(records.partition().clone()).or_insert(fresh);
        recorded.offset = next;
        Ok(put)
    }

    /// Makes the output durable, then records what it holds. Returns all offsets it goes up to.
    pub fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, OutputError> {
        if self.dirty {
            self.file.sync_data().map_err(io_error(&self.path, "make it durable"))?;
            self.follow_rename()?;
            let metadata = self.file.metadata().map_err(io_error(&self.path, "look at it"))?;
            self.state.length = metadata.len();
            let head_bytes = self.state.length.min(HEAD_BYTES as u64) as usize;
            let head = Head::read(&self.file, head_bytes);
            self.state.fingerprint = head.map_err(io_error(&self.path, "read it"))?.fingerprint();
            let written = self.state.write(&self.sidecar_path);
            written.map_err(io_error(&self.sidecar_path, "write it"))?;
            self.dirty = false;
        }
        let offsets = self.state.offsets.iter();
        Ok(offsets.map(|(partition, recorded)| (partition.clone(), recorded.offset)).collect())
    }

    /// Brings the output back to what was recorded.
    fn resume(&mut self, recorded: Sidecar) -> Result<(), OutputError> {
        let head = Head::matching(&self.file, recorded.fingerprint);
        let ours = head.map_err(io_error(&self.path, "read it"))?.is_some();
        let path = self.path.display();
        if ours && self.state.length >= recorded.length {
            let excess = self.state.length - recorded.length;
            if excess > 0 {
                info!("{path}: cut off {excess} bytes that were written and not committed");
                let cut = self.file.set_len(recorded.length);
                cut.map_err(io_error(&self.path, "shorten it"))?;
            }
        } else {
            warn!(
                "{path}: not as it was left, but removed or changed; going on behind what it \
                 holds. Records that were written to it before are not written again"
            );
            self.end_last_line()?;
        }
        self.state.offsets = recorded.offsets;
        Ok(())
    }

    /// A file that others wrote may lack its last newline: our first line needs its own.
    fn end_last_line(&mut self) -> Result<(), OutputError> {
        let mut last = [b'\n'];
        if self.state.length > 0 {
            let read = self.file.read_exact_at(&mut last, self.state.length - 1);
            read.map_err(io_error(&self.path, "read it"))?;
        }
        if last != [b'\n'] {
            self.file.write_all(b"\n").map_err(io_error(&self.path, "write to it"))?;
        }
        Ok(())
    }

    /// If the file was renamed or deleted, goes on with a new one at its path.
    fn follow_rename(&mut self) -> Result<(), OutputError> {
        match fs::metadata(&self.path) {
            Ok(metadata) if FileId::of(&metadata) == self.id => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&self.path, "look at it")(error)),
        }
        info!("{}: renamed or deleted; going on with a new file", self.path.display());
        self.file = open_locked(&self.path)?;
        let metadata = self.file.metadata().map_err(io_error(&self.path, "look at it"))?;
        self.id = FileId::of(&metadata);
        self.state.length = metadata.len();
        self.end_last_line()?;
        self.read_columns()
    }

    /// What the first row of a file of CSV says.
    fn read_columns(&mut self) -> Result<(), OutputError> {
        let RowFormat::Csv { delimiter } = self.rows.format() else { return Ok(()) };
        self.columns = None;
        let length = self.file.metadata().map_err(io_error(&self.path, "look at it"))?.len();
        let mut first = vec![0; length.min(HEADER_BYTES_MAX) as usize];
        self.file.read_exact_at(&mut first, 0).map_err(io_error(&self.path, "read it"))?;
        if let Some(end) = csv::Scanner::new(delimiter).row_end(&first) {
            let row = first[..end].strip_suffix(b"\r").unwrap_or(&first[..end]);
            let columns = csv::fields(row, delimiter, Encoding::UTF_8).map_err(|reason| {
                let error = io::Error::new(io::ErrorKind::InvalidData, reason);
                io_error(&self.path, "read its header")(error)
            })?;
            self.columns = Some(columns);
        }
        Ok(())
    }
}

/// Hands over each record's value as a line, with a header before the first where there is one.
/// Records without a value are left out.
pub fn put_lines(
    records: &SinkRecords,
    rows: &mut Rows,
    columns: &mut Option<Vec<Text>>,
    mut write: impl FnMut(&[u8]) -> Result<(), OutputError>,
) -> Result<Put, OutputError> {
    let mut put = Put::default();
    if rows.format() == RowFormat::Text {
        records.for_each_text(|value| {
            put.records += 1;
            let Some(value) = value else {
                put.skipped += 1;
                return Ok(());
            };
            put.bytes += value.len() as u64 + 1;
            write(value)?;
            write(b"\n")
        })?;
        return Ok(put);
    }
    let mut line = Vec::new();
    for record in records.values() {
        put.records += 1;
        if record.value.value.is_null() {
            put.skipped += 1;
            continue;
        }
        line.clear();
        match rows.append(&record.value, columns, &mut line) {
            Ok(()) => {
                put.bytes += line.len() as u64;
                write(&line)?;
            }
            Err(reason) => {
                let offset = record.kafka_offset.unwrap_or(Offset::ZERO);
                put.refused.push(Refused { offset, reason });
            }
        }
    }
    Ok(put)
}

fn open_locked(path: &Path) -> Result<File, OutputError> {
    // Looked at first, since opening a pipe would wait for its reader.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(OutputError::NotAFile { path: path.to_owned() });
    }
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = file.map_err(io_error(path, "open it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OutputError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock it")(error)),
    }
}

pub fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> OutputError {
    move |error| OutputError::Io { path: path.to_owned(), doing, error }
}

#[cfg(test)]
mod tests;
