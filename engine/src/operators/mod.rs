//! What happens to rows between decoding and encoding. One operator per file, each with the rule
//! it keeps:
//!
//! - [`filter_project`]: rows in, rows out, nothing remembered;
//! - [`window_aggregate`]: rows in, groups out when their window closes. [`groups`] beneath it
//!   finds the group of each row; what groups hold lives in [`crate::state`].
//!
//! All of them are pure: no clock, no threads, no order that depends on a hash.

pub mod filter_project;
pub mod groups;
pub mod window_aggregate;
