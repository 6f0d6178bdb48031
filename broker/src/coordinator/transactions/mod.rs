//! Producer ids, epochs, and two-phase commit over partitions (KIP-98, KIP-360, KIP-447, KIP-890).
//!
//! ```text
//!            add partitions              end                 markers are written  
//!   Empty ─────────────────▶ Ongoing ────────▶ Prepare… ─────────────────────▶ Complete…
//!     ▲                        │ ▲  time is up,               add partitions       │
//!     └── InitProducerId       │ └── or a successor: ─────────────────────────────┘
//!                              ▼     aborted with a higher epoch
//! ```
//!
//! - [`machine`]: one transactional id, pure: (state, request, now) → what to keep and answer;
//! - [`records`]: its records in `__transaction_state`;
//! - [`service`]: the rim: one lock per id, the clock, the log, timeouts; [`ending`]: decisions and
//!   markers; [`recovery`]: after a restart; [`listing`]: looking at transactions, and forgetting
//!   ids that nobody uses.
//!
//! A request is carried out whole before the next one of its id begins, so that nobody is told to
//! come back later: what Kafka answers with CONCURRENT_TRANSACTIONS just waits here.
//!
//! Invariants: the decision to commit or abort is durable before the first marker is written, so
//! all partitions get the same one, whatever happens in between; and what it commits is durable
//! before the decision is written. Once it is durable it is answered and seen: markers that are
//! lost are written again. Nothing else is kept of an id before its markers are durable.
//!
//! A partition gets records of a transaction only while that is open and has the partition: who
//! writes them holds an [`Admission`], behind which the end of the transaction waits, or is in
//! this process and fenced by the marker. In version 1, where epochs cannot tell transactions
//! apart, that is kept before the first record. Else the partitions themselves are the record of
//! it, and recovery leaves none of them hanging: it takes their open transactions in, or aborts
//! them. An epoch never goes down. A producer whose epoch is not the latest changes nothing.

mod ending;
mod listing;
mod machine;
mod records;
mod recovery;
mod service;

pub use listing::{TransactionDescription, TransactionFilter};
pub use machine::{ProducerIdentity, Protocol, Status, TransactionError};
pub use service::{Admission, EndedTransaction, TransactionConfig, TransactionService};

#[cfg(test)]
mod tests;
