//! How far a file was read, as it is stored: an offset of the source.
//!
//! ```json
//! {"position": 4711, "device": 66304, "inode": 131, "fingerprint": "af63dc4c8601ec8c",
//!  "fingerprint_bytes": 1024, "crc32c": 3735928559}
//! ```
//!
//! `position` counts bytes of text: of a compressed file, of what it unpacks to. `crc32c` is over
//! all of them, so that a copy of the file is known whatever it is called and however compressed.
//! `position` alone is what Kafka Connect's file source stores, and is enough to go on from.

use serde_json::{Value, json};

use super::identity::{FileId, Fingerprint};

/// Where to go on, and in which file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes before the next line.
    pub bytes: u64,
    pub identity: Option<(FileId, Fingerprint)>,
    /// Of all bytes before `bytes`.
    pub crc: Option<u32>,
    /// The last line was delivered without its newline, since the input ended there: if that
    /// newline comes, it makes no line.
    pub unterminated: bool,
}

impl Position {
    pub fn to_json(&self) -> Value {
        let mut json = json!({ "position": self.bytes });
        if let Some((id, fingerprint)) = self.identity {
            json["device"] = id.device.into();
            json["inode"] = id.inode.into();
            json["fingerprint"] = format!("{:016x}", fingerprint.hash).into();
            json["fingerprint_bytes"] = fingerprint.bytes.into();
        }
        if let Some(crc) = self.crc {
            json["crc32c"] = crc.into();
        }
        if self.unterminated {
            json["unterminated"] = true.into();
        }
        json
    }

    /// `None` if that is no position.
    pub fn from_json(json: &Value) -> Option<Position> {
        let number = |field: &str| json.get(field).and_then(Value::as_u64);
        let identity = || {
            let id = FileId { device: number("device")?, inode: number("inode")? };
            let hash = u64::from_str_radix(json.get("fingerprint")?.as_str()?, 16).ok()?;
            let bytes = usize::try_from(number("fingerprint_bytes")?).ok()?;
            Some((id, Fingerprint { hash, bytes }))
        };
        Some(Position {
            bytes: number("position")?,
            identity: identity(),
            crc: number("crc32c").and_then(|crc| u32::try_from(crc).ok()),
            unterminated: json.get("unterminated").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_being_stored() {
        let id = FileId { device: 1, inode: u64::MAX };
        let fingerprint = Fingerprint { hash: 0xab, bytes: 7 };
        for (identity, unterminated) in [(None, false), (Some((id, fingerprint)), true)] {
            let crc = unterminated.then_some(u32::MAX);
            let position = Position { bytes: 42, identity, crc, unterminated };
            let stored = serde_json::from_str(&position.to_json().to_string()).unwrap();
            assert_eq!(Position::from_json(&stored), Some(position));
        }
        assert_eq!(Position::from_json(&json!({})), None);
        assert_eq!(Position::from_json(&json!({ "position": -1 })), None);
    }
}
