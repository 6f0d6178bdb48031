//! From a checked file to one optimised plan per query.
//!
//! ```text
//! draft ── streamable (what cannot run as a stream) ──┐
//!   │                                                 ├→ diagnostics, all at once
//!   └→ context (names) → DataFusion's SQL planner ────┤
//!        └ on failure: probe (every expression by itself)
//!      → optimize → checks of window, key and sink → Query
//! ```
//!
//! - [`lower`]: the way from draft to pipeline; [`order`]: queries after those they read from;
//! - [`context`]: sources, views and functions by name; [`types`]: SQL types;
//!   [`computed`]: columns that are computed of those beside them;
//! - [`window_tables`]: `TUMBLE(…)`, `HOP(…)`, `CUMULATE(…)` and `SESSION(…)` in FROM;
//!   [`group_windows`]: `GROUP BY tumble(…)`; [`window_time`]: the latest time in one;
//!   [`windows`]: their scalar functions, and which window an aggregate groups by;
//!   [`event_time`]: whether that goes by the event time of its source;
//! - [`joins`]: how near in time the rows of two streams must be to meet; [`as_of`]: tables as they
//!   were at a time, [`versioned`] views among them;
//! - [`json`]: JSON in text columns, by path; [`texts`], [`times`]: more functions of texts and of
//!   points in time;
//! - [`user_functions`]: functions in WebAssembly;
//! - [`constants`]: mistakes in constants that only computing finds;
//! - [`one_within`]: window functions of ours, for rows without their doubles;
//! - [`unnest_tables`]: `UNNEST(…)` in FROM; [`quantified`]: `= ANY (SELECT …)`;
//!   [`nth_value`]: the nth of rows that are sorted; [`spellings`]: what Flink writes otherwise;
//! - [`inserted`]: the list of columns of INSERT INTO;
//! - [`unique_key`]: what tells the rows of an answer apart;
//! - [`mixed_types`]: text that is compared with what is not;
//! - [`streamable`]: what SQL says that a stream cannot do; [`probe`]: all mistakes of a query;
//!   [`errors`]: what the planner says, as diagnostics; [`predicates`]: where conditions stand;
//! - [`optimize`]: the rewrites that hold for streams; [`grouping_sets`]: ROLLUP and its like;
//!   [`push_down_filter`]: DataFusion's, with one exception.
//!
//! Invariants: TOML and SQL come here in the same syntax, so there is one way to lower a query.
//! A plan's leaves are scans of sources by name. The same file gives the same plan, always. A plan
//! means to a batch engine what it means here.

pub(crate) mod as_of;
pub(crate) mod computed;
mod constants;
pub(crate) mod context;
mod errors;
pub(crate) mod event_time;
mod greatest;
pub(crate) mod group_windows;
mod grouping_sets;
mod inserted;
pub(crate) mod joins;
pub mod json;
pub(crate) mod lower;
mod mixed_types;
pub(crate) mod nth_value;
pub mod one_within;
pub(crate) mod optimize;
mod order;
pub mod predicates;
mod probe;
mod push_down_filter;
mod quantified;
mod spellings;
pub(crate) mod streamable;
pub mod texts;
pub mod times;
pub(crate) mod types;
pub(crate) mod unique_key;
pub mod unnest_tables;
pub mod user_functions;
mod versioned;
pub mod window_tables;
mod window_time;
pub mod windows;

pub use context::SourceTable;
pub use windows::{GroupWindow, WindowError, group_window};

#[cfg(test)]
mod tests;
