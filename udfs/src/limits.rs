//! What a guest may use: memory, time, files, clocks.
//!
//! The rule: a guest gets nothing that the pipeline file does not name. Where the library of its
//! language asks for a clock or for randomness all the same, it gets a clock that stands still and
//! the same numbers every time, so that a run can be repeated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What one instance may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of all its modules together, in bytes.
    pub memory_bytes: usize,
    /// For one call, which is a batch of rows.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory_bytes: 256 << 20, time: Duration::from_secs(1) }
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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub path: PathBuf,
    /// Whether the guest may change what is in it.
    pub writable: bool,
}

/// Tables of functions: entries of all tables together.
const TABLE_ENTRIES_MAX: usize = 1 << 20;

/// Counts what an instance takes.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_max: usize,
    memory: usize,
    table_entries: usize,
}

impl Meter {
    pub fn new(limits: &Limits) -> Meter {
        Meter { memory_max: limits.memory_bytes, memory: 0, table_entries: 0 }
    }
}

/// Why a guest was stopped while it asked for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it wants more than {max} bytes of memory (its `memory` limit)")]
pub(crate) struct OutOfMemory {
    max: usize,
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.memory_max {
            return Err(wasmtime::Error::from(OutOfMemory { max: self.memory_max }));
        }
        self.memory = memory;
        Ok(true)
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
