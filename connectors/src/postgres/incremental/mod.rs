//! Tables read again while changes stream, on request: DBLog's algorithm, as Debezium has it.
//!
//! ```text
//!  signal ─► Progress: which tables, how far ─────────────────┐
//!                                                             ▼
//!  stream ─► changes ─► Watch: keys that changed ──► Window ◄── chunk, read by key
//!                                                      │
//!              `r` events, once the stream is there ◄──┘ rows that nothing newer is known of
//! ```
//!
//! - [`signal`]: what is asked for; [`channel`]: signals that come by a topic; [`progress`]: what
//!   is left to do, as it is stored; [`watch`]: what the stream is looked through for;
//!   [`window`]: a chunk among the changes; [`chunk`]: how one is read; [`reach`]: how the stream
//!   comes to its place in the log; [`run`]: all of it at work. [`blocking`]: the same in one go,
//!   while changes wait.
//!
//! Debezium writes marks into a table in order to find a chunk's place in the stream. We read the
//! place (a position in the log) and the snapshot (which transactions a chunk shows), so that
//! nothing is written, and a row is dropped only if a transaction that the chunk does not show has
//! changed it.
//!
//! Invariants:
//! - A chunk's rows come behind every change that they show, and before every later one: whoever
//!   keeps the last event of each key never sees a row go back.
//! - Rows and progress are committed together: after a crash the next chunk is read, and none
//!   twice.
//! - A request that cannot be carried out is named in the log and left out; changes go on.

pub mod blocking;
pub mod channel;
pub mod chunk;
pub mod progress;
pub mod reach;
pub mod run;
pub mod signal;
pub mod watch;
pub mod window;
