//! Record batches, version 2 (KIP-98): the unit that is produced, stored, fetched and committed.
//!
//! The form on disk is the form on the wire, so a batch travels as one [`bytes::Bytes`] from the
//! socket to the log and back and is never re-encoded. Only the base offset and the leader epoch
//! are stamped on append: both lie outside the checksum.
//!
//! ```text
//! byte  0  base_offset             i64   offset of the first record
//!       8  batch_length            i32   bytes that follow this field
//!      12  partition_leader_epoch  i32
//!      16  magic                   i8    2
//!      17  crc                     u32   CRC-32C of all that follows
//!      21  attributes              i16   0–2 codec, 3 timestamp type, 4 transactional, 5 control,
//!                                        6 delete horizon set
//!      23  last_offset_delta       i32
//!      27  base_timestamp          i64   ms since 1970; the delete horizon if attribute 6 is set
//!      35  max_timestamp           i64
//!      43  producer_id             i64   −1: none
//!      51  producer_epoch          i16
//!      53  base_sequence           i32
//!      57  records_count           i32
//!      61  records                 each below; compressed as a whole by the codec
//!
//! record: length varint, attributes i8, timestamp_delta varlong, offset_delta varint,
//!         key_length varint (−1: null), key, value_length varint (−1: null), value,
//!         headers_count varint, headers (key_length varint, key, value_length varint, value)
//! ```
//!
//! - [`batch`]: a view of one batch, header checked; [`records`]: its records, borrowed;
//! - [`builder`]: making batches; [`compression`]: the four codecs; [`varint`]: zig-zag numbers.
//!
//! Invariants: a [`RecordBatch`] is exactly one whole batch of magic 2 whose length field agrees
//! with its bytes. Nothing here trusts a length before it is compared with the bytes that remain.

pub mod batch;
pub mod builder;
pub mod compression;
pub mod records;
pub mod varint;

pub use batch::{BatchError, RecordBatch, TimestampType};
pub use builder::{BatchBuilder, ProducerStamp, control_batch};
pub use compression::Compression;
pub use records::{ControlType, Header, Record, Records};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Bytes before and including the length field: what must be read to know a batch's size.
pub const LENGTH_PREFIX: usize = 12;
/// The most that one batch may hold once decompressed; a bomb stops here.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests;
