//! The first rows of each partition.
//!
//! - [`ranked`]: which rows these are; [`changing`]: partitions as rows come to them;
//! - [`updating`]: told whenever they change, [`bounded`] where no row is ever taken back;
//! - [`windowed`]: told once, when the window that they are partitioned by has closed.

pub mod bounded;
mod changing;
pub mod ranked;
pub mod updating;
pub mod windowed;
