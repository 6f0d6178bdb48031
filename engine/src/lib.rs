//! From a pipeline file to a running topology.
pub mod formats;
pub mod operators;
pub mod pipeline;
pub mod plan;
pub mod runtime;
pub mod state;
pub mod task;
#[cfg(test)]
mod testing;
pub mod time;
pub mod topology;
