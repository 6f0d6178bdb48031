//! Which session a row belongs to: the open sessions of every key.
//!
//! A session of times `first..=last` takes in every time from `first - gap` to `last + gap`. Two of
//! a key are never that near to each other: a row that joins both makes them one.
//!
//! ```text
//! sessions  key, first time i64 → id i64, last time i64, told u8  (logged)
//! by_last   last time i64, key, first time i64 → nothing          (those that were not told)
//! told      the same                                              (the others)
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use datafusion_common::Result;

use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::state::store::{split_time, time_key};

/// What the first byte of an entry's key is.
pub(super) const SESSION: u8 = 3;
/// The same for what the changelog does not have.
const BY_LAST: u8 = 0x83;
const TOLD: u8 = 0x84;

/// Sessions by their first times. All times are in steps of the time column's type.
pub(super) type OfKey = BTreeMap<i64, Session>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The time of a row: it lies within, and in no other of the key.
    pub id: i64,
    pub last: i64,
    /// It has come out already, although the watermark is not there yet.
    pub told: bool,
}

/// Where rows came to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub id: i64,
    /// Sessions that these rows have made one with that of `id`, or only made longer: as they were.
    pub before: Vec<(i64, Session)>,
}

/// A session that is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Over {
    pub first: i64,
    pub key: Bytes,
    pub id: i64,
    pub last: i64,
    pub told: bool,
}

pub(super) struct Sessions {
    sessions: StateMap,
    by_last: StateMap,
    told: StateMap,
}

/// Tries a row among the sessions of its key. Whether it is late: it joins one that was told, or it
/// joins none and is `too_late` to begin one.
pub(super) fn is_late(of_key: &mut OfKey, time: i64, gap: i64, too_late: bool) -> bool {
    let from = time.saturating_sub(gap);
    let mut joined: Vec<(i64, Session)> = Vec::new();
    for (first, session) in of_key.range(..=time.saturating_add(gap)).rev() {
        if session.last < from {
            break;
        }
        joined.push((*first, *session));
    }
    if joined.iter().any(|(_, session)| session.told) || (joined.is_empty() && too_late) {
        return true;
    }
    joined.iter().for_each(|(first, _)| {
        of_key.remove(first);
    });
    let firsts = joined.iter().map(|(first, _)| *first);
    let lasts = joined.iter().map(|(_, session)| session.last);
    let last = lasts.max().map_or(time, |last| last.max(time));
    let first = firsts.min().map_or(time, |first| first.min(time));
    of_key.insert(first, Session { id: first, last, told: false });
    false
}

fn place(key: &[u8], first: i64) -> Vec<u8> {
    [key, &time_key(first)].concat()
}

fn by_last(last: i64, place: &[u8]) -> Vec<u8> {
    [&time_key(last)[..], place].concat()
}

/// The key of a session, and its first time.
pub(super) fn split_place(place: &[u8]) -> Option<(&[u8], i64)> {
    let (key, first) = place.split_last_chunk::<8>()?;
    Some((key, split_time(first)?.0))
}

impl Session {
    fn value(self) -> Bytes {
        let Session { id, last, told } = self;
        let mut value = Vec::with_capacity(8 + 8 + 1);
        value.extend_from_slice(&id.to_be_bytes());
        value.extend_from_slice(&last.to_be_bytes());
        value.push(told.into());
        value.into()
    }

    pub fn parse(value: &[u8]) -> Option<Session> {
        let (id, rest) = value.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let told = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Session { id: i64::from_be_bytes(*id), last: i64::from_be_bytes(*last), told })
    }
}

impl Sessions {
    pub fn new(id: StateId) -> Sessions {
        let map = |kind: u8, is_logged| StateMap::new(id.key(&[&[kind]]), is_logged);
        Sessions {
            sessions: map(SESSION, true),
            by_last: map(BY_LAST, false),
            told: map(TOLD, false),
        }
    }

    pub fn maps(&mut self) -> [&mut StateMap; 3] {
        [&mut self.sessions, &mut self.by_last, &mut self.told]
    }

    pub fn len(&self) -> usize {
        self.sessions.len() as usize
    }

    /// How many of them have not been told.
    pub fn untold(&self) -> usize {
        self.by_last.len() as usize
    }

    pub fn any_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// The last session of a key that begins no later than that.
    fn before(&self, key: &[u8], time: i64) -> Result<Option<(i64, Session)>, DiskError> {
        // Behind the place itself, and before any other.
        let end = [&place(key, time)[..], &[0]].concat();
        let Some(last) = self.sessions.last_before(&end)? else { return Ok(None) };
        let Some((of, first)) = split_place(&last).filter(|(of, _)| *of == key) else {
            return Ok(None);
        };
        debug_assert_eq!(of, key);
        let value = self.sessions.get(&last)?;
        Ok(value.and_then(|value| Some((first, Session::parse(&value)?))))
    }

    /// The sessions of a key that rows between these times, and the gap around them, may join.
    pub fn between(
        &self,
        key: &[u8],
        (from, to): (i64, i64),
        gap: i64,
    ) -> Result<OfKey, DiskError> {
        let mut found = OfKey::new();
        let earliest = from.saturating_sub(gap);
        let before = self.before(key, earliest)?;
        found.extend(before.filter(|(_, session)| session.last >= earliest));
        let (from, to) = (place(key, earliest), place(key, to.saturating_add(gap)));
        for entry in self.sessions.range(Bound::Excluded(&from), Bound::Included(&to)) {
            let (place, value) = entry?;
            let session = split_place(&place).map(|(_, first)| first).zip(Session::parse(&value));
            found.extend(session);
        }
        Ok(found)
    }

    /// Takes rows of a key that are no further than the gap from each other.
    pub fn place(
        &mut self,
        key: &[u8],
        (from, to): (i64, i64),
        gap: i64,
    ) -> Result<Placed, DiskError> {
        let joined = self.between(key, (from, to), gap)?;
        let before: Vec<(i64, Session)> = joined.into_iter().collect();
        let Some((first, earliest)) = before.first().copied() else {
            self.put(key, from, Session { id: from, last: to, told: false })?;
            return Ok(Placed { id: from, before });
        };
        let last = before.iter().map(|(_, session)| session.last).max();
        let united = Session { last: last.map_or(to, |last| last.max(to)), ..earliest };
        if before.len() > 1 || first > from || earliest != united {
            for (first, session) in &before {
                self.remove(key, *first, *session)?;
            }
            self.put(key, first.min(from), united)?;
        }
        Ok(Placed { id: earliest.id, before })
    }

    fn put(&mut self, key: &[u8], first: i64, session: Session) -> Result<(), DiskError> {
        let place = place(key, first);
        self.note(&place, session)?;
        self.sessions.put(&place, session.value())?;
        Ok(())
    }

    fn note(&mut self, place: &[u8], session: Session) -> Result<(), DiskError> {
        let index = if session.told { &mut self.told } else { &mut self.by_last };
        index.put(&by_last(session.last, place), Arc::from(&[][..]))?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8], first: i64, session: Session) -> Result<(), DiskError> {
        let place = place(key, first);
        self.sessions.remove(&place)?;
        self.forget(&place, session)
    }

    fn forget(&mut self, place: &[u8], session: Session) -> Result<(), DiskError> {
        let index = if session.told { &mut self.told } else { &mut self.by_last };
        index.remove(&by_last(session.last, place))?;
        Ok(())
    }

    /// The session that has, or has taken in, the one of this id; with its first time.
    pub fn find(&self, key: &[u8], id: i64) -> Result<Option<(i64, Session)>, DiskError> {
        self.before(key, id)
    }

    /// Takes up an entry, or learns that it has gone; the first byte of its key is left out.
    pub fn restore(&mut self, at: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("a session's entry at key {at:02x?}"));
        split_place(at).ok_or_else(damaged)?;
        if let Some(before) = self.sessions.get(at)?.and_then(|value| Session::parse(&value)) {
            self.forget(at, before)?;
        }
        if let Some(value) = value {
            let session = Session::parse(value).ok_or_else(damaged)?;
            self.note(at, session)?;
        }
        Ok(self.sessions.restore(at, value)?)
    }

    /// Up to `max` sessions with last times in between, the second one left out, in their order.
    pub fn last_between(
        &self,
        told: bool,
        (last, before): (i64, i64),
        max: usize,
    ) -> Result<Vec<Over>, DiskError> {
        let index = if told { &self.told } else { &self.by_last };
        let (from, to) = (time_key(last), time_key(before));
        let mut over = Vec::new();
        for entry in index.range(Bound::Included(&from), Bound::Excluded(&to)).take(max) {
            let (key, _) = entry?;
            let Some((last, (key, first))) =
                split_time(&key).and_then(|(last, place)| Some((last, split_place(place)?)))
            else {
                continue;
            };
            let value = self.sessions.get(&place(key, first))?;
            if let Some(Session { id, .. }) = value.and_then(|value| Session::parse(&value)) {
                over.push(Over { first, key: key.into(), id, last, told });
            }
        }
        Ok(over)
    }

    /// Takes out up to `max` sessions whose last times are before this, those first that were told.
    pub fn take_over(&mut self, before: i64, max: usize) -> Result<Vec<Over>, DiskError> {
        let mut over = self.last_between(true, (i64::MIN, before), max)?;
        let rest = max - over.len();
        over.extend(self.last_between(false, (i64::MIN, before), rest)?);
        for Over { first, key, id, last, told } in &over {
            self.remove(key, *first, Session { id: *id, last: *last, told: *told })?;
        }
        Ok(over)
    }

    /// Up to `max` of those that have not been told; they stay, as told.
    pub fn tell(&mut self, max: usize) -> Result<Vec<Over>, DiskError> {
        let over = self.last_between(false, (i64::MIN, i64::MAX), max)?;
        for Over { first, key, id, last, .. } in &over {
            let session = Session { id: *id, last: *last, told: false };
            self.forget(&place(key, *first), session)?;
            self.put(key, *first, Session { told: true, ..session })?;
        }
        Ok(over)
    }

    /// The latest last time of sessions that begin at a time that `begins`, if they were not told.
    pub fn last_of(&self, begins: impl Fn(i64) -> bool) -> Option<i64> {
        let mut end: Option<Bytes> = None;
        loop {
            // A disk that fails says so when it is read next.
            let last = match &end {
                None => self.by_last.last_with_prefix(&[]),
                Some(end) => self.by_last.last_before(end),
            };
            let last = last.ok().flatten()?;
            let (time, place) = split_time(&last)?;
            if begins(split_place(place)?.1) {
                return Some(time);
            }
            end = Some(last);
        }
    }

    /// The least last time of any session.
    pub fn first_last(&self) -> Option<i64> {
        let told = self.told.first().ok().flatten();
        let told = told.and_then(|(first, _)| Some(split_time(&first)?.0));
        [told, self.earliest()].into_iter().flatten().min()
    }

    /// The least last time of those that were not told.
    pub fn earliest(&self) -> Option<i64> {
        let (first, _) = self.by_last.first().ok().flatten()?;
        Some(split_time(&first)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(sessions: &mut Sessions, before: i64) -> Vec<Over> {
        sessions.take_over(before, usize::MAX).unwrap()
    }

    proptest! {
        /// Whatever the order, the sessions are those of the sorted times.
        #[test]
        fn sessions_are_islands_between_gaps(
            times in prop::collection::vec((0..2u8, 0..100i64), 1..60),
            gap in 0..6i64,
        ) {
            let mut sessions = Sessions::new(StateId::of("sessions"));
            for (key, time) in &times {
                sessions.place(&[*key], (*time, *time), gap).unwrap();
            }
            let mut expected = Vec::new();
            for key in 0..2u8 {
                let mut of_key: Vec<i64> =
                    times.iter().filter(|(of, _)| *of == key).map(|(_, time)| *time).collect();
                of_key.sort_unstable();
                let mut islands: Vec<(i64, i64, u8)> = Vec::new();
                for time in of_key {
                    match islands.last_mut() {
                        Some((_, last, _)) if time <= *last + gap => *last = time,
                        _ => islands.push((time, time, key)),
                    }
                }
                expected.extend(islands);
            }
            expected.sort_unstable();
            prop_assert_eq!(sessions.len(), expected.len());
            let early = all(&mut sessions, 50);
            let rest = all(&mut sessions, i64::MAX);
            prop_assert!(early.iter().all(|over| over.last < 50));
            prop_assert!(rest.iter().all(|over| over.last >= 50 && over.first <= over.id));
            let all = early.into_iter().chain(rest);
            let mut found: Vec<_> = all.map(|over| (over.first, over.last, over.key[0])).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert_eq!((sessions.len(), sessions.untold()), (0, 0));
        }
    }

    #[test]
    fn a_late_row_joins_what_is_open_and_begins_nothing() {
        let mut of_key = OfKey::new();
        assert!(is_late(&mut of_key, 5, 3, true));
        assert!(!is_late(&mut of_key, 10, 3, false));
        assert!(!is_late(&mut of_key, 7, 3, true));
        assert!(is_late(&mut of_key, 3, 3, true));
        assert!(!is_late(&mut of_key, 20, 3, false));
        assert!(!is_late(&mut of_key, 17, 3, false));
        assert!(!is_late(&mut of_key, 13, 4, false));
        let session = Session { id: 7, last: 20, told: false };
        assert_eq!(of_key.into_iter().collect::<Vec<_>>(), [(7, session)]);
        let mut told = OfKey::from([(30, Session { id: 30, last: 40, told: true })]);
        assert!(is_late(&mut told, 43, 3, false));
        assert!(!is_late(&mut told, 44, 3, false));
    }

    #[test]
    fn rows_that_join_two_make_them_one() {
        let mut sessions = Sessions::new(StateId::of("sessions"));
        let mut place = |from, to| sessions.place(b"k", (from, to), 4).unwrap();
        assert_eq!(place(10, 12), Placed { id: 10, before: vec![] });
        assert_eq!(place(20, 20).id, 20);
        let joined = place(15, 16);
        assert_eq!((joined.id, joined.before.len()), (10, 2));
        let found = sessions.find(b"k", 20).unwrap();
        assert_eq!(found, Some((10, Session { id: 10, last: 20, told: false })));
    }
}
