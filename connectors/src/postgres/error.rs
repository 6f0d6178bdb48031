//! Why the source cannot go on, and what to do about it.

use thiserror::Error;

use super::changes::ChangesError;
use super::config::ConfigError;
use super::lsn::Lsn;
use super::table::RowError;
use super::wire::PgError;

#[derive(Debug, Error)]
pub enum SourceError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}{advice}", advice = advice(.0))]
    Postgres(#[from] PgError),
    #[error(transparent)]
    Changes(#[from] ChangesError),
    #[error("in the snapshot: {0}")]
    Row(#[from] RowError),
    #[error("in the snapshot of {table}: a row that is no row of a COPY")]
    Copy { table: String },
    #[error(
        "`snapshot.select.statement.overrides.{table}`: {error}; it has to be a SELECT that gives \
         all columns of the table, but for those that `column.exclude.list` leaves out"
    )]
    Select { table: String, error: PgError },
    #[error("PostgreSQL {found} is too old: logical replication by pgoutput came with version 10")]
    TooOld { found: String },
    #[error(
        "this is another PostgreSQL system than before ({found}, not {stored}): positions in its \
         log mean nothing here. Connect to the old one, or give the connector another name and \
         slot to start anew"
    )]
    OtherSystem { stored: String, found: String },
    #[error(
        "the server is on timeline {found}, and was on {stored}: it was promoted or restored. \
         Changes may be missing; start anew under another name and slot, or set \
         `timeline.change = accept` if the slot was carried over; where it was not, \
         `snapshot.mode = when_needed` beside that reads all tables anew"
    )]
    OtherTimeline { stored: u32, found: u32 },
    #[error(
        "`slot.name` is '{found}', and the stored position is of slot '{stored}': set it back, or \
         give the connector another name to start anew"
    )]
    OtherSlot { stored: String, found: String },
    #[error(
        "replication slot '{slot}' is gone, and with it the changes after {done}. To read all \
         tables anew, set `snapshot.mode = when_needed`, or give the connector another name"
    )]
    SlotMissing { slot: String, done: Lsn },
    #[error(
        "replication slot '{slot}' was invalidated: the server kept no more than its \
         max_slot_wal_keep_size. To make it anew and read all tables anew, set \
         `snapshot.mode = when_needed`, or give the connector another name and slot"
    )]
    SlotLost { slot: String },
    #[error(
        "replication slot '{slot}' was moved on to {confirmed} by somebody else, and we are at \
         {done}: the changes between are lost. Give each connector a slot of its own; to read all \
         tables anew, set `snapshot.mode = when_needed`"
    )]
    SlotAhead { slot: String, confirmed: Lsn, done: Lsn },
    #[error(
        "replication slot '{slot}' is of plugin '{plugin}' and database '{database}': choose \
         another `slot.name`"
    )]
    SlotOfOthers { slot: String, plugin: String, database: String },
    #[error(
        "there is no publication '{name}', and `publication.autocreate.mode = disabled`: create \
         it by `create publication \"{name}\" for table …`"
    )]
    NoPublication { name: String },
    #[error(
        "publication '{name}' is gone, and with it what the server would tell of changes after \
         {done}: a new one tells of changes after it alone. To read all tables anew, set \
         `snapshot.mode = when_needed`, or give the connector another name and slot"
    )]
    PublicationGone { name: String, done: Lsn },
    #[error(
        "no table is chosen: look at `table.include.list` and the like, which match \
         `schema.table` as a whole, of a partitioned table its partitions unless \
         `publish.via.partition.root` is set"
    )]
    NoTables,
    #[error(
        "publication '{name}' has none of the chosen tables, which are {tables}: put them into it by \
         `alter publication \"{name}\" add table …`, or name another one by `publication.name`"
    )]
    NonePublished { name: String, tables: String },
    #[error("`publish.via.partition.root` needs PostgreSQL 13")]
    NoPartitionRoots,
    #[error("connection given up after {attempts} attempts: {last}")]
    GivenUp { attempts: i64, last: Box<SourceError> },
    #[error("a reader of the snapshot ended before it was done, which is a fault of Millstream")]
    ReaderEnded,
}

/// What helps against the errors that people meet first.
fn advice(error: &PgError) -> &'static str {
    let message = error.server().map_or("", |error| error.message.as_str());
    match error.code() {
        "55000" if message.contains("wal_level") => {
            "; set wal_level = logical in postgresql.conf and restart the server"
        }
        "53400" if message.contains("replication slots") => {
            "; raise max_replication_slots, or drop a slot that nobody uses"
        }
        "42501" if message.contains("replication") || message.contains("slot") => {
            "; grant it by `alter role … replication`"
        }
        "42501" if message.contains("publication") || message.contains("database") => {
            "; create the publication as its tables' owner and set \
             `publication.autocreate.mode = disabled`, or let this role own the tables"
        }
        "42501" => "; grant it by `grant select on … to …`",
        "42704" if message.contains("publication") => {
            "; a publication must be there before the changes that it tells of. To read all tables \
             anew, set `snapshot.mode = when_needed`, or give the connector another name and slot"
        }
        _ => "",
    }
}

impl SourceError {
    /// Whether to try again: nothing is wrong but the way to the server, or the server for now.
    pub fn is_transient(&self) -> bool {
        match self {
            SourceError::Postgres(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether the position is of no use any more, and reading all tables anew would help.
    pub fn needs_snapshot(&self) -> bool {
        matches!(self, SourceError::SlotMissing { .. } | SourceError::SlotAhead { .. })
            || self.needs_slot()
    }

    /// Whether the slot is of no use any more, wherever one goes on in it.
    pub fn needs_slot(&self) -> bool {
        match self {
            SourceError::SlotLost { .. } | SourceError::PublicationGone { .. } => true,
            // It was made anew, but after changes that are still to come.
            SourceError::Postgres(error) => {
                let message = error.server().map_or("", |error| error.message.as_str());
                error.code() == "42704" && message.contains("publication")
            }
            _ => false,
        }
    }
}
