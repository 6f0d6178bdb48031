//! Protocol Buffers' wire form: tags, varints, lengths.

/// Groups within groups that are passed over.
const GROUP_DEPTH_MAX: usize = 64;

/// What follows a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    /// A group, passed over: proto2 had them, and nobody else.
    Group,
}

pub type Broken = &'static str;

/// The fields of a message, in the order of its bytes.
pub struct Fields<'a> {
    pub rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline]
    pub fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, Broken> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, kind) = tag(&mut self.rest)?;
        Ok(Some((number, value(&mut self.rest, number, kind, 0)?)))
    }
}

fn tag(rest: &mut &[u8]) -> Result<(u32, u8), Broken> {
    let tag = varint(rest)?;
    match u32::try_from(tag >> 3) {
        Ok(number @ 1..=0x1fff_ffff) => Ok((number, (tag & 7) as u8)),
        _ => Err("a field's number is out of range"),
    }
}

fn value<'a>(rest: &mut &'a [u8], number: u32, kind: u8, depth: usize) -> Result<Wire<'a>, Broken> {
    match kind {
        0 => varint(rest).map(Wire::Varint),
        1 => {
            let bytes = take(rest, 8)?.first_chunk().expect("8 bytes were taken");
            Ok(Wire::Fixed64(u64::from_le_bytes(*bytes)))
        }
        2 => {
            let len = usize::try_from(varint(rest)?).map_err(|_| "a length is out of range")?;
            take(rest, len).map(Wire::Bytes)
        }
        3 if depth < GROUP_DEPTH_MAX => loop {
            let (inner, kind) = tag(rest)?;
            if kind == 4 {
                return if inner == number {
                    Ok(Wire::Group)
                } else {
                    Err("a group's end differs")
                };
            }
            value(rest, inner, kind, depth + 1)?;
        },
        3 => Err("groups are nested too deeply"),
        5 => {
            let bytes = take(rest, 4)?.first_chunk().expect("4 bytes were taken");
            Ok(Wire::Fixed32(u32::from_le_bytes(*bytes)))
        }
        _ => Err("an unknown wire type"),
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Broken> {
    let taken = rest.get(..len).ok_or("it ends in the middle of a field")?;
    *rest = &rest[len..];
    Ok(taken)
}

#[inline]
pub fn varint(rest: &mut &[u8]) -> Result<u64, Broken> {
    let mut value: u64 = 0;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(value);
        }
    }
    Err("a number does not end")
}

pub fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_tag(out: &mut Vec<u8>, number: u32, kind: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(kind));
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Puts the length of what was appended since `start` before it.
pub fn put_length_before(out: &mut Vec<u8>, start: usize) {
    let len = (out.len() - start) as u64;
    let end = out.len();
    put_varint(out, len);
    let width = out.len() - end;
    out[start..].rotate_right(width);
}
