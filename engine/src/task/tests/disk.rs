//! The state directory in miniature: what [`crate::runtime`] does with it, under the same crashes.

use std::cell::{Cell, RefCell};

use super::*;
use crate::state::changelog::META_KEY;
use crate::state::disk::{DiskState, StateDir};

thread_local! {
    /// One per test, removed with it: each task has a part of its own.
    static DIR: (StateDir, tempfile::TempDir) = {
        // Nothing here is about power cuts, so memory will do where there is such a directory.
        let memory = tempfile::tempdir_in("/dev/shm");
        let temp = memory.or_else(|_| tempfile::tempdir()).unwrap();
        (StateDir::open(temp.path(), 0).unwrap(), temp)
    };
    static PARTS: Cell<usize> = const { Cell::new(0) };
}

/// More than are at work in a test.
const PARTS_MAX: usize = 16;

/// Where a task's state is beside its changelog: nowhere, until [`Disk::on`].
#[derive(Default)]
pub struct Disk {
    name: Option<String>,
    disk: RefCell<Option<DiskState>>,
    /// How many records of the changelog are on disk for certain.
    checkpoint: Option<usize>,
    commits: usize,
}

impl Disk {
    /// From the next commit on, nothing that was committed stays in memory.
    pub fn on(&mut self) {
        // Few are at work at a time, and one that is taken up again is cleared first.
        let number = PARTS.replace((PARTS.get() + 1) % PARTS_MAX);
        self.name.get_or_insert_with(|| format!("task-{number}"));
    }

    /// What is on disk, and the rest of the changelog.
    pub fn restore(&self, task: Task, changelog: &[Change]) -> (Task, Option<Meta>) {
        let bytes_max = if self.name.is_some() { 0 } else { usize::MAX };
        let mut restoring = Restoring::new(task, bytes_max);
        let mut disk = self.disk.borrow_mut();
        let mut from = 0;
        match (self.checkpoint, &*disk) {
            (Some(checkpoint), Some(disk)) => {
                let meta = Meta::parse(&disk.get(&META_KEY).unwrap().unwrap()).unwrap();
                assert!(!restoring.open(disk, "another one").unwrap());
                assert!(restoring.open(disk, &meta.state).unwrap());
                from = checkpoint;
            }
            _ => *disk = None,
        }
        for change in &changelog[from..] {
            restoring.take(Some(&change.key), change.value.as_deref()).unwrap();
        }
        let restored = restoring.finish(NOW).unwrap();
        *disk = restored.disk;
        (restored.task, restored.meta)
    }

    /// A transaction was written that ends there in the changelog. `spills`: nothing has changed
    /// since it was taken.
    pub fn committed(
        &mut self,
        task: &mut Task,
        (changes, derived): (&[Change], &[Change]),
        end: usize,
        spills: bool,
    ) {
        let Some(name) = self.name.as_ref().filter(|_| !changes.is_empty()) else { return };
        let disk = self.disk.get_mut();
        match disk {
            Some(disk) => disk.apply(changes.iter().chain(derived)).unwrap(),
            None if !spills => return,
            None => {
                let fresh = DIR.with(|(dir, _)| dir.fresh(name).unwrap());
                task.spill(&fresh).unwrap();
                fresh.apply(changes.iter()).unwrap();
                *disk = Some(fresh);
                self.checkpoint = None;
                task.evict();
                return;
            }
        }
        task.settled();
        task.evict();
        self.commits += 1;
        if self.commits % 2 == 0 && task.is_all_in_maps() {
            self.checkpoint = Some(end);
        }
    }
}
