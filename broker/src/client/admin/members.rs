//! Members of groups, by the protocol that consumers use too.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::AdminError;
use super::connection::Connection;
use super::question::Question;
use crate::client::ClientError;
use crate::client::member::{Claim, GroupCoordinator};
use crate::client::secured::Secured;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k10_find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::k11_join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::messages::k12_heartbeat::HeartbeatRequest;
use crate::protocol::messages::k13_leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::messages::k14_sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::server::HostPort;

/// The first version that asks for several coordinators at once.
const FIND_FROM: i16 = 4;
/// The first version with a timeout for rebalances of its own.
const JOIN_FROM: i16 = 1;
/// The first version in which members are named by a list.
const LEAVE_FROM: i16 = 3;
/// A heartbeat that takes longer is worth no more than none.
const HEARTBEAT_TIME_MAX: Duration = Duration::from_secs(3);
/// What an answer may take beside the time that others are waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The coordinators of a cluster's groups.
pub struct RemoteCoordinator {
    bootstrap: Vec<HostPort>,
    client_id: String,
    secured: Secured,
    /// For what waits for other members.
    waiting: Mutex<Option<Connection>>,
    /// Heartbeats do not wait behind that.
    beating: Mutex<Option<Connection>>,
}

impl RemoteCoordinator {
    /// `bootstrap`: some of the cluster's brokers, `HOST:PORT` with commas between.
    pub fn new(
        bootstrap: &str,
        client_id: &str,
        secured: Secured,
    ) -> Result<RemoteCoordinator, AdminError> {
        let address = |text: &str| {
            text.trim().parse().map_err(|_| AdminError::Address(text.trim().to_owned()))
        };
        Ok(RemoteCoordinator {
            bootstrap: bootstrap.split(',').map(address).collect::<Result<_, _>>()?,
            client_id: client_id.to_owned(),
            secured,
            waiting: Mutex::default(),
            beating: Mutex::default(),
        })
    }

    /// A connection to the coordinator of a group, by the first broker that can be reached.
    async fn open(&self, group: &str) -> Result<Connection, AdminError> {
        let mut last = None;
        for address in &self.bootstrap {
            match self.open_by(address, group).await {
                Ok(connection) => return Ok(connection),
                Err(error) => _ = last.get_or_insert(error),
            }
        }
        Err(last.unwrap_or_else(|| AdminError::Address(String::new())))
    }

    async fn open_by(&self, address: &HostPort, group: &str) -> Result<Connection, AdminError> {
        let mut connection = Connection::open(address, &self.client_id, &self.secured).await?;
        let request = FindCoordinatorRequest {
            coordinator_keys: vec![group.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let found = connection.ask(FIND_FROM, request).await?.coordinators.into_iter().next();
        let what = format!("coordinator of group '{group}'");
        let none = || AdminError::refused(what.clone(), ErrorCode::COORDINATOR_NOT_AVAILABLE, None);
        let found = found.ok_or_else(none)?;
        super::check(found.error_code, found.error_message, &what)?;
        let node = super::cluster::Node {
            id: found.node_id,
            host: found.host,
            port: found.port,
            rack: None,
        };
        Connection::open(&node.address(), &self.client_id, &self.secured).await
    }

    async fn ask<Q: Question>(
        &self,
        of: &Mutex<Option<Connection>>,
        group: &str,
        from_version: i16,
        request: Q,
    ) -> Result<Q::Answer, ClientError> {
        let mut slot = of.lock().await;
        // Taken out: a request that is given up half-way leaves no response to the next one.
        let reused = slot.take();
        let failed = |error| self.failed(error);
        if let Some(mut connection) = reused {
            match connection.ask(from_version, request.clone()).await {
                // A broker closes connections on which nothing happens for long.
                Err(AdminError::Broken { .. }) => {}
                done => {
                    *slot = Some(connection);
                    return done.map_err(failed);
                }
            }
        }
        let mut connection = self.open(group).await.map_err(failed)?;
        let done = connection.ask(from_version, request).await.map_err(failed);
        *slot = Some(connection);
        done
    }

    /// The same, for a time: who is silent for longer may be gone without a word.
    async fn ask_within<Q: Question>(
        &self,
        of: &Mutex<Option<Connection>>,
        group: &str,
        (from_version, request): (i16, Q),
        time_max: Duration,
    ) -> Result<Q::Answer, ClientError> {
        let asked = tokio::time::timeout(time_max, self.ask(of, group, from_version, request));
        asked.await.unwrap_or_else(|_| {
            let address = self.bootstrap.first().map(ToString::to_string).unwrap_or_default();
            let reason = format!("its coordinator did not answer within {time_max:?}");
            Err(ClientError::Unreachable { address, reason })
        })
    }

    /// Who answered so looks after the group no more, or not yet.
    fn forget_if(&self, code: ErrorCode) {
        if code.is_retriable() && code != ErrorCode::REBALANCE_IN_PROGRESS {
            // One that is in use finds out by itself.
            for connection in [&self.waiting, &self.beating] {
                if let Ok(mut connection) = connection.try_lock() {
                    *connection = None;
                }
            }
        }
    }

    fn failed(&self, error: AdminError) -> ClientError {
        let address = self.bootstrap.first().map(ToString::to_string).unwrap_or_default();
        let is_passing = match &error {
            AdminError::Refused { code, .. } => code.is_retriable(),
            AdminError::Unreachable { .. } | AdminError::Broken { .. } => true,
            _ => false,
        };
        if let AdminError::NotLetIn { address, reason } = error {
            return ClientError::NotLetIn { address, reason };
        }
        let reason = error.to_string();
        match is_passing {
            true => ClientError::Unreachable { address, reason },
            false => ClientError::Refused { what: "sharing work in a group".to_owned(), reason },
        }
    }
}

#[async_trait]
impl GroupCoordinator for RemoteCoordinator {
    async fn join(&self, request: JoinGroupRequest) -> Result<JoinGroupResponse, ClientError> {
        let group = request.group_id.clone();
        let time_max = time_for_all(request.rebalance_timeout_ms);
        let asked = self.ask_within(&self.waiting, &group, (JOIN_FROM, request), time_max);
        let joined = asked.await?;
        self.forget_if(joined.error_code);
        Ok(joined)
    }

    async fn sync(
        &self,
        request: SyncGroupRequest,
        rebalance_timeout: Duration,
    ) -> Result<SyncGroupResponse, ClientError> {
        let group = request.group_id.clone();
        let time_max = rebalance_timeout + ANSWER_TIME_MAX;
        let synced = self.ask_within(&self.waiting, &group, (0, request), time_max).await?;
        self.forget_if(synced.error_code);
        Ok(synced)
    }

    async fn heartbeat(&self, claim: &Claim) -> Result<ErrorCode, ClientError> {
        let request = HeartbeatRequest {
            group_id: claim.group.clone(),
            generation_id: claim.generation,
            member_id: claim.member_id.clone(),
            ..HeartbeatRequest::default()
        };
        let asked = self.ask_within(&self.beating, &claim.group, (0, request), HEARTBEAT_TIME_MAX);
        let code = asked.await?.error_code;
        self.forget_if(code);
        Ok(code)
    }

    async fn leave(&self, group: &str, member_id: &str) -> Result<(), ClientError> {
        let member = MemberIdentity { member_id: member_id.to_owned(), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: group.to_owned(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        // By the connection on which nothing waits.
        let asked = (LEAVE_FROM, request);
        self.ask_within(&self.beating, group, asked, ANSWER_TIME_MAX).await?;
        Ok(())
    }
}

/// Until all members have come or their time is up, and have been told.
fn time_for_all(rebalance_timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(rebalance_timeout_ms).unwrap_or_default()) + ANSWER_TIME_MAX
}
