//! Reading and writing the primitive forms of the wire: fixed-width integers, varints, lengths,
//! bytes that are shared instead of copied, and the tagged fields of KIP-482.
//!
//! ```text
//!            classic                         flexible ("compact")
//! string     i16 length, UTF-8               uvarint length + 1, UTF-8
//! bytes      i32 length, bytes               uvarint length + 1, bytes
//! array      i32 count, elements             uvarint count + 1, elements
//! null       length or count -1              length or count 0
//! struct     its fields                      its fields, then tagged fields:
//!                                            uvarint n, n × (uvarint tag, uvarint size, value)
//! ```
//!
//! Nothing is allocated before its length has been checked against the bytes that remain.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::{DecodeReason, EncodeReason, Fault, Refusal};
use super::frame::Frame;

/// The wire form of one version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// Byte strings from this size on go out as segments of their own, shared and not copied. Below
/// it, copying costs less than one more entry in a vectored write.
const SHARED_BYTES_MIN: usize = 2048;

/// What an array may allocate on the word of its count alone. Beyond it, growth has to be paid
/// for by elements that were really decoded.
const ARRAY_CAPACITY_BYTES_MAX: usize = 16 * 1024;

/// Frames begin with their length, which does not count itself.
const FRAME_LENGTH_BYTES: usize = 4;

/// Room for a small response without growing.
const FRAME_CAPACITY_BYTES: usize = 256;

/// A cursor over one frame. All that it hands out as [`Bytes`] are slices of that frame.
#[derive(Debug, Clone)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    /// Where reading must stop: the frame's end, or the end of the tagged field being read.
    end: usize,
}

impl Reader {
    pub fn new(frame: Bytes) -> Reader {
        let end = frame.len();
        Reader { frame, position: 0, end }
    }

    /// The offset of the next byte within the frame.
    pub fn position(&self) -> usize {
        self.position
    }

    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    #[cold]
    pub(super) fn fault(&self, reason: DecodeReason) -> Fault {
        Fault::new(self.position, reason)
    }

    fn claim(&mut self, needed: usize) -> Result<usize, Fault> {
        let remaining = self.remaining();
        if needed > remaining {
            return Err(self.fault(DecodeReason::Truncated { needed, remaining }));
        }
        let start = self.position;
        self.position += needed;
        Ok(start)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let start = self.claim(N)?;
        let mut value = [0; N];
        value.copy_from_slice(&self.frame[start..start + N]);
        Ok(value)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Fault> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub(super) fn uvarint(&mut self) -> Result<u32, Fault> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.fault(DecodeReason::Varint))
    }

    /// A length as given for strings (`i16`, or compact); `None` is null.
    pub(super) fn string_length(&mut self, form: Form) -> Result<Option<usize>, Fault> {
        if form.flexible { self.compact_length() } else { self.classic_length(Reader::i16) }
    }

    /// A length or count as given for bytes and arrays (`i32`, or compact); `None` is null.
    pub(super) fn length(&mut self, form: Form) -> Result<Option<usize>, Fault> {
        if form.flexible { self.compact_length() } else { self.classic_length(Reader::i32) }
    }

    fn compact_length(&mut self) -> Result<Option<usize>, Fault> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    fn classic_length<I: Into<i64>>(
        &mut self,
        read: impl Fn(&mut Reader) -> Result<I, Fault>,
    ) -> Result<Option<usize>, Fault> {
        match read(self)?.into() {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.fault(DecodeReason::Length { length })),
            },
        }
    }

    /// The next `length` bytes, as a slice of the frame.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Bytes, Fault> {
        let start = self.claim(length)?;
        Ok(self.frame.slice(start..start + length))
    }

    /// Text. What is not UTF-8 becomes U+FFFD, as in Kafka: who sends it is answered.
    pub(super) fn text(&mut self, length: usize) -> Result<String, Fault> {
        let start = self.claim(length)?;
        Ok(String::from_utf8_lossy(&self.frame[start..start + length]).into_owned())
    }

    /// `count` elements of at least `size_min` bytes each.
    pub(super) fn array<T>(
        &mut self,
        count: usize,
        size_min: usize,
        mut element: impl FnMut(&mut Reader) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let remaining = self.remaining();
        if count > remaining / size_min.max(1) {
            return Err(self.fault(DecodeReason::Count { count, remaining }));
        }
        let capacity_max = ARRAY_CAPACITY_BYTES_MAX / size_of::<T>().max(1);
        let mut elements = Vec::with_capacity(count.min(capacity_max));
        for index in 0..count {
            if elements.len() == elements.capacity() {
                // Doubles, but never beyond the count.
                elements.reserve_exact(elements.len().clamp(1, count - index));
            }
            elements.push(element(self).map_err(|fault| fault.at(index))?);
        }
        Ok(elements)
    }

    /// Reads tagged fields. `known` reads the value of a tag that it knows and answers whether it
    /// did; values of unknown tags are skipped.
    pub(super) fn tagged_fields(
        &mut self,
        known: &mut dyn FnMut(u32, &mut Reader) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let start = self.claim(size)?;
            self.position = start;
            let end = std::mem::replace(&mut self.end, start + size);
            let read = known(tag, self)?;
            let used = self.position - start;
            if read && used != size {
                return Err(self.fault(DecodeReason::TagSize { tag, size, used }));
            }
            self.position = start + size;
            self.end = end;
        }
        Ok(())
    }
}

/// Collects one message. Small values are copied into one buffer; large byte strings are kept as
/// they are and put in their place when the frame is finished.
#[derive(Debug, Default)]
pub struct Writer {
    own: BytesMut,
    /// Each with the position in `own` that it comes before; positions ascend.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
}

impl Writer {
    /// A writer with room for the frame's length before all else.
    pub(super) fn framed() -> Writer {
        let mut own = BytesMut::with_capacity(FRAME_CAPACITY_BYTES);
        own.put_bytes(0, FRAME_LENGTH_BYTES);
        Writer { own, ..Writer::default() }
    }

    pub fn len(&self) -> usize {
        self.own.len() + self.shared_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.own.put_slice(bytes);
    }

    pub(super) fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        self.shared.push((self.own.len(), bytes.clone()));
        self.shared_bytes += bytes.len();
    }

    pub(super) fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.own.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.own.put_u8(value as u8);
    }

    pub(super) fn put_string_length(
        &mut self,
        length: Option<usize>,
        form: Form,
    ) -> Result<(), Refusal> {
        if form.flexible {
            return self.put_length(length, form);
        }
        let Some(length) = length else {
            self.own.put_i16(-1);
            return Ok(());
        };
        let short = i16::try_from(length);
        self.own.put_i16(short.map_err(|_| Refusal::new(EncodeReason::Length { length }))?);
        Ok(())
    }

    pub(super) fn put_length(&mut self, length: Option<usize>, form: Form) -> Result<(), Refusal> {
        let length = match length.map(|length| i32::try_from(length).map_err(|_| length)) {
            None => -1,
            Some(Ok(length)) => length,
            Some(Err(length)) => return Err(Refusal::new(EncodeReason::Length { length })),
        };
        if form.flexible {
            self.put_uvarint(length.wrapping_add(1) as u32);
        } else {
            self.own.put_i32(length);
        }
        Ok(())
    }

    /// Writes tagged fields, each already encoded by a writer of its own.
    pub(super) fn put_tagged_fields(&mut self, mut fields: Vec<(u32, Writer)>) {
        fields.sort_by_key(|(tag, _)| *tag);
        self.put_uvarint(fields.len() as u32);
        for (tag, value) in fields {
            self.put_uvarint(tag);
            self.put_uvarint(value.len() as u32);
            let base = self.own.len();
            self.own.put_slice(&value.own);
            self.shared.extend(value.shared.into_iter().map(|(at, bytes)| (base + at, bytes)));
            self.shared_bytes += value.shared_bytes;
        }
    }

    /// The message without a length before it, as it is embedded in a record or a bytes field.
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            return self.own.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for segment in self.into_segments() {
            whole.put_slice(&segment);
        }
        whole.freeze()
    }

    /// A frame, begun by [`Writer::framed`]: its length is known now and put first.
    pub(super) fn into_frame(mut self) -> Result<Frame, Refusal> {
        let length = self.len() - FRAME_LENGTH_BYTES;
        let Ok(size) = i32::try_from(length) else {
            return Err(Refusal::new(EncodeReason::Length { length }));
        };
        self.own[..FRAME_LENGTH_BYTES].copy_from_slice(&size.to_be_bytes());
        Ok(Frame::new(self.into_segments()))
    }

    fn into_segments(self) -> Vec<Bytes> {
        let own = self.own.freeze();
        let mut segments = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = 0;
        for (at, bytes) in self.shared {
            if at > from {
                segments.push(own.slice(from..at));
            }
            segments.push(bytes);
            from = at;
        }
        if from < own.len() {
            segments.push(own.slice(from..));
        }
        segments
    }
}
