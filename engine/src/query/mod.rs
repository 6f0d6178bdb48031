//! Questions asked at once: batch SQL over topics as they stand, or rows as they come.
//!
//! ```text
//! files ─ declared ─┐                       ┌ batch ─ DataFusion over tables ─ rows
//!                   ├ script ─ statements ──┤            └ topics up to their ends
//! SQL ──────────────┘   └ topics, inferred  └ stream ─ Runtime::show ─ rows and changes
//! ```
//!
//! - [`declared`]: what pipeline files declare, what their queries write included;
//! - [`script`]: SQL to statements; [`sample`]: topics that nothing declares, by some records;
//! - [`snapshot`]: where topics end now; [`table`]: a topic as a table; [`changes`]: what is left
//!   of rows that were taken back; [`batch`]: statements to rows;
//! - [`tap`]: a pipeline cut at one of its steps or [`clauses`]; [`row`]: SQL over rows that nobody
//!   declares.
//!
//! Invariants: nothing is written, created or committed, in no group. All statements of a script
//! see topics up to the same ends. Records of open and aborted transactions are never seen.

pub mod batch;
mod changes;
mod clauses;
pub mod declared;
pub mod row;
pub mod sample;
pub mod script;
pub mod snapshot;
mod table;
pub mod tap;

pub use batch::{Answer, Batch, BatchOptions, QueryError, ReadCounts};
pub use changes::Standing;
pub use declared::Declared;
pub use script::{BatchStatement, Script, Statement, StreamStatement};
pub use snapshot::{Snapshot, TimeBounds};
pub use tap::{Point, PointKind};
