//! Groups and what is computed of them.
//!
//! - [`spec`]: what to group by and compute; [`accumulated`]: groups with their accumulators;
//!   [`runs`]: those that are new beside those that were committed;
//! - [`window`]: groups of a window, told once when it closes; [`window_updates`]: the same, told
//!   before that or corrected after it; [`closed`]: which windows take no more rows;
//! - [`session`]: groups of a session, which [`sessions`] finds, told once when it is over;
//! - [`updating`]: groups without a window, told whenever they change; [`retracting`]: the same of
//!   rows that may be taken back;
//! - [`partial`]: rows of a group put together before they meet, where tasks share an aggregate;
//! - [`kept`]: groups as tables for people.

mod accumulated;
pub(super) mod closed;
mod kept;
pub mod partial;
pub mod retracting;
mod runs;
pub mod session;
mod sessions;
mod spec;
pub mod updating;
pub mod window;
pub mod window_updates;

pub use spec::{AggregateCall, AggregateSpec};
