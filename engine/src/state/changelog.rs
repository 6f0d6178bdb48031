//! The changelog's records: see the diagram in the module above.

use std::collections::{BTreeMap, BTreeSet};

use broker::ids::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::store::Run;
use crate::time::Watermark;

/// The layout that is written, and the only one that is read.
pub const LAYOUT: u8 = 1;

const KIND_META: u8 = 0;
const KIND_GROUP: u8 = 1;
/// Layout, kind, window start, run.
const GROUP_KEY_HEADER_LEN: usize = 1 + 1 + 8 + 4;
/// Layout, fingerprint.
const GROUP_VALUE_HEADER_LEN: usize = 1 + 8;

/// One record of the changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Why kept state cannot be taken up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StateError {
    #[error(
        "its state has layout {found}, and this version reads {LAYOUT}: it was written by a newer \
         version; run that, or start again without the state with --reset-state"
    )]
    Newer { found: u64 },
    #[error("its state is damaged: {0}; start again without it with --reset-state")]
    Damaged(String),
    #[error(
        "its state was kept for another query: {windows} open windows with {groups} groups would \
         be lost; give the query or the pipeline a new name, undo the change, or drop the state \
         with --reset-state\n  kept for:\n{kept_for}\n  now:\n{now}"
    )]
    Changed { windows: usize, groups: usize, kept_for: String, now: String },
}

/// What there is to remember beside the groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    layout: u64,
    /// What the state depends on, as `Topology::fingerprint` says it.
    pub fingerprint: String,
    /// Windows that end no later were closed.
    pub closed_up_to_ms: i64,
    /// Starts of windows that end later and were closed all the same.
    pub closed_beyond_ms: BTreeSet<i64>,
    /// The latest event time read, by source and partition.
    pub latest_ms: BTreeMap<String, BTreeMap<i32, i64>>,
    /// The next record to read, by topic and partition. The group has the same offsets for
    /// everyone to see, but groups are forgotten after a while, and state must never be paired
    /// with other offsets than its own.
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Meta {
    pub fn new(fingerprint: String, closed_up_to: Watermark) -> Meta {
        Meta {
            layout: LAYOUT.into(),
            fingerprint,
            closed_up_to_ms: closed_up_to.0,
            closed_beyond_ms: BTreeSet::new(),
            latest_ms: BTreeMap::new(),
            offsets: BTreeMap::new(),
        }
    }

    /// Where reading goes on in a partition, if it was ever read.
    pub fn offset(&self, partition: &TopicPartition) -> Option<Offset> {
        let offset = self.offsets.get(&*partition.topic)?.get(&partition.partition)?;
        Some(Offset(*offset))
    }

    pub fn change(&self) -> Change {
        let value = serde_json::to_vec(self).expect("maps with text and number keys are JSON");
        Change { key: vec![LAYOUT, KIND_META], value: Some(value) }
    }

    fn parse(value: &[u8]) -> Result<Meta, StateError> {
        /// What every layout has.
        #[derive(Deserialize)]
        struct Header {
            layout: u64,
        }
        let damaged = |error: serde_json::Error| StateError::Damaged(format!("meta: {error}"));
        let header: Header = serde_json::from_slice(value).map_err(damaged)?;
        if header.layout != u64::from(LAYOUT) {
            return Err(StateError::Newer { found: header.layout });
        }
        serde_json::from_slice(value).map_err(damaged)
    }
}

/// A short form of a fingerprint that stands in every value (FNV-1a, 64 bits: part of the format,
/// so none that a library may change).
pub fn short_fingerprint(fingerprint: &str) -> u64 {
    fingerprint.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The key of a group's run.
pub fn group_key(window_start_ms: i64, run: u32, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(GROUP_KEY_HEADER_LEN + key.len());
    bytes.extend_from_slice(&[LAYOUT, KIND_GROUP]);
    bytes.extend_from_slice(&window_start_ms.to_be_bytes());
    bytes.extend_from_slice(&run.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// The value of a group's run.
pub fn group_value(fingerprint: u64, state: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(GROUP_VALUE_HEADER_LEN + state.len());
    bytes.push(LAYOUT);
    bytes.extend_from_slice(&fingerprint.to_be_bytes());
    bytes.extend_from_slice(state);
    bytes
}

/// A changelog as it is read from its topic: the last value of every key.
#[derive(Debug, Default)]
pub struct Restored {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A group's run as the changelog has it.
#[derive(Debug, PartialEq, Eq)]
pub struct RestoredRun<'a> {
    pub window_start_ms: i64,
    pub key: &'a [u8],
    pub run: Run,
}

impl Restored {
    /// Takes the next record of the topic.
    pub fn apply(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        // A record without a key is none of ours; compaction would not keep it either.
        let Some(key) = key else { return };
        match value {
            Some(value) => self.entries.insert(key.to_vec(), value.to_vec()),
            None => self.entries.remove(key),
        };
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All keys, to be deleted when the state is reset.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// The meta record, if there is state under this very fingerprint; an error if there is
    /// other state.
    pub fn meta(&self, fingerprint: &str) -> Result<Option<Meta>, StateError> {
        if self.is_empty() {
            return Ok(None);
        }
        // A newer version may have moved the meta record itself.
        if let Some(key) = self.entries.keys().find(|key| key.first() != Some(&LAYOUT)) {
            let found = key.first().copied().unwrap_or_default().into();
            return Err(StateError::Newer { found });
        }
        let meta = self.entries.get([LAYOUT, KIND_META].as_slice());
        let meta = meta.ok_or_else(|| StateError::Damaged("its meta record is missing".into()))?;
        let meta = Meta::parse(meta)?;
        if meta.fingerprint == fingerprint {
            return Ok(Some(meta));
        }
        let mut windows: Vec<&[u8]> = Vec::new();
        let mut groups: Vec<(&[u8], &[u8])> = Vec::new();
        for key in self.entries.keys().filter(|key| key.len() >= GROUP_KEY_HEADER_LEN) {
            windows.push(&key[2..10]);
            groups.push((&key[2..10], &key[GROUP_KEY_HEADER_LEN..]));
        }
        windows.dedup();
        groups.sort_unstable();
        groups.dedup();
        let (windows, groups) = (windows.len(), groups.len());
        let (kept_for, now) = (indented(&meta.fingerprint), indented(fingerprint));
        Err(StateError::Changed { windows, groups, kept_for, now })
    }

    /// All runs that were kept under `fingerprint`, by window and run.
    pub fn runs(
        &self,
        fingerprint: &str,
    ) -> impl Iterator<Item = Result<RestoredRun<'_>, StateError>> {
        let expected = short_fingerprint(fingerprint);
        self.entries
            .iter()
            .filter(|(key, _)| key.get(1) != Some(&KIND_META))
            .map(move |(key, value)| parse_run(key, value, expected))
    }
}

fn parse_run<'a>(
    key: &'a [u8],
    value: &'a [u8],
    fingerprint: u64,
) -> Result<RestoredRun<'a>, StateError> {
    let damaged = |what: &str| StateError::Damaged(format!("{what} at key {key:02x?}"));
    let number = |from: &[u8]| from.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    if key.get(1) != Some(&KIND_GROUP) || key.len() < GROUP_KEY_HEADER_LEN {
        return Err(damaged("no group"));
    }
    if value.len() < GROUP_VALUE_HEADER_LEN {
        return Err(damaged("a value that is cut short"));
    }
    if value[0] != LAYOUT {
        return Err(StateError::Newer { found: value[0].into() });
    }
    if number(&value[1..GROUP_VALUE_HEADER_LEN]) != fingerprint {
        return Err(damaged("a value of another query"));
    }
    Ok(RestoredRun {
        window_start_ms: number(&key[2..10]) as i64,
        key: &key[GROUP_KEY_HEADER_LEN..],
        run: Run {
            number: number(&key[10..GROUP_KEY_HEADER_LEN]) as u32,
            state: value[GROUP_VALUE_HEADER_LEN..].into(),
        },
    })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(changes: &[Change]) -> Restored {
        let mut restored = Restored::default();
        for change in changes {
            restored.apply(Some(&change.key), change.value.as_deref());
        }
        restored
    }

    fn meta(fingerprint: &str) -> Meta {
        let mut meta = Meta::new(fingerprint.to_owned(), Watermark(42));
        meta.latest_ms.insert("flights".to_owned(), BTreeMap::from([(0, 7), (1, -3)]));
        meta.offsets.insert("flights".to_owned(), BTreeMap::from([(0, 3)]));
        meta
    }

    fn group(window_start_ms: i64, run: u32, key: &[u8], state: &[u8]) -> Change {
        Change {
            key: group_key(window_start_ms, run, key),
            value: Some(group_value(short_fingerprint("plan"), state)),
        }
    }

    #[test]
    fn what_was_written_is_restored() {
        let gone = Change { key: group_key(-5, 1, b"k"), value: None };
        let changes = [
            meta("old").change(),
            group(-5, 1, b"k", b"one"),
            group(-5, 0, b"k", b"zero"),
            meta("plan").change(),
            group(7, 0, b"", b""),
            gone,
        ];
        let restored = restored(&changes);
        assert_eq!(restored.meta("plan").unwrap(), Some(meta("plan")));
        let mut runs: Vec<_> = restored.runs("plan").map(Result::unwrap).collect();
        runs.sort_by_key(|run| run.window_start_ms);
        let run = |number, state: &[u8]| Run { number, state: state.into() };
        assert_eq!(
            runs,
            [
                RestoredRun { window_start_ms: -5, key: b"k", run: run(0, b"zero") },
                RestoredRun { window_start_ms: 7, key: b"", run: run(0, b"") },
            ]
        );
        assert_eq!(Restored::default().meta("plan"), Ok(None));
        let offset = |partition| meta("plan").offset(&TopicPartition::new("flights", partition));
        assert_eq!((offset(0), offset(1)), (Some(Offset(3)), None));
    }

    #[test]
    fn state_of_another_query_is_refused_with_what_would_be_lost() {
        let changes = [meta("old").change(), group(0, 0, b"a", b""), group(0, 1, b"a", b"")];
        let error = restored(&changes).meta("plan").unwrap_err();
        let StateError::Changed { windows, groups, .. } = &error else { panic!("{error}") };
        assert_eq!((*windows, *groups), (1, 1));
        assert!(error.to_string().contains("--reset-state"), "{error}");
        let mixed = [meta("plan").change(), group(0, 0, b"a", b"")];
        let restored = restored(&mixed);
        assert!(restored.runs("other").next().unwrap().is_err());
    }

    #[test]
    fn newer_and_damaged_state_is_refused() {
        let newer = Change { key: vec![LAYOUT + 1, 0], value: Some(vec![]) };
        assert_eq!(restored(&[newer]).meta("plan"), Err(StateError::Newer { found: 2 }));
        let mut changed = meta("plan").change();
        changed.value = Some(br#"{"layout":9,"other":1}"#.to_vec());
        assert_eq!(restored(&[changed]).meta("plan"), Err(StateError::Newer { found: 9 }));
        assert!(matches!(
            restored(&[group(0, 0, b"", b"")]).meta("plan"),
            Err(StateError::Damaged(_))
        ));
        let short = Change { key: group_key(0, 0, b""), value: Some(vec![LAYOUT]) };
        let restored = restored(&[meta("plan").change(), short]);
        assert!(matches!(restored.runs("plan").next(), Some(Err(StateError::Damaged(_)))));
    }
}
