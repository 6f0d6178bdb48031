//! Looking into the files of a log that nobody has to serve: what `kafka-dump-log` prints.
//!
//! Files are opened for reading alone and nothing is mended, so this works beside a broker that
//! writes to them, on copies, and on what is damaged. Nothing that a file says is believed: a batch
//! is read only if its bytes are there and not more than [`BATCH_BYTES_MAX`], an index or a
//! snapshot only if it is no larger than any that is ever written.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use super::error::Doing;
use super::index::{self, Growing};
use super::snapshot;
use crate::ids::{Offset, ProducerEpoch, ProducerId};
use crate::record::batch::batch_len;
use crate::record::{BatchError, HEADER_LEN, RecordBatch};

pub use super::checkpoint::encode_id;
pub use super::error::StorageError;
pub use super::index::AbortedTransaction;

/// Larger batches are damage: no broker takes such.
pub const BATCH_BYTES_MAX: usize = 256 << 20;
/// Segments have 1 GiB, and indexes an entry for each few KiB of them, at most for each batch.
const INDEX_BYTES_MAX: u64 = 256 << 20;
const READ_AHEAD: usize = 1 << 20;

/// Why a file was not read on.
#[derive(Clone, Debug, Error)]
pub enum DumpError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{}: at byte {position}: {source}", path.display())]
    Damaged { path: PathBuf, position: u64, source: BatchError },
    #[error("{}: at byte {position}: a batch of {size} bytes, more than any that is written", path.display())]
    TooLarge { path: PathBuf, position: u64, size: usize },
    #[error("{}: not a producer snapshot, or its checksum is wrong", path.display())]
    Snapshot { path: PathBuf },
}

/// A `.log` file, read from front to back.
#[derive(Debug)]
pub struct SegmentFile {
    path: PathBuf,
    file: BufReader<File>,
    position: u64,
    /// Where reading ends: the end of the file, or what was asked for.
    end: u64,
}

/// A batch where it lies.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    pub position: u64,
    pub batch: RecordBatch,
}

impl SegmentFile {
    /// Opens a segment to read its first `bytes_max` bytes.
    pub fn open(path: &Path, bytes_max: u64) -> Result<SegmentFile, StorageError> {
        let file = File::open(path).doing(path, "open segment")?;
        let len = file.metadata().doing(path, "open segment")?.len();
        let file = BufReader::with_capacity(READ_AHEAD, file);
        Ok(SegmentFile { path: path.to_owned(), file, position: 0, end: len.min(bytes_max) })
    }

    /// Where the next batch begins: what is before it was read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that are left of those that were asked for.
    pub fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }

    /// Goes on with the batch that begins at `position`.
    pub fn seek(&mut self, position: u64) -> Result<(), StorageError> {
        self.file.seek(SeekFrom::Start(position)).doing(&self.path, "read segment")?;
        self.position = position;
        Ok(())
    }

    /// The next whole batch; `None` at the end, or where a batch is cut short.
    pub fn next_batch(&mut self) -> Result<Option<StoredBatch>, DumpError> {
        let position = self.position;
        if self.remaining() < HEADER_LEN as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER_LEN];
        self.file.read_exact(&mut bytes).doing(&self.path, "read segment")?;
        let damaged = |source| DumpError::Damaged { path: self.path.clone(), position, source };
        let size = batch_len(&bytes).map_err(damaged)?;
        if size as u64 > self.remaining() {
            return Ok(None);
        }
        if size > BATCH_BYTES_MAX {
            return Err(DumpError::TooLarge { path: self.path.clone(), position, size });
        }
        bytes.resize(size, 0);
        self.file.read_exact(&mut bytes[HEADER_LEN..]).doing(&self.path, "read segment")?;
        self.position += size as u64;
        let batch = RecordBatch::parse(Bytes::from(bytes)).map_err(damaged)?;
        Ok(Some(StoredBatch { position, batch }))
    }
}

/// Entries of an `.index` file, with whether a part of one is left over: offset and position.
pub fn offset_index(path: &Path, base: Offset) -> Result<(Vec<(Offset, u64)>, bool), StorageError> {
    let bytes = read(path)?;
    let entries = Growing::decode(base, &bytes, &[], &[]).offsets.into_iter();
    let entry = |entry: index::OffsetEntry| {
        (index::absolute(base, entry.relative), u64::from(entry.position))
    };
    Ok((entries.map(entry).collect(), bytes.len() % index::OFFSET_ENTRY_LEN != 0))
}

/// Entries of a `.timeindex` file, with whether a part of one is left over: timestamp and offset.
pub fn time_index(path: &Path, base: Offset) -> Result<(Vec<(i64, Offset)>, bool), StorageError> {
    let bytes = read(path)?;
    let entries = Growing::decode(base, &[], &bytes, &[]).times.into_iter();
    let entry =
        |entry: index::TimeEntry| (entry.timestamp_ms, index::absolute(base, entry.relative));
    Ok((entries.map(entry).collect(), bytes.len() % index::TIME_ENTRY_LEN != 0))
}

/// Entries of a `.txnindex` file.
pub fn transaction_index(path: &Path) -> Result<Vec<AbortedTransaction>, StorageError> {
    Ok(index::decode_aborted(&read(path)?))
}

/// A producer in a `.snapshot` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProducer {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
    pub last_timestamp_ms: i64,
    /// Its last batch, if it has written one in this epoch.
    pub last: Option<LastBatch>,
}

/// A batch as a snapshot remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp_ms: i64,
}

/// The producers in a `.snapshot` file, by id.
pub fn producer_snapshot(path: &Path) -> Result<Vec<StoredProducer>, DumpError> {
    let producers = snapshot::decode(&read(path)?);
    let producers = producers.ok_or_else(|| DumpError::Snapshot { path: path.to_owned() })?;
    let mut found: Vec<StoredProducer> = producers
        .iter()
        .map(|(id, producer)| StoredProducer {
            producer_id: id,
            epoch: producer.epoch,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: producer.transaction_start,
            last_timestamp_ms: producer.last_timestamp_ms,
            last: producer.batches.back().map(|batch| LastBatch {
                first_sequence: batch.first_sequence(),
                last_sequence: batch.last_sequence,
                last_offset: batch.last_offset,
                offset_delta: batch.offset_delta,
                timestamp_ms: batch.timestamp_ms,
            }),
        })
        .collect();
    found.sort_by_key(|producer| producer.producer_id);
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, StorageError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(INDEX_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > INDEX_BYTES_MAX {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {INDEX_BYTES_MAX} bytes"),
            )),
            false => Ok(bytes),
        }
    };
    read().doing(path, "read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::record::{BatchBuilder, Compression, ProducerStamp};

    fn segment() -> Vec<u8> {
        let mut all = Vec::new();
        for first in [0, 2, 4] {
            let mut builder = BatchBuilder::new(Compression::None);
            for key in ["a", "b"] {
                builder.append(1000 + first, Some(key.as_bytes()), Some(b"value"));
            }
            let batch = builder.build(ProducerStamp::NONE);
            all.extend_from_slice(batch.stamped(Offset(first), LeaderEpoch(0)).bytes());
        }
        all
    }

    fn walk(bytes: &[u8], bytes_max: u64) -> (Vec<Offset>, u64, Option<DumpError>) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("00000000000000000000.log");
        std::fs::write(&path, bytes).unwrap();
        let mut file = SegmentFile::open(&path, bytes_max).unwrap();
        let mut offsets = Vec::new();
        loop {
            match file.next_batch() {
                Ok(Some(stored)) => {
                    offsets.push(stored.batch.base_offset());
                    // Whatever the bytes are, this ends without a panic.
                    if let Ok(records) = stored.batch.records() {
                        records.iter().for_each(drop);
                    }
                }
                Ok(None) => return (offsets, file.remaining(), None),
                Err(error) => return (offsets, file.remaining(), Some(error)),
            }
        }
    }

    #[test]
    fn a_segment_is_read_batch_by_batch_up_to_what_is_cut_short() {
        let bytes = segment();
        let third = bytes.len() / 3;
        let all = [Offset(0), Offset(2), Offset(4)];
        assert!(matches!(walk(&bytes, u64::MAX), (offsets, 0, None) if offsets == all));
        let cut = walk(&bytes[..bytes.len() - 1], u64::MAX);
        assert!(
            matches!(cut, (offsets, left, None) if offsets == all[..2] && left == third as u64 - 1)
        );
        let asked = walk(&bytes, third as u64 + 5);
        assert!(matches!(asked, (offsets, 5, None) if offsets == all[..1]));
    }

    #[test]
    fn a_batch_that_claims_too_much_costs_nothing() {
        let mut bytes = segment();
        bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(walk(&bytes, u64::MAX), (offsets, _, None) if offsets.is_empty()));
        bytes[8..12].copy_from_slice(&3i32.to_be_bytes());
        let (_, _, error) = walk(&bytes, u64::MAX);
        let error = error.unwrap().to_string();
        assert!(error.contains("00.log: at byte 0: record batch has length 3"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in Just(segment()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            walk(&bytes, u64::MAX);
            let dir = tempdir().unwrap();
            let path = dir.path().join("00000000000000000000.index");
            std::fs::write(&path, &noise).unwrap();
            let (offsets, _) = offset_index(&path, Offset(i64::MAX)).unwrap();
            prop_assert_eq!(offsets.len(), noise.len() / 8);
            prop_assert_eq!(time_index(&path, Offset(0)).unwrap().0.len(), noise.len() / 12);
            prop_assert_eq!(transaction_index(&path).unwrap().len(), noise.len() / 34);
            // A checksum keeps what is not a snapshot out.
            prop_assert!(producer_snapshot(&path).is_err());
        }
    }
}
