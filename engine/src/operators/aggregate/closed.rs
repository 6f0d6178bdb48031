//! Which windows have closed.

use std::collections::BTreeSet;

use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;

/// What the first byte of an entry's key is.
pub const CLOSED: u8 = 2;

/// All windows that end no later than the watermark, and some beyond it.
pub struct ClosedWindows {
    id: StateId,
    /// How long after what a window is known by it ends.
    reach_ms: i64,
    pub up_to: Watermark,
    /// Starts of windows that end later and are closed all the same.
    beyond: BTreeSet<i64>,
    /// `beyond` as of the last commit.
    committed: BTreeSet<i64>,
}

impl ClosedWindows {
    pub fn new(id: StateId, reach_ms: i64) -> ClosedWindows {
        let (beyond, committed) = (BTreeSet::new(), BTreeSet::new());
        ClosedWindows { id, reach_ms, up_to: Watermark::MIN, beyond, committed }
    }

    /// Whether a window takes rows until `grace_ms` after its end.
    pub fn is_open(&self, start_ms: i64, grace_ms: i64) -> bool {
        start_ms.saturating_add(self.reach_ms).saturating_add(grace_ms) > self.up_to.0
            && (self.beyond.is_empty() || !self.beyond.contains(&start_ms))
    }

    pub fn close_up_to(&mut self, watermark: Watermark) {
        self.up_to = self.up_to.max(watermark);
        let first_open = self.up_to.0.saturating_sub(self.reach_ms).saturating_add(1);
        self.beyond = self.beyond.split_off(&first_open);
    }

    /// Windows that end after the watermark.
    pub fn close_beyond(&mut self, starts_ms: impl IntoIterator<Item = i64>) {
        self.beyond.extend(starts_ms);
    }

    pub fn commit(&mut self, changes: &mut Vec<Change>) {
        let key = |start: &i64| self.id.key(&[&[CLOSED], &start.to_be_bytes()]);
        let gone = self.committed.difference(&self.beyond);
        changes.extend(gone.map(|start| Change { key: key(start), value: None }));
        let new = self.beyond.difference(&self.committed);
        changes.extend(new.map(|start| Change { key: key(start), value: Some(Vec::new()) }));
        self.committed.clone_from(&self.beyond);
    }

    /// Takes up what [`ClosedWindows::commit`] has written, the first byte of the key left out.
    pub fn restore(&mut self, key: &[u8]) -> Result<(), StateError> {
        let start = key.try_into().map_err(|_| {
            StateError::Damaged(format!("the entry of a closed window at key {key:02x?}"))
        })?;
        let start_ms = i64::from_be_bytes(start);
        self.beyond.insert(start_ms);
        self.committed.insert(start_ms);
        Ok(())
    }
}
