//! The coordinator in this process, asked as over a socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::broker::Broker;
use crate::broker::coordinators::EMBEDDED_HOST;
use crate::client::ClientError;
use crate::client::member::{Claim, GroupCoordinator};
use crate::coordinator::groups::{
    JoinRefused, JoinRequest, LeavingMember, MemberClaim, MemberId, SyncRequest,
};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k11_join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::protocol::messages::k14_sync_group::{SyncGroupRequest, SyncGroupResponse};

pub(super) struct EmbeddedCoordinator(pub Arc<Broker>);

fn claim(member_id: &str, generation: i32) -> MemberClaim {
    MemberClaim { member_id: MemberId::from(member_id), instance_id: None, generation }
}

#[async_trait]
impl GroupCoordinator for EmbeddedCoordinator {
    async fn join(&self, request: JoinGroupRequest) -> Result<JoinGroupResponse, ClientError> {
        let protocols = request.protocols.into_iter();
        let join = JoinRequest {
            member_id: MemberId::from(request.member_id.as_str()),
            instance_id: None,
            client_id: "millstream".to_owned(),
            client_host: EMBEDDED_HOST.to_owned(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocol_type: request.protocol_type.as_str().into(),
            protocols: protocols.map(|of| (of.name.as_str().into(), of.metadata)).collect(),
            requires_known_member: true,
            can_skip_assignment: false,
            fresh: Uuid::new_v4(),
        };
        Ok(match self.0.groups().join(&request.group_id, join).await {
            Ok(joined) => JoinGroupResponse {
                generation_id: joined.generation,
                leader: joined.leader.to_string(),
                member_id: joined.member_id.to_string(),
                members: joined
                    .members
                    .into_iter()
                    .map(|member| JoinGroupResponseMember {
                        member_id: member.member_id.to_string(),
                        metadata: member.metadata,
                        ..JoinGroupResponseMember::default()
                    })
                    .collect(),
                ..JoinGroupResponse::default()
            },
            Err(JoinRefused { error, member_id }) => JoinGroupResponse {
                error_code: error.into(),
                member_id: member_id.to_string(),
                ..JoinGroupResponse::default()
            },
        })
    }

    async fn sync(
        &self,
        request: SyncGroupRequest,
        _rebalance_timeout: Duration,
    ) -> Result<SyncGroupResponse, ClientError> {
        let assignments = request.assignments.into_iter();
        let sync = SyncRequest {
            member: claim(&request.member_id, request.generation_id),
            protocol_type: request.protocol_type.map(|of| of.as_str().into()),
            protocol: request.protocol_name.map(|of| of.as_str().into()),
            assignments: assignments
                .map(|of| (MemberId::from(of.member_id.as_str()), of.assignment))
                .collect(),
        };
        Ok(match self.0.groups().sync(&request.group_id, sync).await {
            Ok(synced) => SyncGroupResponse { assignment: synced.assignment, ..Default::default() },
            Err(error) => SyncGroupResponse { error_code: error.into(), ..Default::default() },
        })
    }

    async fn heartbeat(&self, of: &Claim) -> Result<ErrorCode, ClientError> {
        let claim = claim(&of.member_id, of.generation);
        let beat = self.0.groups().heartbeat(&of.group, &claim);
        Ok(beat.err().map_or(ErrorCode::NONE, ErrorCode::from))
    }

    async fn leave(&self, group: &str, member_id: &str) -> Result<(), ClientError> {
        let leaving = LeavingMember { member_id: MemberId::from(member_id), instance_id: None };
        // A group that has forgotten it by itself is as good.
        _ = self.0.groups().leave(group, &[leaving]);
        Ok(())
    }
}
