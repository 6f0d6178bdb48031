//! Chunk after chunk, between the changes.
//!
//! ```text
//!  nothing asked ─► look at the table ─► ask for a chunk ─► wait for the stream ─► its rows ─┐
//!        ▲                                     ▲                                             │
//!        └──────────── that was all ───────────┴──────────────── more ◄──────────────────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::chunk::{self, Ask, Chunk, Done, Job, Looked};
use super::progress::{Progress, TableProgress, Work};
use super::reach::{Hurry, Waiting, WrittenOut};
use super::window::Window;
use crate::data::Value;
use crate::postgres::catalog::TableInfo;
use crate::postgres::changes::Changes;
use crate::postgres::config::PostgresConfig;
use crate::postgres::error::SourceError;
use crate::postgres::events::{EventSchemas, Operation, Origin, SnapshotMarker};
use crate::postgres::json_events::JsonEvents;
use crate::postgres::notifications::{About, EMPTY, NO_KEY, Notifier, REFUSED, SUCCEEDED, UNKNOWN};
use crate::postgres::opening;
use crate::postgres::pgoutput::Row;
use crate::postgres::publication;
use crate::postgres::table::{Image, RowError, Table};
use crate::postgres::types::TypeCatalog;
use crate::postgres::wire::{PgError, Session};
use crate::records::SourceRecords;

/// How often at most it is said how far a table is.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The work at hand on one connection to the server.
pub struct Incremental {
    job: JoinSet<Job>,
    /// What came of it while waiting.
    finished: Option<Job>,
    session: Option<Session>,
    /// The table that all this is of.
    of: Option<TableProgress>,
    /// It, as it was looked at.
    looked: Option<Box<Looked>>,
    table: Option<Arc<Table>>,
    /// What was read waits for the stream.
    waiting: Option<Waiting>,
    /// The server lets nothing be written.
    read_only: bool,
    logged: Instant,
}

/// What the work needs of the task.
pub struct Place<'a> {
    pub config: &'a PostgresConfig,
    pub schemas: &'a EventSchemas,
    pub types: &'a mut TypeCatalog,
    pub control: &'a mut Option<Session>,
    pub progress: &'a mut Option<Progress>,
    pub changes: &'a mut Changes,
    /// Rows go there at once: nothing may come between them and the progress that counts them.
    pub out: &'a mut SourceRecords,
    pub json: &'a mut JsonEvents,
    pub notes: &'a mut Notifier,
    pub now_us: i64,
}

impl Place<'_> {
    async fn control(&mut self) -> Result<&mut Session, PgError> {
        opening::control(self.control, &self.config.target).await
    }

    /// The tables that may be read again, and their types made known.
    pub async fn chosen(&mut self) -> Result<Vec<TableInfo>, SourceError> {
        let config = self.config;
        let mut chosen = publication::chosen(self.control().await?, config).await?.tables;
        chosen.retain(|table| config.tables.takes(&table.schema, &table.name));
        let columns = chosen.iter().flat_map(|table| &table.columns);
        if !self.types.knows_all(columns.map(|column| column.type_id)) {
            *self.types = TypeCatalog::load(self.control().await?).await?;
        }
        Ok(chosen)
    }

    /// Says how the table at hand ended, and its request with the last one.
    fn tell_end(&mut self, status: &str) {
        let Some(progress) = self.progress else { return };
        let Some(of) = progress.current() else { return };
        let (id, table, rows) = (of.id.clone(), of.full_name(), of.rows);
        let left = progress.tables_of(&id);
        self.notes.scanned(About::Incremental(&id), &table, &left, (rows, status));
        if left.len() <= 1 {
            self.notes.tell(About::Incremental(&id), "COMPLETED", &[]);
        }
    }

    /// Says how far the table at hand is.
    fn tell_progress(&mut self) {
        let Some(progress) = self.progress else { return };
        let Some(of) = progress.current().cloned() else { return };
        let key = |values: &Option<Vec<String>>| values.as_deref().unwrap_or_default().join(",");
        let data = [
            ("current_collection_in_progress", of.full_name()),
            ("maximum_key", key(&of.up_to)),
            ("last_processed_key", key(&of.after)),
            ("data_collections", progress.tables_of(&of.id).join(",")),
        ];
        self.notes.tell(About::Incremental(&of.id), "IN_PROGRESS", &data);
    }
}

impl Default for Incremental {
    fn default() -> Incremental {
        Incremental {
            job: JoinSet::new(),
            finished: None,
            session: None,
            of: None,
            looked: None,
            table: None,
            waiting: None,
            read_only: false,
            logged: Instant::now(),
        }
    }
}

impl Incremental {
    /// Goes on as far as that is possible without waiting. In the midst of a transaction, what was
    /// read is taken in, which the stream may be held up for, and nothing else begins.
    pub async fn advance(&mut self, place: &mut Place<'_>) -> Result<(), SourceError> {
        loop {
            self.abandon_what_was_stopped(place);
            if !self.job.is_empty() || self.finished.is_some() {
                let job = self.finished.take().or_else(|| self.job.try_join_next()?.ok());
                let Some(job) = job else { return Ok(()) };
                self.take(job, place)?;
                continue;
            }
            let within = place.changes.in_transaction();
            match place.changes.watch.window.as_ref().map(Window::high) {
                None => {}
                Some(Some(high)) => {
                    let done = place.changes.position().done;
                    if within || !self.waiting.is_some_and(|waiting| waiting.is_over(done, high)) {
                        return Ok(());
                    }
                    // The next one is read while these are written.
                    self.tell(place);
                    continue;
                }
                // Whoever read it is gone.
                Some(None) => place.changes.watch.window = None,
            }
            // What a transaction has changed before would not be noticed.
            if within {
                return Ok(());
            }
            let Some(progress) = place.progress.as_mut().filter(|progress| !progress.paused) else {
                self.session = None;
                return Ok(());
            };
            match progress.work.front() {
                None => {
                    self.session = None;
                    *place.progress = None;
                    return Ok(());
                }
                // What changes wait for goes first.
                Some(Work::Blocking(..)) => {
                    self.session = None;
                    return Ok(());
                }
                Some(Work::Asked(_)) => resolve(place).await?,
                Some(Work::Table(of)) => {
                    let of = of.clone();
                    self.start(of, place);
                }
            }
        }
    }

    /// Lets go of a table that is not asked for any more.
    fn abandon_what_was_stopped(&mut self, place: &mut Place<'_>) {
        let current = place.progress.as_mut().and_then(Progress::current);
        let Some(of) = &self.of else { return };
        let same = |current: &mut TableProgress| {
            (&current.schema, &current.table, &current.id) == (&of.schema, &of.table, &of.id)
        };
        if !current.is_some_and(same) {
            self.job.abort_all();
            let (logged, read_only) = (self.logged, self.read_only);
            *self = Incremental { logged, read_only, ..Incremental::default() };
            place.changes.watch.window = None;
        }
    }

    fn start(&mut self, of: TableProgress, place: &mut Place<'_>) {
        self.of = Some(of.clone());
        let ask = self.looked.as_ref().map(|looked| {
            let window = Window::new(looked.info.id, looked.identity.clone());
            place.changes.watch.window = Some(window);
            Ask {
                of: of.clone(),
                looked: (**looked).clone(),
                rows_max: place.config.signals.chunk_rows,
                recent: place.changes.watch.recent(),
            }
        });
        let (target, session) = (place.config.target.clone(), self.session.take());
        self.job.spawn(chunk::job(target, session, of, ask));
    }

    fn take(&mut self, (session, done): Job, place: &mut Place<'_>) -> Result<(), SourceError> {
        self.session = session;
        let connector = &place.config.connector;
        let Some(of) = place.progress.as_mut().and_then(Progress::current) else { return Ok(()) };
        match done? {
            Done::Looked(looked) => {
                if of.key != looked.key {
                    (of.after, of.rows) = (None, 0);
                }
                (of.key, of.up_to) = (looked.key.clone(), looked.up_to.clone());
                let (name, rows) = (of.full_name(), looked.rows);
                match (&of.up_to, &of.after) {
                    (None, _) => {
                        info!("connector '{connector}': incremental snapshot of {name}: no rows");
                        self.next_table(place, EMPTY);
                        return Ok(());
                    }
                    (_, None) => info!(
                        "connector '{connector}': incremental snapshot of {name} begins: about \
                         {rows} rows"
                    ),
                    (_, Some(after)) => info!(
                        "connector '{connector}': incremental snapshot of {name} goes on after \
                         {after:?}, {} of about {rows} rows",
                        of.rows
                    ),
                }
                self.looked = Some(looked);
                self.table = None;
            }
            Done::Read(chunk) => {
                self.waiting = Some(Waiting::new(Instant::now()));
                if let Some(window) = &mut place.changes.watch.window {
                    window.arrived(chunk);
                }
            }
            Done::Changed => {
                place.changes.watch.window = None;
                self.looked = None;
            }
            Done::Refused(reason) => {
                let name = of.full_name();
                warn!("connector '{connector}': incremental snapshot of {name} given up: {reason}");
                self.next_table(place, REFUSED);
            }
            Done::NoKey(reason) => {
                let name = of.full_name();
                warn!("connector '{connector}': incremental snapshot of {name} given up: {reason}");
                self.next_table(place, NO_KEY);
            }
        }
        Ok(())
    }

    fn next_table(&mut self, place: &mut Place<'_>, status: &str) {
        place.tell_end(status);
        if let Some(progress) = place.progress {
            progress.work.pop_front();
        }
        place.changes.watch.window = None;
        (self.of, self.looked) = (None, None);
        (self.table, self.waiting) = (None, None);
    }

    /// The rows of the chunk that nothing newer is known of, as events.
    fn tell(&mut self, place: &mut Place<'_>) {
        self.waiting = None;
        let chunk = place.changes.watch.window.take().and_then(Window::into_chunk);
        let (Some(chunk), Some(looked)) = (chunk, &self.looked) else { return };
        let Chunk { rows, last, end, time_us, .. } = *chunk;
        let rows: Vec<Row> = rows.into_iter().flatten().map(|(_, row)| row).collect();
        let connector = &place.config.connector;
        let table = self.table.take().unwrap_or_else(|| {
            let (types, config) = (&*place.types, place.config);
            Arc::new(Table::from_catalog(&looked.info, types, config, place.schemas))
        });
        let (about, table, values) = match values(table, &rows, place) {
            Ok((table, values)) => (looked.rows, table, values),
            Err(error) => {
                warn!("connector '{connector}': incremental snapshot given up: {error}");
                self.next_table(place, REFUSED);
                return;
            }
        };
        let position = place.changes.position();
        let origin = Origin {
            time_us,
            marker: SnapshotMarker::Incremental,
            lsn: position.last_commit_end.unwrap_or(position.done),
            previous_end: position.last_commit_end,
            xid: None,
            replicated_from: None,
        };
        for after in values {
            let (operation, key, before) = (Operation::Read, table.key(&after), Value::Null);
            let (origin, now_us) = (&origin, place.now_us);
            let record =
                place.schemas.change(&table, operation, key, before, after, origin, None, now_us);
            place.out.append_record(record);
        }
        self.table = Some(table);
        let Some(of) = place.progress.as_mut().and_then(Progress::current) else { return };
        of.rows += rows.len() as u64;
        of.after = last.or(of.after.take());
        let (name, done) = (of.full_name(), of.rows);
        place.tell_progress();
        if end {
            info!("connector '{connector}': incremental snapshot of {name} done: {done} rows");
            self.next_table(place, SUCCEEDED);
        } else if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let about = about.max(done);
            info!(
                "connector '{connector}': incremental snapshot of {name}: {done} of about {about} rows"
            );
        }
    }

    /// Whether the stream has to wait for a chunk.
    pub fn holds(&self, changes: &Changes) -> bool {
        changes.watch.window.as_ref().is_some_and(Window::is_crowded)
    }

    /// Whether there is nothing to do and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.job.is_empty()
            && self.finished.is_none()
            && self.of.is_none()
            && self.session.is_none()
    }

    /// Something has come in the stream.
    pub fn stirred(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.stirred();
        }
    }

    /// What to do about a chunk that waits for a stream on which nothing comes.
    pub fn hurry(&mut self, read_only: bool) -> Hurry {
        let read_only = read_only || self.read_only;
        let waiting = self.waiting.as_mut();
        waiting.map_or(Hurry::No, |waiting| waiting.hurry(Instant::now(), read_only))
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The server has refused to [nudge](super::reach::nudge) its log.
    pub fn must_not_write(&mut self) {
        self.read_only = true;
    }

    /// It was looked at some time how far the log is written out.
    pub fn looked_out(&mut self, at: Instant, written: WrittenOut) {
        if let Some(waiting) = &mut self.waiting {
            waiting.looked(at, written);
        }
    }

    /// Waits until there is something to do. Dropped and called again at any time.
    pub async fn wait(&mut self) {
        if self.finished.is_some() {
            return;
        }
        let next = self.waiting.map(|waiting| waiting.next);
        tokio::select! {
            Some(job) = self.job.join_next() => self.finished = job.ok(),
            () = sleep_until(next) => {}
        }
    }

    /// Bytes of the table at hand not read yet, roughly.
    pub fn remaining_bytes(&self, progress: Option<&Progress>) -> Option<u64> {
        let looked = self.looked.as_ref()?;
        let Some(Work::Table(of)) = progress?.work.front() else { return None };
        let rows = looked.rows.max(of.rows).max(1);
        Some((u128::from(looked.bytes) * u128::from(rows - of.rows) / u128::from(rows)) as u64)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What rows are by a table's schema, which a null may loosen that the catalog excludes.
fn values(
    mut table: Arc<Table>,
    rows: &[Row],
    place: &Place<'_>,
) -> Result<(Arc<Table>, Vec<Value>), RowError> {
    loop {
        let values = rows.iter().map(|row| table.row(row, None, Image::Whole));
        let error = match values.collect() {
            Ok(values) => return Ok((table, values)),
            Err(error) => error,
        };
        match table.loosened(&error, place.types, place.config, place.schemas) {
            Some(loosened) => table = Arc::new(loosened),
            None => return Err(error),
        }
    }
}

/// Finds the tables of the request that is first.
async fn resolve(place: &mut Place<'_>) -> Result<(), SourceError> {
    let chosen = place.chosen().await?;
    let Some(progress) = place.progress else { return Ok(()) };
    let Some((id, unknown)) = progress.resolve(&chosen) else { return Ok(()) };
    let (found, connector) = (progress.tables_of(&id), &place.config.connector);
    let about = About::Incremental(&id);
    let all: Vec<String> = found.iter().chain(&unknown).cloned().collect();
    place.notes.tell(about, "STARTED", &[("data_collections", all.join(","))]);
    for pattern in &unknown {
        warn!(
            "connector '{connector}': incremental snapshot of '{pattern}': no table of that name is \
             among those that the connector reads, as schema.table"
        );
        place.notes.scanned(about, pattern, &all, (0, UNKNOWN));
    }
    if found.is_empty() {
        place.notes.tell(about, "COMPLETED", &[]);
    }
    Ok(())
}
