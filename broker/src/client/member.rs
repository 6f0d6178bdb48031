//! Membership in a group that shares something else than partitions.
//!
//! ```text
//! enter(what it says) ─ all others enter ─ the leader assigns ─→ what it is given
//!        ▲                                                           │ heartbeats
//!        └───────────────── rebalance: others come or go ←───────────┘
//! ```
//!
//! Kafka's coordinator carries what members say to the one that leads, and what that decides back
//! to each; what the bytes mean is theirs alone, as it is for Kafka Streams and Connect.
//!
//! Invariants: a member that entered is kept alive in the background until it enters again or
//! leaves. Whoever lets `enter` be cancelled may enter again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::ClientError;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k11_join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
};
use crate::protocol::messages::k14_sync_group::{
    SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse,
};

/// How late a member may learn of a rebalance; never more than a third of the session timeout.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Before what may pass is asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Who looks after groups: the broker in this process, or one over a socket.
#[async_trait]
pub trait GroupCoordinator: Send + Sync {
    /// Waits until all members have joined, or their time is up.
    async fn join(&self, request: JoinGroupRequest) -> Result<JoinGroupResponse, ClientError>;

    /// Waits until the leader has assigned, for as long as it may take to.
    async fn sync(
        &self,
        request: SyncGroupRequest,
        rebalance_timeout: Duration,
    ) -> Result<SyncGroupResponse, ClientError>;

    async fn heartbeat(&self, claim: &Claim) -> Result<ErrorCode, ClientError>;

    async fn leave(&self, group: &str, member_id: &str) -> Result<(), ClientError>;
}

/// Who a member says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub group: String,
    pub member_id: String,
    pub generation: i32,
}

/// How to take part.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    pub group: String,
    /// What kind of group it is, and how its members understand each other: those that do not
    /// agree cannot be in one.
    pub protocol_type: String,
    pub protocol: String,
    /// Silence after which a member is taken for dead.
    pub session_timeout: Duration,
    /// How long others wait for a member to enter the next generation.
    pub rebalance_timeout: Duration,
}

/// Why a member has to enter again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// Others come or go.
    Others,
    /// It was taken for dead: what it was given is somebody else's by now.
    Forgotten,
}

/// What came of asking for what this member is given.
enum Synced {
    Given(Bytes),
    /// The group has moved on already.
    Late,
    Forgotten,
}

/// What a member says, by its id.
pub type Said = Vec<(String, Bytes)>;
/// What a member is given, by its id.
pub type Given = Vec<(String, Bytes)>;

/// See the module.
pub struct GroupMember {
    coordinator: Arc<dyn GroupCoordinator>,
    options: MemberOptions,
    claim: Claim,
    rebalances: watch::Receiver<Option<Rebalance>>,
    heartbeats: Option<AbortHandle>,
}

impl GroupMember {
    /// One that has yet to enter.
    pub fn new(coordinator: Arc<dyn GroupCoordinator>, options: MemberOptions) -> GroupMember {
        let claim = Claim { group: options.group.clone(), ..Claim::default() };
        let (_, rebalances) = watch::channel(Some(Rebalance::Forgotten));
        GroupMember { coordinator, options, claim, rebalances, heartbeats: None }
    }

    /// What the coordinator calls it; empty before it has entered.
    pub fn id(&self) -> &str {
        &self.claim.member_id
    }

    /// The generation that it entered last.
    pub fn generation(&self) -> i32 {
        self.claim.generation
    }

    /// Enters the next generation: what this member is given there. `assign` is asked if it leads.
    /// `None`: it was taken for dead, so that others may have by now what it says it has. It enters
    /// as a new member the next time.
    pub async fn enter(
        &mut self,
        says: Bytes,
        assign: impl Fn(Said) -> Given + Send,
    ) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Some(joined) = self.join(&says).await? else { return Ok(None) };
            self.claim.generation = joined.generation_id;
            let assignments = match joined.leader == joined.member_id {
                true => assign(
                    joined.members.into_iter().map(|of| (of.member_id, of.metadata)).collect(),
                ),
                false => Vec::new(),
            };
            match self.sync(assignments).await? {
                Synced::Given(given) => {
                    self.stay_alive();
                    return Ok(Some(given));
                }
                Synced::Late => {}
                Synced::Forgotten => {
                    self.claim.member_id.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// `None` if it was taken for dead.
    async fn join(&mut self, says: &Bytes) -> Result<Option<JoinGroupResponse>, ClientError> {
        let in_ms = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        loop {
            let protocol = JoinGroupRequestProtocol {
                name: self.options.protocol.clone(),
                metadata: says.clone(),
            };
            let request = JoinGroupRequest {
                group_id: self.options.group.clone(),
                session_timeout_ms: in_ms(self.options.session_timeout),
                rebalance_timeout_ms: in_ms(self.options.rebalance_timeout),
                member_id: self.claim.member_id.clone(),
                protocol_type: self.options.protocol_type.clone(),
                protocols: vec![protocol],
                ..JoinGroupRequest::default()
            };
            let joined = match self.coordinator.join(request).await {
                Ok(joined) => joined,
                Err(ClientError::Unreachable { .. }) => {
                    // It may be back before long; what the member does meanwhile is its own affair.
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match joined.error_code {
                ErrorCode::NONE => {
                    // Heartbeats of the generation before are of no use any more.
                    self.stop_heartbeats();
                    self.claim.member_id.clone_from(&joined.member_id);
                    return Ok(Some(joined));
                }
                ErrorCode::MEMBER_ID_REQUIRED => self.claim.member_id = joined.member_id,
                ErrorCode::UNKNOWN_MEMBER_ID => {
                    self.claim.member_id.clear();
                    return Ok(None);
                }
                code => self.pause_or_fail(code).await?,
            }
        }
    }

    async fn sync(&mut self, assignments: Given) -> Result<Synced, ClientError> {
        let assignments = assignments
            .into_iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment });
        let request = SyncGroupRequest {
            group_id: self.options.group.clone(),
            generation_id: self.claim.generation,
            member_id: self.claim.member_id.clone(),
            protocol_type: Some(self.options.protocol_type.clone()),
            protocol_name: Some(self.options.protocol.clone()),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let synced = match self.coordinator.sync(request, self.options.rebalance_timeout).await {
            Ok(synced) => synced,
            Err(ClientError::Unreachable { .. }) => return Ok(Synced::Late),
            Err(error) => return Err(error),
        };
        match synced.error_code {
            ErrorCode::NONE => return Ok(Synced::Given(synced.assignment)),
            // The others are a generation further: it is still one of them.
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => {}
            ErrorCode::UNKNOWN_MEMBER_ID => return Ok(Synced::Forgotten),
            code => self.pause_or_fail(code).await?,
        }
        Ok(Synced::Late)
    }

    async fn pause_or_fail(&self, code: ErrorCode) -> Result<(), ClientError> {
        if !code.is_retriable() {
            let (group, reason) = (self.options.group.clone(), code.to_string());
            return Err(ClientError::Group { group, reason });
        }
        // No broker tells when it is ready: the one thing to do is ask again.
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    fn stay_alive(&mut self) {
        self.stop_heartbeats();
        let (told, rebalances) = watch::channel(None);
        self.rebalances = rebalances;
        let (coordinator, claim) = (self.coordinator.clone(), self.claim.clone());
        let interval = (self.options.session_timeout / 3).min(HEARTBEAT_INTERVAL_MAX);
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let code = match coordinator.heartbeat(&claim).await {
                    Ok(code) => code,
                    // It may be back before the session is over.
                    Err(_) => continue,
                };
                match code {
                    ErrorCode::REBALANCE_IN_PROGRESS => _ = told.send(Some(Rebalance::Others)),
                    ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                        _ = told.send(Some(Rebalance::Forgotten));
                        return;
                    }
                    _ => {}
                }
            }
        });
        self.heartbeats = Some(beating.abort_handle());
    }

    fn stop_heartbeats(&mut self) {
        if let Some(beating) = self.heartbeats.take() {
            beating.abort();
        }
    }

    /// Waits until there is another generation to enter. Safe to cancel.
    pub async fn rebalance(&mut self) -> Rebalance {
        match self.rebalances.wait_for(Option::is_some).await {
            Ok(rebalance) => rebalance.unwrap_or(Rebalance::Others),
            // Heartbeats have ended with what they said last.
            Err(_) => Rebalance::Forgotten,
        }
    }

    /// Lets the others go on without it at once.
    pub async fn leave(mut self) -> Result<(), ClientError> {
        self.stop_heartbeats();
        if self.claim.member_id.is_empty() {
            return Ok(());
        }
        self.coordinator.leave(&self.claim.group, &self.claim.member_id).await
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.stop_heartbeats();
    }
}
