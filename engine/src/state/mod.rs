//! What a task remembers, and its copy in a topic.
//!
//! State is a map of bytes to bytes, and the changelog is the same map as a compacted topic: every
//! commit writes the entries that changed, in one transaction with the outputs and the input
//! offsets. A task that starts reads its changelog to the end and is where the last commit left
//! it, no matter how its predecessor ended.
//!
//! ```text
//! key    meta   layout u8 = 1, kind u8 = 0
//!        group  layout u8 = 1, kind u8 = 1, window_start_ms i64, run u32, group key (arrow-row)
//! value  meta   JSON: layout, fingerprint, closed_up_to_ms, closed_beyond_ms, latest_ms, offsets
//!        group  layout u8 = 1, fingerprint u64, accumulator states (arrow-row)
//! ```
//!
//! All numbers are big endian. A null value deletes, as in any compacted topic.
//!
//! **Runs.** What came to a group since the last commit is a state of its own, a run; states of
//! one group merge in run order to the whole. At a commit the new run is merged with the last
//! ones while these are no more than twice its size. So a state that does not grow (a sum) stays
//! one run and is rewritten in place; one that grows with its input (a median, a distinct count)
//! becomes a few runs of falling size, and is rewritten a logarithmic number of times rather than
//! at every commit.
//!
//! - [`store`]: the map in memory; [`changelog`]: keys, values and the meta record.
//!
//! Invariants: state in a layout or under a fingerprint that is not ours is refused, never
//! guessed at. Nothing is read back that was not written by a commit.

pub mod changelog;
pub mod store;

pub use changelog::{Change, Meta, StateError};
pub use store::{Run, WindowStore};
