//! The groups of open windows as they were committed: the same bytes as in the changelog.
//!
//! ```text
//! runs     window i64, group key, run u32 → accumulator states     (logged)
//! windows  window i64 → how many groups it has u64                 (made from the runs)
//! ```
//!
//! Windows are written so that their bytes are in the order of time, see [`time_key`]. A group's
//! key never begins another's (arrow-row), so the runs of a group lie together.

use std::ops::Bound;
use std::sync::Arc;

use super::changelog::StateId;
use super::disk::DiskError;
use super::map::{Bytes, Range, StateMap};

/// What a run's key begins with in the changelog.
pub const GROUP: u8 = 1;
/// The same for how many groups a window has, which the changelog does not have.
const WINDOW: u8 = 0x81;

const TIME_LEN: usize = 8;
const RUN_LEN: usize = 4;

/// The last bits of a run's number are its place among the group's; the first ones say in which
/// layout it is.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;

/// A part of a group's state: see the module above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub number: RunNumber,
    /// Accumulator states, as the changelog has them after its own header.
    pub state: Bytes,
}

/// What a run is called. Those of a group are in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunNumber(pub u32);

impl Run {
    /// Its number and its state.
    pub fn stored(&self) -> (RunNumber, &[u8]) {
        (self.number, &self.state)
    }
}

impl RunNumber {
    pub fn new(version: usize, place: u32) -> RunNumber {
        RunNumber((version as u32) << PLACE_BITS | place)
    }

    /// The layout of its state.
    pub fn version(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    pub fn place(self) -> u32 {
        self.0 & PLACE_MASK
    }

    /// Each group has one.
    fn is_first(self) -> bool {
        self.place() == 0
    }
}

/// A group of a window, with its runs in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGroup {
    pub window_start_ms: i64,
    pub key: Box<[u8]>,
    pub runs: Vec<Run>,
}

/// Committed state by window and group.
#[derive(Debug)]
pub struct WindowStore {
    runs: StateMap,
    windows: StateMap,
    /// There are so few windows that they are worth counting in.
    counts: bool,
    /// Each group has one run, in a layout up to this one.
    single_up_to: Option<usize>,
}

/// Bytes that are in the order of times.
pub fn time_key(time: i64) -> [u8; TIME_LEN] {
    (time ^ i64::MIN).to_be_bytes()
}

/// The time at the beginning of a key, and the rest.
pub fn split_time(key: &[u8]) -> Option<(i64, &[u8])> {
    let (time, rest) = key.split_first_chunk::<TIME_LEN>()?;
    Some((i64::from_be_bytes(*time) ^ i64::MIN, rest))
}

fn place(window_start_ms: i64, key: &[u8]) -> Vec<u8> {
    [&time_key(window_start_ms)[..], key].concat()
}

fn run_key(window_start_ms: i64, key: &[u8], number: RunNumber) -> Vec<u8> {
    [&time_key(window_start_ms)[..], key, &number.0.to_be_bytes()].concat()
}

/// Window, group and number of a run.
pub fn split_run(key: &[u8]) -> Option<(i64, &[u8], RunNumber)> {
    let (window_start_ms, rest) = split_time(key)?;
    let (key, number) = rest.split_last_chunk::<RUN_LEN>()?;
    Some((window_start_ms, key, RunNumber(u32::from_be_bytes(*number))))
}

impl WindowStore {
    pub fn new(id: StateId) -> WindowStore {
        WindowStore {
            runs: StateMap::new(id.key(&[&[GROUP]]), true),
            windows: StateMap::new(id.key(&[&[WINDOW]]), false),
            counts: true,
            single_up_to: None,
        }
    }

    /// Every layout up to this version has states of one length, whatever they hold: what is new is
    /// always merged with what is there, and a group's only run is found without a search.
    pub fn single_up_to(&mut self, version: Option<usize>) {
        self.single_up_to = version;
    }

    pub fn is_single(&self) -> bool {
        self.single_up_to.is_some()
    }

    /// Of so many windows that each has a group or two: nobody asks which there are.
    pub fn uncounted(self) -> WindowStore {
        WindowStore { counts: false, ..self }
    }

    pub fn maps(&mut self) -> [&mut StateMap; 2] {
        [&mut self.runs, &mut self.windows]
    }

    pub fn runs(&self, window_start_ms: i64, key: &[u8]) -> Result<Vec<Run>, DiskError> {
        if let Some(latest) = self.single_up_to {
            for number in (0..=latest).rev().map(|version| RunNumber::new(version, 0)) {
                if let Some(state) = self.runs.get(&run_key(window_start_ms, key, number))? {
                    return Ok(vec![Run { number, state }]);
                }
            }
            return Ok(Vec::new());
        }
        let place = place(window_start_ms, key);
        let runs = self.runs.with_prefix(&place, None).map(|entry| {
            let (key, state) = entry?;
            let number = split_run(&key).map_or(RunNumber(0), |(_, _, number)| number);
            Ok(Run { number, state })
        });
        runs.collect()
    }

    /// Puts a run in the place of the one of its number, if there is one.
    pub fn put(&mut self, window_start_ms: i64, key: &[u8], run: Run) -> Result<(), DiskError> {
        let was_there = self.runs.put(&run_key(window_start_ms, key, run.number), run.state)?;
        self.put_counted(window_start_ms, run.number, was_there)
    }

    /// The same, where it is known whether there is one: the disk need not be asked.
    pub fn put_known(
        &mut self,
        window_start_ms: i64,
        key: &[u8],
        run: Run,
        was_there: bool,
    ) -> Result<(), DiskError> {
        self.runs.put_known(&run_key(window_start_ms, key, run.number), run.state, was_there);
        self.put_counted(window_start_ms, run.number, was_there)
    }

    fn put_counted(
        &mut self,
        window_start_ms: i64,
        number: RunNumber,
        was_there: bool,
    ) -> Result<(), DiskError> {
        match number.is_first() && !was_there {
            true => self.count(window_start_ms, 1),
            false => Ok(()),
        }
    }

    pub fn remove(
        &mut self,
        window_start_ms: i64,
        key: &[u8],
        run: RunNumber,
    ) -> Result<(), DiskError> {
        let was_there = self.runs.remove(&run_key(window_start_ms, key, run))?;
        if run.is_first() && was_there {
            self.count(window_start_ms, -1)?;
        }
        Ok(())
    }

    pub fn remove_group(&mut self, group: &StoredGroup) -> Result<(), DiskError> {
        let StoredGroup { window_start_ms, key, runs } = group;
        runs.iter().try_for_each(|run| self.remove(*window_start_ms, key, run.number))
    }

    /// Takes out all runs of a group.
    pub fn take(&mut self, window_start_ms: i64, key: &[u8]) -> Result<Vec<Run>, DiskError> {
        let runs = self.runs(window_start_ms, key)?;
        runs.iter().try_for_each(|run| self.remove(window_start_ms, key, run.number))?;
        Ok(runs)
    }

    /// Up to `max` groups of windows that start no later than that, behind the one of `after`; in
    /// the order of windows and keys.
    pub fn groups_up_to(
        &self,
        last_start_ms: i64,
        after: Option<(i64, &[u8])>,
        max: usize,
    ) -> Result<Vec<StoredGroup>, DiskError> {
        let after = after.map(|(window_start_ms, key)| {
            let mut last_run = place(window_start_ms, key);
            last_run.extend_from_slice(&u32::MAX.to_be_bytes());
            last_run
        });
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let end = last_start_ms.checked_add(1).map(time_key);
        let to = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        let mut groups: Vec<StoredGroup> = Vec::new();
        for entry in self.runs.range(from, to) {
            let (key, state) = entry?;
            let Some((window_start_ms, key, number)) = split_run(&key) else { continue };
            let run = Run { number, state };
            let is_full = groups.len() == max;
            match groups.last_mut() {
                Some(last) if last.window_start_ms == window_start_ms && *last.key == *key => {
                    last.runs.push(run);
                }
                _ if is_full => break,
                _ => groups.push(StoredGroup { window_start_ms, key: key.into(), runs: vec![run] }),
            }
        }
        Ok(groups)
    }

    /// Takes up a run as the changelog has it, or learns that it has gone; the first byte of the
    /// key is left out.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Option<Result<(), DiskError>> {
        let (window_start_ms, key, number) = split_run(key)?;
        Some(match value {
            Some(state) => {
                let run = Run { number, state: Arc::from(state) };
                self.put(window_start_ms, key, run)
            }
            None => self.remove(window_start_ms, key, number),
        })
    }

    /// The starts of all windows, in order, and how many groups each has.
    pub fn windows(&self) -> impl Iterator<Item = Result<(i64, u64), DiskError>> {
        windows_of(self.windows.range(Bound::Unbounded, Bound::Unbounded))
    }

    /// The start of the first window.
    pub fn first_ms(&self) -> Result<Option<i64>, DiskError> {
        Ok(self.windows().next().transpose()?.map(|(start_ms, _)| start_ms))
    }

    /// The same, as far as they can be read: whoever reads from a disk that fails next is told.
    pub fn starts_ms(&self) -> impl Iterator<Item = i64> {
        self.windows().map_while(Result::ok).map(|(start_ms, _)| start_ms)
    }

    /// How many groups there are in windows that start no later than that.
    pub fn groups_until(&self, last_start_ms: i64) -> Result<u64, DiskError> {
        let until = self.windows().take_while(|window| {
            window.as_ref().map_or(true, |(start_ms, _)| *start_ms <= last_start_ms)
        });
        until.map(|window| Ok(window?.1)).sum()
    }

    /// How many windows and groups there are, as far as can be told.
    pub fn kept(&self) -> (usize, usize) {
        let mut kept = (0, 0);
        for (_, groups) in self.windows().map_while(Result::ok) {
            kept.0 += 1;
            kept.1 += usize::try_from(groups).unwrap_or(usize::MAX);
        }
        kept
    }

    fn count(&mut self, window_start_ms: i64, change: i64) -> Result<(), DiskError> {
        if !self.counts {
            return Ok(());
        }
        let key = time_key(window_start_ms);
        let before = self.windows.get(&key)?.map_or(0, |count| count_of(&count));
        match before.saturating_add_signed(change) {
            0 => self.windows.remove(&key)?,
            count => self.windows.put(&key, Arc::from(&count.to_be_bytes()[..]))?,
        };
        Ok(())
    }
}

fn windows_of(entries: Range<'_>) -> impl Iterator<Item = Result<(i64, u64), DiskError>> {
    entries.filter_map(|entry| match entry {
        Ok((key, count)) => Some(Ok((split_time(&key)?.0, count_of(&count)))),
        Err(error) => Some(Err(error)),
    })
}

fn count_of(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}
