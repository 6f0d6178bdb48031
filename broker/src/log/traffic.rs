//! How much has gone in and out of a partition since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub bytes: u64,
}

/// One way: in or out.
#[derive(Debug, Default)]
pub struct Way {
    records: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
pub struct Traffic {
    pub appended: Way,
    pub read: Way,
}

impl Way {
    pub(super) fn add(&self, records: i64, bytes: usize) {
        self.records.fetch_add(u64::try_from(records).unwrap_or(0), Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
