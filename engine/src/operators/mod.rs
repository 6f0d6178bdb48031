//! What happens to rows between decoding and encoding. One operator per file, each with the rule
//! it keeps:
//!
//! - [`filter_project`]: rows in, rows out, nothing remembered;
//! - [`lookup_join`]: rows of a stream in, with rows of a table out;
//! - [`window_aggregate`]: rows in, groups out when their window closes. [`groups`] beneath it
//!   finds the group of each row; what groups hold lives in [`crate::state`].
//!
//! All of them are pure: no clock, no threads, no order that depends on a hash.

use datafusion_common::DataFusionError;

pub mod filter_project;
pub mod groups;
pub mod lookup_join;
pub mod window_aggregate;

/// What DataFusion says of a failure, without its name for the kind of error.
pub fn reason(error: DataFusionError) -> String {
    match error {
        DataFusionError::Plan(reason)
        | DataFusionError::Execution(reason)
        | DataFusionError::NotImplemented(reason) => reason,
        DataFusionError::ArrowError(error, _) => error.to_string(),
        other => other.strip_backtrace(),
    }
}
