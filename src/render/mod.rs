//! What people see.
//!
//! - [`diagnostics`]: mistakes with file, line, caret and help;
//! - [`cases`]: what became of tests of pipelines; [`explain`]: what queries do;
//!   [`graph`]: the same as a picture;
//! - [`why_empty`]: why a query has written nothing; `top`: how those that run stand;
//! - [`table`]: rows as an aligned table; [`rows`]: rows of a query, as table or JSON lines;
//! - [`status`]: the checklist at the start and the progress while an input catches up.

pub mod cases;
pub mod diagnostics;
pub mod explain;
pub mod graph;
pub mod rows;
pub mod status;
pub mod table;
#[cfg(unix)]
pub mod top;
pub mod why_empty;
