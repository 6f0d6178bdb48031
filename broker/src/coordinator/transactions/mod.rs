//! Producer ids, epochs, and two-phase commit over partitions (KIP-98, KIP-360, KIP-447).
//!
//! ```text
//!            add partitions              end                 markers are durable
//!   Empty ─────────────────▶ Ongoing ────────▶ Prepare… ─────────────────────▶ Complete…
//!     ▲                        │ ▲  time is up,               add partitions       │
//!     └── InitProducerId       │ └── or a successor: ─────────────────────────────┘
//!                              ▼     aborted with a higher epoch
//! ```
//!
//! - [`machine`]: one transactional id, pure: (state, request, now) → what to keep and answer;
//! - [`records`]: its records in `__transaction_state`;
//! - [`service`]: the rim: one lock per id, the clock, the log, markers, timeouts.
//!
//! A request is carried out whole before the next one of its id begins, so that nobody is told to
//! come back later: what Kafka answers with CONCURRENT_TRANSACTIONS just waits here. Transactions
//! of version 1; version 2 (KIP-890) bumps the epoch in `end` and adds nothing to the states.
//!
//! Invariants: the decision to commit or abort is durable before the first marker is written, so
//! all partitions get the same one, whatever happens in between. A partition gets records of a
//! transaction only after it has been added to it, durably, so no transaction is left hanging
//! unknown. An epoch never goes down. A producer whose epoch is not the latest changes nothing.

mod machine;
mod records;
mod service;

pub use machine::TransactionError;
pub use service::{EndedTransaction, ProducerIdentity, TransactionConfig, TransactionService};

#[cfg(test)]
mod tests;
