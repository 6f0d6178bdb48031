//! What the broker remembers for its clients: who belongs to which consumer group and how far it
//! has read ([`groups`]), and which transactions are open and how they end ([`transactions`]).
//!
//! ```text
//!            request                                   reply
//!               │                                        ▲
//!   service (rim): one lock per group or transactional id, clock, waiters, timers
//!               │ (state, input, now)                    │ outputs, once what they
//!               ▼                                        │ rest on is durable
//!            machine (pure) ── records to keep ──▶ StateLog ──▶ __consumer_offsets
//!                                                               __transaction_state
//!                                                               __share_group_state
//! ```
//!
//! The machines know no clock, socket, lock or file: time comes in as [`Now`], and what must be
//! answered and remembered goes out as data. So a seeded simulation can crash, delay and reorder
//! at every step.
//!
//! - [`groups`]: the classic group protocol, the new one (KIP-848), and committed offsets;
//! - [`transactions`]: producer ids, epochs, and two-phase commit over partitions;
//! - [`shares`]: what share groups have read (KIP-932);
//! - [`state_log`]: the seam to the three internal topics, which are ordinary compacted topics in
//!   Kafka's record formats.
//!
//! Invariants: nothing is answered as done before it is durable. Order in the log is the order in
//! which the machine decided, since appends start under the machine's lock. Every waiter gets
//! exactly one answer. No lock covers more than one group or one transactional id, save the
//! lookup of its name.

pub mod groups;
pub mod shares;
pub mod state_log;
pub mod transactions;

/// A moment, on both clocks: deadlines use the one that never jumps, stored times the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the broker started; never goes back.
    pub elapsed_ms: u64,
    /// Milliseconds since 1970; may jump either way.
    pub wall_ms: i64,
}

/// Who waits for an answer. The service gives out each number once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);
