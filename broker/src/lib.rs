//! Partitioned, durable logs behind the Kafka wire protocol.
//!
//! ```text
//! socket ─► server ─► protocol (decode) ─► handler ─┬─► log: append, fsync, read
//!                                                   ├─► coordinator: groups, transactions
//!                                                   └─► topics: the catalog
//! this process ─► client::embedded ────────────────────► the same three, no socket between
//! this process ─► client::remote ──────────────────────► another broker, by librdkafka
//! ```
//!
//! - [`record`]: record batches, one form on disk and on the wire; [`ids`]: names and numbers;
//! - `log`: partitions on disk, private to this crate; [`topics`] and [`data_dir`]: which there
//!   are, and who owns the directory; [`mod@broker`]: all of it together, with its jobs;
//! - `coordinator`: consumer groups and transactions, pure machines with a rim;
//! - [`protocol`]: every message declared once; [`server`]: sockets, and a handler for each API;
//!   [`security`]: who a client is, and what it may do; [`quotas`]: and how much;
//! - [`metrics`]: what it tells about itself;
//! - [`client`]: the one door for all others; [`dump`]: for those who look into log files;
//!   [`durations`]: how both read spans of time.
//!
//! Invariants: what was acknowledged with acks=all survives a power cut. A batch is never
//! re-encoded between socket and disk. Nothing that a socket says is believed before it is
//! compared with the bytes that are there. One process owns a data directory at a time.

pub mod broker;
pub mod client;
mod coordinator;
pub mod data_dir;
pub mod durations;
pub mod ids;
mod log;
pub mod metrics;
pub mod protocol;
pub mod quotas;
pub mod record;
pub mod security;
pub mod server;
pub mod topics;

pub use log::dump;
