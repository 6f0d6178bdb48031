//! Messages of the protocol, as bytes.
//!
//! ```text
//!  ┌──────┬───────────────┬─────────────┐
//!  │ type │ length (u32)  │ body        │    the length counts itself and the body
//!  │ 1 B  │ 4 B           │ length-4 B  │
//!  └──────┴───────────────┴─────────────┘
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest message taken: a row of the largest size that PostgreSQL itself allows (1 GB)
/// would fit no topic anyway.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Longest message while nobody has been authenticated yet.
pub const MESSAGE_BYTES_MAX_AT_START: usize = 64 << 10;
const HEADER: usize = 5;

/// One message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

/// A message longer than is taken, or with a length that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    pub kind: u8,
    pub length: u32,
}

/// The length of the first message, with its header; nothing while that has not come.
fn first_len(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, BadLength> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let kind = header[0];
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    if length < 4 || length as usize > bytes_max {
        return Err(BadLength { kind, length });
    }
    Ok(Some(1 + length as usize))
}

/// Takes the next whole message off the buffer, if there is one.
pub fn take(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Frame>, BadLength> {
    match first_len(buffer, bytes_max)? {
        Some(whole) if whole <= buffer.len() => Ok(Some(framed(buffer.split_to(whole).freeze()))),
        _ => Ok(None),
    }
}

/// Takes whole messages off the buffer, at least one if there is one, and no more of them than
/// `wanted` bytes hold.
pub fn take_many(
    buffer: &mut BytesMut,
    bytes_max: usize,
    wanted: usize,
) -> Result<BytesMut, BadLength> {
    let mut end = 0;
    loop {
        match first_len(&buffer[end..], bytes_max) {
            Ok(Some(whole))
                if end + whole <= buffer.len() && (end == 0 || end + whole <= wanted) =>
            {
                end += whole;
            }
            // What comes before it counts.
            Err(bad) if end == 0 => return Err(bad),
            _ => return Ok(buffer.split_to(end)),
        }
    }
}

/// Takes the next message off whole ones.
pub fn next(messages: &mut Bytes) -> Option<Frame> {
    let whole = first_len(messages, usize::MAX).ok()??;
    (whole <= messages.len()).then(|| framed(messages.split_to(whole)))
}

fn framed(mut whole: Bytes) -> Frame {
    let kind = whole[0];
    whole.advance(HEADER);
    Frame { kind, body: whole }
}

/// Appends a message with the body that `write` appends.
pub fn put(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    put_sized(out, write);
}

/// Appends a length and the body that `write` appends: the start-up messages have no type.
pub fn put_sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    write(out);
    let length = u32::try_from(out.len() - at).expect("what we send is short");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a text and its end. A zero byte within it would end it early: it is left out.
pub fn put_text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

/// Reads a message's body piece by piece; each piece is checked against what is left.
#[derive(Clone, Debug)]
pub struct Body(pub Bytes);

/// A body that ended early, or says what cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message with a bad {0}")]
pub struct Malformed(pub &'static str);

impl Body {
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed(what))
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.0.try_get_u16().map_err(|_| Malformed(what))
    }

    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Malformed(what))
    }

    pub fn i32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed(what))
    }

    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| Malformed(what))
    }

    pub fn i64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed(what))
    }

    /// The next `length` bytes, shared and not copied.
    pub fn bytes(&mut self, length: usize, what: &'static str) -> Result<Bytes, Malformed> {
        if length > self.0.len() {
            return Err(Malformed(what));
        }
        Ok(self.0.split_to(length))
    }

    /// The text up to a zero byte.
    pub fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let end = memchr::memchr(0, &self.0).ok_or(Malformed(what))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.into()).map_err(|_| Malformed(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_taken_whole() {
        let mut sent = BytesMut::new();
        put(&mut sent, b'Q', |out| put_text(out, "select\0 1"));
        put(&mut sent, b'X', |_| {});
        assert_eq!(&sent[..], b"Q\0\0\0\x0dselect 1\0X\0\0\0\x04");
        let mut buffer = BytesMut::new();
        let mut taken = Vec::new();
        for byte in sent {
            buffer.put_u8(byte);
            taken.extend(take(&mut buffer, 100).unwrap());
        }
        let body = Bytes::from_static(b"select 1\0");
        let expected = [Frame { kind: b'Q', body }, Frame { kind: b'X', body: Bytes::new() }];
        assert_eq!((taken.as_slice(), buffer.len()), (&expected[..], 0));
    }

    #[test]
    fn many_messages_are_taken_at_once_and_one_by_one_after_that() {
        let mut buffer = BytesMut::new();
        for number in 0..5u8 {
            put(&mut buffer, number, |out| out.extend_from_slice(&[number; 10]));
        }
        buffer.extend_from_slice(b"D\0\0\0\x05");
        let mut sizes = Vec::new();
        let mut kinds = Vec::new();
        loop {
            let mut many = take_many(&mut buffer, 100, 40).unwrap().freeze();
            sizes.push(many.len());
            if many.is_empty() {
                break;
            }
            kinds.extend(std::iter::from_fn(|| next(&mut many)).map(|frame| frame.kind));
            assert!(many.is_empty());
        }
        assert_eq!((&sizes[..], &kinds[..]), (&[30, 30, 15, 0][..], &[0, 1, 2, 3, 4][..]));
        buffer.extend_from_slice(&[7, b'X', 0, 0, 0, 1]);
        assert_eq!(take_many(&mut buffer, 100, 1).unwrap().len(), 6, "larger than wanted");
        assert_eq!(take_many(&mut buffer, 100, 40), Err(BadLength { kind: b'X', length: 1 }));
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_waited_for() {
        let mut buffer = BytesMut::from(&b"D\0\0\0\x03"[..]);
        assert_eq!(take(&mut buffer, 100), Err(BadLength { kind: b'D', length: 3 }));
        let mut buffer = BytesMut::from(&b"D\xff\xff\xff\xff"[..]);
        assert!(take(&mut buffer, MESSAGE_BYTES_MAX).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = take(&mut buffer, 1 << 16) {
                let mut body = Body(frame.body);
                let _ = (body.text("a"), body.u16("b"), body.bytes(3, "c"), body.u64("d"));
            }
            let mut one_by_one = BytesMut::from(&bytes[..]);
            let mut at_once = one_by_one.clone();
            while let Ok(mut many) = take_many(&mut at_once, 1 << 16, 20).map(BytesMut::freeze) {
                if many.is_empty() {
                    break;
                }
                while let Some(frame) = next(&mut many) {
                    prop_assert_eq!(take(&mut one_by_one, 1 << 16), Ok(Some(frame)));
                }
                prop_assert!(many.is_empty());
            }
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}
