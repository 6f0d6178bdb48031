//! The broker over TCP: a real server on a free port, and raw sockets that speak our own codec or
//! that of kafka-protocol.

mod admin;
mod broker_configs;
mod creating;
mod fetching;
mod floods;
mod groups;
mod harness;
mod hostile;
mod lifecycle;
mod offline;
mod offsets;
mod oracle;
mod producing;
mod quotas;
mod security;
mod sharing;
mod transactions;
