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
use super::window::Window;
use crate::data::{ConnectRecord, Value};
use crate::postgres::catalog;
use crate::postgres::changes::Changes;
use crate::postgres::config::PostgresConfig;
use crate::postgres::error::SourceError;
use crate::postgres::events::{EventSchemas, Operation, Origin, SnapshotMarker};
use crate::postgres::opening;
use crate::postgres::table::{Image, Table};
use crate::postgres::types::TypeCatalog;
use crate::postgres::wire::{PgError, Session};

/// How long a stream on which nothing comes may take to say where it is.
const SIGN_PATIENCE: Duration = Duration::from_millis(20);
/// What is still not in the stream after this long is no commit: the server's log is written out
/// thrice in that time (`wal_writer_delay`).
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// How often at most it is said how far a table is.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The work at hand on one connection to the server.
pub struct Incremental {
    job: JoinSet<Job>,
    /// What came of it while waiting.
    finished: Option<Job>,
    session: Option<Session>,
    /// The table, as it was looked at.
    looked: Option<(TableProgress, Box<Looked>)>,
    table: Option<Arc<Table>>,
    /// Since when the stream is waited for, and whether the server was made to write its log.
    waiting: Option<Waiting>,
    logged: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Since when nothing has come.
    idle_since: Option<Instant>,
    /// When to ask next.
    next: Instant,
    nudged: bool,
}

/// What the work needs of the task.
pub struct Place<'a> {
    pub config: &'a PostgresConfig,
    pub schemas: &'a EventSchemas,
    pub types: &'a mut TypeCatalog,
    pub control: &'a mut Option<Session>,
    pub progress: &'a mut Option<Progress>,
    pub changes: &'a mut Changes,
    pub records: &'a mut Vec<ConnectRecord>,
    pub now_us: i64,
}

impl Place<'_> {
    async fn control(&mut self) -> Result<&mut Session, PgError> {
        opening::control(self.control, &self.config.target).await
    }
}

/// What the stream should do about a chunk that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    No,
    /// Ask for a sign of life: it says how far the stream is.
    Ask,
    /// Let the server write its log out.
    Nudge,
}

impl Default for Incremental {
    fn default() -> Incremental {
        Incremental {
            job: JoinSet::new(),
            finished: None,
            session: None,
            looked: None,
            table: None,
            waiting: None,
            logged: Instant::now(),
        }
    }
}

impl Incremental {
    /// Goes on as far as that is possible without waiting.
    pub async fn advance(&mut self, place: &mut Place<'_>) -> Result<(), SourceError> {
        loop {
            self.abandon_what_was_stopped(place);
            if !self.job.is_empty() || self.finished.is_some() {
                let job = self.finished.take().or_else(|| self.job.try_join_next()?.ok());
                let Some(job) = job else { return Ok(()) };
                self.take(job, place)?;
                continue;
            }
            match place.changes.watch.window.as_ref().map(Window::high) {
                None => {}
                Some(Some(high)) => {
                    let there = place.changes.position().done >= high || self.is_overdue();
                    if place.changes.in_transaction() || !there {
                        return Ok(());
                    }
                    // The next one is read while these are written.
                    self.tell(place)?;
                    continue;
                }
                // Whoever read it is gone.
                Some(None) => place.changes.watch.window = None,
            }
            let Some(progress) = place.progress.as_mut().filter(|progress| !progress.paused) else {
                self.session = None;
                return Ok(());
            };
            match progress.work.front() {
                None => {
                    (self.session, self.looked) = (None, None);
                    *place.progress = None;
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
        let Some((of, _)) = &self.looked else { return };
        let same = |current: &mut TableProgress| {
            (&current.schema, &current.table, &current.id) == (&of.schema, &of.table, &of.id)
        };
        if !current.is_some_and(same) {
            self.job.abort_all();
            *self = Incremental { logged: self.logged, ..Incremental::default() };
            place.changes.watch.window = None;
        }
    }

    fn start(&mut self, of: TableProgress, place: &mut Place<'_>) {
        let ask = self.looked.as_ref().map(|(_, looked)| {
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
        let prefix = &place.config.prefix;
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
                        info!("connector '{prefix}': incremental snapshot of {name}: no rows");
                        self.next_table(place);
                        return Ok(());
                    }
                    (_, None) => info!(
                        "connector '{prefix}': incremental snapshot of {name} begins: about \
                         {rows} rows"
                    ),
                    (_, Some(after)) => info!(
                        "connector '{prefix}': incremental snapshot of {name} goes on after \
                         {after:?}, {} of about {rows} rows",
                        of.rows
                    ),
                }
                self.looked = Some((of.clone(), looked));
                self.table = None;
            }
            Done::Read(chunk) => {
                let next = Instant::now();
                self.waiting = Some(Waiting { idle_since: None, next, nudged: false });
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
                warn!("connector '{prefix}': incremental snapshot of {name} given up: {reason}");
                self.next_table(place);
            }
        }
        Ok(())
    }

    fn next_table(&mut self, place: &mut Place<'_>) {
        if let Some(progress) = place.progress {
            progress.work.pop_front();
        }
        place.changes.watch.window = None;
        (self.looked, self.table, self.waiting) = (None, None, None);
    }

    /// The rows of the chunk that nothing newer is known of, as events.
    fn tell(&mut self, place: &mut Place<'_>) -> Result<(), SourceError> {
        self.waiting = None;
        let chunk = place.changes.watch.window.take().and_then(Window::into_chunk);
        let (Some(chunk), Some((_, looked))) = (chunk, &self.looked) else { return Ok(()) };
        let Chunk { rows, last, end, time_us, .. } = *chunk;
        let table = self.table.get_or_insert_with(|| {
            let (types, config) = (&*place.types, place.config);
            Arc::new(Table::from_catalog(&looked.info, types, config, place.schemas))
        });
        let position = place.changes.position();
        let origin = Origin {
            time_us,
            marker: SnapshotMarker::Incremental,
            lsn: position.last_commit_end.unwrap_or(position.done),
            previous_end: position.last_commit_end,
            xid: None,
            replicated_from: None,
        };
        let count = rows.len() as u64;
        for (_, row) in rows.into_iter().flatten() {
            let after = table.row(&row, None, Image::Whole)?;
            let key = table.key(&after);
            let (operation, before) = (Operation::Read, Value::Null);
            place.records.push(place.schemas.change(
                table,
                operation,
                key,
                before,
                after,
                &origin,
                None,
                place.now_us,
            ));
        }
        let Some(of) = place.progress.as_mut().and_then(Progress::current) else { return Ok(()) };
        of.rows += count;
        of.after = last.or(of.after.take());
        let (prefix, name, done) = (&place.config.prefix, of.full_name(), of.rows);
        if end {
            info!("connector '{prefix}': incremental snapshot of {name} done: {done} rows");
            self.next_table(place);
        } else if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            let about = looked.rows.max(done);
            info!(
                "connector '{prefix}': incremental snapshot of {name}: {done} of about {about} rows"
            );
        }
        Ok(())
    }

    /// Whether the stream has to wait for a chunk.
    pub fn holds(&self, changes: &Changes) -> bool {
        changes.watch.window.as_ref().is_some_and(Window::is_crowded)
    }

    fn is_overdue(&self) -> bool {
        let idle_since = self.waiting.and_then(|waiting| waiting.idle_since);
        idle_since.is_some_and(|since| since.elapsed() >= FLUSH_PATIENCE)
    }

    /// Whether there is nothing to do and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.job.is_empty()
            && self.finished.is_none()
            && self.looked.is_none()
            && self.session.is_none()
    }

    /// Something has come in the stream.
    pub fn stirred(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.idle_since = None;
        }
    }

    /// What to do about a chunk that waits for a stream on which nothing comes.
    pub fn hurry(&mut self, read_only: bool) -> Hurry {
        let now = Instant::now();
        let Some(waiting) = self.waiting.as_mut().filter(|waiting| waiting.next <= now) else {
            return Hurry::No;
        };
        waiting.next = now + SIGN_PATIENCE;
        match waiting.idle_since {
            Some(_) if !waiting.nudged && !read_only => {
                waiting.nudged = true;
                Hurry::Nudge
            }
            _ => {
                waiting.idle_since.get_or_insert(now);
                Hurry::Ask
            }
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
        let (_, looked) = self.looked.as_ref()?;
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

/// Finds the tables of the request that is first.
async fn resolve(place: &mut Place<'_>) -> Result<(), SourceError> {
    let config = place.config;
    let mut chosen = catalog::chosen_tables(place.control().await?, config).await?;
    chosen.retain(|table| config.tables.takes(&table.schema, &table.name));
    let columns = chosen.iter().flat_map(|table| &table.columns);
    if !place.types.knows_all(columns.map(|column| column.type_id)) {
        *place.types = TypeCatalog::load(place.control().await?).await?;
    }
    let Some(progress) = place.progress else { return Ok(()) };
    for pattern in progress.resolve(&chosen) {
        let prefix = &config.prefix;
        warn!(
            "connector '{prefix}': incremental snapshot of '{pattern}': no table of that name is \
             among those that the connector reads, as schema.table"
        );
    }
    Ok(())
}
