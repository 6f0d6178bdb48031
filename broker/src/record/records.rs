//! The records of a batch, borrowed from its bytes: nothing is allocated per record.

use bytes::Bytes;

use super::batch::{BatchError, RecordBatch, TimestampType};
use super::varint;
use crate::ids::Offset;

/// The fewest bytes that a record takes: seven one-byte fields.
const RECORD_LEN_MIN: usize = 7;

/// Decompressed records, with what the header says of them.
#[derive(Clone, Debug)]
pub struct Records {
    plain: Bytes,
    base_offset: Offset,
    base_timestamp_ms: i64,
    /// Set for LogAppendTime: all records carry the batch's time.
    append_timestamp_ms: Option<i64>,
    count: i32,
}

/// One record. `offset` and `timestamp_ms` are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    headers_count: i32,
}

/// A header: a name and bytes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

/// How a transaction ended: the key of the one record in a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlType {
    Abort,
    Commit,
}

impl Records {
    pub(super) fn new(batch: &RecordBatch, plain: Bytes) -> Result<Records, BatchError> {
        let count = batch.records_count();
        let room = plain.len() / RECORD_LEN_MIN;
        if usize::try_from(count).map_or(true, |count| count > room) {
            let offset = batch.base_offset();
            return Err(BatchError::Count { offset, count, bytes: plain.len() });
        }
        let appended = batch.timestamp_type() == TimestampType::LogAppendTime;
        Ok(Records {
            plain,
            base_offset: batch.base_offset(),
            base_timestamp_ms: batch.base_timestamp_ms(),
            append_timestamp_ms: appended.then(|| batch.max_timestamp_ms()),
            count,
        })
    }

    /// Records in the batch.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all records, decompressed.
    pub fn size(&self) -> usize {
        self.plain.len()
    }

    /// Where in these records `part`, a slice borrowed from one of them, lies as shared bytes.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.plain.slice_ref(part)
    }

    pub fn iter(&self) -> Iter<'_> {
        Iter { records: self, rest: &self.plain, index: 0 }
    }
}

/// Walks the records in order; ends after the first error.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    records: &'a Records,
    rest: &'a [u8],
    index: i32,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.records.count {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(self.malformed("bytes follow the last record")));
        }
        match parse(&mut self.rest, self.records) {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                let error = self.malformed(reason);
                self.index = self.records.count;
                self.rest = &[];
                Some(Err(error))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.records.count - self.index) as usize + 1))
    }
}

impl Iter<'_> {
    fn malformed(&self, reason: &'static str) -> BatchError {
        BatchError::Record { offset: self.records.base_offset, index: self.index, reason }
    }
}

fn parse<'a>(rest: &mut &'a [u8], of: &Records) -> Result<Record<'a>, &'static str> {
    let len = varint::take_i32(rest).ok_or("bad length")?;
    let len = usize::try_from(len).map_err(|_| "negative length")?;
    let mut body = rest.get(..len).ok_or("length beyond the batch")?;
    *rest = &rest[len..];
    let (_attributes, tail) = body.split_first().ok_or("no attributes")?;
    body = tail;
    let timestamp_delta = varint::take(&mut body).ok_or("bad timestamp")?;
    let offset_delta = varint::take_i32(&mut body).ok_or("bad offset")?;
    if offset_delta < 0 {
        return Err("negative offset");
    }
    let key = nullable(&mut body, "bad key")?;
    let value = nullable(&mut body, "bad value")?;
    let headers_count = varint::take_i32(&mut body).ok_or("bad header count")?;
    check_headers(headers_count, body)?;
    Ok(Record {
        offset: of.base_offset.plus(i64::from(offset_delta)),
        timestamp_ms: of
            .append_timestamp_ms
            .unwrap_or_else(|| of.base_timestamp_ms.saturating_add(timestamp_delta)),
        key,
        value,
        headers: body,
        headers_count,
    })
}

fn nullable<'a>(rest: &mut &'a [u8], bad: &'static str) -> Result<Option<&'a [u8]>, &'static str> {
    let len = varint::take_i32(rest).ok_or(bad)?;
    if len == -1 {
        return Ok(None);
    }
    let len = usize::try_from(len).map_err(|_| bad)?;
    let part = rest.get(..len).ok_or(bad)?;
    *rest = &rest[len..];
    Ok(Some(part))
}

/// Headers are checked once, here, so that reading them later cannot fail.
fn check_headers(count: i32, mut rest: &[u8]) -> Result<(), &'static str> {
    if count < 0 {
        return Err("negative header count");
    }
    for _ in 0..count {
        take_header(&mut rest)?;
    }
    if rest.is_empty() { Ok(()) } else { Err("bytes follow the last header") }
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Result<Header<'a>, &'static str> {
    let key = nullable(rest, "bad header key")?.ok_or("null header key")?;
    let key = std::str::from_utf8(key).map_err(|_| "header key is not UTF-8")?;
    Ok(Header { key, value: nullable(rest, "bad header value")? })
}

impl<'a> Record<'a> {
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.headers;
        (0..self.headers_count).map_while(move |_| take_header(&mut rest).ok())
    }

    /// Which marker a record of a control batch is; `None` for types that came after ours.
    pub fn control_type(&self) -> Option<ControlType> {
        match self.key? {
            [_, _, 0, 0] => Some(ControlType::Abort),
            [_, _, 0, 1] => Some(ControlType::Commit),
            _ => None,
        }
    }
}
