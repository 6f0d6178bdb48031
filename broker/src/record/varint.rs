//! Zig-zag variable-length integers as in protocol buffers: small magnitudes take few bytes.

/// Most bytes that a 32-bit varint takes.
pub const VARINT_LEN_MAX: usize = 5;
/// Most bytes that a 64-bit varint takes.
pub const VARLONG_LEN_MAX: usize = 10;

/// Appends `value`, 1–10 bytes.
pub fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes that `value` takes.
pub fn len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a 64-bit varint off the front of `input`; `None` if it is cut short or overlong.
#[inline]
pub fn take(input: &mut &[u8]) -> Option<i64> {
    // As most of a record's are: it has seven or more, and each produced record is looked into.
    if let [byte @ ..0x80, rest @ ..] = *input {
        *input = rest;
        return Some(signed(u64::from(*byte)));
    }
    take_long(input)
}

fn take_long(input: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0u64;
    for (index, &byte) in input.iter().take(VARLONG_LEN_MAX).enumerate() {
        if index == VARLONG_LEN_MAX - 1 && byte > 1 {
            return None;
        }
        zigzag |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Some(signed(zigzag));
        }
    }
    None
}

fn signed(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

/// Takes a 32-bit varint off the front of `input`; `None` if it is cut short or out of range.
#[inline]
pub fn take_i32(input: &mut &[u8]) -> Option<i32> {
    take(input).and_then(|value| i32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_is_taken(value: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(bytes.len(), len(value));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn a_cut_varint_is_refused(value: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            bytes.pop();
            prop_assert_eq!(take(&mut bytes.as_slice()), None);
        }
    }

    #[test]
    fn an_overlong_varint_is_refused() {
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
        assert_eq!(take_i32(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0x01].as_slice()), None);
    }
}
