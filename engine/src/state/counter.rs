//! Numbers for entries that would else have the same key.

use std::sync::Arc;

use super::disk::DiskError;
use super::map::StateMap;

/// Counts up. It is not in the changelog: whoever restores an entry says its number.
#[derive(Debug)]
pub struct Counter {
    next: u64,
    /// One entry: the same, as it was last kept.
    map: StateMap,
    kept: u64,
}

impl Counter {
    /// `prefix` is that of its map.
    pub fn new(prefix: Vec<u8>) -> Counter {
        Counter { next: 0, map: StateMap::new(prefix, false), kept: 0 }
    }

    pub fn map(&mut self) -> &mut StateMap {
        &mut self.map
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// That number is in use. To be kept before the next commit.
    pub fn used(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Puts the next number into its map, if it is another one.
    pub fn keep(&mut self) -> Result<(), DiskError> {
        if self.next > self.kept {
            self.map.put(&[], Arc::from(&self.next.to_be_bytes()[..]))?;
            self.kept = self.next;
        }
        Ok(())
    }

    /// All was restored.
    pub fn restored(&mut self) -> Result<(), DiskError> {
        let kept = self.map.get(&[])?.and_then(|next| next[..].try_into().ok());
        self.kept = kept.map_or(0, u64::from_be_bytes);
        self.next = self.next.max(self.kept);
        self.keep()
    }
}
