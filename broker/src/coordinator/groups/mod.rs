//! Consumer groups: the classic protocol of JoinGroup, SyncGroup, Heartbeat and LeaveGroup, the new
//! one of ConsumerGroupHeartbeat ([`consumer`]), and committed offsets.
//!
//! A group of the classic protocol:
//!
//! ```text
//!                    join                 all joined, or time is up
//!   Empty ───────────────────▶ PreparingRebalance ──────────────▶ CompletingRebalance
//!     ▲                          ▲     │ nobody left                   │ the leader's
//!     │                          │     ▼                               │ assignment
//!     └──────────────────────────┼── Empty                             ▼
//!                                └──────── join, leave, silence ──── Stable
//! ```
//!
//! - [`any`]: a group of either protocol, and how it goes over from one to the other;
//! - [`group`]: a classic group and its members, pure: (state, request, now) → outputs;
//!   [`joining`]: how members come in; [`rebalance`]: how a generation begins and what each member
//!   gets; [`snapshot`]: a group as it is kept;
//! - [`offsets`]: committed offsets, plain and transactional;
//! - [`messages`]: inputs, outputs and errors; [`records`]: the records of `__consumer_offsets`;
//! - [`service`]: the rim, which hosts every group under a lock of its own; [`replay`]: groups
//!   from the topic, after a restart.
//!
//! Invariants: only members of the current generation take part in it. A member has at most one
//! waiter for a join and one for a sync, and an older one is answered before a newer one takes
//! its place. An assignment is given out only once it is in the log. A transactional offset is
//! invisible until the marker, and then takes effect at the place in the log where it was
//! written.

mod any;
pub mod consumer;
mod group;
mod joining;
mod messages;
mod offsets;
mod rebalance;
mod records;
mod replay;
mod service;
mod snapshot;

pub use group::{GroupConfig, GroupState};
pub use messages::{
    CommitRequest, GroupError, GroupSnapshot, InstanceId, JoinRefused, JoinRequest, Joined,
    LeavingMember, MemberClaim, MemberId, OffsetToCommit, SyncRequest,
};
pub use offsets::StoredOffset;
pub use service::{Described, DescribedMember, GroupService, GroupSettings, Host};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
