//! A map of bytes to bytes: what operators keep, in memory, or on disk where that is too much.
//!
//! ```text
//! put, remove ─→ slots ─ commit ─→ changes ─┬→ changelog
//! get, range  ←─   ↑                        └→ disk, once the transaction is written
//!                  └── what is not among the slots, from disk
//! ```
//!
//! Without a disk beneath it, the slots are the whole map. With one, they are what has changed
//! since the last commit, and whatever else there was room for: the disk has what is committed,
//! and never anything that is not.
//!
//! Changes that were taken may reach the disk later, while the map is changed further: until
//! [`StateMap::settled`], slots hide what the disk has of them, those of removed entries too.
//!
//! Invariants: keys come in the order of their bytes. A slot that has changed stays in memory until
//! its change is on disk. An entry that came and went between two commits leaves no trace.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::changelog::Change;
use super::disk::{DiskError, DiskRange, DiskState, LEN_PREFIX};
use super::radix::{self, RadixMap};

pub type Bytes = Arc<[u8]>;

/// What a slot costs beside its bytes: two counted allocations and its place among the slots.
const SLOT_OVERHEAD: usize = 120;

/// Keys that are held at once while they are removed.
const REMOVED_TOGETHER_MAX: usize = 8192;

#[derive(Debug)]
pub struct StateMap {
    /// What its keys begin with in the changelog and on disk.
    prefix: Vec<u8>,
    /// Its changes go to the changelog; else it can be made from others that do.
    is_logged: bool,
    slots: RadixMap<Slot>,
    disk: Option<DiskState>,
    /// The slots are the whole map, disk or not.
    is_whole: bool,
    /// Keys whose slots have changed since the last commit, in the order of the first change.
    changed: Vec<Bytes>,
    /// Keys of entries that are gone, whose slots hide what the disk may have of them.
    hiding: Vec<Bytes>,
    /// Entries on disk that are among no slots count as well.
    len: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    /// `None`: it is gone, and the changelog does not know yet.
    value: Option<Bytes>,
    /// It is among `changed`.
    is_changed: bool,
    /// The changelog has an entry of this key.
    is_committed: bool,
}

impl StateMap {
    /// An empty map. Those of one operator have different prefixes of one length.
    pub fn new(prefix: Vec<u8>, is_logged: bool) -> StateMap {
        StateMap {
            prefix,
            is_logged,
            slots: RadixMap::default(),
            disk: None,
            is_whole: true,
            changed: Vec::new(),
            hiding: Vec::new(),
            len: 0,
            bytes: 0,
        }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries the changelog has of it.
    pub fn logged_len(&self) -> u64 {
        if self.is_logged { self.len } else { 0 }
    }

    /// Roughly how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether this key of the changelog is one of its own; what it is called here.
    pub fn own<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.prefix.as_slice())
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        if let Some(slot) = self.slots.get(key) {
            return Ok(slot.value.clone());
        }
        match &self.disk {
            Some(disk) if !self.is_whole => disk.get(&self.full_key(key)),
            _ => Ok(None),
        }
    }

    pub fn contains(&self, key: &[u8]) -> Result<bool, DiskError> {
        match self.slots.get(key) {
            Some(slot) => Ok(slot.value.is_some()),
            None => self.is_on_disk(key),
        }
    }

    /// Puts an entry in the place of the one of its key. Whether there was one.
    pub fn put(&mut self, key: &[u8], value: Bytes) -> Result<bool, DiskError> {
        match self.put_over(key, value) {
            Ok(was_there) => Ok(was_there),
            Err(value) => {
                let is_committed = self.is_on_disk(key)?;
                self.put_new(key, value, is_committed);
                Ok(is_committed)
            }
        }
    }

    /// The same, where it is known whether there was one: the disk need not be asked.
    pub fn put_known(&mut self, key: &[u8], value: Bytes, was_there: bool) {
        if let Err(value) = self.put_over(key, value) {
            self.put_new(key, value, was_there);
        }
    }

    /// Puts an entry where its key has a slot; whether there was one. The value comes back if not.
    fn put_over(&mut self, key: &[u8], value: Bytes) -> Result<bool, Bytes> {
        let Some((key, slot)) = self.slots.get_mut(key) else { return Err(value) };
        self.bytes += value.len();
        let before = slot.value.replace(value);
        self.bytes -= before.as_ref().map_or(0, |before| before.len());
        self.len += u64::from(before.is_none());
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(key.clone());
        }
        Ok(before.is_some())
    }

    /// Puts an entry where its key has no slot.
    fn put_new(&mut self, key: &[u8], value: Bytes, is_committed: bool) {
        let key: Bytes = key.into();
        self.bytes += SLOT_OVERHEAD + key.len() + value.len();
        self.len += u64::from(!is_committed);
        self.changed.push(key.clone());
        self.slots.insert(key, Slot { value: Some(value), is_changed: true, is_committed });
    }

    /// Whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, DiskError> {
        let Some((own, slot)) = self.slots.get_mut(key) else {
            if !self.is_on_disk(key)? {
                return Ok(false);
            }
            let key: Bytes = key.into();
            self.bytes += SLOT_OVERHEAD + key.len();
            self.len -= 1;
            self.changed.push(key.clone());
            let slot = Slot { value: None, is_changed: true, is_committed: true };
            self.slots.insert(key, slot);
            return Ok(true);
        };
        let Some(before) = slot.value.take() else { return Ok(false) };
        self.bytes -= before.len();
        self.len -= 1;
        if !slot.is_committed {
            // `changed` may still name it: a commit finds nothing there.
            slot.is_changed = false;
            let own = own.clone();
            self.gone(&own);
            return Ok(true);
        }
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(own.clone());
        }
        Ok(true)
    }

    /// Takes up an entry as the changelog has it, or learns that it has gone.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DiskError> {
        match value {
            Some(value) => self.put(key, value.into())?,
            None => self.remove(key)?,
        };
        Ok(())
    }

    /// Entries within these bounds, in the order of their keys.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'_> {
        let is_empty = match (from, to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to))
            | (Bound::Included(from), Bound::Excluded(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        let disk = self.disk.as_ref().filter(|_| !self.is_whole && !is_empty);
        Range {
            slots: match is_empty {
                true => radix::Range::default().peekable(),
                false => self.slots.range(from, to).peekable(),
            },
            disk: disk.map(|disk| {
                let full = |key: &[u8]| self.full_key(key);
                let to = match to {
                    Bound::Unbounded => after_prefix(&self.prefix),
                    to => to.map(full),
                };
                let from = match from {
                    Bound::Unbounded => Bound::Included(self.prefix.clone()),
                    from => from.map(full),
                };
                disk.range(from, to).peekable()
            }),
            prefix_len: self.prefix.len(),
        }
    }

    /// Entries whose keys begin with `prefix`; only those behind `after`, if there is one.
    pub fn with_prefix(&self, prefix: &[u8], after: Option<&[u8]>) -> Range<'_> {
        if after.is_none() && (self.disk.is_none() || self.is_whole) {
            let slots = self.slots.with_prefix(prefix).peekable();
            return Range { slots, disk: None, prefix_len: self.prefix.len() };
        }
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let to = after_prefix(prefix);
        self.range(from, to.as_ref().map(Vec::as_slice))
    }

    /// Removes all entries whose keys begin with `prefix`.
    pub fn remove_with_prefix(&mut self, prefix: &[u8]) -> Result<(), DiskError> {
        let mut after: Option<Bytes> = None;
        loop {
            let some = self.with_prefix(prefix, after.as_deref()).take(REMOVED_TOGETHER_MAX);
            let some: Vec<Bytes> =
                some.map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
            let Some(last) = some.last() else { return Ok(()) };
            after = Some(last.clone());
            for key in some {
                self.remove(&key)?;
            }
        }
    }

    /// The first entry, if there is one.
    pub fn first(&self) -> Result<Option<(Bytes, Bytes)>, DiskError> {
        self.range(Bound::Unbounded, Bound::Unbounded).next().transpose()
    }

    /// The last key that is less than this one.
    pub fn last_before(&self, end: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.last_of(Bound::Excluded(end.to_vec()))
    }

    /// The last key that begins with `prefix`.
    pub fn last_with_prefix(&self, prefix: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let last = self.last_of(after_prefix(prefix))?;
        Ok(last.filter(|key| key.starts_with(prefix)))
    }

    /// `end` is not included.
    fn last_of(&self, mut end: Bound<Vec<u8>>) -> Result<Option<Bytes>, DiskError> {
        loop {
            let slot = self.slots.last_before(end.as_ref().map(Vec::as_slice));
            let disk = self.disk.as_ref().filter(|_| !self.is_whole);
            let on_disk = match disk {
                Some(disk) => {
                    let to = match &end {
                        Bound::Unbounded => after_prefix(&self.prefix),
                        end => end.as_ref().map(|end| self.full_key(end)),
                    };
                    disk.last_key(&self.prefix, to)?
                }
                None => None,
            };
            let on_disk = on_disk.map(|key| Bytes::from(&key[self.prefix.len()..]));
            match (slot, on_disk) {
                (None, on_disk) => return Ok(on_disk),
                (Some((key, _)), Some(on_disk)) if *on_disk > **key => return Ok(Some(on_disk)),
                (Some((key, slot)), _) if slot.value.is_some() => return Ok(Some(key.clone())),
                // It is gone, on disk as well.
                (Some((key, _)), _) => end = Bound::Excluded(key.to_vec()),
            }
        }
    }

    /// What has changed since the last call: for the changelog, if its changes go there, and for
    /// the disk, if there is one.
    pub fn take_changes(&mut self, logged: &mut Vec<Change>, derived: &mut Vec<Change>) {
        let kept = self.is_logged || self.disk.is_some();
        let mut any = false;
        for key in std::mem::take(&mut self.changed) {
            // A key may be there several times: the first time counts.
            let Some((_, slot)) = self.slots.get_mut(&key).filter(|(_, slot)| slot.is_changed)
            else {
                continue;
            };
            slot.is_changed = false;
            slot.is_committed = slot.value.is_some();
            let value = slot.value.as_deref().map(<[u8]>::to_vec);
            if value.is_none() {
                self.gone(&key);
            }
            if kept {
                let change = Change { key: self.full_key(&key), value };
                if self.is_logged {
                    logged.push(change)
                } else {
                    derived.push(change)
                }
                any = true;
            }
        }
        if any && self.disk.is_some() {
            derived.push(self.len_change());
        }
    }

    /// Puts an empty disk beneath: what is to be written to it.
    pub fn spill(&mut self, disk: DiskState) -> impl Iterator<Item = Change> {
        self.disk = Some(disk);
        let entries = self.slots.all().filter(|(_, slot)| slot.is_committed);
        let entries = entries.filter_map(|(key, slot)| {
            let value = slot.value.as_deref()?.to_vec();
            Some(Change { key: self.full_key(key), value: Some(value) })
        });
        entries.chain([self.len_change()])
    }

    /// Takes up what an earlier run has left on disk; into memory if `whole`.
    pub fn open(&mut self, disk: DiskState, whole: bool) -> Result<(), DiskError> {
        let len = disk.get(&self.len_key())?;
        self.len = len.and_then(|len| len[..].try_into().ok()).map_or(0, u64::from_be_bytes);
        self.is_whole = whole;
        if whole {
            let from = Bound::Included(self.prefix.clone());
            for entry in disk.range(from, after_prefix(&self.prefix)) {
                let (key, value) = entry?;
                let key: Bytes = key[self.prefix.len()..].into();
                self.bytes += SLOT_OVERHEAD + key.len() + value.len();
                let slot = Slot { value: Some(value), is_changed: false, is_committed: true };
                self.slots.insert(key, slot);
            }
        }
        self.disk = Some(disk);
        Ok(())
    }

    /// Where the disk has how many entries there are.
    fn len_key(&self) -> Vec<u8> {
        [&LEN_PREFIX[..], &self.prefix].concat()
    }

    fn len_change(&self) -> Change {
        Change { key: self.len_key(), value: Some(self.len.to_be_bytes().to_vec()) }
    }

    /// All changes that were taken are on disk, if there is one.
    pub fn settled(&mut self) {
        for key in std::mem::take(&mut self.hiding) {
            let slot = self.slots.get(&key);
            if slot.is_some_and(|slot| slot.value.is_none() && !slot.is_changed) {
                self.drop_slot(&key);
            }
        }
    }

    /// All changes that were taken are on disk: what is not needed in memory may go.
    pub fn evict(&mut self) {
        if self.disk.is_none() {
            return;
        }
        self.hiding.clear();
        self.is_whole = false;
        self.slots.retain(|slot| slot.is_changed);
        let sizes = self.slots.all().map(|(key, slot)| {
            SLOT_OVERHEAD + key.len() + slot.value.as_ref().map_or(0, |value| value.len())
        });
        self.bytes = sizes.sum();
    }

    fn is_on_disk(&self, key: &[u8]) -> Result<bool, DiskError> {
        match &self.disk {
            Some(disk) if !self.is_whole => disk.contains(&self.full_key(key)),
            _ => Ok(false),
        }
    }

    /// An entry is gone, and nothing need be written of it any more.
    fn gone(&mut self, key: &Bytes) {
        if self.is_whole || self.disk.is_none() {
            self.drop_slot(key);
        } else {
            self.hiding.push(key.clone());
        }
    }

    fn drop_slot(&mut self, key: &[u8]) {
        if let Some(slot) = self.slots.remove(key) {
            let value = slot.value.map_or(0, |value| value.len());
            self.bytes -= SLOT_OVERHEAD + key.len() + value;
        }
    }

    fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }
}

/// Where keys that begin with `prefix` end.
fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX);
    let Some(last) = last else { return Bound::Unbounded };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end)
}

/// Entries of slots and disk together: where both have a key, the slot counts.
pub struct Range<'a> {
    slots: Peekable<radix::Range<'a, Slot>>,
    disk: Option<Peekable<DiskRange>>,
    prefix_len: usize,
}

impl Iterator for Range<'_> {
    type Item = Result<(Bytes, Bytes), DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let on_disk = self.disk.as_mut().and_then(Peekable::peek);
            let order = match (self.slots.peek(), on_disk) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (_, Some(Err(_))) | (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((slot, _)), Some(Ok((key, _)))) => (***slot).cmp(&key[self.prefix_len..]),
            };
            if order.is_gt() {
                let entry = self.disk.as_mut()?.next()?;
                let prefix_len = self.prefix_len;
                return Some(entry.map(|(key, value)| (key[prefix_len..].into(), value)));
            }
            if order.is_eq() {
                self.disk.as_mut()?.next();
            }
            let (key, slot) = self.slots.next()?;
            if let Some(value) = &slot.value {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::state::changelog::StateId;
    use crate::state::disk::StateDir;

    #[derive(Clone, Debug)]
    enum Step {
        Put(Vec<u8>, Vec<u8>),
        Remove(Vec<u8>),
        Commit,
        /// What the last commit took reaches the disk.
        Settle,
        Evict,
        /// What was not committed is gone; what is on disk is there, in memory or not.
        Restart {
            whole: bool,
        },
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0, 1, 254, 255]), 0..3)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (key(), prop::collection::vec(any::<u8>(), 0..3))
                .prop_map(|(key, value)| Step::Put(key, value)),
            5 => key().prop_map(Step::Remove),
            3 => Just(Step::Commit),
            2 => Just(Step::Settle),
            1 => Just(Step::Evict),
            1 => any::<bool>().prop_map(|whole| Step::Restart { whole }),
        ]
    }

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn entries(range: Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
        range
            .map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
            .collect()
    }

    fn check(map: &StateMap, model: &Model, probe: &[u8]) {
        let all: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(entries(map.range(Bound::Unbounded, Bound::Unbounded)), all);
        assert_eq!(map.len(), all.len() as u64);
        let first = map.first().unwrap().map(|(key, _)| key.to_vec());
        assert_eq!(first, all.first().map(|(key, _)| key.clone()));
        assert_eq!(map.get(probe).unwrap().as_deref(), model.get(probe).map(Vec::as_slice));
        assert_eq!(map.contains(probe).unwrap(), model.contains_key(probe));
        let of: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(probe)).cloned().collect();
        assert_eq!(entries(map.with_prefix(probe, None)), of);
        let behind: Vec<_> = all.iter().filter(|(key, _)| **key > *probe).cloned().collect();
        assert_eq!(entries(map.range(Bound::Excluded(probe), Bound::Unbounded)), behind);
        let before = model.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(probe)));
        let before = before.map(|(key, _)| key.clone()).next_back();
        assert_eq!(map.last_before(probe).unwrap().map(|key| key.to_vec()), before);
        let last = map.last_with_prefix(probe).unwrap().map(|key| key.to_vec());
        assert_eq!(last, of.last().map(|(key, _)| key.clone()));
    }

    static NEXT: AtomicUsize = AtomicUsize::new(0);

    /// What is beneath a map, as those who drive it keep it.
    #[derive(Default)]
    struct Beneath {
        changelog: Model,
        disk: Option<DiskState>,
        /// What the disk has.
        committed: Model,
        /// What was taken and is not on disk, and how things stand once it is.
        taken: Option<(Vec<Change>, Model)>,
    }

    fn prefix() -> Vec<u8> {
        StateId::of("test").key(&[&[1]])
    }

    impl Beneath {
        fn commit(&mut self, map: &mut StateMap, model: &Model) {
            // One at a time.
            if self.taken.is_some() {
                return;
            }
            let (mut changes, mut derived) = (Vec::new(), Vec::new());
            map.take_changes(&mut changes, &mut derived);
            for Change { key, value } in &changes {
                let own = map.own(key).unwrap().to_vec();
                match value {
                    Some(value) => self.changelog.insert(own, value.clone()),
                    None => Some(self.changelog.remove(&own).expect("it was there")),
                };
            }
            assert_eq!(self.changelog, *model);
            changes.extend(derived);
            self.taken = Some((changes, model.clone()));
        }

        fn settle(&mut self, map: &mut StateMap) {
            let Some((changes, now)) = self.taken.take() else { return };
            if let Some(disk) = &self.disk {
                disk.apply(changes.iter()).unwrap();
            }
            map.settled();
            self.committed = now;
        }

        /// Its neighbours on disk are none of the map's own.
        fn spill(&mut self, map: &mut StateMap, fresh: DiskState) {
            self.settle(map);
            let other = |key: &[u8], value: &[u8]| {
                let key = StateId::of("test").key(&[key]);
                Change { key, value: Some(value.to_vec()) }
            };
            let mut all: Vec<Change> = map.spill(fresh.clone()).collect();
            all.extend([other(&[0, 255], b"before"), other(&[2], b"after")]);
            fresh.apply(all.iter()).unwrap();
            self.disk = Some(fresh);
        }

        /// What was not on disk is gone.
        fn restart(&mut self, whole: bool) -> Option<(StateMap, Model)> {
            let disk = self.disk.clone()?;
            let mut map = StateMap::new(prefix(), true);
            map.open(disk, whole).unwrap();
            self.changelog.clone_from(&self.committed);
            self.taken = None;
            Some((map, self.committed.clone()))
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_wherever_its_entries_are(
            steps in prop::collection::vec(step(), 0..60),
            disk_from in prop::option::of(0..30usize),
            probes in prop::collection::vec(key(), 60),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let dir = disk_from.map(|_| StateDir::open(temp.path(), 0).unwrap());
            let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
            let mut map = StateMap::new(prefix(), true);
            let (mut model, mut beneath) = (Model::new(), Beneath::default());
            for (at, (step, probe)) in steps.into_iter().zip(probes).enumerate() {
                let is_taken = beneath.taken.is_some();
                match step {
                    Step::Put(key, value) => {
                        let was_there = model.insert(key.clone(), value.clone()).is_some();
                        prop_assert_eq!(map.put(&key, value.into()).unwrap(), was_there);
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(map.remove(&key).unwrap(), model.remove(&key).is_some());
                    }
                    Step::Commit => {
                        beneath.commit(&mut map, &model);
                        let from = dir.as_ref().filter(|_| disk_from <= Some(at));
                        if let Some(dir) = from
                            && !is_taken
                            && beneath.disk.is_none()
                        {
                            beneath.spill(&mut map, dir.task(&name).unwrap());
                        }
                    }
                    Step::Settle => beneath.settle(&mut map),
                    // What is on its way to the disk is needed.
                    Step::Evict if is_taken => {}
                    Step::Evict => map.evict(),
                    Step::Restart { whole } => {
                        if let Some(after) = beneath.restart(whole) {
                            (map, model) = after;
                        }
                    }
                }
                check(&map, &model, &probe);
            }
        }
    }
}
