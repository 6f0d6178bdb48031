//! Which files of sealed segments stay open: those that were read last, over all logs that share a
//! list, so that thousands of partitions do not exhaust the process's file descriptors.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, Weak};

use super::partition::locked;
use super::segment::Segment;

/// Over all logs of a broker; readers at different places of a log each have one.
const OPEN_SEALED_MAX: usize = 256;

/// Sealed segments by when they were last read; the files of all others are closed.
#[derive(Debug)]
pub struct OpenFiles {
    max: usize,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Counts reads.
    now: u64,
    /// When a segment was last read, by its id.
    last_read: HashMap<u64, u64>,
    /// The other way round. A segment that was deleted takes its file with it.
    by_last_read: BTreeMap<u64, (u64, Weak<Segment>)>,
}

impl Default for OpenFiles {
    fn default() -> OpenFiles {
        OpenFiles::new(OPEN_SEALED_MAX)
    }
}

impl OpenFiles {
    pub fn new(max: usize) -> OpenFiles {
        OpenFiles { max, recent: Mutex::default() }
    }

    /// Takes note of a read, and closes the file that was not read for longest if there are too
    /// many. Whoever reads that just now goes on with it.
    pub(super) fn was_read(&self, segment: &Arc<Segment>) {
        let mut recent = locked(&self.recent);
        if let Some(last) = recent.by_last_read.last_entry()
            && last.get().0 == segment.id
        {
            return;
        }
        recent.now += 1;
        let now = recent.now;
        if let Some(before) = recent.last_read.insert(segment.id, now) {
            recent.by_last_read.remove(&before);
        }
        recent.by_last_read.insert(now, (segment.id, Arc::downgrade(segment)));
        if recent.by_last_read.len() <= self.max {
            return;
        }
        let Some((_, (id, oldest))) = recent.by_last_read.pop_first() else { return };
        recent.last_read.remove(&id);
        drop(recent);
        if let Some(oldest) = oldest.upgrade() {
            oldest.close();
        }
    }
}
