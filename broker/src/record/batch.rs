//! One record batch, seen through its header.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::compression::Compression;
use super::records::Records;
use super::{DECOMPRESSED_BYTES_MAX, HEADER_LEN, LENGTH_PREFIX};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

/// Where each field of the header begins; see the diagram in the module above.
pub(crate) mod at {
    pub const BASE_OFFSET: usize = 0;
    pub const BATCH_LENGTH: usize = 8;
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const RECORDS_COUNT: usize = 57;
}

pub(crate) const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(crate) const CONTROL_BIT: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Why bytes are not a record batch, or its records cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BatchError {
    #[error("record batch is cut short: {have} bytes of {need}")]
    CutShort { have: usize, need: usize },
    #[error("record batch has length {0}, less than its own header")]
    Length(i32),
    #[error("record batch has magic {0}; only 2 is spoken here (0 and 1 ended with Kafka 4)")]
    Magic(i8),
    #[error(
        "record batch at offset {offset}: checksum {found:#010x}, its bytes give {computed:#010x}"
    )]
    Checksum { offset: Offset, found: u32, computed: u32 },
    #[error("record batch at offset {offset}: unknown compression codec {codec}")]
    Codec { offset: Offset, codec: i16 },
    #[error("record batch at offset {offset}: {codec} records do not decompress: {reason}")]
    Decompress { offset: Offset, codec: Compression, reason: String },
    #[error("record batch at offset {offset}: claims {count} records in {bytes} bytes")]
    Count { offset: Offset, count: i32, bytes: usize },
    #[error("record batch at offset {offset}: record {index} is malformed: {reason}")]
    Record { offset: Offset, index: i32, reason: &'static str },
    #[error("{0} bytes follow the record batch")]
    Trailing(usize),
}

/// Who sets the timestamps of a batch: its producer, or the broker on append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// Exactly one batch of magic 2; its bytes are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes the first batch off the front of `bytes`. The checksum is not looked at: see
    /// [`RecordBatch::verify_checksum`].
    pub fn split_first(bytes: &mut Bytes) -> Result<RecordBatch, BatchError> {
        let len = batch_len(bytes)?;
        if bytes.len() < len {
            return Err(BatchError::CutShort { have: bytes.len(), need: len });
        }
        Ok(RecordBatch { bytes: bytes.split_to(len) })
    }

    /// Takes `bytes` as one batch and nothing else.
    pub fn parse(mut bytes: Bytes) -> Result<RecordBatch, BatchError> {
        let batch = RecordBatch::split_first(&mut bytes)?;
        if bytes.is_empty() { Ok(batch) } else { Err(BatchError::Trailing(bytes.len())) }
    }

    /// All whole batches at the front of `bytes`; a last one that is cut short, as Fetch may
    /// leave it, ends the list.
    pub fn split_all(mut bytes: Bytes) -> Result<Vec<RecordBatch>, BatchError> {
        let mut batches = Vec::new();
        while !bytes.is_empty() {
            match RecordBatch::split_first(&mut bytes) {
                Ok(batch) => batches.push(batch),
                Err(BatchError::CutShort { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batches)
    }

    /// Compares the checksum in the header with the bytes it covers.
    pub fn verify_checksum(&self) -> Result<(), BatchError> {
        let found = self.checksum();
        let computed = crc32c::crc32c(&self.bytes[at::ATTRIBUTES..]);
        if found == computed {
            return Ok(());
        }
        Err(BatchError::Checksum { offset: self.base_offset(), found, computed })
    }

    /// CRC-32C as the header has it.
    pub fn checksum(&self) -> u32 {
        (&self.bytes[at::CRC..]).get_u32()
    }

    /// The batch as it goes to disk or to the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Whole size in bytes, header included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn base_offset(&self) -> Offset {
        Offset(self.i64_at(at::BASE_OFFSET))
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// The offset that the record after this batch gets.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    pub fn last_offset_delta(&self) -> i32 {
        self.i32_at(at::LAST_OFFSET_DELTA)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.i32_at(at::LEADER_EPOCH))
    }

    pub fn attributes(&self) -> i16 {
        self.i16_at(at::ATTRIBUTES)
    }

    /// The codec, or an error for the three numbers that name none.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_attributes(self.attributes()).ok_or_else(|| BatchError::Codec {
            offset: self.base_offset(),
            codec: self.attributes() & 0x07,
        })
    }

    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes() & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// A control batch holds a transaction marker, no data.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// When tombstones and markers in this batch may go, if compaction has set it (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.i64_at(at::BASE_TIMESTAMP))
    }

    pub fn base_timestamp_ms(&self) -> i64 {
        self.i64_at(at::BASE_TIMESTAMP)
    }

    pub fn max_timestamp_ms(&self) -> i64 {
        self.i64_at(at::MAX_TIMESTAMP)
    }

    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.i64_at(at::PRODUCER_ID))
    }

    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.i16_at(at::PRODUCER_EPOCH))
    }

    pub fn base_sequence(&self) -> i32 {
        self.i32_at(at::BASE_SEQUENCE)
    }

    /// Sequence number of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence() < 0 {
            return self.base_sequence();
        }
        let wide = i64::from(self.base_sequence()) + i64::from(self.last_offset_delta());
        (wide & i64::from(i32::MAX)) as i32
    }

    /// Records in the batch; compaction can leave fewer than the offsets that it spans.
    pub fn records_count(&self) -> i32 {
        self.i32_at(at::RECORDS_COUNT)
    }

    /// The records, decompressed if need be. Their count is checked against their bytes; each
    /// record is checked as the iterator comes to it.
    pub fn records(&self) -> Result<Records, BatchError> {
        let packed = self.bytes.slice(HEADER_LEN..);
        let codec = self.compression()?;
        let plain = match codec {
            Compression::None => packed,
            _ => codec.decompress(&packed, DECOMPRESSED_BYTES_MAX).map(Bytes::from).map_err(
                |error| BatchError::Decompress {
                    offset: self.base_offset(),
                    codec,
                    reason: error.to_string(),
                },
            )?,
        };
        Records::new(self, plain)
    }

    /// The same batch at another place in a log: new base offset and leader epoch, both outside
    /// the checksum.
    pub fn stamped(self, base_offset: Offset, epoch: LeaderEpoch) -> RecordBatch {
        let mut bytes = BytesMut::from(self.bytes);
        stamp(&mut bytes, base_offset, epoch);
        RecordBatch { bytes: bytes.freeze() }
    }

    fn i16_at(&self, at: usize) -> i16 {
        (&self.bytes[at..]).get_i16()
    }

    fn i32_at(&self, at: usize) -> i32 {
        (&self.bytes[at..]).get_i32()
    }

    fn i64_at(&self, at: usize) -> i64 {
        (&self.bytes[at..]).get_i64()
    }
}

/// Size of the batch at the front of `bytes`, of which only the first [`HEADER_LEN`] are looked
/// at; magic and length are checked.
pub fn batch_len(bytes: &[u8]) -> Result<usize, BatchError> {
    if bytes.len() < HEADER_LEN {
        return Err(BatchError::CutShort { have: bytes.len(), need: HEADER_LEN });
    }
    let magic = bytes[at::MAGIC] as i8;
    if magic != 2 {
        return Err(BatchError::Magic(magic));
    }
    let length = (&bytes[at::BATCH_LENGTH..]).get_i32();
    match usize::try_from(length).ok().and_then(|length| length.checked_add(LENGTH_PREFIX)) {
        Some(len) if len >= HEADER_LEN => Ok(len),
        _ => Err(BatchError::Length(length)),
    }
}

/// Writes offset and epoch into the header of the batch that `bytes` begins with.
pub(crate) fn stamp(bytes: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    bytes[at::BASE_OFFSET..][..8].copy_from_slice(&base_offset.0.to_be_bytes());
    bytes[at::LEADER_EPOCH..][..4].copy_from_slice(&epoch.0.to_be_bytes());
}
