//! What has to be right before a connector can run, asked of the server: for `millstream check`.

use super::catalog::{self, quote_literal};
use super::config::{Autocreate, PostgresConfig, SnapshotMode};
use super::error::SourceError;
use super::pgoutput::ReplicaIdentity;
use super::publication;
use super::server;
use super::wire::session::Purpose;
use super::wire::{PgError, Session};
use crate::config::ConnectorConfig;

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fine,
    /// It runs, and some events will say less than one may expect.
    Warning,
    /// It will not run.
    Error,
}

fn fine(message: String) -> Finding {
    Finding { level: Level::Fine, message, help: None }
}

fn warning(message: String, help: String) -> Finding {
    Finding { level: Level::Warning, message, help: Some(help) }
}

fn error(message: String, help: String) -> Finding {
    Finding { level: Level::Error, message, help: Some(help) }
}

/// How many tables a finding names before it only counts them.
const NAMED_MAX: usize = 5;

/// Looks at everything that it can, and changes nothing.
pub async fn check(connector: &ConnectorConfig) -> Vec<Finding> {
    let config = match PostgresConfig::new(connector) {
        Ok(config) => config,
        Err(wrong) => return vec![error(wrong.to_string(), "correct the property".into())],
    };
    let mut findings = Vec::new();
    let looked = look(&config, &mut findings).await;
    if let Err(problem) = looked {
        findings.push(Finding { level: Level::Error, message: problem.to_string(), help: None });
    }
    findings
}

async fn look(config: &PostgresConfig, findings: &mut Vec<Finding>) -> Result<(), SourceError> {
    let mut session = Session::connect(&config.target, Purpose::Queries).await?;
    let server_version = session.parameter("server_version").unwrap_or("?").to_owned();
    findings.push(fine(format!("PostgreSQL {server_version} at {}", config.target.at())));
    if server::version(&session) < 10 {
        return Err(SourceError::TooOld { found: server_version });
    }
    let streams = config.snapshot.mode != SnapshotMode::InitialOnly;
    if streams {
        settings(&mut session, config, findings).await?;
        role(&mut session, config, findings).await?;
    }
    tables(&mut session, config, findings).await?;
    session.close().await;
    Ok(())
}

async fn settings(
    session: &mut Session,
    config: &PostgresConfig,
    findings: &mut Vec<Finding>,
) -> Result<(), SourceError> {
    let answer = session
        .query(
            "select current_setting('wal_level') as wal_level, \
             current_setting('max_replication_slots')::int as slots_max, \
             current_setting('max_wal_senders')::int as senders_max, \
             (select count(*) from pg_catalog.pg_replication_slots) as slots, \
             (select count(*) from pg_catalog.pg_stat_replication) as senders, \
             pg_catalog.pg_is_in_recovery() as standby",
        )
        .await?;
    let number = |name| answer.get(0, name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    match answer.get(0, "wal_level") {
        Some("logical") => findings.push(fine("wal_level is logical".into())),
        other => findings.push(error(
            format!("wal_level is {}", other.unwrap_or("?")),
            "set wal_level = logical in postgresql.conf and restart the server".into(),
        )),
    }
    let name = &config.slot.name;
    let slot = server::slot(session, name).await?;
    match &slot {
        Some(slot) => match server::usable(slot, super::lsn::Lsn::NONE, config) {
            Ok(()) if slot.active => findings.push(warning(
                format!("replication slot '{name}' is in use"),
                "another connector, or this one, is running: each needs a slot of its own".into(),
            )),
            Ok(()) => findings.push(fine(format!("replication slot '{name}' is there"))),
            Err(problem) => findings.push(Finding {
                level: Level::Error,
                message: problem.to_string(),
                help: None,
            }),
        },
        None if number("slots") >= number("slots_max") => findings.push(error(
            format!("all {} replication slots are taken", number("slots_max")),
            "raise max_replication_slots, or drop a slot that nobody uses".into(),
        )),
        None => findings.push(fine(format!("replication slot '{name}' will be created"))),
    }
    if number("senders") >= number("senders_max") {
        findings.push(error(
            format!("all {} WAL senders are taken", number("senders_max")),
            "raise max_wal_senders".into(),
        ));
    }
    Ok(())
}

async fn role(
    session: &mut Session,
    config: &PostgresConfig,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let publication = quote_literal(&config.publication.name);
    let answer = session
        .query(&format!(
            "select current_user as name, r.rolreplication or r.rolsuper as replicates, \
             has_database_privilege(current_database(), 'create') as creates, \
             exists (select from pg_catalog.pg_publication where pubname = {publication}) \
             as published from pg_catalog.pg_roles r where r.rolname = current_user"
        ))
        .await?;
    let flag = |column| answer.get(0, column) == Some("t");
    let user = answer.get(0, "name").unwrap_or_default().to_owned();
    match flag("replicates") {
        true => findings.push(fine(format!("role '{user}' may replicate"))),
        false => findings.push(error(
            format!("role '{user}' has no REPLICATION"),
            format!("alter role \"{user}\" replication"),
        )),
    }
    let name = &config.publication.name;
    match (flag("published"), config.publication.autocreate) {
        (true, _) => findings.push(fine(format!("publication '{name}' is there"))),
        (false, Autocreate::Disabled) => findings.push(error(
            format!("there is no publication '{name}'"),
            "create it, or set `publication.autocreate.mode = filtered`".into(),
        )),
        (false, _) if !flag("creates") => findings.push(error(
            format!("publication '{name}' is not there, and role '{user}' may not create it"),
            "create it as the tables' owner, or grant create on the database".into(),
        )),
        (false, _) => findings.push(fine(format!("publication '{name}' will be created"))),
    }
    Ok(())
}

async fn tables(
    session: &mut Session,
    config: &PostgresConfig,
    findings: &mut Vec<Finding>,
) -> Result<(), PgError> {
    let chosen = publication::chosen(session, config).await?;
    let gaps = chosen.gaps(config).into_iter();
    let mut tables = chosen.tables;
    tables.retain(|table| config.tables.takes(&table.schema, &table.name));
    if tables.is_empty() {
        findings.push(error(
            "no table is chosen".into(),
            "`table.include.list` and the like match `schema.table` as a whole, of a partitioned \
             table its partitions unless `publish.via.partition.root` is set"
                .into(),
        ));
        findings.extend(gaps.map(|gap| error(gap.what, gap.help)));
        return Ok(());
    }
    findings.extend(gaps.map(|gap| warning(gap.what, gap.help)));
    findings.push(fine(format!("tables that are chosen: {}", tables.len())));
    let mut unreadable = Vec::new();
    for table in &tables {
        let sql = format!(
            "select has_table_privilege({}::pg_catalog.oid, 'select') \
             and has_schema_privilege({}, 'usage')",
            table.id,
            quote_literal(&table.schema)
        );
        if session.query(&sql).await?.single() != Some("t") {
            unreadable.push(table.full_name());
        }
    }
    if !unreadable.is_empty() && config.snapshot.mode != SnapshotMode::NoData {
        findings.push(error(
            format!("these tables may not be read: {}", named(&unreadable)),
            "grant select on them, and usage on their schemas".into(),
        ));
    }
    let names = |wanted: &dyn Fn(&&catalog::TableInfo) -> bool| -> Vec<String> {
        tables.iter().filter(wanted).map(catalog::TableInfo::full_name).collect()
    };
    let mute = names(&|table| !table.identifies_rows());
    if !mute.is_empty() {
        findings.push(warning(
            format!("tables that nothing identifies the rows of: {}", named(&mute)),
            "once published, PostgreSQL refuses updates and deletions in them: add a primary key, \
             or alter table … replica identity full"
                .into(),
        ));
    }
    let keyless = names(&|table| !table.has_key() && table.identity == ReplicaIdentity::Full);
    if !keyless.is_empty() {
        findings.push(warning(
            format!("tables whose events will have no key: {}", named(&keyless)),
            "add a primary key, or name columns by `message.key.columns`".into(),
        ));
    }
    let brief = names(&|table| table.identity == ReplicaIdentity::Default && table.has_key());
    if !brief.is_empty() {
        findings.push(fine(format!(
            "tables that tell of a row before its change the key alone: {}; replica identity full \
             has all of it",
            brief.len()
        )));
    }
    Ok(())
}

pub(super) fn named(tables: &[String]) -> String {
    let shown = tables.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match tables.len().checked_sub(NAMED_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
