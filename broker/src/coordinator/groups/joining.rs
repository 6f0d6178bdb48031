//! How members come into a group: as new ones, as those they were, or in a new life of theirs.

use bytes::Bytes;

use super::group::{Group, GroupConfig, GroupState, Member};
use super::messages::{GroupError, JoinRefused, JoinRequest, MemberId, Output};
use crate::coordinator::{Now, Waiter};

/// Longer client ids are cut off within member ids, which must fit into a string of the wire.
const ID_PREFIX_CHARS_MAX: usize = 255;

/// Why a join is not taken.
enum Refusal {
    Error(GroupError),
    JoinAgainAs(MemberId),
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Refusal {
        Refusal::Error(error)
    }
}

impl Group {
    /// JoinGroup. The answer to `waiter` comes now or when the generation begins.
    pub fn join(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let member_id = request.member_id.clone();
        if let Err(error) = self.try_join(waiter, request, config, now, out) {
            let refused = match error {
                Refusal::Error(error) => JoinRefused { error, member_id },
                Refusal::JoinAgainAs(member_id) => {
                    JoinRefused { error: GroupError::MemberIdRequired, member_id }
                }
            };
            out.push(Output::Join(waiter, Err(refused)));
        }
    }

    fn try_join(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let bounds = config.session_timeout_ms_min..=config.session_timeout_ms_max;
        if !bounds.contains(&request.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout.into());
        }
        if !self.fits(&request) {
            return Err(GroupError::InconsistentGroupProtocol.into());
        }
        if request.member_id.is_none() {
            return self.join_new(waiter, request, config, now, out);
        }
        self.check_instance(&request.member_id, request.instance_id.as_ref())?;
        if self.members.contains_key(&request.member_id) {
            self.join_again(waiter, request, now, out);
            return Ok(());
        }
        if self.pending.remove(&request.member_id).is_none() {
            return Err(GroupError::UnknownMemberId.into());
        }
        let id = request.member_id.clone();
        self.add_member(id, waiter, request, now);
        self.gather(config, now);
        self.prepare_rebalance(now, out);
        Ok(())
    }

    fn join_new(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        config: &GroupConfig,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal> {
        let prefix = request.instance_id.as_ref().map_or(&*request.client_id, |id| &id.0);
        let prefix: String = prefix.chars().take(ID_PREFIX_CHARS_MAX).collect();
        let id = MemberId(format!("{prefix}-{}", request.fresh).into());
        if let Some(older) = request.instance_id.as_ref().and_then(|id| self.member_of(id)) {
            self.replace(&older, id, waiter, request, now, out);
            return Ok(());
        }
        if self.members.len() + self.pending.len() >= config.members_max {
            return Err(GroupError::GroupMaxSizeReached.into());
        }
        if request.instance_id.is_none() && request.requires_known_member {
            let until = now.elapsed_ms.saturating_add(request.session_timeout_ms as u64);
            self.pending.insert(id.clone(), until);
            return Err(Refusal::JoinAgainAs(id));
        }
        self.add_member(id, waiter, request, now);
        self.gather(config, now);
        self.prepare_rebalance(now, out);
        Ok(())
    }

    /// A static member in a new life takes the place of the older one (KIP-345), without a
    /// rebalance as long as the group's protocol can stay. What it says to the leader may differ:
    /// consumers say what they own, which after a restart is nothing.
    fn replace(
        &mut self,
        older: &MemberId,
        id: MemberId,
        waiter: Waiter,
        request: JoinRequest,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Some(old) = self.members.remove(older) else { return };
        if let Some(waiter) = old.joining {
            let error = GroupError::FencedInstanceId;
            out.push(Output::Join(waiter, Err(JoinRefused { error, member_id: older.clone() })));
        }
        if let Some(waiter) = old.syncing {
            out.push(Output::Sync(waiter, Err(GroupError::FencedInstanceId)));
        }
        let led = self.leader.as_ref() == Some(older);
        if led {
            self.leader = Some(id.clone());
        }
        let can_skip = request.can_skip_assignment;
        self.add_member(id.clone(), waiter, request, now);
        let same_protocol = self.choose_protocol() == self.protocol;
        let member = self.members.get_mut(&id).expect("the member was just added");
        member.assignment = old.assignment;
        if self.state != GroupState::Stable || !same_protocol {
            self.prepare_rebalance(now, out);
            return;
        }
        member.joining = None;
        out.push(Output::Persist(self.snapshot()));
        let mut joined = self.joined(&id);
        if led && can_skip {
            joined.skip_assignment = true;
        } else if led {
            // An older client that finds itself leading would assign anew; the id that it no
            // longer has keeps it from that.
            joined.leader = older.clone();
            joined.members = Vec::new();
        }
        out.push(Output::Join(waiter, Ok(joined)));
    }

    fn join_again(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let id = request.member_id.clone();
        let leads = self.leader.as_ref() == Some(&id);
        let member = self.members.get_mut(&id).expect("the caller has found the member");
        if let Some(older) = member.joining.take() {
            let error = GroupError::UnknownMemberId;
            out.push(Output::Join(older, Err(JoinRefused { error, member_id: id.clone() })));
        }
        let unchanged = member.protocols == request.protocols;
        member.heard_of(now);
        let keeps_generation = match self.state {
            GroupState::CompletingRebalance => unchanged,
            GroupState::Stable => unchanged && !leads,
            GroupState::Empty | GroupState::PreparingRebalance => false,
        };
        if keeps_generation {
            // The answer to its join was lost: here it is again.
            out.push(Output::Join(waiter, Ok(self.joined(&id))));
            return;
        }
        member.protocols = request.protocols;
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.joining = Some(waiter);
        self.prepare_rebalance(now, out);
    }

    fn add_member(&mut self, id: MemberId, waiter: Waiter, request: JoinRequest, now: Now) {
        if self.members.is_empty() {
            self.protocol_type = request.protocol_type;
        }
        self.joins += 1;
        let mut member = Member {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(waiter),
            syncing: None,
            silent_until_ms: 0,
            joined: self.joins,
        };
        member.heard_of(now);
        self.members.insert(id, member);
    }

    /// Whether a member with this protocol type and these protocols can work with the others.
    fn fits(&self, request: &JoinRequest) -> bool {
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        // With itself, too, as it was.
        let mut names = request.protocols.iter().map(|(name, _)| name);
        self.protocol_type == request.protocol_type
            && names.any(|name| self.members.values().all(|member| member.speaks(name)))
    }
}
