//! Which session a row belongs to: the open sessions of every key.
//!
//! A session of times `first..=last` takes in every time from `first - gap` to `last + gap`. Two of
//! a key are never that near to each other: a row that joins both makes them one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A session by its first time. All times are in steps of the time column's type.
pub(super) type OfKey = BTreeMap<i64, Session>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The time of the row that it began with: it lies within, and in no other of the key.
    pub id: i64,
    pub last: i64,
    /// It has come out already, although the watermark is not there yet.
    pub told: bool,
}

/// Where a row came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Late,
    New,
    /// Into the session of that id.
    Joined(i64),
    /// Into that of `id`, which the row has made one with another.
    Merged {
        id: i64,
        absorbed: i64,
    },
}

#[derive(Default)]
pub(super) struct Sessions {
    by_key: HashMap<Arc<[u8]>, OfKey>,
    /// When to look whether a session is over: no later than its last time.
    due: BinaryHeap<Reverse<(i64, Arc<[u8]>, i64)>>,
    /// How many there are, and how many of them have been told.
    len: usize,
    told: usize,
}

/// Puts a row among the sessions of its key. A row that joins none is late if `too_late`.
pub(super) fn place(of_key: &mut OfKey, time: i64, gap: i64, too_late: bool) -> Placed {
    let copied = |(first, session): (&i64, &Session)| (*first, *session);
    let before = of_key.range(..=time).next_back().map(copied);
    let before = before.filter(|(_, session)| time <= session.last.saturating_add(gap));
    let after = of_key.range((Bound::Excluded(time), Bound::Unbounded)).next().map(copied);
    let after = after.filter(|(first, _)| *first <= time.saturating_add(gap));
    if [before, after].into_iter().flatten().any(|(_, session)| session.told) {
        return Placed::Late;
    }
    match (before, after) {
        (None, None) if too_late => Placed::Late,
        (None, None) => {
            of_key.insert(time, Session { id: time, last: time, told: false });
            Placed::New
        }
        (Some((first, session)), None) => {
            of_key.insert(first, Session { last: session.last.max(time), ..session });
            Placed::Joined(session.id)
        }
        (None, Some((first, session))) => {
            of_key.remove(&first);
            of_key.insert(time, session);
            Placed::Joined(session.id)
        }
        (Some((first, session)), Some((next, absorbed))) => {
            of_key.remove(&next);
            of_key.insert(first, Session { last: session.last.max(absorbed.last), ..session });
            Placed::Merged { id: session.id, absorbed: absorbed.id }
        }
    }
}

/// A session that is over.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Over {
    pub first: i64,
    pub key: Arc<[u8]>,
    pub id: i64,
    pub last: i64,
    pub told: bool,
}

impl Sessions {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn any_told(&self) -> bool {
        self.told > 0
    }

    pub fn of_key(&self, key: &[u8]) -> Option<&OfKey> {
        self.by_key.get(key)
    }

    pub fn place(&mut self, key: &[u8], time: i64, gap: i64, too_late: bool) -> Placed {
        let of_key = match self.by_key.get_mut(key) {
            Some(of_key) => of_key,
            None if too_late => return Placed::Late,
            None => self.by_key.entry(key.into()).or_default(),
        };
        let placed = place(of_key, time, gap, too_late);
        match placed {
            Placed::New => {
                let key = self.by_key.get_key_value(key).map(|(key, _)| key.clone());
                self.due.extend(key.map(|key| Reverse((time, key, time))));
                self.len += 1;
            }
            Placed::Merged { .. } => self.len -= 1,
            Placed::Late | Placed::Joined(_) => {}
        }
        placed
    }

    /// The session that has, or has taken in, the one of this id; with its first time.
    pub fn find(&self, key: &[u8], id: i64) -> Option<(i64, Session)> {
        let (first, session) = self.by_key.get(key)?.range(..=id).next_back()?;
        Some((*first, *session))
    }

    pub fn restore(&mut self, key: &[u8], first: i64, session: Session) {
        let key: Arc<[u8]> = match self.by_key.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => key.into(),
        };
        self.due.push(Reverse((session.last, key.clone(), session.id)));
        self.len += 1;
        self.told += usize::from(session.told);
        self.by_key.entry(key).or_default().insert(first, session);
    }

    /// Takes out all sessions whose last time `is_over`, in the order of their first times.
    pub fn take_over(&mut self, is_over: impl Fn(i64) -> bool) -> Vec<Over> {
        let mut over = Vec::new();
        while self.due.peek().is_some_and(|Reverse((last, _, _))| is_over(*last)) {
            let Some(Reverse((_, key, id))) = self.due.pop() else { break };
            // One that was absorbed is looked after by what took it in.
            let found = self.find(&key, id).filter(|(_, session)| session.id == id);
            let Some((first, Session { last, told, .. })) = found else { continue };
            if !is_over(last) {
                self.due.push(Reverse((last, key, id)));
                continue;
            }
            if let Some(of_key) = self.by_key.get_mut(&key) {
                of_key.remove(&first);
                if of_key.is_empty() {
                    self.by_key.remove(&key);
                }
            }
            self.len -= 1;
            self.told -= usize::from(told);
            over.push(Over { first, key, id, last, told });
        }
        over.sort_unstable();
        over
    }

    /// All that have not been told; they stay, as told.
    pub fn tell_all(&mut self) -> Vec<Over> {
        let mut over = Vec::new();
        for (key, of_key) in &mut self.by_key {
            for (&first, session) in of_key.iter_mut().filter(|(_, session)| !session.told) {
                session.told = true;
                let Session { id, last, .. } = *session;
                over.push(Over { first, key: key.clone(), id, last, told: false });
            }
        }
        self.told += over.len();
        over.sort_unstable();
        over
    }

    /// First and last times of all that have not been told.
    pub fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let all = self.by_key.values().flatten();
        all.filter(|(_, session)| !session.told).map(|(first, session)| (*first, session.last))
    }

    /// A time that is no later than the last of any session.
    pub fn earliest(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((last, _, _))| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the order, the sessions are those of the sorted times.
        #[test]
        fn sessions_are_islands_between_gaps(
            times in prop::collection::vec((0..2u8, 0..100i64), 1..60),
            gap in 0..6i64,
        ) {
            let mut sessions = Sessions::default();
            for (key, time) in &times {
                prop_assert_ne!(sessions.place(&[*key], *time, gap, false), Placed::Late);
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
            let early = sessions.take_over(|last| last < 50);
            let rest = sessions.take_over(|_| true);
            prop_assert!(early.iter().all(|over| over.last < 50));
            prop_assert!(rest.iter().all(|over| over.last >= 50 && over.first <= over.id));
            let all = early.into_iter().chain(rest);
            let mut found: Vec<_> = all.map(|over| (over.first, over.last, over.key[0])).collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(sessions.len(), 0);
        }
    }

    #[test]
    fn a_late_row_joins_what_is_open_and_begins_nothing() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.place(b"k", 5, 3, true), Placed::Late);
        assert_eq!(sessions.place(b"k", 10, 3, false), Placed::New);
        assert_eq!(sessions.place(b"k", 7, 3, true), Placed::Joined(10));
        assert_eq!(sessions.place(b"k", 3, 3, true), Placed::Late);
        assert_eq!(sessions.place(b"k", 20, 3, false), Placed::New);
        assert_eq!(sessions.place(b"k", 17, 3, false), Placed::Joined(20));
        assert_eq!(sessions.place(b"k", 13, 4, false), Placed::Merged { id: 10, absorbed: 20 });
        assert_eq!(sessions.find(b"k", 20), Some((7, Session { id: 10, last: 20, told: false })));
    }
}
