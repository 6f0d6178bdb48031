//! Partitioned logs on disk, in Kafka's own layout.
//!
//! ```text
//! <data>/<topic>-<partition>/
//!   00000000000000000000.log         whole batches, as they came over the wire
//!   00000000000000000000.index       offset → position, sparse            ┐
//!   00000000000000000000.timeindex   timestamp → offset, sparse           ├ written when the
//!   00000000000000000000.txnindex    aborted transactions, if any         │ segment is sealed
//!   00000000000000004711.snapshot    producers' state up to that offset   ┘ or the log closed
//!   leader-epoch-checkpoint          which epoch began where
//!   index-checksums                  of the index files (ours)
//!   log-checkpoint                   start, recovery point, compacted up to, orderly end (ours)
//!   partition.metadata               the topic's id
//! ```
//!
//! - [`partition`]: a log in use, and its locks; [`append`]: the writer; [`flush`]: fsync and what
//!   waits for it; [`read`]: offsets and times to bytes, [`open_files`] for it;
//! - [`maintenance`]: retention and deletion; [`compaction`]: of each key the latest record stays;
//! - [`recovery`]: from a directory to a log, by way of [`scan`] after an unclean stop, and of
//!   [`repair`] where small files cannot be read;
//! - [`validate`]: checks before appending; [`producers`]: idempotence and open transactions,
//!   [`snapshot`] its file;
//! - [`segment`]: a file and its indexes ([`index`]); [`header`]: a batch's numbers;
//!   [`checkpoint`]: the small files; [`checksums`]: whether indexes are as they were written;
//!   [`disk`]: the seam to storage; [`traffic`]: counts; [`dump`]: for those who look into files;
//!   [`config`], [`error`].
//!   In tests `simulation` is a disk that loses power, fails and fills up.
//!
//! Invariants: offsets never go back, not after deletion nor after a crash. A batch is visible
//! once it is committed: written for acks=1, on disk for acks=all. What was acknowledged as
//! synced survives a power cut, and what a recovery leaves is a prefix of what was appended.
//! Readers never wait for the writer nor for an fsync. A failed fsync is never taken back.

mod append;
mod checkpoint;
mod checksums;
mod compaction;
mod config;
pub(crate) mod disk;
pub mod dump;
mod error;
mod flush;
mod header;
mod index;
mod maintenance;
mod open_files;
mod partition;
mod producers;
mod read;
mod recovery;
mod repair;
mod scan;
mod segment;
#[cfg(test)]
pub(crate) mod simulation;
mod snapshot;
mod traffic;
mod validate;

pub use append::{AppendOptions, Appended, Origin};
pub use checkpoint::encode_id;
pub use compaction::{CompactOptions, Dirt, Pace};
pub use config::{Cleanup, Compaction, LogConfig};
pub use error::{AppendError, LogOpenError, ReadError, RefusedRecord, StorageError};
pub use index::AbortedTransaction;
pub use open_files::OpenFiles;
pub use partition::{Partition, PartitionOptions, Subscription, Visible};
pub use read::{LogSlice, ReadOptions, TimestampOffset};
pub use scan::{Cut, RecoveryReport};

pub(crate) use error::Doing;
#[cfg(test)]
pub(crate) use maintenance::ProducerDescription;

#[cfg(test)]
mod tests;
