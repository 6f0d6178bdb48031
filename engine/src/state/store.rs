//! The groups of open windows as they were committed: in memory, the same bytes as in the
//! changelog.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// A part of a group's state: see the module above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub number: u32,
    /// Accumulator states, as the changelog has them after its own header.
    pub state: Box<[u8]>,
}

/// Groups of one window, each with its runs in order.
pub type WindowGroups = HashMap<Box<[u8]>, Vec<Run>>;

/// Committed state by window and group.
#[derive(Clone, Debug, Default)]
pub struct WindowStore {
    windows: BTreeMap<i64, WindowGroups>,
}

impl WindowStore {
    pub fn runs(&self, window_start_ms: i64, key: &[u8]) -> &[Run] {
        let groups = self.windows.get(&window_start_ms);
        groups.and_then(|groups| groups.get(key)).map_or(&[], Vec::as_slice)
    }

    /// Replaces all runs of a group from `run.number` on by `run`.
    pub fn put(&mut self, window_start_ms: i64, key: &[u8], run: Run) {
        let groups = self.windows.entry(window_start_ms).or_default();
        match groups.get_mut(key) {
            Some(runs) => {
                let from = runs.partition_point(|other| other.number < run.number);
                runs.truncate(from);
                runs.push(run);
            }
            None => {
                groups.insert(key.into(), vec![run]);
            }
        }
    }

    /// Groups of windows that start after the one and no later than the other time, in order.
    pub fn places(&self, after_ms: Option<i64>, last_start_ms: i64) -> Vec<(i64, Box<[u8]>)> {
        if after_ms.is_some_and(|after_ms| after_ms >= last_start_ms) {
            return Vec::new();
        }
        let after = after_ms.map_or(Bound::Unbounded, Bound::Excluded);
        let windows = self.windows.range((after, Bound::Included(last_start_ms)));
        let mut places: Vec<_> = windows
            .flat_map(|(start_ms, groups)| groups.keys().map(|key| (*start_ms, key.clone())))
            .collect();
        places.sort_unstable();
        places
    }

    /// Takes in windows that [`WindowStore::take_up_to`] gave.
    pub fn put_back(&mut self, windows: BTreeMap<i64, WindowGroups>) {
        self.windows.extend(windows);
    }

    /// Takes out all runs of a group.
    pub fn take(&mut self, window_start_ms: i64, key: &[u8]) -> Vec<Run> {
        let Some(groups) = self.windows.get_mut(&window_start_ms) else { return Vec::new() };
        let runs = groups.remove(key).unwrap_or_default();
        if groups.is_empty() {
            self.windows.remove(&window_start_ms);
        }
        runs
    }

    /// Takes up one run as the changelog has it, whatever the order.
    pub fn restore(&mut self, window_start_ms: i64, key: &[u8], run: Run) {
        let groups = self.windows.entry(window_start_ms).or_default();
        let runs = groups.entry(key.into()).or_default();
        match runs.binary_search_by_key(&run.number, |other| other.number) {
            Ok(at) => runs[at] = run,
            Err(at) => runs.insert(at, run),
        }
    }

    /// The start of the earliest window and of the latest.
    pub fn span_ms(&self) -> Option<(i64, i64)> {
        let (first, _) = self.windows.first_key_value()?;
        let (last, _) = self.windows.last_key_value()?;
        Some((*first, *last))
    }

    pub fn starts_ms(&self) -> impl Iterator<Item = i64> {
        self.windows.keys().copied()
    }

    /// The start of the latest window that starts no later than `bound_ms`.
    pub fn latest_start_ms(&self, bound_ms: i64) -> Option<i64> {
        self.windows.range(..=bound_ms).next_back().map(|(start, _)| *start)
    }

    /// Takes out all windows that start no later than `last_start_ms`.
    pub fn take_up_to(&mut self, last_start_ms: i64) -> BTreeMap<i64, WindowGroups> {
        let later = match last_start_ms.checked_add(1) {
            Some(next) => self.windows.split_off(&next),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.windows, later)
    }

    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    pub fn groups(&self) -> usize {
        self.windows.values().map(HashMap::len).sum()
    }
}
