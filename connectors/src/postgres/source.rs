//! The task: connects, takes the snapshot, follows the stream, and starts anew when the way to
//! the server is lost.
//!
//! ```text
//!            ┌──────────────── lost, try again ────────────────┐
//!            ▼                                                 │
//!   Away ─► open ─┬─ position known ──────────► Streaming ─────┤
//!                 └─ none, or not finished ─► Snapshot ─► open ┘
//! ```

use std::mem::{Discriminant, discriminant};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{info, warn};

use super::catalog::{self, TableInfo};
use super::changes::{Changes, Step};
use super::config::{PostgresConfig, SnapshotMode};
use super::error::SourceError;
use super::events::EventSchemas;
use super::incremental::blocking;
use super::incremental::channel::{self, Channel, Told};
use super::incremental::progress::Work;
use super::incremental::reach::{self, Hurry};
use super::incremental::run::Place;
use super::incremental::signal;
use super::incremental::watch::Watch;
use super::json_events::{Events, Json, JsonEvents};
use super::lsn::Lsn;
use super::notifications::{About, Notifier};
use super::offset::{self, StoredPosition};
use super::opening::{self, Opened, Said, Wanted};
use super::pgoutput::Relation;
use super::snapshot::Snapshot;
use super::statement::Statement;
use super::streaming::{SILENCE_ASK, STATUS_INTERVAL_MIN, Streaming};
use super::table::{RowError, Table};
use super::types::TypeCatalog;
use super::wire::{Received, Session};
use crate::config::ConnectorConfig;
use crate::data::ConnectRecord;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceTask, TaskError};

/// How long a poll waits for more of a transaction that has begun to come: the server sends it
/// without a pause, in small pieces, and each end of a poll is a commit.
const TRANSACTION_PATIENCE: Duration = Duration::from_millis(10);
/// How often a table that is told of is looked for, and how long to wait in between.
const VISIBLE_TRIES: u32 = 5;
const VISIBLE_PAUSE: Duration = Duration::from_millis(20);

/// Reads a database's rows and changes.
pub struct PostgresSource {
    connector: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    config: PostgresConfig,
    schemas: EventSchemas,
    types: TypeCatalog,
    /// What is to be stored once all that was handed over is durable.
    stored: StoredPosition,
    /// What was handed over as an offset last.
    offered: StoredPosition,
    offered_at: Instant,
    durable: Lsn,
    control: Option<Session>,
    phase: Phase,
    attempts: i64,
    /// Why the last attempt has failed.
    trouble: Option<String>,
    /// The end of the log at the start, where only that is wanted.
    until: Option<Lsn>,
    /// Where the server's log ended when the connection was opened.
    log_end: Lsn,
    until_end: bool,
    heartbeat_due: Option<Instant>,
    /// What each heartbeat runs.
    statement: Option<Statement>,
    /// Signals that come by a topic.
    channel: Option<Channel>,
    /// `snapshot.mode = always` holds for the start, not for each new connection.
    snapshot_wanted: bool,
    /// The slot is of no use any more, and another one is to be made.
    slot_wanted: bool,
    records: Vec<ConnectRecord>,
    json: JsonEvents,
    notes: Notifier,
    /// What was warned of when the server was looked at.
    said: Said,
    /// Whether it was told what becomes of the first snapshot.
    snapshot_told: bool,
    /// Where the last poll began.
    polled: Option<Discriminant<Phase>>,
}

enum Phase {
    Away { until: Instant },
    Snapshot(Box<Snapshot>),
    Streaming(Box<Streaming>),
    Ended,
}

impl PostgresSource {
    pub fn new(connector: &ConnectorConfig) -> PostgresSource {
        PostgresSource { connector: connector.clone(), running: None }
    }

    fn running(&mut self) -> Result<&mut Running, TaskError> {
        self.running.as_mut().ok_or_else(|| "the task was not started".into())
    }
}

#[async_trait]
impl SourceTask for PostgresSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let config = PostgresConfig::new(&self.connector)?;
        let partition = offset::partition(&config.prefix);
        let stored = context.offset(&partition).map(StoredPosition::from_offset);
        let stored = stored.unwrap_or_default();
        // Before the server was reached, nothing is stored but what is asked for.
        let known = stored.position.done != Lsn::NONE || !stored.identity.system.is_empty();
        let schemas = EventSchemas::new(&config.prefix, &config.target.database);
        let now = Instant::now();
        let snapshot_wanted = match config.snapshot.mode {
            SnapshotMode::Always => true,
            SnapshotMode::NoData => false,
            SnapshotMode::InitialOnly => !known || stored.snapshot.is_some(),
            // Rows that were read without a slot are followed by no changes.
            _ => stored.position.done == Lsn::NONE || stored.snapshot.is_some(),
        };
        let done = config.snapshot.mode == SnapshotMode::InitialOnly && !snapshot_wanted;
        let channel = config.signals.topic.clone().map(|topic| {
            let prefix = config.prefix.to_string();
            let connector = self.connector.name().to_owned();
            Channel::listen(
                context.client.clone(),
                channel::Wanted { topic, connector, prefix },
                stored.signals,
            )
        });
        self.running =
            Some(Running {
                channel,
                types: TypeCatalog::default(),
                durable: stored.position.done,
                offered: stored.clone(),
                offered_at: now,
                stored,
                control: None,
                phase: if done { Phase::Ended } else { Phase::Away { until: now } },
                attempts: 0,
                trouble: None,
                until: None,
                log_end: Lsn::NONE,
                until_end: context.until_end(),
                heartbeat_due: config.heartbeat.interval.map(|_| now),
                statement: config.heartbeat.query.clone().map(|sql| {
                    Statement::new(sql, config.target.clone(), config.connector.clone())
                }),
                snapshot_wanted,
                slot_wanted: false,
                records: Vec::new(),
                json: JsonEvents::new(schemas.clone()),
                notes: Notifier::new(config.notifications.clone(), &config.prefix),
                said: Said::default(),
                snapshot_told: false,
                polled: None,
                schemas,
                config,
            });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let left = self.remaining_bytes();
        let running = self.running()?;
        running.polled = Some(discriminant(&running.phase));
        let polled = running.poll(out).await;
        if let (Some(left), Ok(_)) = (left, &polled) {
            // Of a snapshot that is done nothing is left.
            out.count_input(left.saturating_sub(running.remaining_bytes().unwrap_or(0)), 0);
        }
        if let (Err(error), Phase::Snapshot(_)) = (&polled, &running.phase)
            && !error.is_transient()
        {
            running.notes.tell(About::Initial, "ABORTED", &[]);
        }
        running.notes.hand_over(out);
        // Also where it failed: what was handed over before is to be committed with its offset.
        running.offer(out);
        match polled {
            Ok(polled) => Ok(polled),
            Err(error) => running.lost(error).map(|()| Polled::Drained),
        }
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        self.running()?.wait().await;
        Ok(())
    }

    async fn committed(
        &mut self,
        offsets: &[(SourcePartition, SourceOffset)],
    ) -> Result<(), TaskError> {
        let running = self.running()?;
        for (_, offset) in offsets {
            let stored = StoredPosition::from_offset(offset);
            if stored.snapshot.is_none() {
                running.durable = running.durable.max(stored.position.done);
            }
        }
        if let Phase::Streaming(streaming) = &mut running.phase
            && streaming.last_status.elapsed() >= STATUS_INTERVAL_MIN
        {
            // A connection that was lost shows at the next poll.
            streaming.failed = streaming.send_status(running.durable, false).await.err();
        }
        Ok(())
    }

    /// What was opened is stored before it is used, and the end of a snapshot before the stream.
    fn polls_ahead(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            matches!(running.phase, Phase::Snapshot(_) | Phase::Streaming(_))
                && running.polled == Some(discriminant(&running.phase))
        })
    }

    fn out_of_reach(&self) -> bool {
        self.running.as_ref().is_some_and(|running| matches!(running.phase, Phase::Away { .. }))
    }

    fn is_behind(&self) -> bool {
        self.running.as_ref().is_some_and(|running| match running.phase {
            Phase::Snapshot(_) => true,
            Phase::Streaming(_) => running.stored.position.done < running.log_end,
            Phase::Away { .. } | Phase::Ended => false,
        })
    }

    fn trouble(&self) -> Option<String> {
        self.running.as_ref()?.trouble.clone()
    }

    fn remaining_bytes(&self) -> Option<u64> {
        self.running.as_ref()?.remaining_bytes()
    }
}

impl Running {
    /// Of rows that are read beside the changes, or before them.
    fn remaining_bytes(&self) -> Option<u64> {
        match &self.phase {
            Phase::Snapshot(snapshot) => Some(snapshot.remaining_bytes()),
            Phase::Streaming(streaming) => match &streaming.blocking {
                Some(blocking) => blocking.remaining_bytes(),
                None => streaming.incremental.remaining_bytes(self.stored.incremental.as_ref()),
            },
            _ => None,
        }
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, SourceError> {
        self.take_signals();
        self.heartbeat(out);
        match &mut self.phase {
            Phase::Ended => {
                self.tell_skipped();
                Ok(Polled::End)
            }
            Phase::Away { until } if *until > Instant::now() => Ok(Polled::Drained),
            Phase::Away { .. } => {
                self.open().await?;
                // What was opened is stored before it is used.
                Ok(Polled::Drained)
            }
            Phase::Snapshot(_) => self.poll_snapshot(out).await,
            Phase::Streaming(_) => self.poll_stream(out).await,
        }
    }

    /// Says once that there is nothing to read before the changes.
    fn tell_skipped(&mut self) {
        if !std::mem::replace(&mut self.snapshot_told, true) {
            self.notes.tell(About::Initial, "SKIPPED", &[]);
        }
    }

    async fn open(&mut self) -> Result<(), SourceError> {
        let begins = self.stored.snapshot.is_none();
        let wanted = Wanted { snapshot: self.snapshot_wanted, new_slot: self.slot_wanted };
        let opened =
            opening::open(&self.config, &mut self.stored, wanted, &self.schemas, &mut self.said)
                .await?;
        self.slot_wanted = false;
        let Opened { phase, types, system, control } = opened;
        self.attempts = 0;
        self.trouble = None;
        self.types = types;
        self.control = Some(control);
        self.log_end = system.end;
        if self.until_end {
            self.until.get_or_insert(system.end);
        }
        self.phase = match phase {
            opening::Phase::Snapshot(snapshot) => {
                self.snapshot_told = true;
                if begins {
                    self.notes.tell(About::Initial, "STARTED", &[]);
                }
                Phase::Snapshot(snapshot)
            }
            opening::Phase::Stream(stream) => {
                self.tell_skipped();
                self.snapshot_wanted = false;
                let (schemas, events) = (self.schemas.clone(), self.config.events.clone());
                let watch = Watch::new(self.config.signals.table.clone());
                let changes = Changes::new(schemas, events, self.stored.position.clone(), watch);
                Phase::Streaming(Box::new(Streaming::new(stream, changes)))
            }
        };
        Ok(())
    }

    async fn poll_snapshot(&mut self, out: &mut SourceRecords) -> Result<Polled, SourceError> {
        let Phase::Snapshot(snapshot) = &mut self.phase else { return Ok(Polled::Drained) };
        let progress = self.stored.snapshot.get_or_insert_default();
        let names = snapshot.table_names();
        while !out.is_full() {
            let json = Some(Json { events: &mut self.json, out });
            let mut events = Events { records: &mut self.records, json };
            let taken = snapshot.take(&self.schemas, progress, now_us(), &mut events);
            for record in self.records.drain(..) {
                out.append_record(record);
            }
            self.notes.steps(&names, snapshot.steps());
            match taken? {
                Some(true) => {}
                None => return Ok(Polled::Drained),
                Some(false) => {
                    self.notes.tell(About::Initial, "COMPLETED", &[]);
                    info!("connector '{}': snapshot done", self.config.connector);
                    self.stored.snapshot = None;
                    self.snapshot_wanted = false;
                    self.phase = match self.config.snapshot.mode {
                        SnapshotMode::InitialOnly => Phase::Ended,
                        _ => Phase::Away { until: Instant::now() },
                    };
                    return Ok(Polled::More);
                }
            }
        }
        Ok(Polled::More)
    }

    async fn poll_stream(&mut self, out: &mut SourceRecords) -> Result<Polled, SourceError> {
        let now = now_us();
        let mut patience = TRANSACTION_PATIENCE;
        let mut begins = true;
        loop {
            let Phase::Streaming(streaming) = &mut self.phase else { return Ok(Polled::Drained) };
            if let Some(error) = streaming.failed.take() {
                return Err(error.into());
            }
            // Whatever was waited for is taken in: there would be no end to waiting for it.
            if std::mem::take(&mut begins) || !streaming.changes.in_transaction() {
                self.read_again(out, now).await?;
            }
            let Phase::Streaming(streaming) = &mut self.phase else { return Ok(Polled::Drained) };
            if out.is_full() {
                return Ok(Polled::More);
            }
            if streaming.holds() {
                break;
            }
            let Some(received) = streaming.received_now()? else {
                if streaming.changes.in_transaction() && streaming.more_soon(&mut patience).await {
                    continue;
                }
                break;
            };
            streaming.stirred();
            if streaming.keeps(&received) {
                continue;
            }
            match received {
                Received::Keepalive { end, reply_wanted } => {
                    streaming.reply_wanted |= reply_wanted;
                    streaming.received = streaming.received.max(end);
                    streaming.changes.advance(end);
                }
                Received::Data { start, bytes } => {
                    streaming.changed();
                    self.take(start, bytes, now, out).await?;
                    for record in self.records.drain(..) {
                        out.append_record(record);
                    }
                }
            }
            self.take_position();
            if out.is_full() {
                return Ok(Polled::More);
            }
        }
        self.keep_alive().await?;
        let reached = self.until.is_some_and(|until| self.stored.position.done >= until);
        Ok(if reached && self.has_no_requests() { Polled::End } else { Polled::Drained })
    }

    /// Whether all that was asked for is done, but for what nobody goes on with.
    fn has_no_requests(&self) -> bool {
        let Some(left) = &self.stored.incremental else { return true };
        let blocking = left.work.iter().any(|work| matches!(work, Work::Blocking(..)));
        if left.paused && !left.work.is_empty() && !blocking {
            warn!(
                "connector '{}': incremental snapshots are paused: {} requests and tables are left \
                 for when `resume-snapshot` is asked for",
                self.config.connector,
                left.work.len()
            );
        }
        left.paused && !blocking
    }

    /// Takes in how far the stream is, and what was asked for in it, which is behind us now.
    fn take_position(&mut self) {
        let Phase::Streaming(streaming) = &mut self.phase else { return };
        self.stored.position.clone_from(streaming.changes.position());
        for [id, kind, data] in streaming.changes.watch.signals.drain(..) {
            match signal::parse(&id, &kind, &data) {
                Ok(Some(signal)) => {
                    self.stored.take_signal(signal, &self.config.connector, &mut self.notes);
                }
                Ok(None) => {}
                Err(error) => warn!("connector '{}': {error}", self.config.connector),
            }
        }
    }

    /// Takes in what was asked for by the topic, and how far that is.
    fn take_signals(&mut self) {
        while let Some(Told { next, signals }) = self.channel.as_mut().and_then(Channel::told_now) {
            self.stored.signals = Some(next);
            for signal in signals {
                self.stored.take_signal(signal, &self.config.connector, &mut self.notes);
            }
        }
    }

    /// Takes one message of the stream, and makes tables known where it asks for them.
    async fn take(
        &mut self,
        lsn: Lsn,
        bytes: bytes::Bytes,
        now: i64,
        out: &mut SourceRecords,
    ) -> Result<(), SourceError> {
        loop {
            let Phase::Streaming(streaming) = &mut self.phase else { return Ok(()) };
            streaming.received = streaming.received.max(lsn);
            let json = Some(Json { events: &mut self.json, out });
            let mut events = Events { records: &mut self.records, json };
            match streaming.changes.take(lsn, &bytes, now, &mut events)? {
                Step::Done => return Ok(()),
                Step::Define(relation) => return self.define(lsn, &relation).await,
                Step::Loosen { relation, error } => self.loosen(lsn, relation, error)?,
            }
        }
    }

    async fn define(&mut self, lsn: Lsn, relation: &Relation) -> Result<(), SourceError> {
        let control = opening::control(&mut self.control, &self.config.target).await?;
        let mut info = catalog::table(control, relation.id).await?;
        let known = |types: &TypeCatalog| {
            types.knows_all(relation.columns.iter().map(|column| column.type_id))
        };
        let whole = |table: &TableInfo| {
            relation
                .columns
                .iter()
                .all(|column| table.columns.iter().any(|it| it.name == column.name))
        };
        // A transaction may be in the stream a moment before others see it; what is gone since
        // will not be seen either.
        for _ in 0..VISIBLE_TRIES {
            if !known(&self.types) {
                self.types = TypeCatalog::load(control).await?;
            }
            if known(&self.types) && info.as_ref().is_some_and(whole) {
                break;
            }
            tokio::time::sleep(VISIBLE_PAUSE).await;
            info = catalog::table(control, relation.id).await?;
        }
        let (config, schemas) = (&self.config, &self.schemas);
        if let Phase::Streaming(streaming) = &mut self.phase {
            let known = streaming.changes.table(relation.id);
            let last = known.map(|known| &**known);
            let types = &self.types;
            let table = Table::from_stream(relation, info.as_ref(), last, types, config, schemas);
            let changed = known.is_none_or(|known| known.info.columns != table.info.columns);
            if changed && table.chosen && config.events.schema_changes {
                self.records.push(schemas.table(&table, &self.types, lsn, now_us()));
            }
            streaming.changes.define(relation.id, table);
        }
        Ok(())
    }

    fn loosen(&mut self, lsn: Lsn, relation: u32, error: RowError) -> Result<(), SourceError> {
        let Phase::Streaming(streaming) = &mut self.phase else { return Ok(()) };
        let known = streaming.changes.table(relation).cloned();
        let loosened = known
            .and_then(|table| table.loosened(&error, &self.types, &self.config, &self.schemas));
        match loosened {
            Some(table) => streaming.changes.define(relation, table),
            None => return Err(super::changes::ChangesError::Row { lsn, error }.into()),
        }
        Ok(())
    }

    async fn keep_alive(&mut self) -> Result<(), SourceError> {
        let Phase::Streaming(streaming) = &mut self.phase else { return Ok(()) };
        let hurry = streaming.keep_alive(&self.config, self.durable).await?;
        if !matches!(hurry, Hurry::Nudge | Hurry::Look) {
            return Ok(());
        }
        let control = opening::control(&mut self.control, &self.config.target).await?;
        if hurry == Hurry::Look {
            let now = Instant::now();
            let written = reach::written_out(control).await?;
            streaming.looked_out(now, written);
            return Ok(());
        }
        match reach::nudge(control).await {
            Err(error) if !error.is_transient() => {
                let connector = &self.config.connector;
                warn!("connector '{connector}': {error}; going on as with `read.only = true`");
                streaming.incremental.must_not_write();
                Ok(())
            }
            done => Ok(done?),
        }
    }

    /// Goes on with tables that are to be read again.
    async fn read_again(&mut self, out: &mut SourceRecords, now: i64) -> Result<(), SourceError> {
        let Phase::Streaming(streaming) = &mut self.phase else { return Ok(()) };
        let idle = streaming.incremental.is_idle() && streaming.blocking.is_none();
        if self.stored.incremental.is_none() && idle {
            return Ok(());
        }
        let mut place = Place {
            config: &self.config,
            schemas: &self.schemas,
            types: &mut self.types,
            control: &mut self.control,
            progress: &mut self.stored.incremental,
            changes: &mut streaming.changes,
            out,
            json: &mut self.json,
            notes: &mut self.notes,
            now_us: now,
        };
        streaming.incremental.advance(&mut place).await?;
        match place.changes.in_transaction() {
            true => Ok(()),
            false => blocking::advance(&mut streaming.blocking, &mut place).await,
        }
    }

    fn heartbeat(&mut self, out: &mut SourceRecords) {
        let (Some(due), Some(interval)) = (self.heartbeat_due, self.config.heartbeat.interval)
        else {
            return;
        };
        if Instant::now() < due {
            return;
        }
        self.heartbeat_due = Some(Instant::now() + interval);
        let prefix = &self.config.heartbeat.topic_prefix;
        out.append_record(self.schemas.heartbeat(prefix, now_us()));
        if let (Some(statement), Phase::Streaming(_)) = (&mut self.statement, &self.phase) {
            statement.run();
        }
    }

    /// Hands over the offset that belongs to the records. While nothing but the end of the log
    /// moves, that is done now and then.
    fn offer(&mut self, out: &mut SourceRecords) {
        let only_log_moved = {
            let (stored, offered) = (&self.stored, &self.offered);
            stored.identity == offered.identity
                && stored.snapshot == offered.snapshot
                && stored.position.partly == offered.position.partly
                && stored.position.last_commit_end == offered.position.last_commit_end
                && stored.position.last_message == offered.position.last_message
                && stored.incremental == offered.incremental
                && stored.signals == offered.signals
        };
        let moved = self.stored.position.done != self.offered.position.done;
        let due = self.offered_at.elapsed() >= self.config.status_interval
            || self.until.is_some_and(|until| self.stored.position.done >= until);
        let nothing = self.stored.identity.system.is_empty() && self.stored.signals.is_none();
        if nothing || (only_log_moved && !(moved && due)) {
            return;
        }
        out.set_offset(offset::partition(&self.config.prefix), self.stored.to_offset());
        self.offered.clone_from(&self.stored);
        self.offered_at = Instant::now();
    }

    /// Tries again later, if that can help.
    fn lost(&mut self, error: SourceError) -> Result<(), TaskError> {
        let retry = self.config.retry;
        if error.needs_snapshot() && self.config.snapshot.mode == SnapshotMode::WhenNeeded {
            warn!("connector '{}': {error}; reading all tables anew", self.config.connector);
            // What was asked for stays asked for.
            let StoredPosition { incremental, signals, .. } = std::mem::take(&mut self.stored);
            self.stored = StoredPosition { incremental, signals, ..StoredPosition::default() };
            self.snapshot_wanted = true;
            self.slot_wanted |= error.needs_slot();
        } else if !error.is_transient() {
            return Err(error.into());
        }
        self.attempts += 1;
        if (0..self.attempts).contains(&retry.attempts_max) {
            let attempts = self.attempts;
            return Err(SourceError::GivenUp { attempts, last: Box::new(error) }.into());
        }
        let doubled = retry.delay_min * 2_u32.saturating_pow(self.attempts.min(16) as u32 - 1);
        let delay = doubled.min(retry.delay_max);
        warn!("connector '{}': {error}; trying again in {delay:?}", self.config.connector);
        self.trouble = Some(error.to_string());
        self.control = None;
        self.records.clear();
        self.phase = Phase::Away { until: Instant::now() + delay };
        Ok(())
    }

    async fn wait(&mut self) {
        let now = Instant::now();
        let heartbeat = self.heartbeat_due.unwrap_or(now + SILENCE_ASK);
        match &mut self.phase {
            Phase::Ended => {}
            Phase::Away { until } => tokio::time::sleep_until(heartbeat.min(*until)).await,
            Phase::Snapshot(snapshot) => {
                tokio::select! {
                    () = snapshot.wait() => {}
                    () = tokio::time::sleep_until(heartbeat) => {}
                }
            }
            Phase::Streaming(streaming) => {
                let told = async {
                    match &mut self.channel {
                        Some(channel) => channel.readable().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = streaming.wait(&self.config, self.durable) => {}
                    () = told => {}
                    () = tokio::time::sleep_until(heartbeat) => {}
                }
            }
        }
    }
}

/// In µs since 1970.
pub fn now_us() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
