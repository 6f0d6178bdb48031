//! What a task remembers, and its copy in a topic.
//!
//! State is maps of bytes to bytes, and the changelog is the same maps as one compacted topic:
//! every commit writes the entries that changed, in one transaction with the outputs and the input
//! offsets. A task that starts reads its changelog to the end and is where the last commit left
//! it, no matter how its predecessor ended. State that outgrows memory lies on disk as well, and a
//! task that finds it there reads only the end of the changelog.
//!
//! ```text
//! key    meta      layout u8 = 5, kind u8 = 0
//!        operator  layout u8 = 5, kind u8 = 1, operator u64, the operator's own key
//! value  meta      JSON: layout, state, operators, layouts, watermark_ms, latest_ms, told_ms,
//!                  offsets
//!        operator  the operator's own
//! ```
//!
//! A window aggregate's own:
//!
//! ```text
//! key    group     1 u8, window_start_ms i64 ^ sign, group key (arrow-row), run u32
//!        closed    2 u8, window_start_ms i64 ^ sign: closed, and ends after the watermark
//! value  group     accumulator states (arrow-row)
//!        closed    empty
//! ```
//!
//! A session aggregate's, in which sessions stand for windows, known by an id (a time in steps of
//! its column's type):
//!
//! ```text
//! key    group     1 u8, session id i64 ^ sign, group key (arrow-row), run u32
//!        session   3 u8, group key, first time i64 ^ sign
//! value  group     accumulator states (arrow-row)
//!        session   id i64, last time i64, told u8: came out before the watermark was there
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
//! A run's number has the version of its value's layout in its first 12 bits: what is computed of a
//! group may change while its state is kept (see [`layouts`]).
//!
//! - [`map`]: one map, in memory (`radix`) or on [`disk`];
//! - [`store`]: the groups of windows in it;
//! - [`counter`]: numbers for entries; [`layouts`]: what values are made of, and were;
//!   [`changelog`]: keys, values and the meta record.
//!
//! Invariants: state in a layout or of an operator that is not ours is refused, never
//! guessed at. Nothing is read back that was not written by a commit.

pub mod changelog;
pub mod counter;
pub mod disk;
pub mod layouts;
pub mod map;
mod radix;
pub mod store;

pub use changelog::{Change, Meta, StateError, StateId};
