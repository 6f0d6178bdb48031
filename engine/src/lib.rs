//! From a pipeline file to a running topology.
pub mod formats;
pub mod pipeline;
pub mod plan;
pub mod time;
