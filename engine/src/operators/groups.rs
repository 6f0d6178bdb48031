//! Which group a row belongs to: window and group key to a small dense number.

use std::hash::{BuildHasher, Hasher};

use arrow_row::Rows;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Groups in the order in which they first appeared.
#[derive(Default)]
pub struct GroupTable {
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    /// The window's start of each group.
    window_starts_ms: Vec<i64>,
    /// Where each group's key ends in `key_bytes`; it begins where the one before ends.
    key_ends: Vec<usize>,
    key_bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    group: usize,
}

impl GroupTable {
    pub fn len(&self) -> usize {
        self.window_starts_ms.len()
    }

    pub fn is_empty(&self) -> bool {
        self.window_starts_ms.is_empty()
    }

    pub fn window_start_ms(&self, group: usize) -> i64 {
        self.window_starts_ms[group]
    }

    pub fn window_starts_ms(&self) -> &[i64] {
        &self.window_starts_ms
    }

    pub fn key(&self, group: usize) -> &[u8] {
        let start = group.checked_sub(1).map_or(0, |before| self.key_ends[before]);
        &self.key_bytes[start..self.key_ends[group]]
    }

    /// Of all keys.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes.len()
    }

    /// The group of this window and key, made if there is none yet.
    pub fn group(&mut self, window_start_ms: i64, key: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_i64(window_start_ms);
        hasher.write(key);
        let hash = hasher.finish();
        let is_same = |entry: &Entry| {
            entry.hash == hash
                && self.window_starts_ms[entry.group] == window_start_ms
                && self.key(entry.group) == key
        };
        if let Some(entry) = self.table.find(hash, is_same) {
            return entry.group;
        }
        let group = self.len();
        self.window_starts_ms.push(window_start_ms);
        self.key_bytes.extend_from_slice(key);
        self.key_ends.push(self.key_bytes.len());
        self.table.insert_unique(hash, Entry { hash, group }, |entry| entry.hash);
        group
    }

    /// The groups of rows: `keys` has one per window start, or is `None` if there is no key.
    pub fn groups(&mut self, window_starts_ms: &[i64], keys: Option<&Rows>) -> Vec<usize> {
        let Some(keys) = keys else {
            return window_starts_ms.iter().map(|&start| self.group(start, &[])).collect();
        };
        debug_assert_eq!(keys.num_rows(), window_starts_ms.len());
        window_starts_ms
            .iter()
            .zip(keys)
            .map(|(&start, key)| self.group(start, key.data()))
            .collect()
    }

    /// Groups sorted by window and key: an order that no arrival and no restart changes.
    pub fn sorted(&self) -> Vec<usize> {
        let mut groups: Vec<usize> = (0..self.len()).collect();
        groups.sort_unstable_by_key(|&group| (self.window_starts_ms[group], self.key(group)));
        groups
    }

    /// Forgets all groups and keeps the memory.
    pub fn clear(&mut self) {
        self.table.clear();
        self.window_starts_ms.clear();
        self.key_ends.clear();
        self.key_bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn groups_are_dense_and_stable(
            rows in prop::collection::vec((0..4i64, prop::collection::vec(0..3u8, 0..3)), 0..200),
        ) {
            let mut table = GroupTable::default();
            let mut model: BTreeMap<(i64, Vec<u8>), usize> = BTreeMap::new();
            for (window, key) in rows {
                let next = model.len();
                let expected = *model.entry((window, key.clone())).or_insert(next);
                prop_assert_eq!(table.group(window, &key), expected);
            }
            prop_assert_eq!(table.len(), model.len());
            let sorted: Vec<_> = model.values().copied().collect();
            prop_assert_eq!(table.sorted(), sorted);
            for ((window, key), group) in model {
                prop_assert_eq!(table.window_start_ms(group), window);
                prop_assert_eq!(table.key(group), &key[..]);
            }
        }
    }
}
