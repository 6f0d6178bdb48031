//! Fetch sessions (KIP-227): a reader of many partitions names them once, later only what it
//! changes, and is answered with those that have something new. Pure: no clock, socket or log.
//!
//! ```text
//! epoch −1           one fetch of all that it names; closes the session it names
//! epoch 0            the same, and begins a session, if there is room: id in the answer
//! id, epoch 1, 2, …  partitions to add, change and forget ─► fetch all ─► answer what differs
//! ```
//!
//! Invariants: what a reader was last told of a partition (high watermark, log start) is what is
//! kept here, so leaving a partition out never hides a change. A session's epoch grows with each
//! fetch, so of two requests with one epoch only one is served. To others than whom it belongs a
//! session is not there. Sessions and their partitions are bounded; a reader that gets no session
//! fetches as if there were none.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::protocol::ErrorCode;
use crate::security::Principal;

/// `max.incremental.fetch.session.cache.slots`
pub const SESSIONS_MAX: usize = 1_000;
/// Partitions of all sessions together.
pub const PARTITIONS_MAX: usize = 200_000;
/// A session that is younger than this, or was used since, gives way to no other.
pub const EVICTION_MS: u64 = 120_000;

/// In the place of an epoch: no session, and a new one.
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;
/// In the place of an id.
pub const NO_SESSION: i32 = 0;

/// A partition as requests name it: by the topic's name, or else by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    pub topic: std::sync::Arc<str>,
    pub topic_id: Uuid,
    pub partition: i32,
}

/// From where to fetch, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: i64,
    pub leader_epoch: i32,
    pub bytes_max: i32,
}

/// What a request says of its session.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: i32,
    pub epoch: i32,
    pub by_topic_id: bool,
    pub partitions: Vec<(Named, Position)>,
    pub forgotten: Vec<Named>,
}

/// A fetch in or out of a session.
#[derive(Debug)]
pub struct Fetching {
    /// What to fetch, in this order.
    pub partitions: Vec<(Named, Position)>,
    kind: Kind,
    owner: Principal,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Sessionless,
    Begins { by_topic_id: bool },
    Goes { id: i32, next_epoch: i32 },
}

/// What has come of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub high_watermark: i64,
    pub log_start: i64,
    pub has_records: bool,
    pub has_failed: bool,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: i32,
    /// For each partition that was fetched whether to name it.
    pub told: Vec<bool>,
}

/// Why a fetch is not carried out, or not answered; with the id to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: ErrorCode,
    pub id: i32,
}

/// A partition of a session, with what the reader was last told of it.
#[derive(Debug)]
struct Known {
    named: Named,
    position: Position,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    owner: Principal,
    by_topic_id: bool,
    /// Of the next request.
    epoch: i32,
    begun_ms: u64,
    used_ms: u64,
    /// By turn: who was given records goes to the end, so that none is starved by the others.
    partitions: BTreeMap<u64, Known>,
    turns: HashMap<Named, u64>,
    next_turn: u64,
}

/// All sessions.
#[derive(Debug)]
pub struct FetchSessions {
    sessions: HashMap<i32, Session>,
    partitions: usize,
    sessions_max: usize,
    partitions_max: usize,
}

impl Default for FetchSessions {
    fn default() -> FetchSessions {
        FetchSessions::new(SESSIONS_MAX, PARTITIONS_MAX)
    }
}

fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl FetchSessions {
    pub fn new(sessions_max: usize, partitions_max: usize) -> FetchSessions {
        FetchSessions { sessions: HashMap::new(), partitions: 0, sessions_max, partitions_max }
    }

    /// What a request of somebody asks for.
    pub fn begin(
        &mut self,
        request: Request,
        by: &Principal,
        now_ms: u64,
    ) -> Result<Fetching, Refused> {
        let Request { id, epoch, by_topic_id, partitions, forgotten } = request;
        let owner = by.clone();
        let own = self.sessions.get_mut(&id).filter(|session| session.owner == *by);
        if matches!(epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if own.is_some() {
                self.remove(id);
            }
            let begins = epoch == INITIAL_EPOCH;
            let kind = if begins { Kind::Begins { by_topic_id } } else { Kind::Sessionless };
            return Ok(Fetching { partitions, kind, owner });
        }
        let refused = |code| Err(Refused { code, id: NO_SESSION });
        let Some(session) = own else {
            return refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if session.epoch != epoch {
            return refused(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_topic_id != by_topic_id {
            return refused(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let before = session.partitions.len();
        for (named, position) in &partitions {
            session.put(named, *position);
        }
        for named in &forgotten {
            session.forget(named);
        }
        let now = session.partitions.len();
        session.used_ms = now_ms;
        session.epoch = next_epoch(epoch);
        let kind = Kind::Goes { id, next_epoch: session.epoch };
        let all = session.partitions.values();
        let all: Vec<_> = all.map(|known| (known.named.clone(), known.position)).collect();
        self.partitions = self.partitions - before + now;
        if all.is_empty() {
            // Nothing is left of it.
            self.remove(id);
            return Ok(Fetching { partitions, kind: Kind::Sessionless, owner });
        }
        if now > before && self.partitions > self.partitions_max {
            self.remove(id);
            return refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        Ok(Fetching { partitions: all, kind, owner })
    }

    /// What to answer, now that all has been fetched: `fetched` goes with
    /// [`Fetching::partitions`]. `fresh_id` gives ids at random.
    pub fn finish(
        &mut self,
        fetching: &Fetching,
        fetched: &[Fetched],
        fresh_id: impl FnMut() -> i32,
        now_ms: u64,
    ) -> Result<Answer, Refused> {
        let told = vec![true; fetched.len()];
        match fetching.kind {
            Kind::Sessionless => Ok(Answer { id: NO_SESSION, told }),
            Kind::Begins { by_topic_id } => {
                let mut session = Session::new(fetching.owner.clone(), by_topic_id, now_ms);
                for ((named, position), fetched) in fetching.partitions.iter().zip(fetched) {
                    session.put(named, *position);
                    session.tell(named, fetched);
                }
                Ok(Answer { id: self.insert(session, fresh_id, now_ms), told })
            }
            Kind::Goes { id, next_epoch } => {
                let session = self.sessions.get_mut(&id);
                let Some(session) = session.filter(|session| session.epoch == next_epoch) else {
                    // Another request has got ahead of this one, or the session is gone.
                    return Err(Refused { code: ErrorCode::INVALID_FETCH_SESSION_EPOCH, id });
                };
                let each = fetching.partitions.iter().zip(fetched);
                let told = each.map(|((named, _), fetched)| session.tell(named, fetched));
                Ok(Answer { id, told: told.collect() })
            }
        }
    }

    /// The id to answer where nothing is sent of what was fetched.
    pub fn throttled(&self, fetching: &Fetching) -> Result<i32, Refused> {
        let Kind::Goes { id, next_epoch } = fetching.kind else { return Ok(NO_SESSION) };
        match self.sessions.get(&id) {
            Some(session) if session.epoch == next_epoch => Ok(id),
            _ => Err(Refused { code: ErrorCode::INVALID_FETCH_SESSION_EPOCH, id }),
        }
    }

    /// Takes a session in, if there is room for it or others give way; its id.
    fn insert(&mut self, session: Session, mut fresh_id: impl FnMut() -> i32, now_ms: u64) -> i32 {
        let size = session.partitions.len();
        let has_room = |all: &FetchSessions| {
            all.sessions.len() < all.sessions_max && all.partitions + size <= all.partitions_max
        };
        while !has_room(self) {
            match self.evictable(size, now_ms) {
                Some(id) => self.remove(id),
                None => return NO_SESSION,
            }
        }
        let mut id = fresh_id();
        while id <= NO_SESSION || self.sessions.contains_key(&id) {
            id = fresh_id();
        }
        self.partitions += size;
        self.sessions.insert(id, session);
        id
    }

    /// Kafka's rule: the session that was not used for longest, if that is long enough; else the
    /// smallest of those that are old, if it is smaller than the new one.
    fn evictable(&self, size: usize, now_ms: u64) -> Option<i32> {
        let is_old = |since_ms: u64| now_ms.saturating_sub(since_ms) > EVICTION_MS;
        let stale = self.sessions.iter().min_by_key(|(id, session)| (session.used_ms, **id));
        if let Some((id, _)) = stale.filter(|(_, session)| is_old(session.used_ms)) {
            return Some(*id);
        }
        // Old is what has been used when it was: a session that was used only once is not.
        let old = self
            .sessions
            .iter()
            .filter(|(_, session)| session.used_ms.saturating_sub(session.begun_ms) > EVICTION_MS);
        let smallest = old.min_by_key(|(id, session)| (session.partitions.len(), **id));
        smallest.filter(|(_, session)| session.partitions.len() < size).map(|(id, _)| *id)
    }

    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }
}

impl Session {
    fn new(owner: Principal, by_topic_id: bool, now_ms: u64) -> Session {
        Session {
            owner,
            by_topic_id,
            epoch: next_epoch(INITIAL_EPOCH),
            begun_ms: now_ms,
            used_ms: now_ms,
            partitions: BTreeMap::new(),
            turns: HashMap::new(),
            next_turn: 0,
        }
    }

    fn known(&mut self, named: &Named) -> Option<&mut Known> {
        self.partitions.get_mut(self.turns.get(named)?)
    }

    fn put(&mut self, named: &Named, position: Position) {
        if let Some(known) = self.known(named) {
            known.position = position;
            return;
        }
        // Nothing that a partition really has: the first fetch tells of it in any case.
        let known = Known { named: named.clone(), position, high_watermark: -1, log_start: -1 };
        self.append(known);
    }

    fn append(&mut self, known: Known) {
        self.turns.insert(known.named.clone(), self.next_turn);
        self.partitions.insert(self.next_turn, known);
        self.next_turn += 1;
    }

    fn forget(&mut self, named: &Named) {
        if let Some(turn) = self.turns.remove(named) {
            self.partitions.remove(&turn);
        }
    }

    /// Whether there is something to tell of a partition; then it counts as told.
    fn tell(&mut self, named: &Named, fetched: &Fetched) -> bool {
        let Some(known) = self.known(named) else { return true };
        let is_news = known.high_watermark != fetched.high_watermark
            || known.log_start != fetched.log_start
            || fetched.has_records
            || fetched.has_failed;
        known.log_start = fetched.log_start;
        // After a failure the partition is told of again, whatever it has.
        known.high_watermark = if fetched.has_failed { -1 } else { fetched.high_watermark };
        if fetched.has_records
            && let Some(turn) = self.turns.get(named).copied()
            && let Some(known) = self.partitions.remove(&turn)
        {
            self.append(known);
        }
        is_news
    }
}

#[cfg(test)]
mod tests;
