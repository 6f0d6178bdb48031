//! Which windows have closed.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::StateMap;
use crate::state::store::{split_time, time_key};
use crate::time::Watermark;

/// What the first byte of an entry's key is.
pub const CLOSED: u8 = 2;

/// All windows that end no later than the watermark, and some beyond it.
pub struct ClosedWindows {
    /// How long after what a window is known by it ends.
    reach_ms: i64,
    pub up_to: Watermark,
    /// Starts of windows that end later and are closed all the same.
    beyond: BTreeSet<i64>,
    /// The same, as it is kept.
    kept: StateMap,
}

impl ClosedWindows {
    pub fn new(id: StateId, reach_ms: i64) -> ClosedWindows {
        ClosedWindows {
            reach_ms,
            up_to: Watermark::MIN,
            beyond: BTreeSet::new(),
            kept: StateMap::new(id.key(&[&[CLOSED]]), true),
        }
    }

    pub fn map(&mut self) -> &mut StateMap {
        &mut self.kept
    }

    /// Whether a window takes rows until `grace_ms` after its end.
    pub fn is_open(&self, start_ms: i64, grace_ms: i64) -> bool {
        start_ms.saturating_add(self.reach_ms).saturating_add(grace_ms) > self.up_to.0
            && (self.beyond.is_empty() || !self.beyond.contains(&start_ms))
    }

    pub fn close_up_to(&mut self, watermark: Watermark) -> Result<(), DiskError> {
        self.up_to = self.up_to.max(watermark);
        let first_open = self.up_to.0.saturating_sub(self.reach_ms).saturating_add(1);
        let open = self.beyond.split_off(&first_open);
        for start_ms in std::mem::replace(&mut self.beyond, open) {
            self.kept.remove(&time_key(start_ms))?;
        }
        Ok(())
    }

    /// Windows that end after the watermark.
    pub fn close_beyond(
        &mut self,
        starts_ms: impl IntoIterator<Item = i64>,
    ) -> Result<(), DiskError> {
        for start_ms in starts_ms {
            self.beyond.insert(start_ms);
            self.kept.put(&time_key(start_ms), Arc::from(&[][..]))?;
        }
        Ok(())
    }

    /// Takes up an entry, or learns that it has gone; the first byte of the key is left out.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        Ok(self.kept.restore(key, value)?)
    }

    /// All was restored.
    pub fn restored(&mut self, watermark: Watermark) -> Result<(), DiskError> {
        self.up_to = watermark;
        for entry in self.kept.range(Bound::Unbounded, Bound::Unbounded) {
            // What is no time is of no window.
            self.beyond.extend(split_time(&entry?.0).map(|(start_ms, _)| start_ms));
        }
        Ok(())
    }
}
