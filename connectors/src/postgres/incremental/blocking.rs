//! Tables read again in one go, while changes wait.
//!
//! ```text
//!  request ─► a snapshot of now ─► the stream comes to it ─► rows, by COPY ─► the stream goes on
//!                                   and stops before the first transaction that it does not show
//! ```
//!
//! The stream is held up no longer than the rows take. They come behind all that they show and
//! before what they do not, so that no row goes back. After a crash what is missing is read in a
//! new snapshot, which the stream is brought to again.

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{info, warn};

use super::progress::Progress;
use super::reach::{Hurry, Waiting, WrittenOut};
use super::run::Place;
use super::signal::Request;
use super::window::Visibility;
use crate::postgres::catalog::TableInfo;
use crate::postgres::error::SourceError;
use crate::postgres::json_events::{Events, Json};
use crate::postgres::notifications::About;
use crate::postgres::opening;
use crate::postgres::pgoutput::{self, Message};
use crate::postgres::snapshot::{Snapshot, SnapshotPoint, SnapshotTable, is_select};
use crate::postgres::wire::Session;

/// A request under way.
pub struct Blocking {
    /// As it is while nobody takes tables off it.
    of: Request,
    state: State,
}

enum State {
    /// The stream is to come to where the snapshot was taken.
    Reaching {
        taken: Box<Taken>,
        waiting: Waiting,
        /// What comes next is not in the snapshot.
        stopped: bool,
    },
    Reading(Box<Snapshot>),
}

/// A snapshot that is not read yet.
struct Taken {
    holder: Session,
    tables: Vec<SnapshotTable>,
    point: SnapshotPoint,
    seen: Visibility,
}

impl Blocking {
    /// Whether the stream has to wait.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Reading(_))
    }

    /// Whether the stream has to stop before a message, which the rows do not show.
    pub fn stops(&mut self, message: &Bytes) -> bool {
        let State::Reaching { taken, stopped, .. } = &mut self.state else { return false };
        if let Ok(Message::Begin(begin)) = pgoutput::decode(message.clone()) {
            *stopped = !taken.seen.sees(begin.xid);
        }
        *stopped
    }

    /// What to do about a stream on which nothing comes.
    pub fn hurry(&mut self, read_only: bool) -> Hurry {
        match &mut self.state {
            State::Reaching { waiting, .. } => waiting.hurry(Instant::now(), read_only),
            State::Reading(_) => Hurry::No,
        }
    }

    /// Something has come in the stream.
    pub fn stirred(&mut self) {
        if let State::Reaching { waiting, .. } = &mut self.state {
            waiting.stirred();
        }
    }

    /// It was looked at some time how far the log is written out.
    pub fn looked_out(&mut self, at: Instant, written: WrittenOut) {
        if let State::Reaching { waiting, .. } = &mut self.state {
            waiting.looked(at, written);
        }
    }

    /// Waits until there is something to do. Dropped and called again at any time.
    pub async fn wait(&mut self) {
        match &mut self.state {
            State::Reaching { waiting, .. } => tokio::time::sleep_until(waiting.next).await,
            State::Reading(snapshot) => snapshot.wait().await,
        }
    }

    /// Bytes of tables not read yet, roughly.
    pub fn remaining_bytes(&self) -> Option<u64> {
        match &self.state {
            State::Reaching { .. } => None,
            State::Reading(snapshot) => Some(snapshot.remaining_bytes()),
        }
    }
}

/// Goes on with the request that changes wait for, as far as that is possible without waiting for
/// rows. Between transactions only.
pub async fn advance(
    under_way: &mut Option<Blocking>,
    place: &mut Place<'_>,
) -> Result<(), SourceError> {
    loop {
        let asked = place.progress.as_mut().and_then(Progress::blocking);
        let asked = asked.map(|(request, _)| request.clone());
        if let Some(blocking) = under_way
            && asked.as_ref() != Some(&blocking.of)
        {
            *under_way = None;
            if asked.is_none() {
                place.notes.tell(About::Initial, "ABORTED", &[]);
            }
        }
        let Some(asked) = asked else { return Ok(()) };
        match under_way {
            None => match taken(&asked, place).await? {
                Some(taken) => {
                    let (taken, waiting) = (Box::new(taken), Waiting::new(Instant::now()));
                    let state = State::Reaching { taken, waiting, stopped: false };
                    *under_way = Some(Blocking { of: asked, state });
                }
                None => end(place, "ABORTED"),
            },
            Some(Blocking { state: State::Reaching { taken, waiting, stopped }, .. }) => {
                let done = place.changes.position().done;
                if !*stopped && !waiting.is_over(done, taken.point.lsn) {
                    return Ok(());
                }
                let Some(Blocking { of, state: State::Reaching { taken, .. } }) = under_way.take()
                else {
                    return Ok(());
                };
                let snapshot = Box::new(start(*taken, place));
                *under_way = Some(Blocking { of, state: State::Reading(snapshot) });
            }
            Some(Blocking { state: State::Reading(snapshot), .. }) => {
                match read(snapshot, place) {
                    Ok(false) => return Ok(()),
                    Ok(true) => {
                        let connector = &place.config.connector;
                        info!("connector '{connector}': blocking snapshot done; changes go on");
                        end(place, "COMPLETED");
                    }
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => {
                        let connector = &place.config.connector;
                        warn!("connector '{connector}': blocking snapshot given up: {error}");
                        end(place, "ABORTED");
                    }
                }
                *under_way = None;
            }
        }
    }
}

/// Lets go of the request that is first.
fn end(place: &mut Place<'_>, how: &'static str) {
    place.notes.tell(About::Initial, how, &[]);
    if let Some(progress) = place.progress {
        progress.work.pop_front();
    }
}

/// A snapshot of now, of the tables that the request means. `None`: there are none.
async fn taken(request: &Request, place: &mut Place<'_>) -> Result<Option<Taken>, SourceError> {
    let chosen = place.chosen().await?;
    let connector = &place.config.connector;
    let (found, unknown) = request.find(&chosen);
    for pattern in &unknown {
        warn!(
            "connector '{connector}': blocking snapshot of '{pattern}': no table of that name is \
             among those that the connector reads, as schema.table"
        );
    }
    let begins = match place.progress.as_mut().and_then(Progress::blocking) {
        Some((_, progress)) => progress.tables.is_empty(),
        None => return Ok(None),
    };
    if begins {
        place.notes.tell(About::Initial, "STARTED", &[]);
    }
    if found.is_empty() {
        return Ok(None);
    }
    let infos: Vec<TableInfo> = found.iter().map(|(table, _)| (*table).clone()).collect();
    let (config, types, schemas) = (place.config, &*place.types, place.schemas);
    let (holder, at) = opening::exported(config).await?;
    let control = opening::control(place.control, &config.target).await?;
    let (mut tables, point) =
        opening::read_in(control, &at, &infos, config, types, schemas).await?;
    for table in &mut tables {
        let id = table.table.info.id;
        let filter = found.iter().find(|(info, _)| info.id == id).and_then(|(_, filter)| *filter);
        table.by_place &= !filter.is_some_and(is_select);
        table.filter = filter.map(str::to_owned);
    }
    info!(
        "connector '{connector}': blocking snapshot of {} tables at {}: changes wait once they are \
         there",
        tables.len(),
        point.lsn
    );
    Ok(Some(Taken { holder, tables, point, seen: at.seen }))
}

/// Lets the rows come, which are where the stream is.
fn start(taken: Taken, place: &mut Place<'_>) -> Snapshot {
    let Taken { holder, tables, mut point, .. } = taken;
    let position = place.changes.position();
    point.lsn = position.last_commit_end.unwrap_or(position.done);
    point.previous_end = position.last_commit_end;
    let mut nothing = Default::default();
    let blocking = place.progress.as_mut().and_then(Progress::blocking);
    let progress = blocking.map_or(&mut nothing, |(_, progress)| progress);
    let config = place.config;
    Snapshot::start(&config.target, config.snapshot.threads, tables, progress, point, holder)
}

/// Takes what rows there are. `true`: those were all.
fn read(snapshot: &mut Snapshot, place: &mut Place<'_>) -> Result<bool, SourceError> {
    let names = snapshot.table_names();
    let Some((_, progress)) = place.progress.as_mut().and_then(Progress::blocking) else {
        return Ok(true);
    };
    let mut records = Vec::new();
    while !place.out.is_full() {
        let json = Some(Json { events: place.json, out: place.out });
        let mut events = Events { records: &mut records, json };
        let taken = snapshot.take(place.schemas, progress, place.now_us, &mut events);
        for record in records.drain(..) {
            place.out.append_record(record);
        }
        place.notes.steps(&names, snapshot.steps());
        match taken? {
            Some(true) => {}
            None => return Ok(false),
            Some(false) => return Ok(true),
        }
    }
    Ok(false)
}
