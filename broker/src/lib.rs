//! Partitioned, durable logs behind the Kafka wire protocol.
pub mod broker;
pub mod client;
#[allow(dead_code, unused_imports)] // until the server serves groups and transactions
mod coordinator;
pub mod data_dir;
pub mod ids;
#[allow(dead_code, unused_imports)] // until the server, which comes next, uses all of it
mod log;
pub mod protocol;
pub mod record;
pub mod server;
pub mod topics;
