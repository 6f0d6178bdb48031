//! Groups and what is computed of them.
//!
//! - [`spec`]: what to group by and compute; [`accumulated`]: groups with their accumulators;
//!   [`runs`]: those that are new beside those that were committed;
//! - [`window`]: groups of a window, told once when it closes; [`updating`]: groups without one,
//!   told whenever they change; [`retracting`]: the same of rows that may be taken back.

mod accumulated;
pub mod retracting;
mod runs;
mod spec;
pub mod updating;
pub mod window;

pub use spec::{AggregateCall, AggregateSpec};
