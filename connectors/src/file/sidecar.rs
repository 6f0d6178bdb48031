//! The file beside a sink's output that says which records the output holds.
//!
//! ```json
//! {"version": 1, "length": 4711, "fingerprint": "af63dc4c8601ec8c", "fingerprint_bytes": 1024,
//!  "partitions": [{"topic": "t", "id": "…", "partition": 0, "offset": 42}]}
//! ```
//!
//! `length` bytes of the output are the lines of all records before the offsets. Both change in
//! one atomic step, the rename that replaces this file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use broker::ids::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::identity::Fingerprint;
use super::tail::directory;

/// The form's version; a later one is refused.
const VERSION: u32 = 1;

/// What an output held when it was made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    pub length: u64,
    /// Of the output's first bytes, none beyond `length`.
    pub fingerprint: Fingerprint,
    pub offsets: BTreeMap<TopicPartition, RecordedOffset>,
}

/// Records before this one are in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedOffset {
    pub offset: Offset,
    /// Of the topic that it counts in: another one of that name begins anew.
    pub topic_id: Option<Uuid>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    length: u64,
    fingerprint: String,
    fingerprint_bytes: usize,
    partitions: Vec<StoredPartition>,
}

#[derive(Serialize, Deserialize)]
struct StoredPartition {
    topic: String,
    id: Option<String>,
    partition: i32,
    offset: i64,
}

impl Sidecar {
    /// `out.jsonl.offsets` for `out.jsonl`.
    pub fn path_for(output: &Path) -> PathBuf {
        let mut name = output.as_os_str().to_owned();
        name.push(".offsets");
        PathBuf::from(name)
    }

    /// Reads it; `None` if there is none, an error of kind `InvalidData` if it is not one.
    pub fn read(path: &Path) -> io::Result<Option<Sidecar>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        if stored.version != VERSION {
            let version = stored.version;
            return Err(invalid(format!("it is of version {version}; this one knows {VERSION}")));
        }
        let hash = u64::from_str_radix(&stored.fingerprint, 16)
            .map_err(|error| invalid(format!("fingerprint: {error}")))?;
        let mut offsets = BTreeMap::new();
        for at in stored.partitions {
            let topic_id = at.id.as_deref().map(Uuid::parse_str).transpose();
            let topic_id = topic_id.map_err(|error| invalid(format!("topic id: {error}")))?;
            let recorded = RecordedOffset { offset: Offset(at.offset), topic_id };
            offsets.insert(TopicPartition::new(at.topic, at.partition), recorded);
        }
        Ok(Some(Sidecar {
            length: stored.length,
            fingerprint: Fingerprint { hash, bytes: stored.fingerprint_bytes },
            offsets,
        }))
    }

    /// Replaces it, atomically and durably. What it speaks of must be durable already.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let partitions = self.offsets.iter().map(|(at, recorded)| StoredPartition {
            topic: at.topic.to_string(),
            id: recorded.topic_id.map(|id| id.to_string()),
            partition: at.partition,
            offset: recorded.offset.0,
        });
        let stored = Stored {
            version: VERSION,
            length: self.length,
            fingerprint: format!("{:016x}", self.fingerprint.hash),
            fingerprint_bytes: self.fingerprint.bytes,
            partitions: partitions.collect(),
        };
        let mut aside = path.as_os_str().to_owned();
        aside.push(".new");
        let aside = PathBuf::from(aside);
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec(&stored)?)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(directory(path))?.sync_all()
    }
}
