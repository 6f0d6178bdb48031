//! From a pipeline file to a running topology.
//!
//! ```text
//! file ─ pipeline ─ plan ─ Pipeline ─ topology ─ task ─ runtime
//!        (checked)  (one plan per query)         │
//!                                                └ formats → operators → state
//! ```
//!
//! - [`pipeline`]: the file, and what a checked one says; [`plan`]: its queries as plans;
//! - [`topology`]: what runs a plan, or why it cannot run as a stream;
//! - [`task`]: one query at work, as a pure state machine; [`runtime`]: broker, clock and threads;
//! - [`rehearsal`]: a pipeline's tests, run in memory; [`describe`]: what a query does, in words;
//! - [`formats`]: records to columns and back; [`rows`]: what goes on between them, and the rule of
//!   changes; [`operators`]: what happens to it;
//! - [`query`]: what topics hold now, by batch SQL, and what passes through them;
//! - [`state`]: what is remembered, and its changelog; [`time`]: watermarks; [`tally`]: what went
//!   through each step; `type_names`: types in messages.
//!
//! Invariants: the engine meets the rest of the house in topics and in [`pipeline::Pipeline`]
//! alone. Everything between the runtime's edges is deterministic: the same batches, times and
//! restarts give the same rows. What a query answers at the end of its input is what batch SQL
//! answers over the same records.

pub mod describe;
pub mod formats;
pub mod operators;
pub mod pipeline;
pub mod plan;
pub mod query;
pub mod rehearsal;
pub mod rows;
pub mod runtime;
pub mod state;
pub mod tally;
pub mod task;
#[cfg(test)]
mod testing;
pub mod time;
pub mod topology;
mod type_names;
