//! The first rows of each partition.
//!
//! - [`ranked`]: which rows these are; [`updating`]: told whenever they change; [`windowed`]: told
//!   once, when the window that they are partitioned by has closed.

pub mod ranked;
pub mod updating;
pub mod windowed;
