//! The HTTP connectors against real servers and clients, faults included.

#[path = "../support/mod.rs"]
mod support;

mod poll;
mod server;
mod sink;
mod source;
