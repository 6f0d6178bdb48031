//! What writers have done so far, and numbers that a seed gives.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::checker::{Outcome, Write};

#[derive(Default)]
pub struct History {
    writes: Mutex<Vec<Write>>,
    writers: AtomicUsize,
    acknowledged: AtomicU64,
}

impl History {
    /// A new writer: numbers of one writer are in the order in which it wrote.
    pub fn writer(&self) -> usize {
        self.writers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn add(&self, writes: impl IntoIterator<Item = Write>, outcome: Outcome) {
        let mut all = self.writes.lock().unwrap();
        let before = all.len();
        all.extend(writes.into_iter().map(|write| Write { outcome, ..write }));
        if outcome == Outcome::Done {
            self.acknowledged.fetch_add((all.len() - before) as u64, Ordering::Relaxed);
        }
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap().clone()
    }
}

/// SplitMix64: the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
