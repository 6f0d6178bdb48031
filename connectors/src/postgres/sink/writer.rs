//! The connection, and its transactions.

use std::collections::BTreeMap;

use broker::ids::{Offset, TopicPartition};
use thiserror::Error;
use tracing::warn;

use super::batch::Batch;
use super::change::{self, Change};
use super::config::SinkConfig;
use super::literal::{quoted, quoted_name};
use super::table::Tables;
use crate::data::ConnectRecord;
use crate::postgres::wire::session::Purpose;
use crate::postgres::wire::{PgError, Session};
use crate::task::{Put, Refused, SinkPartition};

/// Why nothing can be written for now, or at all.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error(transparent)]
    Server(#[from] PgError),
    #[error(
        "partition {0}: another task has written since, which takes its place; this one begins \
         anew"
    )]
    Fenced(TopicPartition),
    #[error("{0}")]
    Config(String),
}

impl WriteError {
    pub fn is_transient(&self) -> bool {
        matches!(self, WriteError::Server(error) if error.is_transient())
    }

    /// Why the server will not have this row, if it is about that.
    fn refusal(&self) -> Option<String> {
        let WriteError::Server(error) = self else { return None };
        let server = error.server()?;
        // 22 is data, 23 is integrity; 42804 a value of another type than its column's.
        let about_rows =
            matches!(server.code.get(..2), Some("22" | "23")) || server.code == "42804";
        about_rows.then(|| server.to_string())
    }
}

/// Writes rows, with how far they go.
#[derive(Debug)]
pub struct Writer {
    config: SinkConfig,
    session: Option<Session>,
    tables: Tables,
    partitions: BTreeMap<TopicPartition, Progress>,
    /// A transaction that waits until the rows that it leaves out are dead letters: once it is
    /// committed, nobody looks at them again.
    waiting: Option<(TopicPartition, Offset)>,
}

#[derive(Clone, Debug)]
struct Progress {
    topic_id: String,
    /// Whether `next` is what the database says.
    known: bool,
    /// Records before this one are in the database.
    next: Offset,
}

impl Writer {
    pub fn new(config: SinkConfig) -> Writer {
        let (tables, partitions) = (Tables::default(), BTreeMap::new());
        Writer { config, session: None, tables, partitions, waiting: None }
    }

    /// Takes partitions, and tells how far the database holds them, where it keeps that.
    pub async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, WriteError> {
        for SinkPartition { partition, topic_id } in partitions {
            let topic_id = topic_id.map(|id| id.to_string()).unwrap_or_default();
            let progress = Progress { topic_id, known: false, next: Offset::ZERO };
            self.partitions.insert(partition.clone(), progress);
        }
        self.session = None;
        self.waiting = None;
        match self.connect().await {
            Ok(()) => {}
            // The first put will find out, and may be tried again.
            Err(error) if error.is_transient() => warn!("{error}"),
            Err(error) => return Err(error),
        }
        Ok(self.offsets())
    }

    pub fn close(&mut self, partitions: &[TopicPartition]) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// How far each partition is in the database, as far as that is known.
    pub fn offsets(&self) -> Vec<(TopicPartition, Offset)> {
        let offsets = self.partitions.iter().filter(|(_, progress)| progress.known);
        offsets.map(|(partition, progress)| (partition.clone(), progress.next)).collect()
    }

    /// The connection may be anything after an error: the next one finds out how far it was.
    pub fn disconnect(&mut self) {
        self.session = None;
        self.waiting = None;
        for progress in self.partitions.values_mut() {
            progress.known = false;
        }
        self.tables.forget();
    }

    async fn connect(&mut self) -> Result<(), WriteError> {
        if self.session.is_some() {
            return Ok(());
        }
        let mut session = Session::connect(&self.config.target, Purpose::Queries).await?;
        if let Some(offsets) = &self.config.offsets {
            let table = qualified(offsets);
            create_offsets(&mut session, &table).await?;
            for (partition, progress) in &mut self.partitions {
                let stored = stored(&mut session, &self.config, &table, partition, progress);
                (progress.next, progress.known) = (stored.await?, true);
            }
        }
        self.session = Some(session);
        Ok(())
    }

    /// Writes records of a partition, so many at a time, each time in one transaction. Where some
    /// are refused and let go, it returns before that counts: see [`finish`](Writer::finish).
    pub async fn put(
        &mut self,
        partition: &TopicPartition,
        records: &[ConnectRecord],
        next: Offset,
    ) -> Result<Put, WriteError> {
        self.connect().await?;
        let mut put = Put { records: records.len() as u64, ..Put::default() };
        let mut rest = records;
        while let Some(progress) = self.partitions.get(partition) {
            let done = progress.next;
            // What a lost connection had committed after all.
            rest = &rest[rest.iter().take_while(|record| offset(record) < done).count()..];
            let (now, later) = rest.split_at(rest.len().min(self.config.batch_size));
            let to = later.first().map_or(next, offset);
            if to <= done {
                break;
            }
            match self.write_together(partition, now, to, &mut put).await {
                Ok(()) => {}
                Err(error) if error.refusal().is_some() => {
                    self.roll_back().await?;
                    self.write_singly(partition, now, to, &mut put).await?;
                }
                Err(error) => return Err(error),
            }
            if !put.refused.is_empty() {
                put.records = (records.len() - later.len()) as u64;
                put.next = Some(to).filter(|to| *to < next);
                break;
            }
            rest = later;
        }
        Ok(put)
    }

    /// All of it in one transaction. What is refused before the server sees it is left out, if
    /// that is wanted; otherwise what comes before it is written.
    async fn write_together(
        &mut self,
        partition: &TopicPartition,
        records: &[ConnectRecord],
        mut to: Offset,
        put: &mut Put,
    ) -> Result<(), WriteError> {
        let mut batch = Batch::new(self.config.upsert).updating(self.config.update);
        let (mut skipped, mut refused) = (0, Vec::new());
        for record in records {
            match self.add(record, &mut batch).await? {
                Ok(true) => {}
                Ok(false) => skipped += 1,
                Err(reason) => {
                    refused.push(Refused { offset: offset(record), reason });
                    if !self.config.tolerant {
                        to = offset(record);
                        break;
                    }
                }
            }
        }
        self.begin(partition, to).await?;
        let mut bytes = 0;
        for statement in batch.statements() {
            bytes += statement.len() as u64;
            self.session().query(&statement).await?;
        }
        self.end(partition, to, !refused.is_empty()).await?;
        put.bytes += bytes;
        put.skipped += skipped;
        put.refused.extend(refused);
        Ok(())
    }

    /// The same, row by row, to find those that the server refuses.
    async fn write_singly(
        &mut self,
        partition: &TopicPartition,
        records: &[ConnectRecord],
        mut to: Offset,
        put: &mut Put,
    ) -> Result<(), WriteError> {
        // As far as it goes, before the transaction begins: tables may be made for it.
        let mut rows = Vec::new();
        for record in records {
            let mut batch = Batch::new(self.config.upsert).updating(self.config.update);
            let added = self.add(record, &mut batch).await?;
            rows.push((offset(record), added.map(|_| batch.statements())));
        }
        self.begin(partition, to).await?;
        let mut stopped = false;
        for (at, statements) in rows {
            let refused = match statements {
                Err(reason) => Some(reason),
                Ok(statements) => self.try_row(&statements, put).await?,
            };
            let Some(reason) = refused else { continue };
            put.refused.push(Refused { offset: at, reason });
            if !self.config.tolerant {
                (to, stopped) = (at, true);
                break;
            }
        }
        if stopped && self.config.offsets.is_some() {
            let stored = self.set_offset(partition, to);
            self.session().query(&stored).await?;
        }
        self.end(partition, to, !put.refused.is_empty()).await
    }

    /// Commits, unless rows that were let go have to be dead letters before.
    async fn end(
        &mut self,
        partition: &TopicPartition,
        to: Offset,
        any_refused: bool,
    ) -> Result<(), WriteError> {
        self.waiting = Some((partition.clone(), to));
        match any_refused && self.config.tolerant {
            true => Ok(()),
            false => self.finish().await,
        }
    }

    /// Commits the transaction that waits, if one does.
    pub async fn finish(&mut self) -> Result<(), WriteError> {
        if let Some((partition, to)) = self.waiting.take() {
            self.session().query("COMMIT").await?;
            self.written(&partition, to);
        }
        Ok(())
    }

    /// Why the server refuses a row, if it does.
    async fn try_row(
        &mut self,
        statements: &[String],
        put: &mut Put,
    ) -> Result<Option<String>, WriteError> {
        if statements.is_empty() {
            put.skipped += 1;
            return Ok(None);
        }
        self.session().query("SAVEPOINT one").await?;
        for statement in statements {
            match self.session().query(statement).await.map_err(WriteError::from) {
                Ok(_) => put.bytes += statement.len() as u64,
                Err(error) => {
                    let Some(reason) = error.refusal() else { return Err(error) };
                    self.session().query("ROLLBACK TO one").await?;
                    return Ok(Some(reason));
                }
            }
        }
        self.session().query("RELEASE one").await?;
        Ok(None)
    }

    /// Adds what a record asks for. `false`: that is nothing. An error in words is about this
    /// record alone.
    async fn add(
        &mut self,
        record: &ConnectRecord,
        batch: &mut Batch,
    ) -> Result<Result<bool, String>, WriteError> {
        let change = match change::of_record(record, &self.config) {
            Ok(change) => change,
            Err(reason) => return Ok(Err(reason)),
        };
        let (cells, delete) = match &change {
            Change::Nothing => return Ok(Ok(false)),
            Change::Truncate => return self.truncate(record, batch).await,
            Change::Put(cells) => (cells, false),
            Change::Delete(key) => (key, true),
        };
        let id = match self.config.table_of(record) {
            Ok(id) => id,
            Err(reason) => return Ok(Err(reason)),
        };
        let session = self.session.as_mut().expect("it was connected");
        let table = match self.tables.for_cells(session, &self.config, id, cells).await {
            Ok(Ok(table)) => table,
            Ok(Err(reason)) => return Ok(Err(reason)),
            Err(error) => return Err(error),
        };
        let added = match delete {
            true => batch.delete(table, cells),
            false => batch.put(table, cells),
        };
        Ok(added.map(|()| true))
    }

    /// Empties the table of a record, if there is one.
    async fn truncate(
        &mut self,
        record: &ConnectRecord,
        batch: &mut Batch,
    ) -> Result<Result<bool, String>, WriteError> {
        let id = match self.config.table_of(record) {
            Ok(id) => id,
            Err(reason) => return Ok(Err(reason)),
        };
        let session = self.session.as_mut().expect("it was connected");
        let table = self.tables.known(session, id).await?;
        let is_there = table.is_some();
        if let Some(table) = table {
            batch.truncate(table);
        }
        Ok(Ok(is_there))
    }

    /// Begins a transaction that stores `to`, if nobody else has gone on.
    async fn begin(&mut self, partition: &TopicPartition, to: Offset) -> Result<(), WriteError> {
        if self.config.offsets.is_none() {
            self.session().query("BEGIN").await?;
            return Ok(());
        }
        let statement = format!("BEGIN; {}", self.set_offset(partition, to));
        let known = self.partitions.get(partition).map_or(Offset::ZERO, |one| one.next);
        let answer = self.session().query(&statement).await?;
        if answer.single() == Some(known.0.to_string().as_str()) {
            return Ok(());
        }
        self.roll_back().await?;
        Err(WriteError::Fenced(partition.clone()))
    }

    /// Stores an offset, and answers the one before.
    fn set_offset(&self, partition: &TopicPartition, to: Offset) -> String {
        let offsets = self.config.offsets.as_ref().expect("it is asked for with a table only");
        let place = place(&self.config, partition);
        let table = qualified(offsets);
        format!(
            "WITH before AS (SELECT next_offset FROM {table} WHERE {place} FOR UPDATE) \
             UPDATE {table} SET next_offset = {} FROM before WHERE {place} \
             RETURNING before.next_offset",
            to.0
        )
    }

    async fn roll_back(&mut self) -> Result<(), WriteError> {
        self.session().query("ROLLBACK").await?;
        Ok(())
    }

    fn written(&mut self, partition: &TopicPartition, to: Offset) {
        if let Some(progress) = self.partitions.get_mut(partition) {
            (progress.next, progress.known) = (to, true);
        }
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("it was connected")
    }
}

fn offset(record: &ConnectRecord) -> Offset {
    record.kafka_offset.unwrap_or(Offset::ZERO)
}

fn qualified((schema, name): &(String, String)) -> String {
    format!("{}.{}", quoted_name(schema), quoted_name(name))
}

/// The row of a partition in the table of offsets.
fn place(config: &SinkConfig, partition: &TopicPartition) -> String {
    format!(
        "connector = {} AND topic = {} AND partition = {}",
        quoted(&config.connector),
        quoted(&partition.topic),
        partition.partition
    )
}

async fn create_offsets(session: &mut Session, table: &str) -> Result<(), WriteError> {
    let there = format!("SELECT pg_catalog.to_regclass({})", quoted(table));
    if session.query(&there).await?.single().is_some() {
        return Ok(());
    }
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {table} (connector text NOT NULL, topic text NOT NULL, \
         partition integer NOT NULL, topic_id text NOT NULL, next_offset bigint NOT NULL, \
         PRIMARY KEY (connector, topic, partition))"
    );
    session.query(&create).await.map_err(|error| match error.code() {
        "42501" | "3F000" => WriteError::Config(format!(
            "{error}; let this role create the table of offsets, create it for it, or name \
             another by `offsets.table`: {create}"
        )),
        _ => error.into(),
    })?;
    Ok(())
}

/// The offset that the database holds, which is 0 for a topic that has been created anew.
async fn stored(
    session: &mut Session,
    config: &SinkConfig,
    table: &str,
    partition: &TopicPartition,
    progress: &Progress,
) -> Result<Offset, WriteError> {
    let topic_id = quoted(&progress.topic_id);
    let insert = format!(
        "INSERT INTO {table} AS o (connector, topic, partition, topic_id, next_offset) \
         VALUES ({}, {}, {}, {topic_id}, 0) ON CONFLICT (connector, topic, partition) DO UPDATE \
         SET topic_id = EXCLUDED.topic_id, next_offset = CASE \
         WHEN o.topic_id = EXCLUDED.topic_id OR o.topic_id = '' OR EXCLUDED.topic_id = '' \
         THEN o.next_offset ELSE 0 END RETURNING next_offset",
        quoted(&config.connector),
        quoted(&partition.topic),
        partition.partition
    );
    let answer = session.query(&insert).await?;
    let next = answer.single().and_then(|text| text.parse().ok()).map(Offset);
    if next.is_none() {
        warn!("table {table} has no offset of partition {partition}");
    }
    Ok(next.unwrap_or(Offset::ZERO))
}

/// Changes how far the database is taken to hold partitions, for a connector that is stopped.
pub async fn alter_offsets(
    config: &SinkConfig,
    offsets: &[(TopicPartition, Option<Offset>)],
) -> Result<(), WriteError> {
    let Some(table) = config.offsets.as_ref().map(qualified) else { return Ok(()) };
    let mut session = Session::connect(&config.target, Purpose::Queries).await?;
    create_offsets(&mut session, &table).await?;
    for (partition, offset) in offsets {
        let offset = offset.unwrap_or(Offset::ZERO).0;
        let statement = format!(
            "INSERT INTO {table} (connector, topic, partition, topic_id, next_offset) \
             VALUES ({}, {}, {}, '', {offset}) ON CONFLICT (connector, topic, partition) \
             DO UPDATE SET next_offset = EXCLUDED.next_offset",
            quoted(&config.connector),
            quoted(&partition.topic),
            partition.partition
        );
        session.query(&statement).await?;
    }
    session.close().await;
    Ok(())
}
