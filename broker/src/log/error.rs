//! Why the log refuses; append errors map one to one onto Kafka's error codes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::record::BatchError;

/// A disk did not do as asked. Cheap to clone: every waiter of one failed fsync gets it.
#[derive(Clone, Debug, Error)]
#[error("{}: cannot {doing}: {source}{}", path.display(), advice(source))]
pub struct StorageError {
    pub path: PathBuf,
    pub doing: &'static str,
    pub source: Arc<io::Error>,
}

impl StorageError {
    pub fn new(path: &Path, doing: &'static str, source: io::Error) -> StorageError {
        StorageError { path: path.to_owned(), doing, source: Arc::new(source) }
    }

    /// Whether making room would help.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn advice(error: &io::Error) -> &'static str {
    if is_full(error) { " (make room, or lower retention.ms or retention.bytes)" } else { "" }
}

/// Attaches file and purpose to an error of the disk.
pub(crate) trait Doing<T> {
    fn doing(self, path: &Path, doing: &'static str) -> Result<T, StorageError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, path: &Path, doing: &'static str) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::new(path, doing, source))
    }
}

/// Why a log directory cannot be opened.
#[derive(Clone, Debug, Error)]
pub enum LogOpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{}: malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
}

impl LogOpenError {
    /// Whether the process lacks something, such as descriptors: it would at the next log too.
    pub fn is_of_process(&self) -> bool {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        let LogOpenError::Storage(error) = self else { return false };
        error.source.raw_os_error().is_some_and(|code| [ENFILE, EMFILE].contains(&code))
    }
}

/// A record for which its batch was refused (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// From the batch's first.
    pub index: i32,
    pub reason: String,
}

/// Why records were not appended. Nothing of them is in the log.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    #[error("partition {partition}: corrupt record batch: {source}")]
    Corrupt { partition: TopicPartition, source: BatchError },
    #[error("partition {partition}: {source}")]
    CutShort { partition: TopicPartition, source: BatchError },
    #[error("partition {partition}: {source}")]
    UnsupportedMagic { partition: TopicPartition, source: BatchError },
    #[error("partition {partition}: {source}")]
    UnsupportedCompression { partition: TopicPartition, source: BatchError },
    #[error(
        "partition {partition}: a record batch of {size} bytes exceeds max.message.bytes = {max}"
    )]
    TooLarge { partition: TopicPartition, size: usize, max: usize },
    #[error("partition {partition}: {size} bytes of batches exceed segment.bytes = {max}")]
    LargerThanSegment { partition: TopicPartition, size: usize, max: usize },
    #[error("partition {partition}: {reason}")]
    NotOneBatch { partition: TopicPartition, reason: String },
    #[error("partition {partition}: invalid records: {reason}")]
    InvalidRecord { partition: TopicPartition, reason: String, records: Vec<RefusedRecord> },
    #[error("partition {partition}: invalid timestamp: {reason}")]
    InvalidTimestamp { partition: TopicPartition, reason: String, records: Vec<RefusedRecord> },
    #[error(
        "partition {partition}: producer {producer} sent sequence {sequence} where {expected} was \
         expected"
    )]
    OutOfOrderSequence {
        partition: TopicPartition,
        producer: ProducerId,
        sequence: i32,
        expected: i32,
    },
    #[error("partition {partition}: producer {producer} has epoch {current}, not {epoch}")]
    InvalidProducerEpoch {
        partition: TopicPartition,
        producer: ProducerId,
        epoch: ProducerEpoch,
        current: ProducerEpoch,
    },
    #[error(
        "partition {partition}: producer {producer} sent a batch outside of its open transaction"
    )]
    InvalidTransactionState { partition: TopicPartition, producer: ProducerId },
    #[error(
        "partition {partition}: producer {producer} has no open transaction that this partition is \
         part of"
    )]
    NotAdmitted { partition: TopicPartition, producer: ProducerId },
    #[error(
        "partition {partition}: transaction coordinator epoch {epoch} is behind {current}, which \
         has written to producer {producer}"
    )]
    CoordinatorFenced { partition: TopicPartition, producer: ProducerId, epoch: i32, current: i32 },
    #[error("partition {partition}: {source}")]
    Storage { partition: TopicPartition, source: StorageError },
    #[error("partition {partition} is closed")]
    Closed { partition: TopicPartition },
}

impl AppendError {
    pub fn partition(&self) -> &TopicPartition {
        match self {
            AppendError::Corrupt { partition, .. }
            | AppendError::CutShort { partition, .. }
            | AppendError::UnsupportedMagic { partition, .. }
            | AppendError::UnsupportedCompression { partition, .. }
            | AppendError::TooLarge { partition, .. }
            | AppendError::LargerThanSegment { partition, .. }
            | AppendError::NotOneBatch { partition, .. }
            | AppendError::InvalidRecord { partition, .. }
            | AppendError::InvalidTimestamp { partition, .. }
            | AppendError::OutOfOrderSequence { partition, .. }
            | AppendError::InvalidProducerEpoch { partition, .. }
            | AppendError::InvalidTransactionState { partition, .. }
            | AppendError::NotAdmitted { partition, .. }
            | AppendError::CoordinatorFenced { partition, .. }
            | AppendError::Storage { partition, .. }
            | AppendError::Closed { partition } => partition,
        }
    }

    /// Kafka's error code.
    pub fn code(&self) -> i16 {
        match self {
            AppendError::Corrupt { .. } => 2,
            AppendError::Closed { .. } => 6,
            AppendError::TooLarge { .. } => 10,
            AppendError::LargerThanSegment { .. } => 18,
            AppendError::InvalidTimestamp { .. } => 32,
            // Both are refused before anything of them is looked at, since Produce v3.
            AppendError::UnsupportedMagic { .. } | AppendError::CutShort { .. } => 87,
            AppendError::OutOfOrderSequence { .. } => 45,
            AppendError::InvalidProducerEpoch { .. } => 47,
            AppendError::InvalidTransactionState { .. } | AppendError::NotAdmitted { .. } => 48,
            AppendError::CoordinatorFenced { .. } => 52,
            AppendError::Storage { .. } => 56,
            AppendError::UnsupportedCompression { .. } => 76,
            AppendError::NotOneBatch { .. } | AppendError::InvalidRecord { .. } => 87,
        }
    }
}

/// Why records cannot be read.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    #[error("partition {partition}: offset {offset} is not in the log, which has {start}..{end}")]
    OffsetOutOfRange { partition: TopicPartition, offset: Offset, start: Offset, end: Offset },
    #[error("partition {partition}: {source}")]
    Storage { partition: TopicPartition, source: StorageError },
    #[error("partition {partition}: the log is damaged near offset {offset}: {source}")]
    Damaged { partition: TopicPartition, offset: Offset, source: BatchError },
}

impl ReadError {
    /// Kafka's error code.
    pub fn code(&self) -> i16 {
        match self {
            ReadError::OffsetOutOfRange { .. } => 1,
            ReadError::Damaged { .. } => 2,
            ReadError::Storage { .. } => 56,
        }
    }
}
