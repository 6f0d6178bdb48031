//! What share groups (KIP-932) have read: queues over partitions.
//!
//! ```text
//! ShareFetch ─────► sessions (pure) ─► which partitions
//!    │ acquire                           │
//!    ▼                                   ▼
//!   service (rim): a slot per group and partition ── one lock, one timer ──► partition (pure)
//!    ▲                                   │ what is kept
//!    │ acknowledge, release              ▼
//! ShareAcknowledge, a lock's end,     StateLog ──▶ __share_group_state
//! a connection's end
//! ```
//!
//! - [`partition`]: the state of each record between those that are done and those that nobody
//!   has been given yet;
//! - [`sessions`]: which partitions a member fetches, by its epoch;
//! - [`records`]: the form in which a partition's state is kept;
//! - [`service`]: slots, clock, timers, and the log.
//!
//! Who is in a group, and which partitions its members are told to fetch, is known to
//! [`groups`](super::groups).
//!
//! Invariants: a record is given to one member at a time, until that says what became of it or
//! its lock ends. What a member was told to be accepted is never given out again, a crash of the
//! broker included: the answer waits for the log. What is not accepted, rejected, or given out too
//! often is given out again.

pub mod partition;
pub mod records;
pub mod service;
pub mod sessions;

#[cfg(test)]
mod simulation;
