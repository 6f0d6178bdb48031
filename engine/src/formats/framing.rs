//! Confluent's framing of Avro and Protobuf values: which schema they were written with.
//!
//! ```text
//! ┌───┬───────────────┬──────────────────────────┬─────────┐
//! │ 0 │ schema id     │ message indexes          │ payload │
//! │   │ u32 big-endian│ (Protobuf only, varints) │         │
//! └───┴───────────────┴──────────────────────────┴─────────┘
//! ```
//!
//! The message indexes lead from the schema file to the message: zigzag varints, their count
//! first; a lone 0 stands for the list `[0]`, the first message of the file.

use super::DecodeError;
use super::excerpt;

/// What stands before a value's own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Confluent,
}

pub const HEADER_LEN: usize = 5;

/// The schema id and what follows the header.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [0, a, b, c, d, payload @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), payload)),
        [0, ..] | [] => Err(DecodeError::Framing {
            reason: "it ends within the 5 bytes that name its schema".to_owned(),
            excerpt: excerpt(value),
        }),
        [first, ..] => Err(DecodeError::Framing {
            reason: format!("it begins with byte {first}, not with 0"),
            excerpt: excerpt(value),
        }),
    }
}

pub fn put_header(out: &mut Vec<u8>, schema_id: u32) {
    out.push(0);
    out.extend_from_slice(&schema_id.to_be_bytes());
}
