//! Share sessions (KIP-932): a member names the partitions that it fetches once, later only what
//! changes. Pure: no clock, no socket.
//!
//! ```text
//! epoch 0         a new session in the place of the member's old one, if there is room
//! epoch 1, 2, …   partitions to add and to forget ─► all of the session
//! epoch −1        the last word: what it has acquired goes back
//! ```
//!
//! Invariants: of two requests with one epoch only one is served. A session ends with the
//! connection that it was last used by, so that what a dead member has is given to others at once.
//! Sessions are bounded in number, and name only partitions that there are.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::protocol::ErrorCode;

/// In the place of an epoch: a new session, and the end of one.
pub const INITIAL_EPOCH: i32 = 0;
pub const FINAL_EPOCH: i32 = -1;

/// A partition of a topic, as sessions name it.
pub type Named = (Uuid, i32);

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    pub group: Arc<str>,
    pub member: Arc<str>,
}

#[derive(Debug)]
struct Session {
    /// Of the next request.
    epoch: i32,
    connection: u64,
    partitions: Vec<Named>,
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct Sessions {
    /// `group.share.max.share.sessions`
    sessions_max: usize,
    sessions: HashMap<Owner, Session>,
}

impl Sessions {
    pub fn new(sessions_max: usize) -> Sessions {
        Sessions { sessions_max, sessions: HashMap::new() }
    }

    /// ShareFetch in an epoch; the partitions to fetch, those first that are due (each request
    /// begins with another, so that none is starved).
    pub fn fetch(
        &mut self,
        owner: &Owner,
        epoch: i32,
        connection: u64,
        added: &[Named],
        forgotten: &[Named],
    ) -> Result<Vec<Named>, ErrorCode> {
        if epoch == FINAL_EPOCH {
            let known = self.sessions.contains_key(owner);
            return known.then(Vec::new).ok_or(ErrorCode::SHARE_SESSION_NOT_FOUND);
        }
        if epoch == INITIAL_EPOCH {
            self.sessions.remove(owner);
            if self.sessions.len() >= self.sessions_max {
                return Err(ErrorCode::SHARE_SESSION_LIMIT_REACHED);
            }
            let new = Session { epoch, connection, partitions: Vec::new() };
            self.sessions.insert(owner.clone(), new);
        }
        let session = self.used(owner, epoch, connection)?;
        for named in added {
            if !session.partitions.contains(named) {
                session.partitions.push(*named);
            }
        }
        session.partitions.retain(|named| !forgotten.contains(named));
        let mut partitions = session.partitions.clone();
        let count = partitions.len().max(1);
        partitions.rotate_left(usize::try_from(epoch).unwrap_or(0) % count);
        Ok(partitions)
    }

    /// ShareAcknowledge in an epoch.
    pub fn acknowledge(
        &mut self,
        owner: &Owner,
        epoch: i32,
        connection: u64,
    ) -> Result<(), ErrorCode> {
        match epoch {
            INITIAL_EPOCH => Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH),
            FINAL_EPOCH => {
                let known = self.sessions.contains_key(owner);
                known.then_some(()).ok_or(ErrorCode::SHARE_SESSION_NOT_FOUND)
            }
            epoch => self.used(owner, epoch, connection).map(|_| ()),
        }
    }

    fn used(
        &mut self,
        owner: &Owner,
        epoch: i32,
        connection: u64,
    ) -> Result<&mut Session, ErrorCode> {
        let session = self.sessions.get_mut(owner).ok_or(ErrorCode::SHARE_SESSION_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.connection = connection;
        Ok(session)
    }

    /// The member has said its last word.
    pub fn end(&mut self, owner: &Owner) -> bool {
        self.sessions.remove(owner).is_some()
    }

    /// A connection is gone; whose sessions have gone with it.
    pub fn disconnected(&mut self, connection: u64) -> Vec<Owner> {
        let of_connection = |session: &Session| session.connection == connection;
        let gone: Vec<Owner> = self
            .sessions
            .iter()
            .filter(|(_, session)| of_connection(session))
            .map(|(owner, _)| owner.clone())
            .collect();
        self.sessions.retain(|_, session| !of_connection(session));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(member: &str) -> Owner {
        Owner { group: "g".into(), member: member.into() }
    }

    fn named(partitions: impl IntoIterator<Item = i32>) -> Vec<Named> {
        partitions.into_iter().map(|partition| (Uuid::nil(), partition)).collect()
    }

    #[test]
    fn a_session_names_its_partitions_once() {
        let mut sessions = Sessions::new(10);
        let one = owner("one");
        assert_eq!(sessions.fetch(&one, 0, 1, &named(0..3), &[]), Ok(named(0..3)));
        // By turns, and with what is added and forgotten.
        assert_eq!(sessions.fetch(&one, 1, 1, &vec![], &[]), Ok(named([1, 2, 0])));
        assert_eq!(sessions.fetch(&one, 2, 1, &named([1, 3]), &named([0])), Ok(named([3, 1, 2])));
        assert_eq!(sessions.acknowledge(&one, 3, 1), Ok(()));
        let at_another = Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH);
        assert_eq!(sessions.fetch(&one, 3, 1, &vec![], &[]), at_another);
        assert_eq!(sessions.fetch(&one, 4, 1, &vec![], &[]), Ok(named([2, 3, 1])));
        assert_eq!(sessions.acknowledge(&one, 0, 1), Err(ErrorCode::INVALID_SHARE_SESSION_EPOCH));
        // Begun anew.
        assert_eq!(sessions.fetch(&one, 0, 1, &named([7]), &[]), Ok(named([7])));
    }

    #[test]
    fn epochs_begin_again_at_one() {
        let mut sessions = Sessions::new(1);
        let one = owner("one");
        sessions.fetch(&one, 0, 1, &vec![], &[]).unwrap();
        sessions.sessions.get_mut(&one).unwrap().epoch = i32::MAX;
        assert_eq!(sessions.acknowledge(&one, i32::MAX, 1), Ok(()));
        assert_eq!(sessions.acknowledge(&one, 1, 1), Ok(()));
    }

    #[test]
    fn sessions_end_by_a_word_and_with_their_connections() {
        let mut sessions = Sessions::new(2);
        let not_found = Err(ErrorCode::SHARE_SESSION_NOT_FOUND);
        assert_eq!(sessions.fetch(&owner("one"), -1, 1, &vec![], &[]), not_found);
        assert_eq!(
            sessions.acknowledge(&owner("one"), -1, 1),
            Err(ErrorCode::SHARE_SESSION_NOT_FOUND)
        );
        for (member, connection) in [("one", 1), ("two", 2)] {
            sessions.fetch(&owner(member), 0, connection, &vec![], &[]).unwrap();
        }
        let third = sessions.fetch(&owner("three"), 0, 3, &vec![], &[]);
        assert_eq!(third, Err(ErrorCode::SHARE_SESSION_LIMIT_REACHED));
        assert_eq!(sessions.fetch(&owner("one"), -1, 1, &vec![], &[]), Ok(vec![]));
        assert!(sessions.end(&owner("one")) && !sessions.end(&owner("one")));
        // By another connection than it began with.
        sessions.fetch(&owner("two"), 1, 4, &vec![], &[]).unwrap();
        assert_eq!(sessions.disconnected(2), []);
        assert_eq!(sessions.disconnected(4), [owner("two")]);
        assert_eq!(sessions.fetch(&owner("two"), 2, 4, &vec![], &[]), not_found);
    }
}
