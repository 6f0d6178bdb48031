//! The server's side of replication: its identity and the slot.

use tracing::info;

use super::catalog::{quote_identifier, quote_literal};
use super::config::PostgresConfig;
use super::error::SourceError;
use super::lsn::Lsn;
use super::offset::Identity;
use super::wire::{PgError, Session};

/// Which system it is, and where its log ends at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub id: String,
    pub timeline: u32,
    pub end: Lsn,
}

/// A slot, as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    pub plugin: String,
    pub database: String,
    pub active: bool,
    /// What was confirmed: it will not be sent again.
    pub confirmed: Lsn,
    /// What it needs is gone: the server was told to keep no more.
    pub lost: bool,
    pub wal_status: String,
}

/// A slot that was just created, with a snapshot of the database at that very place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSlot {
    pub consistent_point: Lsn,
    pub snapshot: String,
}

/// The oldest version with `pgoutput`.
const VERSION_MIN: u32 = 10;
/// The first version that finds rows by ranges of places without reading the whole table.
pub const VERSION_WITH_PLACE_RANGES: u32 = 14;
/// The first version whose `pgoutput` passes logical messages on.
pub const VERSION_WITH_MESSAGES: u32 = 14;

/// The server's major version.
pub fn version(session: &Session) -> u32 {
    let text = session.parameter("server_version").unwrap_or_default();
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Asks over a replication connection.
pub async fn identify(session: &mut Session) -> Result<System, SourceError> {
    if version(session) < VERSION_MIN {
        let found = session.parameter("server_version").unwrap_or("?").to_owned();
        return Err(SourceError::TooOld { found });
    }
    let answer = session.query("IDENTIFY_SYSTEM").await?;
    let field = |name| answer.get(0, name).unwrap_or_default();
    Ok(System {
        id: field("systemid").to_owned(),
        timeline: field("timeline").parse().unwrap_or(0),
        end: field("xlogpos").parse().unwrap_or_default(),
    })
}

/// Refuses to go on with positions of another server's log.
pub fn same_system(
    stored: &Identity,
    system: &System,
    config: &PostgresConfig,
) -> Result<(), SourceError> {
    if !stored.system.is_empty() && stored.system != system.id {
        let (stored, found) = (stored.system.clone(), system.id.clone());
        return Err(SourceError::OtherSystem { stored, found });
    }
    if stored.timeline != 0 && stored.timeline != system.timeline && !config.accept_new_timeline {
        let (stored, found) = (stored.timeline, system.timeline);
        return Err(SourceError::OtherTimeline { stored, found });
    }
    if !stored.slot.is_empty() && stored.slot != config.slot.name {
        let (stored, found) = (stored.slot.clone(), config.slot.name.clone());
        return Err(SourceError::OtherSlot { stored, found });
    }
    Ok(())
}

/// The slot of that name, if there is one.
pub async fn slot(session: &mut Session, name: &str) -> Result<Option<Slot>, PgError> {
    let status = match version(session) {
        0..=12 => "'reserved'::text",
        _ => "wal_status",
    };
    let sql = format!(
        "select plugin, database, active, confirmed_flush_lsn, restart_lsn, {status} as wal_status \
         from pg_catalog.pg_replication_slots where slot_name = {}",
        quote_literal(name)
    );
    let answer = session.query(&sql).await?;
    let field = |name| answer.get(0, name).unwrap_or_default();
    Ok((!answer.rows.is_empty()).then(|| Slot {
        plugin: field("plugin").to_owned(),
        database: field("database").to_owned(),
        active: field("active") == "t",
        confirmed: field("confirmed_flush_lsn").parse().unwrap_or_default(),
        lost: field("wal_status") == "lost" || answer.get(0, "restart_lsn").is_none(),
        wal_status: field("wal_status").to_owned(),
    }))
}

/// Whether it is one that such a connector has.
pub fn is_ours(slot: &Slot, config: &PostgresConfig) -> bool {
    slot.plugin == "pgoutput" && slot.database == config.target.database
}

/// Refuses a slot that cannot be used, or that has moved on without us.
pub fn usable(slot: &Slot, done: Lsn, config: &PostgresConfig) -> Result<(), SourceError> {
    let name = || config.slot.name.clone();
    if !is_ours(slot, config) {
        let (plugin, database) = (slot.plugin.clone(), slot.database.clone());
        return Err(SourceError::SlotOfOthers { slot: name(), plugin, database });
    }
    if slot.lost {
        return Err(SourceError::SlotLost { slot: name() });
    }
    if slot.confirmed > done && done != Lsn::NONE {
        return Err(SourceError::SlotAhead { slot: name(), confirmed: slot.confirmed, done });
    }
    Ok(())
}

/// Creates the slot over a replication connection. The snapshot lasts until that is used again.
pub async fn create_slot(session: &mut Session, name: &str) -> Result<NewSlot, SourceError> {
    let command = format!(
        "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT",
        quote_identifier(name)
    );
    let answer = session.query(&command).await?;
    let field = |column| answer.get(0, column).unwrap_or_default().to_owned();
    let consistent_point = field("consistent_point").parse().unwrap_or_default();
    info!("replication slot '{name}' created at {consistent_point}");
    Ok(NewSlot { consistent_point, snapshot: field("snapshot_name") })
}

/// Drops a slot that is of no use any more, so that one is made at another place.
pub async fn drop_slot(session: &mut Session, name: &str) -> Result<(), PgError> {
    info!("replication slot '{name}' is dropped, to be made anew");
    let sql = format!("select pg_catalog.pg_drop_replication_slot({})", quote_literal(name));
    session.query(&sql).await.map(drop)
}

/// The command that starts the stream.
pub fn start_command(session: &Session, config: &PostgresConfig, from: Lsn) -> String {
    let publication = quote_literal(&quote_identifier(&config.publication.name));
    let messages = match version(session) >= VERSION_WITH_MESSAGES {
        true => ", messages 'true'",
        false => "",
    };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} \
         (proto_version '1', publication_names {publication}{messages})",
        quote_identifier(&config.slot.name)
    )
}
