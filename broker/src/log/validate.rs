//! Checks of batches before they enter the log; the errors are Kafka's.

use bytes::Bytes;

use super::append::Origin;
use super::config::LogConfig;
use super::error::{AppendError, RefusedRecord};
use super::header::BatchHeader;

use crate::ids::{Offset, TopicPartition};
use crate::record::batch::{TIMESTAMP_TYPE_BIT, at};
use crate::record::{
    BatchError, Compression, DECOMPRESSED_BYTES_MAX, HEADER_LEN, LENGTH_PREFIX, RecordBatch,
    TimestampType,
};

/// More of a batch's records are not told to its producer one by one.
const REFUSED_TOLD_MAX: usize = 1_000;

/// A batch that may be appended: its header, to be stamped, and its records as they came.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    pub header: BatchHeader,
    pub head: [u8; HEADER_LEN],
    pub body: Bytes,
}

/// Takes `records` apart into batches, each checked. Batches from sockets are looked into record
/// by record, since a malformed one would stop every consumer; those built in this process are
/// well formed by construction.
pub(super) fn validate(
    partition: &TopicPartition,
    mut records: Bytes,
    config: &LogConfig,
    origin: Origin,
    now_ms: i64,
) -> Result<Vec<Valid>, AppendError> {
    let mut valid = Vec::with_capacity(1);
    while !records.is_empty() {
        let batch = RecordBatch::split_first(&mut records).map_err(|source| match source {
            BatchError::Magic(0 | 1) => {
                AppendError::UnsupportedMagic { partition: partition.clone(), source }
            }
            BatchError::CutShort { .. } => {
                AppendError::CutShort { partition: partition.clone(), source }
            }
            source => corrupt(partition, source),
        })?;
        let check = Check { partition, config, origin, now_ms };
        valid.push(check.batch(batch)?);
    }
    match valid.len() {
        0 => Err(not_one(partition, "no record batch".to_owned())),
        // Kafka's rule since magic 2, on which clients' sequence numbers rest.
        count if count > 1 && origin.is_remote() => Err(not_one(
            partition,
            format!("{count} record batches in one request, where exactly one is allowed"),
        )),
        _ => Ok(valid),
    }
}

struct Check<'a> {
    partition: &'a TopicPartition,
    config: &'a LogConfig,
    origin: Origin,
    now_ms: i64,
}

impl Check<'_> {
    fn batch(&self, batch: RecordBatch) -> Result<Valid, AppendError> {
        if self.origin.is_remote() && batch.base_offset() != Offset::ZERO {
            let reason = format!("a batch to be appended begins at 0, not {}", batch.base_offset());
            return Err(invalid(self.partition, reason));
        }
        let max = self.config.max_message_bytes;
        if batch.size() > max {
            let (partition, size) = (self.partition.clone(), batch.size());
            return Err(AppendError::TooLarge { partition, size, max });
        }
        if self.origin.is_remote() {
            batch.verify_checksum().map_err(|source| corrupt(self.partition, source))?;
        }
        let codec = batch.compression().map_err(|source| AppendError::UnsupportedCompression {
            partition: self.partition.clone(),
            source,
        })?;
        self.shape(&batch)?;
        let keys_needed = self.config.cleanup.compact && !batch.is_control();
        let largest_ms = if self.origin.is_remote() || keys_needed {
            self.records(&batch)?
        } else {
            batch.max_timestamp_ms()
        };
        self.finish(batch, codec, largest_ms)
    }

    fn shape(&self, batch: &RecordBatch) -> Result<(), AppendError> {
        let invalid = |reason: String| Err(invalid(self.partition, reason));
        let (count, delta) = (batch.records_count(), batch.last_offset_delta());
        if count < 1 || i64::from(delta) + 1 != i64::from(count) {
            return invalid(format!("{count} records in a batch that spans offsets 0..={delta}"));
        }
        if batch.is_control() {
            return if self.origin == Origin::Coordinator {
                Ok(())
            } else {
                invalid("a client may not write transaction markers".into())
            };
        }
        // Within this process order is kept without sequence numbers.
        let sequence_ok = batch.base_sequence() >= 0 || !self.origin.is_remote();
        if batch.producer_id().is_some() && !(batch.producer_epoch().0 >= 0 && sequence_ok) {
            return invalid(format!(
                "producer {} with epoch {} and sequence {}",
                batch.producer_id(),
                batch.producer_epoch(),
                batch.base_sequence()
            ));
        }
        if batch.is_transactional() && !batch.producer_id().is_some() {
            return invalid("a transactional batch without producer id".into());
        }
        if batch.attributes() & TIMESTAMP_TYPE_BIT != 0 && self.origin.is_remote() {
            let (partition, records) = (self.partition.clone(), Vec::new());
            let reason = "only the broker sets append times".to_owned();
            return Err(AppendError::InvalidTimestamp { partition, reason, records });
        }
        if batch.delete_horizon_ms().is_some() {
            return invalid("a client may not set a delete horizon".into());
        }
        Ok(())
    }

    /// Looks at every record; gives the largest timestamp.
    fn records(&self, batch: &RecordBatch) -> Result<i64, AppendError> {
        let malformed = |error: BatchError| invalid(self.partition, error.to_string());
        let mut largest_ms = i64::MIN;
        let mut refused = Refused::default();
        for (index, record) in batch.records().map_err(malformed)?.iter().enumerate() {
            let record = record.map_err(malformed)?;
            if record.offset.since(batch.base_offset()) != index as i64 {
                return Err(invalid(self.partition, "offsets of records are not consecutive"));
            }
            if self.config.cleanup.compact && record.key.is_none() {
                refused.add(index, "a compacted topic needs a key in each record".to_owned());
            } else if let Err(reason) = self.check_timestamp(record.timestamp_ms) {
                refused.has_timestamp = true;
                refused.add(index, reason);
            }
            largest_ms = largest_ms.max(record.timestamp_ms);
        }
        refused.check(self.partition).map(|()| largest_ms)
    }

    fn check_timestamp(&self, timestamp_ms: i64) -> Result<(), String> {
        // −1: the producer gave none.
        let unchecked = !self.origin.is_remote() || timestamp_ms == -1;
        if unchecked || self.config.timestamp_type == TimestampType::LogAppendTime {
            return Ok(());
        }
        let after_ms = self.config.timestamp_after_max_ms;
        if timestamp_ms.saturating_sub(self.now_ms) > after_ms {
            return Err(self.timestamp(timestamp_ms, "message.timestamp.after.max.ms", after_ms));
        }
        let before_ms = self.config.timestamp_before_max_ms;
        if self.now_ms.saturating_sub(timestamp_ms) > before_ms {
            return Err(self.timestamp(timestamp_ms, "message.timestamp.before.max.ms", before_ms));
        }
        Ok(())
    }

    /// Applies `message.timestamp.type` and `compression.type`, which change the header.
    fn finish(
        &self,
        batch: RecordBatch,
        codec: Compression,
        largest_ms: i64,
    ) -> Result<Valid, AppendError> {
        let mut head: [u8; HEADER_LEN] =
            batch.bytes()[..HEADER_LEN].try_into().expect("a batch has a whole header");
        let mut body = batch.bytes().slice(HEADER_LEN..);
        let mut attributes = batch.attributes();
        let mut changed = false;
        if let Some(wanted) = self.config.compression.filter(|wanted| *wanted != codec) {
            let repack = codec
                .decompress(&body, DECOMPRESSED_BYTES_MAX)
                .and_then(|plain| wanted.compress(&plain));
            let failed = |error: std::io::Error| invalid(self.partition, error.to_string());
            body = Bytes::from(repack.map_err(failed)?);
            attributes = attributes & !0x07 | wanted.attribute_bits();
            let length = (HEADER_LEN - LENGTH_PREFIX + body.len()) as i32;
            head[at::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
            changed = true;
        }
        let mut max_timestamp_ms = largest_ms;
        if self.config.timestamp_type == TimestampType::LogAppendTime {
            attributes |= TIMESTAMP_TYPE_BIT;
            max_timestamp_ms = self.now_ms;
        }
        if attributes != batch.attributes() || max_timestamp_ms != batch.max_timestamp_ms() {
            head[at::ATTRIBUTES..][..2].copy_from_slice(&attributes.to_be_bytes());
            head[at::MAX_TIMESTAMP..][..8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
            changed = true;
        }
        if changed {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&head[at::ATTRIBUTES..]), &body);
            head[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        }
        let header = BatchHeader::parse(&head).expect("checked when the batch was split off");
        Ok(Valid { header, head, body })
    }

    fn timestamp(&self, timestamp_ms: i64, limit: &str, limit_ms: i64) -> String {
        format!(
            "{timestamp_ms} is further than {limit} = {limit_ms} from the broker's clock, {}; the \
             topic may be set to take it",
            self.now_ms
        )
    }
}

/// The records of a batch that it may not have.
#[derive(Default)]
struct Refused {
    count: usize,
    /// Then the batch is refused for its times, whatever else there is.
    has_timestamp: bool,
    records: Vec<RefusedRecord>,
}

impl Refused {
    fn add(&mut self, index: usize, reason: String) {
        self.count += 1;
        if self.records.len() < REFUSED_TOLD_MAX {
            self.records.push(RefusedRecord { index: index as i32, reason });
        }
    }

    fn check(self, partition: &TopicPartition) -> Result<(), AppendError> {
        let Some(RefusedRecord { index, reason }) = self.records.first() else { return Ok(()) };
        let reason = match self.count {
            1 => format!("record {index}: {reason}"),
            count => format!("{count} of them, the first is record {index}: {reason}"),
        };
        let (partition, records) = (partition.clone(), self.records);
        Err(match self.has_timestamp {
            true => AppendError::InvalidTimestamp { partition, reason, records },
            false => AppendError::InvalidRecord { partition, reason, records },
        })
    }
}

fn corrupt(partition: &TopicPartition, source: BatchError) -> AppendError {
    AppendError::Corrupt { partition: partition.clone(), source }
}

fn not_one(partition: &TopicPartition, reason: String) -> AppendError {
    AppendError::NotOneBatch { partition: partition.clone(), reason }
}

pub(super) fn invalid(partition: &TopicPartition, reason: impl Into<String>) -> AppendError {
    let (partition, reason) = (partition.clone(), reason.into());
    AppendError::InvalidRecord { partition, reason, records: Vec::new() }
}
