//! From a checked query to one optimised plan.

pub mod windows;
