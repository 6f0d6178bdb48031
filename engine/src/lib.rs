//! From a pipeline file to a running topology.
pub mod pipeline;
pub mod plan;
