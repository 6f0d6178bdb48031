//! A connection to PostgreSQL: version 3 of its protocol, as far as reading a database takes.
//!
//! ```text
//!   connect ─► TLS ─► startup ─► SCRAM ─► ready ─┬─► query      rows, as text
//!                                                ├─► copy_out   a table's rows, chunk by chunk
//!                                                └─► replicate  changes in, positions out
//! ```
//!
//! One kind of connection serves all three: slots are created, snapshots are exported and changes
//! are streamed over the replication protocol, which answers plain SQL too. Everything is asked
//! for as text, so that there is one form of each type, whether it comes from a snapshot or from
//! the stream.
//!
//! - [`frame`]: bytes to messages and back; pure. [`error`]: what the server or the way to it had
//!   to say, sorted into what is worth another try and what is not.
//! - [`target`]: where to connect and as whom; [`tls`]: the meanings of `sslmode`.
//! - [`session`]: the connection itself, of two `halves`; [`stream`]: one that brings changes.
//!
//! Invariants:
//! - Nothing that a server sends makes us allocate more than it has sent, or more than
//!   [`frame::MESSAGE_BYTES_MAX`]; nothing that it sends makes us panic.
//! - Reading is cancellation-safe: a message is taken out of the buffer whole or not at all.
//! - A password is never part of an error or of what `Debug` prints.

pub mod error;
pub mod frame;
mod halves;
pub mod session;
pub mod stream;
pub mod target;
pub mod tls;

pub use error::{PgError, ServerError};
pub use session::{Rows, Session};
pub use stream::{ChangeStream, Received};
pub use target::{SslMode, Target};
