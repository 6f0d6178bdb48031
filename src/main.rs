//! `millstream`: streams, connectors and a Kafka-compatible broker in one binary.
//!
//! - [`cli`]: one file per command, and how each finds its broker;
//! - [`http`]: metrics for those who watch it, [`query_metrics`] among them; `status_socket`: for
//!   `millstream top`;
//! - [`sql_transform`], [`wasm_transform`]: SQL and functions of users for connectors;
//!   [`function_requests`]: what functions send to HTTP servers;
//! - [`render`]: what people see: tables, JSON lines, checklists, progress, mistakes with carets.
//!
//! Data goes to stdout, all else to stderr. Exit status: 0 done, 1 failed while running, 2 wrong
//! usage or a wrong pipeline file, in which case nothing was started.

mod cli;
mod function_requests;
mod http;
mod query_metrics;
mod render;
mod sql_transform;
#[cfg(unix)]
mod status_socket;
mod wasm_transform;

use std::process::ExitCode;

/// State is many small allocations, which last and go in no order.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
