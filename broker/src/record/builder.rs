//! Making record batches.

use bytes::Bytes;

use super::batch::{
    BatchError, CONTROL_BIT, DELETE_HORIZON_BIT, RecordBatch, TIMESTAMP_TYPE_BIT,
    TRANSACTIONAL_BIT, TimestampType, at,
};
use super::compression::Compression;
use super::records::{ControlType, Record};
use super::{HEADER_LEN, LENGTH_PREFIX, varint};
use crate::ids::{ProducerEpoch, ProducerId};

/// Who produces a batch, for idempotence and transactions (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Sequence number of the batch's first record; −1 without idempotence.
    pub base_sequence: i32,
    pub transactional: bool,
}

impl ProducerStamp {
    /// A plain producer: no idempotence, no transaction.
    pub const NONE: ProducerStamp = ProducerStamp {
        producer_id: ProducerId::NONE,
        epoch: ProducerEpoch::NONE,
        base_sequence: -1,
        transactional: false,
    };
}

/// Collects records into one batch. Offsets count from 0 until the log stamps its own.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// The header's room, then the encoded records.
    buffer: Vec<u8>,
    compression: Compression,
    count: i32,
    last_offset_delta: i32,
    /// The first record's, unless set before.
    base_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new(Compression::None)
    }
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> BatchBuilder {
        BatchBuilder {
            buffer: vec![0; HEADER_LEN],
            compression,
            count: 0,
            last_offset_delta: -1,
            base_timestamp_ms: None,
            max_timestamp_ms: -1,
        }
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size so far in bytes, before compression, header included.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }

    /// How the batch will be packed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The same records, to be packed otherwise.
    pub fn with_compression(self, compression: Compression) -> BatchBuilder {
        BatchBuilder { compression, ..self }
    }

    /// Adds a record without headers.
    pub fn append(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.append_with_headers(timestamp_ms, key, value, &[]);
    }

    pub fn append_with_headers(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let offset_delta = self.last_offset_delta + 1;
        self.append_at(offset_delta, timestamp_ms, key, value, headers);
    }

    /// Adds a record `offset_delta` after the batch's base offset, which compaction and reading
    /// from elsewhere need: deltas must grow, but may leave gaps.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        debug_assert!(offset_delta > self.last_offset_delta, "offset deltas must grow");
        if self.count == 0 {
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let base_timestamp_ms = *self.base_timestamp_ms.get_or_insert(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp_ms);
        let offset_delta_wide = i64::from(offset_delta);
        let len = 1
            + varint::len(timestamp_delta)
            + varint::len(offset_delta_wide)
            + nullable_len(key)
            + nullable_len(value)
            + varint::len(headers.len() as i64)
            + headers
                .iter()
                .map(|(key, value)| nullable_len(Some(key.as_bytes())) + nullable_len(*value))
                .sum::<usize>();
        varint::put(&mut self.buffer, len as i64);
        self.buffer.push(0);
        varint::put(&mut self.buffer, timestamp_delta);
        varint::put(&mut self.buffer, offset_delta_wide);
        put_nullable(&mut self.buffer, key);
        put_nullable(&mut self.buffer, value);
        varint::put(&mut self.buffer, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(&mut self.buffer, Some(key.as_bytes()));
            put_nullable(&mut self.buffer, *value);
        }
        self.count += 1;
        self.last_offset_delta = offset_delta;
    }

    /// The finished batch, with base offset 0 and leader epoch −1.
    pub fn build(self, producer: ProducerStamp) -> RecordBatch {
        self.finish(producer, 0)
    }

    fn finish(mut self, producer: ProducerStamp, more_attributes: i16) -> RecordBatch {
        let (mut bytes, compression) = self.pack();
        let mut attributes = compression.attribute_bits() | more_attributes;
        if producer.transactional {
            attributes |= TRANSACTIONAL_BIT;
        }
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(at::LEADER_EPOCH, &(-1i32).to_be_bytes());
        put(at::MAGIC, &[2]);
        put(at::ATTRIBUTES, &attributes.to_be_bytes());
        put(at::LAST_OFFSET_DELTA, &self.last_offset_delta.max(0).to_be_bytes());
        put(at::BASE_TIMESTAMP, &self.base_timestamp_ms.unwrap_or(-1).to_be_bytes());
        put(at::MAX_TIMESTAMP, &self.max_timestamp_ms.to_be_bytes());
        put(at::PRODUCER_ID, &producer.producer_id.0.to_be_bytes());
        put(at::PRODUCER_EPOCH, &producer.epoch.0.to_be_bytes());
        put(at::BASE_SEQUENCE, &producer.base_sequence.to_be_bytes());
        put(at::RECORDS_COUNT, &self.count.to_be_bytes());
        let length = (bytes.len() - LENGTH_PREFIX) as i32;
        bytes[at::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        bytes[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        RecordBatch::parse(Bytes::from(bytes)).expect("the builder writes whole batches")
    }

    /// Takes header room and records, compressed; as they are where the codec fails.
    fn pack(&mut self) -> (Vec<u8>, Compression) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.compression == Compression::None {
            return (buffer, Compression::None);
        }
        match self.compression.compress(&buffer[HEADER_LEN..]) {
            Ok(packed) => {
                let mut bytes = Vec::with_capacity(HEADER_LEN + packed.len());
                bytes.extend_from_slice(&buffer[..HEADER_LEN]);
                bytes.extend_from_slice(&packed);
                (bytes, self.compression)
            }
            Err(_) => (buffer, Compression::None),
        }
    }
}

/// What compaction makes of batches: offsets, sequence numbers and flags stay as they are.
impl RecordBatch {
    /// The batch with only these of its records, and with a time from which tombstones and
    /// markers in it may go (KIP-534). Packed by its own codec.
    pub(crate) fn retaining(
        &self,
        records: &[Record<'_>],
        delete_horizon_ms: Option<i64>,
    ) -> Result<RecordBatch, BatchError> {
        let mut builder = BatchBuilder::new(self.compression()?);
        builder.base_timestamp_ms = delete_horizon_ms;
        for record in records {
            let headers: Vec<_> =
                record.headers().map(|header| (header.key, header.value)).collect();
            let delta = record.offset.since(self.base_offset()) as i32;
            let (key, value) = (record.key, record.value);
            builder.append_at(delta, record.timestamp_ms, key, value, &headers);
        }
        if self.timestamp_type() == TimestampType::LogAppendTime {
            builder.max_timestamp_ms = self.max_timestamp_ms();
        }
        let horizon_bit = if delete_horizon_ms.is_some() { DELETE_HORIZON_BIT } else { 0 };
        Ok(self.in_place_of(builder, horizon_bit))
    }

    /// The batch without records: what it says of its producer, and its offsets, stay.
    pub(crate) fn emptied(&self) -> RecordBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.max_timestamp_ms = self.max_timestamp_ms();
        self.in_place_of(builder, 0)
    }

    fn in_place_of(&self, mut builder: BatchBuilder, more_attributes: i16) -> RecordBatch {
        builder.last_offset_delta = self.last_offset_delta();
        let flags = self.attributes() & (TIMESTAMP_TYPE_BIT | CONTROL_BIT);
        let producer = ProducerStamp {
            producer_id: self.producer_id(),
            epoch: self.producer_epoch(),
            base_sequence: self.base_sequence(),
            transactional: self.is_transactional(),
        };
        let batch = builder.finish(producer, flags | more_attributes);
        batch.stamped(self.base_offset(), self.leader_epoch())
    }
}

/// The marker that ends a transaction in one partition: a control batch of one record.
pub fn control_batch(
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    control_type: ControlType,
    coordinator_epoch: i32,
    timestamp_ms: i64,
) -> RecordBatch {
    let kind: i16 = match control_type {
        ControlType::Abort => 0,
        ControlType::Commit => 1,
    };
    // Key: version i16, type i16. Value: version i16, coordinator epoch i32.
    let mut key = [0u8; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0u8; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::default();
    builder.append(timestamp_ms, Some(&key), Some(&value));
    let stamp = ProducerStamp { producer_id, epoch, base_sequence: -1, transactional: true };
    builder.finish(stamp, CONTROL_BIT)
}

fn nullable_len(part: Option<&[u8]>) -> usize {
    part.map_or(1, |part| varint::len(part.len() as i64) + part.len())
}

fn put_nullable(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        None => varint::put(out, -1),
        Some(part) => {
            varint::put(out, part.len() as i64);
            out.extend_from_slice(part);
        }
    }
}
