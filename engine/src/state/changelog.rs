//! The changelog's records: see the diagram in the module above.

use std::collections::BTreeMap;
use std::fmt;

use broker::ids::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::disk::DiskError;
use super::layouts::{Evolution, Layouts, Part};
use crate::time::Watermark;

/// The layout that is written, and the only one that is read.
pub const LAYOUT: u8 = 5;

const KIND_META: u8 = 0;
const KIND_OPERATOR: u8 = 1;
/// Of the meta record.
pub const META_KEY: [u8; 2] = [LAYOUT, KIND_META];
/// Layout, kind, operator.
const OPERATOR_KEY_HEADER_LEN: usize = 1 + 1 + 8;

/// The changelog topic of a part of a query that is known by `id`: its partitions are the tasks.
/// State is of as many tasks as wrote it, so that number stands in the name.
pub fn topic(id: &str, part: usize, tasks: usize) -> String {
    match tasks {
        0 | 1 => format!("{id}-changelog"),
        tasks => format!("{id}-{part}of{tasks}-changelog"),
    }
}

/// One record of the changelog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Vec<u8>,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// Why kept state cannot be taken up.
#[derive(Clone, Debug, Error)]
pub enum StateError {
    #[error(
        "its state has layout {found}, and this version reads {LAYOUT}: it was written by \
         {} version; run that, or start again without the state with --reset-state",
        if *found > u64::from(LAYOUT) { "a newer" } else { "an older" }
    )]
    Layout { found: u64 },
    #[error("its state is damaged: {0}; start again without it with --reset-state")]
    Damaged(String),
    #[error(
        "its state was kept for another query: {entries} entries would be lost; give the query or \
         the pipeline a new name, undo the change, or drop the state with --reset-state=QUERY\n  \
         what it was kept for (-), and what it would be now (+):\n{difference}"
    )]
    Changed { entries: usize, difference: String },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What an operator's state is found by: it changes exactly when state that was kept under it no
/// longer fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(u64);

impl StateId {
    /// Of all that the state depends on, as text (FNV-1a, 64 bits: part of the format, so none that
    /// a library may change).
    pub fn of(fingerprint: &str) -> StateId {
        StateId(fingerprint.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// The operator that a key of the changelog is of, and what it calls the entry.
    pub fn split(key: &[u8]) -> Option<(StateId, &[u8])> {
        let rest = key.strip_prefix(&[LAYOUT, KIND_OPERATOR])?;
        let (id, own) = rest.split_first_chunk()?;
        Some((StateId(u64::from_be_bytes(*id)), own))
    }

    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// What [`StateId`] prints, read back.
    pub fn parse(text: &str) -> Option<StateId> {
        u64::from_str_radix(text, 16).ok().map(StateId)
    }

    /// The changelog's key of an entry that the operator calls by `parts`, one after the other.
    pub fn key(self, parts: &[&[u8]]) -> Vec<u8> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let mut key = Vec::with_capacity(OPERATOR_KEY_HEADER_LEN + len);
        key.extend_from_slice(&[LAYOUT, KIND_OPERATOR]);
        key.extend_from_slice(&self.0.to_be_bytes());
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key
    }
}

/// Sixteen hexadecimal digits.
impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What stands before each part of what a state depends on.
pub const COMPUTED: &str = "\n  computed: ";

/// What the states of operators depend on, by their ids.
pub type Operators = BTreeMap<String, KeptFor>;

/// What an operator's state depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptFor {
    /// State of another text is of no use.
    pub text: String,
    /// What may come and go.
    pub parts: Vec<Part>,
}

/// The text and its parts, a line each.
impl fmt::Display for KeptFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.parts.iter().try_for_each(|part| write!(f, "{COMPUTED}{}", part.is))
    }
}

/// Which record of a topic an answer replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldBy {
    pub topic: String,
    /// The columns of its key, in their order.
    pub key: Vec<String>,
    pub key_format: String,
}

/// What there is to remember beside the operators' entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    layout: u64,
    /// Names the state: one that was begun anew has another name, though all else be equal.
    #[serde(default)]
    pub state: String,
    /// By [`StateId`]: what the state of each operator depends on.
    pub operators: BTreeMap<String, String>,
    /// By [`StateId`]: what its values are made of, and were; of those that have parts.
    #[serde(default)]
    pub layouts: BTreeMap<String, Layouts>,
    /// The SHA-256 of the module of each function of users that it was made with, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, String>,
    /// What corrected answers are told by, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_by: Option<ToldBy>,
    /// The ids of the topics that were read, where the cluster tells them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, String>,
    /// No row before this was waited for any more.
    pub watermark_ms: i64,
    /// The latest event time read, by source and partition.
    pub latest_ms: BTreeMap<String, BTreeMap<i32, i64>>,
    /// What the writers of each exchange have said of their watermarks.
    #[serde(default)]
    pub told_ms: BTreeMap<String, Vec<Option<i64>>>,
    /// The next record to read, by topic and partition. The group has the same offsets for
    /// everyone to see, but groups are forgotten after a while, and state must never be paired
    /// with other offsets than its own.
    pub offsets: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Meta {
    pub fn new(state: &str, operators: BTreeMap<String, String>, watermark: Watermark) -> Meta {
        Meta {
            layout: LAYOUT.into(),
            state: state.to_owned(),
            operators,
            layouts: BTreeMap::new(),
            functions: BTreeMap::new(),
            told_by: None,
            topics: BTreeMap::new(),
            watermark_ms: watermark.0,
            latest_ms: BTreeMap::new(),
            told_ms: BTreeMap::new(),
            offsets: BTreeMap::new(),
        }
    }

    /// Where reading goes on in a partition, if it was ever read.
    pub fn offset(&self, partition: &TopicPartition) -> Option<Offset> {
        let offset = self.offsets.get(&*partition.topic)?.get(&partition.partition)?;
        Some(Offset(*offset))
    }

    /// What its layouts become for these operators, by id, and what changes thereby; `None` for one
    /// whose state is of no use.
    pub fn evolved(&self, operators: &Operators) -> BTreeMap<String, Option<(Layouts, Evolution)>> {
        let kept = self.operators.iter().map(|(id, text)| {
            let layouts = self.layouts.get(id).cloned().unwrap_or_else(|| Layouts::new(&[]));
            let now = operators.get(id).filter(|now| now.text == *text);
            (id.clone(), now.and_then(|now| layouts.evolve(&now.parts)))
        });
        kept.collect()
    }

    /// What an operator's state was kept for.
    fn kept_for(&self, id: &str) -> KeptFor {
        let parts = self.layouts.get(id).map(|layouts| layouts.parts().cloned().collect());
        let text = self.operators.get(id).cloned().unwrap_or_default();
        KeptFor { text, parts: parts.unwrap_or_default() }
    }

    pub fn change(&self) -> Change {
        let value = serde_json::to_vec(self).expect("maps with text and number keys are JSON");
        Change { key: META_KEY.to_vec(), value: Some(value) }
    }

    pub fn parse(value: &[u8]) -> Result<Meta, StateError> {
        /// What every layout has.
        #[derive(Deserialize)]
        struct Header {
            layout: u64,
        }
        let damaged = |error: serde_json::Error| StateError::Damaged(format!("meta: {error}"));
        let header: Header = serde_json::from_slice(value).map_err(damaged)?;
        if header.layout != u64::from(LAYOUT) {
            return Err(StateError::Layout { found: header.layout });
        }
        serde_json::from_slice(value).map_err(damaged)
    }
}

/// A changelog as it is read from its topic: the last value of every key.
#[derive(Debug, Default)]
pub struct Restored {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
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

    /// The meta record, if there is state: an error if some of it was kept by an operator that is
    /// not among `operators`. One that kept nothing is not missed.
    pub fn meta(&self, operators: &Operators) -> Result<Option<Meta>, StateError> {
        self.meta_beside(operators, &BTreeMap::new())
    }

    /// The same, where so many entries of operators have been taken up elsewhere, by their ids.
    pub fn meta_beside(
        &self,
        operators: &Operators,
        elsewhere: &BTreeMap<String, usize>,
    ) -> Result<Option<Meta>, StateError> {
        if self.is_empty() {
            return Ok(None);
        }
        // Another version may have moved the meta record itself.
        if let Some(key) = self.entries.keys().find(|key| key.first() != Some(&LAYOUT)) {
            let found = key.first().copied().unwrap_or_default().into();
            return Err(StateError::Layout { found });
        }
        let meta = self.entries.get(META_KEY.as_slice());
        let meta = meta.ok_or_else(|| StateError::Damaged("its meta record is missing".into()))?;
        let meta = Meta::parse(meta)?;
        let evolved = meta.evolved(operators);
        let gone = evolved.iter().filter(|(_, evolved)| evolved.is_none());
        let gone: Vec<&String> = gone.map(|(id, _)| id).collect();
        let count = |id: &&String| {
            self.entries_of_id(id).count() + elsewhere.get(*id).copied().unwrap_or_default()
        };
        let entries: usize = gone.iter().map(count).sum();
        if entries == 0 {
            self.check_ids(operators)?;
            return Ok(Some(meta));
        }
        let lines = |texts: Vec<String>| -> Vec<String> {
            texts.iter().flat_map(|text| text.lines().map(str::to_owned)).collect()
        };
        let kept_for = lines(gone.iter().map(|id| meta.kept_for(id).to_string()).collect());
        let is_new = |id: &String| evolved.get(id).is_none_or(Option::is_none);
        let new = operators.iter().filter(|(id, _)| is_new(id));
        let now = match operators.is_empty() {
            true => vec!["nothing: each row is done by itself".to_owned()],
            false => lines(new.map(|(_, of)| of.to_string()).collect()),
        };
        Err(StateError::Changed { entries, difference: difference(&kept_for, &now) })
    }

    /// Whether every entry is of one of these operators.
    fn check_ids(&self, operators: &Operators) -> Result<(), StateError> {
        let known: usize = operators.keys().map(|id| self.entries_of_id(id).count()).sum();
        if known + 1 == self.entries.len() {
            return Ok(());
        }
        let count = self.entries.len() - 1 - known;
        Err(StateError::Damaged(format!("{count} entries are of no operator")))
    }

    /// What an operator has kept: keys as it calls them, ascending.
    pub fn entries_of(&self, id: StateId) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries_with(id.key(&[]))
    }

    fn entries_of_id(&self, id: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        // An id that is no number has no entries.
        StateId::parse(id).into_iter().flat_map(|id| self.entries_of(id))
    }

    fn entries_with(&self, prefix: Vec<u8>) -> impl Iterator<Item = (&[u8], &[u8])> {
        let from = self.entries.range(prefix.clone()..);
        from.take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| (&key[OPERATOR_KEY_HEADER_LEN..], value.as_slice()))
    }
}

/// Lines of two texts by what they have in common, the longest that there is; a sign before those
/// that only one has.
fn difference(before: &[String], after: &[String]) -> String {
    // How many lines the rests from there on have in common.
    let mut common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for (b, of_before) in before.iter().enumerate().rev() {
        for (a, of_after) in after.iter().enumerate().rev() {
            common[b][a] = match of_before == of_after {
                true => common[b + 1][a + 1] + 1,
                false => common[b + 1][a].max(common[b][a + 1]),
            };
        }
    }
    let (mut b, mut a, mut lines) = (0, 0, Vec::new());
    while b < before.len() || a < after.len() {
        let (one, other) = (before.get(b), after.get(a));
        let (sign, line) = match (one, other) {
            (Some(line), Some(other)) if line == other => (' ', line),
            (Some(line), None) => ('-', line),
            (Some(line), Some(_)) if common[b + 1][a] >= common[b][a + 1] => ('-', line),
            (_, Some(line)) => ('+', line),
            (None, None) => break,
        };
        b += usize::from(sign != '+');
        a += usize::from(sign != '-');
        lines.push(format!("  {sign} {line}"));
    }
    lines.join("\n")
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

    fn operators(of: &[&str]) -> Operators {
        let kept_for = |of: &str| KeptFor { text: of.to_owned(), parts: Vec::new() };
        of.iter().map(|of| (StateId::of(of).to_string(), kept_for(of))).collect()
    }

    fn meta(of: &[&str]) -> Meta {
        let texts = operators(of).into_iter().map(|(id, of)| (id, of.text)).collect();
        let mut meta = Meta::new("one", texts, Watermark(42));
        meta.latest_ms.insert("flights".to_owned(), BTreeMap::from([(0, 7), (1, -3)]));
        meta.offsets.insert("flights".to_owned(), BTreeMap::from([(0, 3)]));
        meta
    }

    fn entry(of: &str, key: &[u8], value: &[u8]) -> Change {
        Change { key: StateId::of(of).key(&[key]), value: Some(value.to_vec()) }
    }

    #[test]
    fn what_was_written_is_restored() {
        let gone = Change { key: StateId::of("sum").key(&[b"b"]), value: None };
        let changes = [
            meta(&["sum"]).change(),
            entry("sum", b"b", b"old"),
            entry("sum", b"c", b"one"),
            entry("sum", b"a", b""),
            entry("join", b"a", b"x"),
            meta(&["sum", "join"]).change(),
            gone,
        ];
        let restored = restored(&changes);
        let of = operators(&["sum", "join"]);
        assert_eq!(restored.meta(&of).unwrap(), Some(meta(&["sum", "join"])));
        let entries: Vec<_> = restored.entries_of(StateId::of("sum")).collect();
        assert_eq!(entries, [(&b"a"[..], &b""[..]), (b"c", b"one")]);
        assert!(matches!(Restored::default().meta(&of), Ok(None)));
        let offset = |partition| meta(&[]).offset(&TopicPartition::new("flights", partition));
        assert_eq!((offset(0), offset(1)), (Some(Offset(3)), None));
    }

    #[test]
    fn state_that_would_be_lost_is_refused_and_what_is_new_is_not() {
        let changes = [
            meta(&["old", "same"]).change(),
            entry("old", b"a", b""),
            entry("old", b"b", b""),
            entry("same", b"a", b""),
        ];
        let restored = restored(&changes);
        let error = restored.meta(&operators(&["same", "new"])).unwrap_err();
        let StateError::Changed { entries, difference } = &error else { panic!("{error}") };
        assert_eq!((*entries, difference.as_str()), (2, "  - old\n  + new"));
        assert!(error.to_string().contains("--reset-state"), "{error}");
        assert!(restored.meta(&operators(&["same", "old", "new"])).is_ok());
    }

    #[test]
    fn what_differs_of_two_texts_is_marked() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let said = difference(&lines("sum key of from x"), &lines("sum by key from y x z"));
        assert_eq!(said, "    sum\n  + by\n    key\n  - of\n    from\n  + y\n    x\n  + z");
    }

    /// A query that had nothing left, such as one whose windows have all closed, could not be
    /// changed: "0 entries would be lost".
    #[test]
    fn an_operator_that_kept_nothing_is_not_missed() {
        let gone = Change { key: StateId::of("old").key(&[b"a"]), value: None };
        let changes = [
            meta(&["old", "same"]).change(),
            entry("old", b"a", b""),
            gone,
            entry("same", b"a", b""),
        ];
        let restored = restored(&changes);
        assert!(restored.meta(&operators(&["same", "new"])).unwrap().is_some());
        let error = restored.meta(&operators(&["new"])).unwrap_err();
        assert!(matches!(error, StateError::Changed { entries: 1, .. }), "{error}");
    }

    #[test]
    fn other_layouts_and_damaged_state_are_refused() {
        let of = operators(&["sum"]);
        let newer = Change { key: vec![LAYOUT + 1, 0], value: Some(vec![]) };
        let error = restored(&[newer]).meta(&of).unwrap_err();
        assert!(matches!(error, StateError::Layout { found: 6 }), "{error}");
        let mut changed = meta(&["sum"]).change();
        changed.value = Some(br#"{"layout":1,"other":1}"#.to_vec());
        let error = restored(&[changed]).meta(&of).unwrap_err();
        assert!(error.to_string().contains("an older version"), "{error}");
        let orphans = [meta(&["sum"]).change(), entry("other", b"", b"")];
        for changes in [&[entry("sum", b"", b"")][..], &orphans] {
            let restored = restored(changes);
            assert!(matches!(restored.meta(&of), Err(StateError::Damaged(_))));
        }
    }
}
