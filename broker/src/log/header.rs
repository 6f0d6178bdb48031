//! A batch's header as plain numbers: all that the log needs of most batches.

use bytes::Buf;

use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use crate::record::batch::{CONTROL_BIT, TRANSACTIONAL_BIT, at, batch_len};
use crate::record::{BatchError, HEADER_LEN};

/// The fields of a header; see the diagram in [`crate::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub base_offset: Offset,
    /// Whole size in bytes, header included.
    pub size: usize,
    pub epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub max_timestamp_ms: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header that `bytes` begins with; magic and length are checked, and `bytes` may
    /// end anywhere after the header.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let size = batch_len(bytes)?;
        let mut rest = &bytes[..HEADER_LEN];
        let base_offset = Offset(rest.get_i64());
        rest.advance(at::LEADER_EPOCH - at::BATCH_LENGTH);
        let epoch = LeaderEpoch(rest.get_i32());
        rest.advance(at::CRC - at::MAGIC);
        let crc = rest.get_u32();
        let attributes = rest.get_i16();
        let last_offset_delta = rest.get_i32();
        rest.advance(at::MAX_TIMESTAMP - at::BASE_TIMESTAMP);
        Ok(BatchHeader {
            base_offset,
            size,
            epoch,
            crc,
            attributes,
            last_offset_delta,
            max_timestamp_ms: rest.get_i64(),
            producer_id: ProducerId(rest.get_i64()),
            producer_epoch: ProducerEpoch(rest.get_i16()),
            base_sequence: rest.get_i32(),
            records_count: rest.get_i32(),
        })
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }
}

/// Walks the whole batches in `bytes`, a stretch of a log that was checked when it was appended;
/// stops where one is cut short.
pub(super) fn walk(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, BatchHeader), BatchError>> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let rest = &bytes[position..];
        if rest.len() < HEADER_LEN {
            return None;
        }
        match BatchHeader::parse(rest) {
            Ok(header) if header.size <= rest.len() => {
                let start = position;
                position += header.size;
                Some(Ok((start, header)))
            }
            Ok(_) => None,
            Err(error) => {
                position = bytes.len();
                Some(Err(error))
            }
        }
    })
}
