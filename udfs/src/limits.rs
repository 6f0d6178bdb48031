//! What a guest may use: memory, time, files, clocks.
//!
//! The rule: a guest gets nothing that the pipeline file does not name. Where the library of its
//! language asks for a clock or for randomness all the same, it gets a clock that stands still and
//! the same numbers every time, so that a run can be repeated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::http::{self, Origin};

/// How many rows may run out of time in a batch, if all of them have all of it.
const SEARCH_TIMES: u32 = 10;

/// What one instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of all its modules together, in bytes.
    pub memory_bytes: usize,
    /// For one call, which is a batch of rows, or a row of those that ask servers.
    pub time: Duration,
    /// What rows that run out of it may take of a batch together; ten times as much, unless it is
    /// said. See [`crate::search()`].
    pub search: Option<Duration>,
    /// What nested calls within it may take, in bytes.
    pub stack_bytes: usize,
    /// Rows that are called at the same time, each by an instance, of functions that ask servers;
    /// with 1 these too are called for a batch.
    pub side_by_side: usize,
}

impl Limits {
    pub fn search(&self) -> Duration {
        self.search.unwrap_or(self.time * SEARCH_TIMES)
    }

    /// Fits beside what is below it on the stack of any thread; who has more is called by threads
    /// of their own.
    pub const STACK_BYTES: usize = 512 << 10;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 256 << 20,
            time: Duration::from_secs(1),
            search: None,
            stack_bytes: Limits::STACK_BYTES,
            side_by_side: http::SIDE_BY_SIDE,
        }
    }
}

/// What a guest may reach outside of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The time, of the wall and since some moment.
    pub clock: bool,
    /// Numbers that nobody can foresee.
    pub random: bool,
    /// Directories by the name that the guest sees.
    pub directories: BTreeMap<String, Directory>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Servers to which it may send requests.
    pub http: Vec<Origin>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub path: PathBuf,
    /// Whether the guest may change what is in it.
    pub writable: bool,
}

/// Tables of functions: entries of all tables together.
const TABLE_ENTRIES_MAX: usize = 1 << 20;

/// The most pages of the memory of loops over rows that the host adds to a component. It is how
/// that memory is known: whoever declares the same has as much again, and no more.
pub(crate) const LOOP_PAGES_MAX: usize = 65_521;
/// Bytes of it, if not as much as the guest may have: columns on their way in and out.
const LOOP_MEMORY: usize = 64 << 20;
const PAGE: usize = 64 << 10;

impl Limits {
    /// Bytes that a call may bring to the host, and that the values of a batch may take on their
    /// way.
    pub(crate) fn values_bytes(&self) -> usize {
        self.memory_bytes.max(LOOP_MEMORY)
    }
}

/// Counts what an instance takes.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_max: usize,
    memory: usize,
    loop_memory_max: usize,
    loop_memory: usize,
    table_entries: usize,
}

impl Meter {
    pub fn new(limits: &Limits) -> Meter {
        Meter {
            memory_max: limits.memory_bytes,
            memory: 0,
            loop_memory_max: limits.values_bytes(),
            loop_memory: 0,
            table_entries: 0,
        }
    }
}

/// Why a guest was stopped while it asked for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutOfMemory {
    #[error("it wants more than {max} bytes of memory (its `memory` limit)")]
    Guest { max: usize },
    #[error("the values of a batch take more than {max} bytes")]
    Loop { max: usize },
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let (memory, max, error) = match maximum == Some(LOOP_PAGES_MAX * PAGE) {
            true => {
                let max = self.loop_memory_max;
                (&mut self.loop_memory, max, OutOfMemory::Loop { max })
            }
            false => {
                let max = self.memory_max;
                (&mut self.memory, max, OutOfMemory::Guest { max })
            }
        };
        *memory = memory.saturating_add(more);
        match *memory > max {
            true => Err(wasmtime::Error::from(error)),
            false => Ok(true),
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let entries = self.table_entries.saturating_add(desired.saturating_sub(current));
        let fits = entries <= TABLE_ENTRIES_MAX;
        if fits {
            self.table_entries = entries;
        }
        Ok(fits)
    }
}
