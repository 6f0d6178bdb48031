//! Functions for Millstream in Rust.
//!
//! ```
//! fn email_domain(email: &str) -> Option<&str> {
//!     Some(email.split_once('@')?.1)
//! }
//!
//! fn score(n: i64) -> i64 {
//!     n.wrapping_mul(3).wrapping_add(1)
//! }
//!
//! millstream_udf::functions! {
//!     email_domain(email: &str) -> Option<&str>;
//!     score(n: i64) -> i64;
//! }
//! ```
//!
//! in a crate with `crate-type = ["cdylib"]`, built by
//! `cargo build --release --target wasm32-unknown-unknown`. Nothing else is needed.
//!
//! | Rust | SQL |
//! |---|---|
//! | `bool`; `f32`, `f64` | boolean; real, double |
//! | `i8` … `i64`; `u8` … `u64` | tinyint, smallint, int, bigint; each unsigned |
//! | `&str`, `String`; `&[u8]`, [`Bytea`]; [`Json`] | varchar; bytea; json |
//! | [`Date`], [`Time`], [`Timestamp`], [`TimestampTz`] | date, time, timestamp, timestamptz |
//! | [`Decimal<P, S>`] | decimal(P, S) |
//! | `Vec<T>`; a struct of [`row!`] | array<T>; row<…> |
//! | `Option<T>` | T, which may be NULL |
//! | `Result<T, E>` as a result | T; an error fails its row |
//!
//! # Kinds
//!
//! - `name(argument: Type, …) -> Type;` is a scalar function: `fn name(…) -> Type`.
//! - `table name(…) -> Type;` gives any number of rows for each: `fn name(…) -> impl
//!   Iterator<Item = Type>`, or a `Vec`.
//! - `aggregate name(…) -> Type = State;` is one over groups: see [`Aggregate`]. If rows can be
//!   taken back, `aggregate name(…) -> Type = State, retracts;`: see [`Retract`].
//!
//! `volatile` before it says that the same arguments do not always give the same value. An
//! argument that may be left out has its default as SQL spells it: `separator: &str = "','"`,
//! `digits: i32 = 2`.
//!
//! # NULL
//!
//! A function does not see a row where an argument is NULL, nor one with NULL within an array or
//! row, unless that is an `Option`: a scalar's value is NULL then, a table has no rows for it, and
//! an aggregate leaves it out.
//!
//! # Servers
//!
//! [`fetch`] sends requests to those that the pipeline file grants.
//!
//! # Failures
//!
//! `Err` fails its row. A panic does too: its message goes to the pipeline's log, and the host
//! takes another instance for what follows.

pub mod abi;
mod aggregate;
mod host;
mod http;
mod input;
mod macros;
mod output;
mod types;

pub use aggregate::{Aggregate, Retract, State};
pub use host::{Level, config, log};
pub use http::{Request, Response, fetch};
pub use input::{Input, Inputs, Present};
pub use output::{Column, Output, Outputs};
pub use types::{Bytea, Date, Decimal, Json, Sql, Time, Timestamp, TimestampTz};

/// What the macros need of this crate.
#[doc(hidden)]
pub mod macro_support {
    pub use crate::aggregate::{finish, merge, save, states};
    pub use crate::output::Validity;
}
