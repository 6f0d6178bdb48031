//! From nothing to a snapshot or a stream: what is there is looked at, and what is missing made.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use super::catalog::{self, TableInfo};
use super::config::{PostgresConfig, SnapshotMode};
use super::error::SourceError;
use super::events::EventSchemas;
use super::incremental::window::Visibility;
use super::keys;
use super::lsn::Lsn;
use super::offset::{Identity, StoredPosition};
use super::preflight;
use super::publication::{self, Chosen};
use super::server::{self, NewSlot, System};
use super::snapshot::{Snapshot, SnapshotPoint, SnapshotTable};
use super::table::Table;
use super::types::TypeCatalog;
use super::wire::session::Purpose;
use super::wire::{ChangeStream, PgError, Session, Target};

/// What can go on now.
pub struct Opened {
    pub phase: Phase,
    pub types: TypeCatalog,
    pub system: System,
    /// A connection for questions.
    pub control: Session,
}

pub enum Phase {
    Snapshot(Box<Snapshot>),
    /// A stream that was started where the position is.
    Stream(ChangeStream),
}

/// What a start is to bring.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub snapshot: bool,
    /// In place of a slot that is of no use any more.
    pub new_slot: bool,
}

/// Opens what `stored` and the configuration ask for, and notes in `stored` where things stand.
pub async fn open(
    config: &PostgresConfig,
    stored: &mut StoredPosition,
    wanted: Wanted,
    schemas: &EventSchemas,
    said: &mut Said,
) -> Result<Opened, SourceError> {
    let mut replication = Session::connect(&config.target, Purpose::Replication).await?;
    let system = server::identify(&mut replication).await?;
    server::same_system(&stored.identity, &system, config)?;
    let mut control = Session::connect(&config.target, Purpose::Queries).await?;
    let types = TypeCatalog::load(&mut control).await?;
    let chosen = publication::chosen(&mut control, config).await?;
    mention_what_lacks(config, &chosen, said);
    let new_slot = match config.snapshot.mode {
        SnapshotMode::InitialOnly => None,
        _ => slot(config, stored, wanted, &chosen, &mut control, &mut replication).await?,
    };
    let slot_name = config.slot.name.clone();
    stored.identity =
        Identity { system: system.id.clone(), timeline: system.timeline, slot: slot_name };
    if !wanted.snapshot {
        let command = server::start_command(&replication, config, stored.position.done);
        let stream = replication.replicate(&command).await?;
        info!("connector '{}': streaming from {}", config.connector, stored.position.done);
        let phase = Phase::Stream(stream);
        return Ok(Opened { phase, types, system, control });
    }
    let (holder, point) = match new_slot {
        Some(slot) => {
            let (name, lsn) = (slot.snapshot, slot.consistent_point);
            (replication, Point { name, lsn, seen: Visibility::default() })
        }
        None => exported(config).await?,
    };
    let (mut tables, point) =
        read_in(&mut control, &point, &chosen.tables, config, &types, schemas).await?;
    let progress = stored.snapshot.get_or_insert_default();
    select(&mut control, config, &mut tables).await?;
    info!("connector '{}': snapshot of {} tables at {}", config.connector, tables.len(), point.lsn);
    let threads = config.snapshot.threads;
    let snapshot = Snapshot::start(&config.target, threads, tables, progress, point, holder);
    Ok(Opened { phase: Phase::Snapshot(Box::new(snapshot)), types, system, control })
}

/// Sees that publication and slot are there, and that the slot has what comes after the position;
/// returns it if it was made now.
async fn slot(
    config: &PostgresConfig,
    stored: &mut StoredPosition,
    wanted: Wanted,
    chosen: &Chosen,
    control: &mut Session,
    replication: &mut Session,
) -> Result<Option<NewSlot>, SourceError> {
    let (slot_name, done) = (&config.slot.name, stored.position.done);
    publication::ensure(control, config, chosen, done).await?;
    let mut slot = server::slot(control, slot_name).await?;
    if let Some(known) = &slot
        && wanted.new_slot
        && done == Lsn::NONE
        && server::is_ours(known, config)
    {
        server::drop_slot(control, slot_name).await?;
        slot = None;
    }
    match slot {
        Some(slot) => {
            server::usable(&slot, done, config)?;
            if done == Lsn::NONE {
                stored.position.done = slot.confirmed;
            }
            Ok(None)
        }
        None if done != Lsn::NONE => {
            Err(SourceError::SlotMissing { slot: slot_name.clone(), done })
        }
        None => {
            let created = server::create_slot(replication, slot_name).await?;
            stored.position.done = created.consistent_point;
            Ok(Some(created))
        }
    }
}

/// Warnings that were given since the start: a snapshot and the stream after it, and each new
/// connection, would say them again.
#[derive(Debug, Default)]
pub struct Said(BTreeSet<String>);

impl Said {
    fn warn(&mut self, message: String) {
        if !self.0.contains(&message) {
            warn!("{message}");
            self.0.insert(message);
        }
    }
}

/// Says which tables cannot be written as before once they are published.
fn mention_unidentified(config: &PostgresConfig, tables: &[TableInfo], said: &mut Said) {
    let unidentified = tables.iter().filter(|table| !table.identifies_rows());
    let names: Vec<String> = unidentified.map(TableInfo::full_name).collect();
    if !names.is_empty() && config.snapshot.mode != SnapshotMode::InitialOnly {
        said.warn(format!(
            "connector '{}': tables that nothing identifies the rows of: {}; as they are published, \
             PostgreSQL refuses updates and deletions in them: add a primary key, or alter table … \
             replica identity full, or leave them out by `table.exclude.list`",
            config.connector,
            preflight::named(&names)
        ));
    }
}

/// Says what will not be told of what is chosen, and what cannot be written there any more.
fn mention_what_lacks(config: &PostgresConfig, chosen: &Chosen, said: &mut Said) {
    mention_unidentified(config, &chosen.tables, said);
    for gap in chosen.gaps(config) {
        said.warn(format!("connector '{}': {}: {}", config.connector, gap.what, gap.help));
    }
}

/// A connection for questions, made where there is none.
pub async fn control<'a>(
    kept: &'a mut Option<Session>,
    target: &Target,
) -> Result<&'a mut Session, PgError> {
    match kept {
        Some(session) => Ok(session),
        none => Ok(none.insert(Session::connect(target, Purpose::Queries).await?)),
    }
}

/// A snapshot that other connections can share, and where in the log it is.
pub struct Point {
    pub name: String,
    /// All that it shows is before this in the log.
    pub lsn: Lsn,
    /// What it shows, where it was not made with a slot.
    pub seen: Visibility,
}

/// A snapshot of now, where there is none that came with the slot.
pub async fn exported(config: &PostgresConfig) -> Result<(Session, Point), PgError> {
    let mut holder = Session::connect(&config.target, Purpose::Queries).await?;
    holder.query("begin isolation level repeatable read read only").await?;
    let answer = holder
        .query(
            "select pg_catalog.pg_export_snapshot() as name, \
             pg_catalog.txid_current_snapshot() as seen, case when \
             pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() \
             else pg_catalog.pg_current_wal_insert_lsn() end as lsn",
        )
        .await?;
    let field = |name| answer.get(0, name).unwrap_or_default();
    let point = Point {
        name: field("name").to_owned(),
        lsn: field("lsn").parse().unwrap_or_default(),
        seen: Visibility::parse(field("seen")).unwrap_or_default(),
    };
    Ok((holder, point))
}

/// Puts the SELECTs that the configuration has in place of their tables, and tries what they are:
/// in the midst of the snapshot it would be said after hours, and of a statement that nobody wrote.
async fn select(
    control: &mut Session,
    config: &PostgresConfig,
    tables: &mut [SnapshotTable],
) -> Result<(), SourceError> {
    for (name, select) in &config.snapshot.selects {
        let table = tables.iter_mut().find(|table| table.table.info.full_name() == *name);
        let Some(table) = table else {
            warn!(
                "connector '{}': `{}` names {name}, which is none of the tables that are read",
                config.connector,
                keys::SELECT_TABLES
            );
            continue;
        };
        table.filter = Some(select.clone());
        // Its rows need not be the table's, and are read in one go.
        table.by_place = false;
        let columns = table.columns_sql();
        let tried = format!("select {columns} from ({select}\n) as selected limit 0");
        control.query(&tried).await.map_err(|error| match error.is_transient() {
            true => SourceError::Postgres(error),
            false => SourceError::Select { table: name.clone(), error },
        })?;
    }
    Ok(())
}

/// Looks at the tables as they are in the snapshot.
pub async fn read_in(
    control: &mut Session,
    point: &Point,
    published: &[TableInfo],
    config: &PostgresConfig,
    types: &TypeCatalog,
    schemas: &EventSchemas,
) -> Result<(Vec<SnapshotTable>, SnapshotPoint), SourceError> {
    let name = catalog::quote_literal(&point.name);
    let begin =
        format!("begin isolation level repeatable read read only; set transaction snapshot {name}");
    control.query(&begin).await?;
    let answer = control
        .query(
            "select (extract(epoch from pg_catalog.transaction_timestamp()) * 1000000)::bigint \
             as time_us, (pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) \
             & 4294967295) as xid",
        )
        .await?;
    let time_us = answer.get(0, "time_us").and_then(|text| text.parse().ok()).unwrap_or(0);
    let xid = answer.get(0, "xid").and_then(|text| text.parse().ok());
    let mut tables = publication::chosen(control, config).await?.tables;
    // What was created since is not published, so it would be read and then stand still.
    tables.retain(|table| {
        published.iter().any(|known| known.id == table.id)
            && config.tables.takes(&table.schema, &table.name)
    });
    let mut found = Vec::new();
    for info in tables {
        let size = format!(
            "select pg_catalog.pg_relation_size({}::pg_catalog.oid) \
             / pg_catalog.current_setting('block_size')::bigint",
            info.id
        );
        let blocks = control.query(&size).await?;
        let blocks = blocks.single().and_then(|text| text.parse().ok()).unwrap_or(0);
        let by_place =
            !info.partitioned && server::version(control) >= server::VERSION_WITH_PLACE_RANGES;
        let table = Arc::new(Table::from_catalog(&info, types, config, schemas));
        found.push(SnapshotTable { table, blocks, by_place, filter: None });
    }
    control.query("commit").await?;
    let (name, lsn) = (point.name.clone(), point.lsn);
    Ok((found, SnapshotPoint { name, lsn, previous_end: None, xid, time_us }))
}
