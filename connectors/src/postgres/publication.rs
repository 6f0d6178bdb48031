//! The publication: of which tables the server sends what. It may be made by hand, so what it
//! leaves out of the chosen tables is found out and told, and a table that it does not have at all
//! is not read either: its rows would come once and then stand still.

use std::collections::BTreeMap;

use tracing::{info, warn};

use super::catalog::{self, TableInfo, quote_identifier, quote_literal};
use super::config::{Autocreate, PostgresConfig, PublicationConfig, SnapshotMode};
use super::error::SourceError;
use super::lsn::Lsn;
use super::preflight::named;
use super::server;
use super::wire::{PgError, Session};

/// The first version that can show changes of partitions as the whole table's.
const VERSION_WITH_ROOTS: u32 = 13;
/// The first version with filters of rows and lists of columns.
const VERSION_WITH_FILTERS: u32 = 15;

/// One that is there.
#[derive(Clone, Debug)]
pub struct Publication {
    pub all_tables: bool,
    /// Changes of partitions show as changes of the partitioned table.
    pub via_root: bool,
    /// Of insert, update and delete those that it leaves out.
    left_out: Vec<&'static str>,
    /// By schema and name, those that changes are told of: with `via_root` the partitioned ones,
    /// else their partitions.
    tables: BTreeMap<(String, String), PublishedTable>,
}

#[derive(Clone, Debug)]
struct PublishedTable {
    has_filter: bool,
    /// `None`: all that there are, or a server that has no such lists.
    columns: Option<Vec<String>>,
}

/// The tables that the connector is to take, and what is published of them.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub tables: Vec<TableInfo>,
    /// The patterns take them, and the publication does not have them.
    pub unpublished: Vec<TableInfo>,
    /// `None`: it is not there, or of no meaning as nothing is streamed.
    pub publication: Option<Publication>,
}

impl Publication {
    /// Asks the server for it.
    pub async fn load(session: &mut Session, name: &str) -> Result<Option<Publication>, PgError> {
        let version = server::version(session);
        let literal = quote_literal(name);
        let via_root = match version >= VERSION_WITH_ROOTS {
            true => "pubviaroot",
            false => "false as pubviaroot",
        };
        let found = session
            .query(&format!(
                "select puballtables, pubinsert, pubupdate, pubdelete, {via_root} \
                 from pg_catalog.pg_publication where pubname = {literal}"
            ))
            .await?;
        if found.rows.is_empty() {
            return Ok(None);
        }
        let flag = |column| found.get(0, column) == Some("t");
        let operations =
            [("pubinsert", "insert"), ("pubupdate", "update"), ("pubdelete", "delete")];
        let left_out = operations.into_iter().filter(|(column, _)| !flag(column));
        Ok(Some(Publication {
            all_tables: flag("puballtables"),
            via_root: flag("pubviaroot"),
            left_out: left_out.map(|(_, operation)| operation).collect(),
            tables: published_tables(session, &literal).await?,
        }))
    }

    fn table(&self, table: &TableInfo) -> Option<&PublishedTable> {
        self.tables.get(&(table.schema.clone(), table.name.clone()))
    }

    /// What it does not tell of the chosen tables, each with what to do about it.
    fn gaps(&self, config: &PostgresConfig, chosen: &Chosen) -> Vec<Gap> {
        let name = &config.publication.name;
        let publication = quote_identifier(name);
        let mut gaps = Vec::new();
        if !chosen.unpublished.is_empty() {
            let lacking: Vec<String> =
                chosen.unpublished.iter().map(TableInfo::full_name).collect();
            gaps.push(Gap {
                what: format!(
                    "publication '{name}' does not have these tables, which are left out: {}",
                    named(&lacking)
                ),
                help: format!(
                    "alter publication {publication} add table …, or choose others by \
                     `table.include.list`"
                ),
            });
        }
        if !self.left_out.is_empty() {
            let left_out = self.left_out.join(", ");
            gaps.push(Gap {
                what: format!("publication '{name}' leaves these operations out: {left_out}"),
                help: format!(
                    "alter publication {publication} set (publish = 'insert, update, delete, \
                     truncate'), if they are to come"
                ),
            });
        }
        if config.publication.via_root && !self.via_root {
            gaps.push(Gap {
                what: format!(
                    "`publish.via.partition.root` is true, and publication '{name}' shows changes \
                     of partitions as their own"
                ),
                help: format!(
                    "alter publication {publication} set (publish_via_partition_root = true), \
                     before the connector's first start"
                ),
            });
        }
        gaps.extend(self.gaps_in_rows(name, &chosen.tables));
        gaps
    }

    /// What a snapshot reads of the tables, and the stream does not have.
    fn gaps_in_rows(&self, name: &str, tables: &[TableInfo]) -> Vec<Gap> {
        let names = |wanted: &dyn Fn(&TableInfo, &PublishedTable) -> bool| -> Vec<String> {
            let of = |table: &&TableInfo| self.table(table).is_some_and(|it| wanted(table, it));
            tables.iter().filter(of).map(TableInfo::full_name).collect()
        };
        let filtered = names(&|_, published| published.has_filter);
        let narrowed = names(&|table, published| {
            published.columns.as_ref().is_some_and(|columns| {
                table.columns.iter().any(|column| !columns.contains(&column.name))
            })
        });
        let mut gaps = Vec::new();
        if !filtered.is_empty() {
            gaps.push(Gap {
                what: format!("publication '{name}' filters rows of {}", named(&filtered)),
                help: "a snapshot reads all rows, and of those that the filter leaves out no \
                       change is told: leave them out by the transform `Sql`"
                    .into(),
            });
        }
        if !narrowed.is_empty() {
            gaps.push(Gap {
                what: format!("publication '{name}' leaves columns out of {}", named(&narrowed)),
                help: "a snapshot reads all columns: leave the same ones out by \
                       `column.exclude.list`"
                    .into(),
            });
        }
        gaps
    }
}

/// Something of the chosen tables that a publication does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub what: String,
    pub help: String,
}

async fn published_tables(
    session: &mut Session,
    publication: &str,
) -> Result<BTreeMap<(String, String), PublishedTable>, PgError> {
    let more = match server::version(session) >= VERSION_WITH_FILTERS {
        true => {
            "rowfilter is not null as has_filter, pg_catalog.to_json(attnames)::text as columns"
        }
        false => "false as has_filter, null as columns",
    };
    let found = session
        .query(&format!(
            "select schemaname, tablename, {more} from pg_catalog.pg_publication_tables \
             where pubname = {publication}"
        ))
        .await?;
    let tables = (0..found.rows.len()).map(|row| {
        let text = |column| found.get(row, column).unwrap_or_default();
        let published = PublishedTable {
            has_filter: text("has_filter") == "t",
            columns: serde_json::from_str(text("columns")).ok(),
        };
        ((text("schemaname").to_owned(), text("tablename").to_owned()), published)
    });
    Ok(tables.collect())
}

/// Reads which tables the patterns take, at the level that the publication tells of.
pub async fn chosen(session: &mut Session, config: &PostgresConfig) -> Result<Chosen, PgError> {
    let publication = match config.snapshot.mode {
        SnapshotMode::InitialOnly => None,
        _ => Publication::load(session, &config.publication.name).await?,
    };
    let via_root = publication.as_ref().map_or(config.publication.via_root, |it| it.via_root);
    let (mut tables, mut unpublished) = (Vec::new(), Vec::new());
    for table in catalog::chosen_tables(session, config).await? {
        let right_level = if via_root { !table.is_partition } else { !table.partitioned };
        match &publication {
            Some(publication) if publication.table(&table).is_some() => tables.push(table),
            _ if !right_level => {}
            Some(publication) if !is_extended(&config.publication, publication) => {
                unpublished.push(table);
            }
            _ => tables.push(table),
        }
    }
    Ok(Chosen { tables, unpublished, publication })
}

/// Whether chosen tables that it does not have are put into it.
fn is_extended(config: &PublicationConfig, publication: &Publication) -> bool {
    config.autocreate == Autocreate::Filtered && !publication.all_tables
}

impl Chosen {
    /// What the publication does not tell of them, each with what to do about it.
    pub fn gaps(&self, config: &PostgresConfig) -> Vec<Gap> {
        self.publication.as_ref().map(|one| one.gaps(config, self)).unwrap_or_default()
    }
}

/// Sees that the publication is there and has the tables. It has to be before the slot is
/// created: a slot sees the catalog as it was. A new one tells nothing of what came before it, so
/// where changes since `done` are still to come it is not made.
pub async fn ensure(
    session: &mut Session,
    config: &PostgresConfig,
    chosen: &Chosen,
    done: Lsn,
) -> Result<(), SourceError> {
    let name = &config.publication.name;
    let Some(publication) = &chosen.publication else {
        return create(session, &config.publication, &chosen.tables, done).await;
    };
    if chosen.tables.is_empty() {
        let problem = match chosen.unpublished.as_slice() {
            [] if !is_extended(&config.publication, publication) => return Ok(()),
            [] => SourceError::NoTables,
            lacking => SourceError::NonePublished {
                name: name.clone(),
                tables: named(&lacking.iter().map(TableInfo::full_name).collect::<Vec<_>>()),
            },
        };
        if done == Lsn::NONE {
            return Err(problem);
        }
        // They were there, and what changed in them before they went is still to come.
        warn!("{problem}");
        return Ok(());
    }
    if !is_extended(&config.publication, publication) {
        return Ok(());
    }
    let missing = chosen.tables.iter().filter(|table| publication.table(table).is_none());
    let missing: Vec<String> = missing.map(TableInfo::quoted).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let name = quote_identifier(name);
    let statement = format!("alter publication {name} add table {}", missing.join(", "));
    info!("{statement}");
    session.query(&statement).await?;
    Ok(())
}

async fn create(
    session: &mut Session,
    config: &PublicationConfig,
    tables: &[TableInfo],
    done: Lsn,
) -> Result<(), SourceError> {
    if done != Lsn::NONE {
        return Err(SourceError::PublicationGone { name: config.name.clone(), done });
    }
    let name = quote_identifier(&config.name);
    let via_root = match server::version(session) {
        _ if !config.via_root => "",
        0..VERSION_WITH_ROOTS => return Err(SourceError::NoPartitionRoots),
        _ => " with (publish_via_partition_root = true)",
    };
    let statement = match config.autocreate {
        Autocreate::Disabled => {
            return Err(SourceError::NoPublication { name: config.name.clone() });
        }
        Autocreate::Filtered if tables.is_empty() => return Err(SourceError::NoTables),
        Autocreate::Filtered => {
            let list: Vec<String> = tables.iter().map(TableInfo::quoted).collect();
            format!("create publication {name} for table {}{via_root}", list.join(", "))
        }
        Autocreate::AllTables => format!("create publication {name} for all tables{via_root}"),
        Autocreate::NoTables => format!("create publication {name}{via_root}"),
    };
    info!("{statement}");
    session.query(&statement).await?;
    Ok(())
}
