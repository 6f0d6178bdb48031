//! Functions for Millstream in Rust.
//!
//! ```
//! use millstream_udf::udf;
//!
//! #[udf]
//! fn email_domain(email: &str) -> Option<&str> {
//!     Some(email.split_once('@')?.1)
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
//! | `Vec<T>`; a struct with `#[derive(Row)]` | array<T>; row<…> |
//! | `Option<T>` | T, which may be NULL |
//! | `Result<T, E>` as a result | T; an error fails its row |
//!
//! # Kinds
//!
//! - `#[udf] fn name(argument: Type, …) -> Type` is a scalar function.
//! - `#[udf(table)] fn name(…) -> impl Iterator<Item = Type>`, or a `Vec`, gives any number of rows
//!   for each.
//! - `#[udf] impl Aggregate for State` is one over groups, called as its type in snake case: see
//!   [`Aggregate`]. If rows can be taken back, `#[udf(retracts)]`: see [`Retract`].
//!
//! `volatile` says that the same arguments do not always give the same value; `name = "other"` that
//! SQL calls it something else; `default(separator = "','", digits = 2)` what arguments are that
//! are left out, as SQL spells it.
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
pub use millstream_udf_macros::{Row, State, udf};
pub use output::{Column, Output, Outputs};
pub use types::{Bytea, Date, Decimal, Json, Sql, Time, Timestamp, TimestampTz};

/// What the macros need of this crate.
#[doc(hidden)]
pub mod macro_support {
    pub use crate::aggregate::{finish, merge, save, states};
    pub use crate::output::Validity;
}
