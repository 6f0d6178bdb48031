//! Producer ids, epochs, and two-phase commit over partitions (KIP-98, KIP-360, KIP-447, KIP-890).
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
//! - [`service`]: the rim: one lock per id, the clock, the log, markers, timeouts;
//!   [`listing`]: looking at transactions, and forgetting ids that nobody uses.
//!
//! A request is carried out whole before the next one of its id begins, so that nobody is told to
//! come back later: what Kafka answers with CONCURRENT_TRANSACTIONS just waits here.
//!
//! Invariants: the decision to commit or abort is durable before the first marker is written, so
//! all partitions get the same one, whatever happens in between. A partition gets records of a
//! transaction only while that is open and has the partition, durably, so none is left hanging:
//! who writes them holds an [`Admission`], behind which the end of the transaction waits. An
//! epoch never goes down. A producer whose epoch is not the latest changes nothing.

mod listing;
mod machine;
mod records;
mod service;

pub use listing::{TransactionDescription, TransactionFilter};
pub use machine::{ProducerIdentity, Protocol, Status, TransactionError};
pub use service::{Admission, EndedTransaction, TransactionConfig, TransactionService};

#[cfg(test)]
mod tests;
