//! Numbers for entries that would else have the same key.

use std::sync::Arc;

use super::disk::DiskError;
use super::map::StateMap;

/// Counts up. It is not in the changelog: whoever restores an entry says its number.
#[derive(Debug)]
pub struct Counter {
    next: u64,
    /// One entry: the same.
    map: StateMap,
}

impl Counter {
    /// `prefix` is that of its map.
    pub fn new(prefix: Vec<u8>) -> Counter {
        Counter { next: 0, map: StateMap::new(prefix, false) }
    }

    pub fn map(&mut self) -> &mut StateMap {
        &mut self.map
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// That number is in use.
    pub fn used(&mut self, number: u64) -> Result<(), DiskError> {
        if number >= self.next {
            self.next = number + 1;
            self.map.put(&[], Arc::from(&self.next.to_be_bytes()[..]))?;
        }
        Ok(())
    }

    /// All was restored.
    pub fn restored(&mut self) -> Result<(), DiskError> {
        let kept = self.map.get(&[])?.and_then(|next| next[..].try_into().ok());
        self.next = self.next.max(kept.map_or(0, u64::from_be_bytes));
        Ok(())
    }
}
