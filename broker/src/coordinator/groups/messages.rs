//! What goes into a group's machine and what comes out of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use uuid::Uuid;

use super::consumer::changes::Change;
use super::consumer::heartbeat::{Beaten, Refusal};
use crate::coordinator::Waiter;
use crate::coordinator::state_log::StateLogError;
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};

/// Names one life of one member; the coordinator gives it out. Empty: not yet a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Arc<str>);

impl MemberId {
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for MemberId {
    fn from(id: &str) -> MemberId {
        MemberId(Arc::from(id))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a static member across its lives (KIP-345); the user gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub Arc<str>);

impl From<&str> for InstanceId {
    fn from(id: &str) -> InstanceId {
        InstanceId(Arc::from(id))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a group refuses; each is one of Kafka's error codes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GroupError {
    #[error("the coordinator of the group is not available")]
    CoordinatorNotAvailable,
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the generation of the group has passed")]
    IllegalGeneration,
    #[error("the protocol type or the protocols do not fit those of the group's members")]
    InconsistentGroupProtocol,
    #[error("the group does not know this member")]
    UnknownMemberId,
    #[error("the session timeout is outside group.min and group.max.session.timeout.ms")]
    InvalidSessionTimeout,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("a member id is needed; join again with the one given (KIP-394)")]
    MemberIdRequired,
    #[error("the group has reached group.max.size")]
    GroupMaxSizeReached,
    #[error("a newer member has taken this group.instance.id")]
    FencedInstanceId,
    #[error("the metadata beside an offset exceeds offset.metadata.max.bytes")]
    OffsetMetadataTooLarge,
    #[error("the offsets do not fit into one batch of __consumer_offsets")]
    InvalidCommitOffsetSize,
    #[error("the group still has members")]
    NonEmptyGroup,
    #[error("the group still reads this topic")]
    GroupSubscribedToTopic,
    #[error("there is no such group")]
    GroupIdNotFound,
    #[error("a transaction that is not yet decided holds an offset of this partition")]
    UnstableOffsetCommit,
    #[error("a newer producer has fenced this one")]
    InvalidProducerEpoch,
    #[error("the request is not valid")]
    InvalidRequest,
    #[error("the request is too old for a member of the new group protocol")]
    UnsupportedVersion,
    #[error("the member's epoch is not the group's; it must abandon all and join again")]
    FencedMemberEpoch,
    #[error("the member's epoch has passed")]
    StaleMemberEpoch,
    #[error("another member has this group.instance.id, and has not left")]
    UnreleasedInstanceId,
    #[error("there is no such assignor")]
    UnsupportedAssignor,
    #[error("the regular expression of topics is not valid")]
    InvalidRegularExpression,
}

/// JoinGroup.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// Empty for a member that has none yet.
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    /// By preference: name, and what the member has to say to the leader.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// From version 4 a new member must join again with the id it is given (KIP-394).
    pub requires_known_member: bool,
    /// From version 9 a leader can be told to leave the assignment as it is (KIP-814).
    pub can_skip_assignment: bool,
    /// Makes a new member's id unique; the machine has no randomness of its own.
    pub fresh: Uuid,
}

/// A member's place in a new generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub member_id: MemberId,
    pub generation: i32,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub leader: MemberId,
    pub skip_assignment: bool,
    /// All members, for the leader alone.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub metadata: Bytes,
}

/// A join that failed, with the member id to answer: a new one with
/// [`GroupError::MemberIdRequired`], else the one that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: GroupError,
    pub member_id: MemberId,
}

/// Who a member says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberClaim {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub generation: i32,
}

impl MemberClaim {
    /// A consumer that assigns itself its partitions, outside of any generation.
    pub fn none() -> MemberClaim {
        MemberClaim { member_id: MemberId::default(), instance_id: None, generation: -1 }
    }
}

/// SyncGroup.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub member: MemberClaim,
    /// From version 5; must be the group's if given.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    /// From the leader: what each member gets.
    pub assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub assignment: Bytes,
}

/// LeaveGroup, for one member: by its id, or by its instance id alone.
#[derive(Clone, Debug)]
pub struct LeavingMember {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
}

/// OffsetCommit or TxnOffsetCommit.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub member: MemberClaim,
    /// Set for TxnOffsetCommit: offsets wait for this producer's marker.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// From version 9 of OffsetCommit on a member of the new protocol can be told that its epoch
    /// has passed.
    pub knows_epochs: bool,
    pub offsets: Vec<OffsetToCommit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    pub partition: TopicPartition,
    pub offset: i64,
    /// −1 if unknown (KIP-320).
    pub leader_epoch: i32,
    pub metadata: String,
}

impl From<StateLogError> for GroupError {
    fn from(error: StateLogError) -> GroupError {
        match error {
            StateLogError::Unavailable { .. } => GroupError::CoordinatorNotAvailable,
            StateLogError::TooLarge { .. } => GroupError::InvalidCommitOffsetSize,
            StateLogError::Fenced { .. } => GroupError::InvalidProducerEpoch,
        }
    }
}

/// A group as it is kept: its members and what each was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    pub generation: i32,
    /// Empty for a group that never had members.
    pub protocol_type: Arc<str>,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// Since when the group is in its state, by the wall clock.
    pub state_since_ms: i64,
    pub members: Vec<MemberSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberSnapshot {
    pub member_id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// What the machine asks of the rim, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Join(Waiter, Result<Joined, JoinRefused>),
    Sync(Waiter, Result<Synced, GroupError>),
    Beat(Waiter, Result<Beaten, Refusal>),
    /// Keep this; the outputs behind it are for once it is durable.
    Persist(GroupSnapshot),
    /// The same, record by record: of a group of the new protocol, or one that changes it.
    Keep(Vec<Change>),
}
