//! Changes of a PostgreSQL database, by logical replication.

pub mod lsn;
pub mod pgoutput;
pub mod wire;
