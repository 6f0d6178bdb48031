//! User functions in WebAssembly.
//!
//! ```text
//! file ─► module or component? ─► compiled (kept on disk) ─► linked ─► described ─► functions
//!                                                                        │
//! arrays ─► rows without NULL ─► an instance ─► by columns │ typed │ core ─► checked ─► array
//! ```
//!
//! - [`module`]: a file, what it has, and calls of it; [`signature`], [`types`]: of its functions.
//! - [`host`]: the engine; [`limits`], [`instance`], `guest_log`: what a guest may do;
//!   [`interruptible`]: work with calls that nobody waits for any more; [`search()`]: a batch that
//!   is called in parts to find the rows that fail; [`called_by`]: who calls.
//! - `program`: the three ways to call a function: `columns_abi`, `typed_abi` (which has loops over
//!   rows added to a component, so that they too are one call for a batch), `core_abi`;
//!   `columns`, `values`: arrays on their way in and out; `plain_names`: of languages that have
//!   no others; `go_wasi`: what Go's modules get of WASI.
//!
//! Invariants:
//! - A guest can neither stop nor harm the process: its memory, time and stack are bounded, what
//!   it gives is checked, and an instance that was stopped is never called again.
//! - A call gives as many values as it has rows, or fails whole.

mod caller;
mod columns;
mod columns_abi;
mod core_abi;
mod error;
mod go_wasi;
mod guest_log;
pub mod host;
pub mod http;
pub mod instance;
mod interrupt;
pub mod limits;
pub mod module;
mod plain_names;
mod program;
mod search;
pub mod signature;
mod typed_abi;
pub mod types;
mod values;

pub use caller::{Caller, called_by};
pub use error::{CallError, LoadError};
pub use guest_log::Asked;
pub use host::{Host, content_hash};
pub use instance::Options;
pub use interrupt::interruptible;
pub use limits::{Directory, Grants, Limits};
pub use module::{Abi, Info, Module, WIT, read_wit};
pub use search::search;
pub use signature::{Argument, Kind, Signature};
