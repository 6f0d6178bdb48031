//! A task takes up what the last commit has left.
//!
//! ```text
//! what an earlier run has on disk, if it is of any use
//!   then records of the changelog, in their order ─→ operators ─ settle → disk
//! ```
//!
//! Entries go to their operators one by one, so that a state larger than memory is never held as a
//! whole. Operators that keep something beside their maps are given theirs at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Task;
use crate::operators::reason;
use crate::state::changelog::Restored as Changelog;
use crate::state::changelog::{Change, META_KEY, Meta, StateError, StateId};
use crate::state::disk::DiskState;
use crate::time::{WallTime, Watermark};

/// Entries after which memory is given back.
const SETTLED_AFTER: usize = 65_536;

/// A task that is taking up its state.
pub struct Restoring {
    task: Task,
    /// Which operator takes entries as they come.
    in_place: BTreeMap<StateId, usize>,
    /// Others whose entries are needed: their operators come later, or never.
    known: BTreeSet<StateId>,
    /// What is left of all other entries.
    rest: Changelog,
    disk: Option<DiskState>,
    /// Bytes that maps may take; where there is no disk, there is no bound.
    bytes_max: usize,
    /// Entries since memory was given back.
    taken: usize,
    /// Entries of the changelog that are not yet on disk, beside those that are in maps.
    tail: Vec<Change>,
}

/// A task that has taken up its state.
pub struct Restored {
    pub task: Task,
    /// Where to go on reading, if there was any state.
    pub meta: Option<Meta>,
    pub disk: Option<DiskState>,
}

impl Restoring {
    pub fn new(task: Task, bytes_max: usize) -> Restoring {
        let nodes = task.topology.nodes.iter().zip(&task.operators).enumerate();
        let ids = nodes.map(|(at, (node, operator))| {
            (StateId::of(&node.fingerprint), at, operator.restores_in_place())
        });
        let ids: Vec<(StateId, usize, bool)> = ids.collect();
        Restoring {
            in_place: ids.iter().filter(|of| of.2).map(|&(id, at, _)| (id, at)).collect(),
            known: ids.iter().filter(|of| !of.2).map(|&(id, ..)| id).collect(),
            rest: Changelog::default(),
            disk: None,
            bytes_max,
            taken: 0,
            tail: Vec::new(),
            task,
        }
    }

    /// Begins with what an earlier run has left on disk, if that is the state of this name.
    pub fn open(&mut self, disk: &DiskState, state: &str) -> Result<bool, StateError> {
        let Some(bytes) = disk.get(&META_KEY)? else { return Ok(false) };
        let meta = Meta::parse(&bytes).ok().filter(|meta| meta.state == state);
        let Some(meta) = meta else { return Ok(false) };
        // What operators that are gone have left there tells a person what would be lost.
        let strangers = meta.operators.keys().filter_map(|id| StateId::parse(id));
        let ids = strangers.filter(|id| !self.in_place.contains_key(id));
        for id in ids.chain(self.known.iter().copied()).collect::<BTreeSet<_>>() {
            let prefix = id.key(&[]);
            for entry in disk.range(Bound::Included(prefix.clone()), Bound::Unbounded) {
                let (key, value) = entry?;
                if !key.starts_with(&prefix) {
                    break;
                }
                self.rest.apply(Some(&key), Some(&value));
            }
        }
        self.rest.apply(Some(&META_KEY), Some(&bytes));
        let fits = disk.bytes() <= self.bytes_max as u64;
        for map in self.task.maps() {
            map.open(disk.clone(), fits)?;
        }
        self.disk = Some(disk.clone());
        Ok(true)
    }

    /// Puts an empty disk beneath: the state is too large to be held in memory.
    pub fn spill(&mut self, disk: DiskState) -> Result<(), StateError> {
        // What was taken is as good as committed: all of it goes to disk.
        self.settle()?;
        self.task.spill(&disk)?;
        self.task.evict();
        self.disk = Some(disk);
        Ok(())
    }

    /// Whether there is more than memory should hold, and no disk to put it on.
    pub fn wants_disk(&mut self) -> bool {
        self.disk.is_none() && self.task.state_bytes() > self.bytes_max
    }

    /// Takes the next record of the changelog.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), StateError> {
        // A record without a key is none of ours; compaction would not keep it either.
        let Some(key) = key else { return Ok(()) };
        match StateId::split(key) {
            Some((id, own)) if self.in_place.contains_key(&id) => {
                self.task.operators[self.in_place[&id]].restore(own, value)?;
            }
            Some((id, _)) if !self.known.contains(&id) => {
                // It is only counted.
                self.rest.apply(Some(key), value.map(|_| &[][..]));
            }
            _ => {
                self.rest.apply(Some(key), value);
                if self.disk.is_some() {
                    let value = value.map(<[u8]>::to_vec);
                    self.tail.push(Change { key: key.to_vec(), value });
                }
            }
        }
        self.taken += 1;
        if self.taken == SETTLED_AFTER {
            self.settle()?;
        }
        Ok(())
    }

    /// What was taken is as it was committed.
    fn settle(&mut self) -> Result<(), StateError> {
        self.taken = 0;
        let (mut changes, mut derived) = (std::mem::take(&mut self.tail), Vec::new());
        self.task.maps().for_each(|map| map.take_changes(&mut changes, &mut derived));
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.apply(changes.iter().chain(&derived))?;
        self.task.settled();
        if self.task.state_bytes() > self.bytes_max {
            self.task.evict();
        }
        Ok(())
    }

    /// All was taken.
    pub fn finish(mut self, now: WallTime) -> Result<Restored, StateError> {
        self.settle()?;
        let Restoring { mut task, rest, in_place, disk, .. } = self;
        // It may have been taking up its state for long.
        task.begin_clocks(now);
        let operators = task.topology.kept_for();
        let in_maps = in_place.iter().map(|(id, &at)| {
            let maps = task.operators[at].maps();
            (id.to_string(), maps.iter().map(|map| map.logged_len() as usize).sum())
        });
        let Some(meta) = rest.meta_beside(&operators, &in_maps.collect())? else {
            // A state that was reset has left the deletions of its entries.
            let any_left = task.maps().any(|map| !map.is_empty());
            return match any_left {
                true => Err(StateError::Damaged("its meta record is missing".into())),
                false => Ok(Restored { task, meta: None, disk }),
            };
        };
        task.state.clone_from(&meta.state);
        task.watermark = Watermark(meta.watermark_ms);
        let mut evolved = meta.evolved(&operators);
        for (node, operator) in task.topology.nodes.iter().zip(&mut task.operators) {
            let id = StateId::of(&node.fingerprint);
            let known = id.to_string();
            if let Some(layouts) = task.layouts.get_mut(&known)
                && let Some(Some((goes_on, _))) = evolved.remove(&known)
            {
                operator.take_layouts(&goes_on)?;
                *layouts = goes_on;
            }
            if !in_place.contains_key(&id) {
                for (key, value) in rest.entries_of(id) {
                    operator.restore(key, Some(value))?;
                }
            }
            operator
                .restored(node.behind(task.watermark))
                .map_err(|error| StateError::Damaged(reason(error)))?;
        }
        // What was given just now is no news either.
        let (mut changes, mut derived) = (Vec::new(), Vec::new());
        task.maps().for_each(|map| map.take_changes(&mut changes, &mut derived));
        if let Some(disk) = &disk {
            disk.apply(changes.iter().chain(&derived))?;
            task.settled();
        }
        for (input, clock) in task.topology.inputs.iter().zip(&mut task.clocks) {
            let latest_ms = meta.latest_ms.get(&input.source.name);
            for (partition, latest_ms) in latest_ms.into_iter().flatten() {
                clock.restore(*partition, *latest_ms);
            }
        }
        for (reader, clock) in task.exchanges.iter().zip(&mut task.exchange_clocks) {
            let told = meta.told_ms.get(reader.topic()).into_iter().flatten();
            for (writer, told) in told.enumerate() {
                clock.tell(writer, told.map(Watermark));
            }
        }
        Ok(Restored { task, meta: Some(meta), disk })
    }
}
