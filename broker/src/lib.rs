//! Partitioned, durable logs behind the Kafka wire protocol.
pub mod client;
pub mod ids;
pub mod protocol;
pub mod record;
