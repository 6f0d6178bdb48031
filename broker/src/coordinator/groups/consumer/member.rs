//! A member of a consumer group, and how it comes from what it owns to what it shall own.

use std::sync::Arc;

use bytes::Bytes;

use super::assignment::{Assignment, Place};
use super::topics::Subscription;
use crate::coordinator::Now;
use crate::coordinator::groups::messages::InstanceId;

/// The epoch of a member that has not been given one yet.
pub const JOINING: i32 = 0;
/// The epoch that a member leaves with.
pub const LEAVING: i32 = -1;
/// The epoch of a static member that has left and will come back.
pub const AWAY: i32 = -2;

/// How far a member is with its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has all of its part at its epoch.
    #[default]
    Stable,
    /// It has to let go of partitions before it goes on to the next epoch.
    Revoking,
    /// It waits for partitions that others have to let go of.
    Waiting,
}

impl MemberState {
    /// Kafka's number.
    pub fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Revoking => 1,
            MemberState::Waiting => 2,
        }
    }

    /// A state that is not known here begins anew: the member owns what is written.
    pub fn of_number(number: i8) -> MemberState {
        match number {
            1 => MemberState::Revoking,
            2 => MemberState::Waiting,
            _ => MemberState::Stable,
        }
    }
}

/// What a member has told of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberFacts {
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    /// The assignor that it would like.
    pub assignor: Option<Arc<str>>,
    pub subscription: Subscription,
    /// Of one that still speaks the classic protocol.
    pub classic: Option<ClassicFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicFacts {
    pub session_timeout_ms: i32,
    /// By preference, each with the subscription as the member sent it.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// What a member has, and at which epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// With which it may come if the answer with the newer one was lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    /// It may use these, and has them until it is known to have let them go.
    pub assigned: Assignment,
    /// It has been told to let these go.
    pub revoking: Assignment,
}

impl Current {
    pub fn is_at(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// All that nobody else may have.
    pub fn held(&self) -> impl Iterator<Item = Place> {
        self.assigned.iter().chain(self.revoking.iter())
    }

    /// One step towards `target`; `None` if there is none to take. A member that does not say what
    /// it owns may still own everything.
    ///
    /// ```text
    ///             target changed                 all let go: epoch + 1
    ///   Stable ──────────────────▶ Revoking ──────────────────────────▶ (again)
    ///     │  nothing to let go                          others still hold a part
    ///     └─────────────────────▶ at the target's epoch ──────────────▶ Waiting ─▶ Stable
    /// ```
    pub fn step(
        &self,
        target_epoch: i32,
        target: &Assignment,
        owned: Option<&Assignment>,
        is_free: impl Fn(Place) -> bool,
    ) -> Option<Current> {
        let owns_any = |of: &Assignment| owned.is_none_or(|owned| owned.intersects(of));
        let epoch = match self.state {
            MemberState::Stable if self.epoch == target_epoch => return None,
            MemberState::Stable | MemberState::Waiting => self.epoch,
            MemberState::Revoking if owns_any(&self.revoking) => return None,
            MemberState::Revoking => self.epoch + 1,
        };
        let mut assigned = self.assigned.and(target);
        let revoking = self.assigned.without(&assigned);
        if !revoking.is_empty() && owns_any(&revoking) {
            let state = MemberState::Revoking;
            return self.changed(Current { state, ..self.at(epoch, assigned, revoking) });
        }
        let own = |place: &Place| self.assigned.contains(*place) || self.revoking.contains(*place);
        let missing = target.without(&assigned);
        let (free, held): (Assignment, Assignment) =
            missing.iter().partition(|place| own(place) || is_free(*place));
        assigned.extend(free.iter());
        let state = if held.is_empty() { MemberState::Stable } else { MemberState::Waiting };
        let none = Assignment::default();
        self.changed(Current { state, ..self.at(target_epoch, assigned, none) })
    }

    fn at(&self, epoch: i32, assigned: Assignment, revoking: Assignment) -> Current {
        let (previous_epoch, state) = (self.epoch, self.state);
        Current { epoch, previous_epoch, state, assigned, revoking }
    }

    fn changed(&self, next: Current) -> Option<Current> {
        (next != *self).then_some(next)
    }
}

/// One member.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub facts: MemberFacts,
    pub current: Current,
    /// What it shall own at the group's target epoch.
    pub target: Assignment,
    pub timers: Timers,
}

/// Until when something has to happen, or the member is gone. Not kept: after a restart each
/// member has its session's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// To be heard of.
    pub session_ms: u64,
    /// To have let go of partitions.
    pub revoke_ms: Option<u64>,
    /// To join again, for one of the classic protocol that was told to.
    pub join_ms: Option<u64>,
    /// To ask for its part, for one of the classic protocol that has joined.
    pub sync_ms: Option<u64>,
}

impl Timers {
    pub fn next_ms(&self) -> u64 {
        let others = [self.revoke_ms, self.join_ms, self.sync_ms].into_iter().flatten();
        others.fold(self.session_ms, u64::min)
    }
}

/// The time in `ms`, which a client has said: less than nothing is nothing.
pub fn after(now: Now, ms: i32) -> u64 {
    now.elapsed_ms.saturating_add(ms.max(0) as u64)
}

impl Member {
    pub fn is_classic(&self) -> bool {
        self.facts.classic.is_some()
    }

    /// The name of the classic protocol that it is told of.
    pub fn classic_protocol(&self) -> Arc<str> {
        let protocols = self.facts.classic.as_ref().map(|classic| &classic.protocols);
        let first = protocols.and_then(|protocols| protocols.first());
        first.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}
