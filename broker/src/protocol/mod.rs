//! The Kafka wire protocol: bytes to messages and back, for brokers and for clients.
//!
//! ```text
//! frame bytes ─ frame ─→ RequestHeader ─ api ─→ Request ─ messages/kNN_… ─→ fields (types, wire)
//! Response ─ api ─→ fields ─→ Frame (segments; records are shared, never copied) ─→ socket
//! ```
//!
//! - [`message`]: the form in which messages are declared, and encode and decode made from it
//! - [`messages`]: the declarations, one file for each API, named by its key
//! - [`api`]: the table of the APIs served and their versions; [`absent`]: those that are not;
//!   [`compatibility`]: both beside Apache Kafka's
//! - [`frame`]: requests and responses with their headers, as they stand on a connection
//! - [`types`], [`wire`]: how each type looks on the wire; reading within bounds
//! - [`error_code`]: Kafka's error codes; [`error`]: why bytes are no message
//!
//! Invariants:
//! - No input panics. Every length is checked against the bytes that remain before anything is
//!   allocated, every count against the least that its elements take; nesting is static.
//! - A decode error names message, version, field and offset.
//! - Records, and all other bytes, are slices of the frame that they came in, and go out as the
//!   slices that were given. They are never decoded or encoded here.
//! - The bytes are Kafka's own: tests compare each message in each version with an independent
//!   implementation.

pub mod absent;
pub mod api;
pub mod compatibility;
pub mod error;
pub mod error_code;
pub mod frame;
pub mod message;
pub mod messages;
pub mod types;
pub mod wire;

#[cfg(test)]
mod tests;

pub use absent::{ABSENT_APIS, absent_for_clients};
pub use api::{ApiKey, Ask, Request, Response};
pub use error::{DecodeError, EncodeError, RequestError};
pub use error_code::ErrorCode;
pub use frame::{
    Frame, RequestHeader, decode_request, decode_response, encode_request, encode_response,
};
pub use message::Message;
