//! A position in PostgreSQL's write-ahead log.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A byte position in the write-ahead log, written `16/B374D848`: its upper and lower half in
/// hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// No position: "wherever the slot stands" where a stream is started.
    pub const NONE: Lsn = Lsn(0);

    /// The number that Debezium's `source.lsn` and stored offsets have: Java knows no unsigned.
    pub fn as_i64(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

/// A text that is no position in the log.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no position in the log such as 16/B374D848")]
pub struct NoLsn(String);

impl FromStr for Lsn {
    type Err = NoLsn;

    fn from_str(text: &str) -> Result<Lsn, NoLsn> {
        let half = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        halves.map(|(high, low)| Lsn(high << 32 | low)).ok_or_else(|| NoLsn(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (lsn, text) in [
            (Lsn(0), "0/0"),
            (Lsn(0x16_B374_D848), "16/B374D848"),
            (Lsn(u64::MAX), "FFFFFFFF/FFFFFFFF"),
            (Lsn(0x1_0000_00FF), "1/FF"),
        ] {
            assert_eq!((lsn.to_string().as_str(), text.parse()), (text, Ok(lsn)));
        }
        for text in ["", "/", "1", "1/", "/1", "1/2/3", "+1/1", "123456789/0", "g/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
