//! A group of either protocol, and how it goes over from one to the other.
//!
//! ```text
//!            a consumer of the new protocol joins, and all of the old one's are consumers
//!   classic ─────────────────────────────────────────────────────────────────────▶ consumer
//!           ◀─────────────────────────────────────────────────────────────────────
//!            the last member of the new protocol is gone; or all are, and one of the old joins
//! ```
//!
//! A share group is nothing else before and after, and none of the other requests are for it.

use super::consumer::changes::Change;
use super::consumer::heartbeat::{Beat, Beaten, Refusal, check_regex};
use super::consumer::member::JOINING;
use super::consumer::{ConsumerConfig, ConsumerGroup, Surroundings};
use super::group::{Group, GroupConfig};
use super::messages::{
    GroupError, JoinRefused, JoinRequest, LeavingMember, MemberClaim, MemberId, Output, SyncRequest,
};
use crate::coordinator::{Now, Waiter};

/// A group.
#[derive(Clone, Debug)]
pub struct AnyGroup {
    kind: Kind,
    /// Records of the other kind that are still in the log, to be taken away with what is next
    /// written there.
    owed: Vec<Change>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Classic(Group),
    Consumer(Box<ConsumerGroup>),
    Share(Box<ConsumerGroup>),
}

/// What a machine of either kind is told with each input.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    pub classic: &'a GroupConfig,
    pub consumer: Surroundings<'a>,
    /// The settings of share groups, as they hold for this one.
    pub share: &'a ConsumerConfig,
}

impl<'a> Around<'a> {
    fn of_share(&self) -> Surroundings<'a> {
        Surroundings { config: self.share, ..self.consumer }
    }

    fn now(&self) -> Now {
        self.consumer.now
    }
}

impl AnyGroup {
    pub fn new(now: Now) -> AnyGroup {
        AnyGroup::of(Kind::Classic(Group::new(now)))
    }

    pub fn of(kind: Kind) -> AnyGroup {
        AnyGroup { kind, owed: Vec::new() }
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// JoinGroup.
    pub fn join(
        &mut self,
        waiter: Waiter,
        request: JoinRequest,
        around: Around<'_>,
        out: &mut Vec<Output>,
    ) {
        if let Kind::Consumer(group) = &self.kind
            && group.members().is_empty()
        {
            self.owed.extend(group.removal());
            self.kind = Kind::Classic(Group::new(around.now()));
        }
        match &mut self.kind {
            Kind::Classic(group) => group.join(waiter, request, around.classic, around.now(), out),
            Kind::Consumer(group) => {
                let bounds = &around.classic;
                let timeouts = bounds.session_timeout_ms_min..=bounds.session_timeout_ms_max;
                let answer = match timeouts.contains(&request.session_timeout_ms) {
                    true => group.join(request, around.consumer),
                    false => {
                        let error = GroupError::InvalidSessionTimeout;
                        Err(JoinRefused { error, member_id: request.member_id })
                    }
                };
                self.go_back(around, None, out);
                self.tell(out);
                out.push(Output::Join(waiter, answer));
            }
            Kind::Share(_) => {
                let error = GroupError::InconsistentGroupProtocol;
                let refused = JoinRefused { error, member_id: request.member_id };
                out.push(Output::Join(waiter, Err(refused)));
            }
        }
        self.pay(out);
    }

    /// SyncGroup.
    pub fn sync(
        &mut self,
        waiter: Waiter,
        request: SyncRequest,
        around: Around<'_>,
        out: &mut Vec<Output>,
    ) {
        match &mut self.kind {
            Kind::Classic(group) => group.sync(waiter, request, around.now(), out),
            Kind::Consumer(group) => {
                let answer = group.sync(&request, around.consumer.topics, around.now());
                out.push(Output::Sync(waiter, answer));
            }
            Kind::Share(_) => {
                out.push(Output::Sync(waiter, Err(GroupError::UnknownMemberId)));
            }
        }
        self.pay(out);
    }

    /// Heartbeat.
    pub fn heartbeat(&mut self, claim: &MemberClaim, now: Now) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Classic(group) => group.heartbeat(claim, now),
            Kind::Consumer(group) => group.classic_heartbeat(claim, now),
            Kind::Share(_) => Err(GroupError::UnknownMemberId),
        }
    }

    /// LeaveGroup, for one member.
    pub fn leave(
        &mut self,
        leaving: &LeavingMember,
        around: Around<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), GroupError> {
        let epoch = self.epoch();
        let left = match &mut self.kind {
            Kind::Classic(group) => group.leave(leaving, around.now(), out),
            Kind::Consumer(group) => {
                let left = group.take_out(leaving, around.consumer);
                self.go_back(around, Some(epoch), out);
                self.tell(out);
                left
            }
            Kind::Share(_) => Err(GroupError::UnknownMemberId),
        };
        self.pay(out);
        left
    }

    /// ConsumerGroupHeartbeat.
    pub fn beat(&mut self, waiter: Waiter, beat: Beat, around: Around<'_>, out: &mut Vec<Output>) {
        let left_at = beat.leaves().then(|| self.epoch());
        let answer = self.try_beat(beat, around, out);
        self.go_back(around, left_at, out);
        self.tell(out);
        out.push(Output::Beat(waiter, answer));
    }

    fn try_beat(
        &mut self,
        beat: Beat,
        around: Around<'_>,
        out: &mut Vec<Output>,
    ) -> Result<Beaten, Refusal> {
        beat.check(&around.consumer.config.assignors)?;
        let no_such = |reason: &str| Refusal::new(GroupError::GroupIdNotFound, reason);
        let group = match &mut self.kind {
            Kind::Consumer(group) => return group.heartbeat(beat, around.consumer),
            Kind::Classic(group) => group,
            Kind::Share(_) => return Err(no_such("The group is not a consumer group.")),
        };
        if beat.epoch != JOINING {
            return Err(no_such("The group is not a consumer group."));
        }
        check_regex(beat.regex.as_deref())?;
        let upgraded = match group.members.is_empty() {
            true => Some(ConsumerGroup::following(group)),
            false => ConsumerGroup::upgraded(group, around.consumer),
        };
        let mut upgraded = upgraded.ok_or_else(|| no_such("The group is not a consumer group."))?;
        upgraded.not_kept(&self.owed);
        let answer = upgraded.heartbeat(beat, around.consumer)?;
        group.turn_away(out);
        self.kind = Kind::Consumer(Box::new(upgraded));
        self.owed.clear();
        Ok(answer)
    }

    /// ShareGroupHeartbeat. Only of what has never been a group does a share group come.
    pub fn beat_shared(
        &mut self,
        waiter: Waiter,
        beat: Beat,
        has_offsets: bool,
        around: Around<'_>,
        out: &mut Vec<Output>,
    ) {
        let answer = self.try_beat_shared(beat, has_offsets, around);
        self.tell(out);
        out.push(Output::Beat(waiter, answer));
    }

    fn try_beat_shared(
        &mut self,
        beat: Beat,
        has_offsets: bool,
        around: Around<'_>,
    ) -> Result<Beaten, Refusal> {
        beat.check_shared()?;
        if let Kind::Share(group) = &mut self.kind {
            return group.heartbeat(beat, around.of_share());
        }
        if beat.epoch != JOINING || has_offsets || !self.is_untouched() {
            let reason = "The group is not a share group.";
            return Err(Refusal::new(GroupError::GroupIdNotFound, reason));
        }
        let mut group = ConsumerGroup::shared();
        let answer = group.heartbeat(beat, around.of_share())?;
        self.kind = Kind::Share(Box::new(group));
        Ok(answer)
    }

    /// Whether offsets may be committed so. `knows_epochs`: the request can be told
    /// STALE_MEMBER_EPOCH.
    pub fn check_commit(
        &mut self,
        claim: &MemberClaim,
        transactional: bool,
        knows_epochs: bool,
        now: Now,
    ) -> Result<(), GroupError> {
        match &mut self.kind {
            Kind::Classic(group) => group.check_commit(claim, transactional, now),
            Kind::Consumer(group) => group.check_commit(claim, transactional, knows_epochs),
            Kind::Share(_) => Err(GroupError::GroupIdNotFound),
        }
    }

    /// Whether a member may fetch the group's offsets; who does not say what it is may.
    pub fn check_fetch(&self, member: &MemberId, epoch: i32) -> Result<(), GroupError> {
        match &self.kind {
            Kind::Classic(_) => Ok(()),
            Kind::Consumer(group) => group.check_fetch(member, epoch),
            Kind::Share(_) => Err(GroupError::GroupIdNotFound),
        }
    }

    /// Lets time pass: to be called when [`AnyGroup::next_deadline_ms`] has come.
    pub fn tick(&mut self, around: Around<'_>, out: &mut Vec<Output>) {
        let epoch = self.epoch();
        match &mut self.kind {
            Kind::Classic(group) => group.tick(around.now(), out),
            Kind::Consumer(group) => {
                group.tick(around.consumer);
                self.go_back(around, Some(epoch), out);
                self.tell(out);
            }
            Kind::Share(group) => {
                group.tick(around.of_share());
                self.tell(out);
            }
        }
        self.pay(out);
    }

    pub fn next_deadline_ms(&self) -> Option<u64> {
        match &self.kind {
            Kind::Classic(group) => group.next_deadline_ms(),
            Kind::Consumer(group) | Kind::Share(group) => group.next_deadline_ms(),
        }
    }

    /// The log has refused these records, or one before them.
    pub fn not_kept(&mut self, changes: &[Change], now: Now, out: &mut Vec<Output>) {
        match &mut self.kind {
            Kind::Consumer(group) | Kind::Share(group) => group.not_kept(changes),
            Kind::Classic(group) => {
                self.owed.extend(changes.iter().filter_map(Change::taken_away));
                group.not_kept(now, out);
            }
        }
        self.pay(out);
    }

    pub fn has_members(&self) -> bool {
        match &self.kind {
            Kind::Classic(group) => group.has_members(),
            Kind::Consumer(group) | Kind::Share(group) => !group.members().is_empty(),
        }
    }

    pub fn is_of_consumers(&self) -> bool {
        match &self.kind {
            Kind::Classic(group) => group.is_of_consumers(),
            Kind::Consumer(_) => true,
            Kind::Share(_) => false,
        }
    }

    /// Whether members may be reading this topic; what is not understood counts as yes.
    pub fn may_read(&self, topic: &str) -> bool {
        match &self.kind {
            Kind::Classic(group) => group.may_read(topic),
            Kind::Consumer(group) | Kind::Share(group) => group.reads(topic),
        }
    }

    /// Grows with each generation, and each rebalance, of either protocol.
    pub fn epoch(&self) -> i32 {
        match &self.kind {
            Kind::Classic(group) => group.generation(),
            Kind::Consumer(group) | Kind::Share(group) => group.epoch(),
        }
    }

    /// Whether nothing has ever come of this group.
    pub fn is_untouched(&self) -> bool {
        match &self.kind {
            Kind::Classic(group) => group.is_untouched() && self.owed.is_empty(),
            Kind::Consumer(_) | Kind::Share(_) => false,
        }
    }

    /// What takes away all that is kept of the group.
    pub fn removal(&self) -> Vec<Change> {
        let own = match &self.kind {
            Kind::Classic(_) => Vec::new(),
            Kind::Consumer(group) => group.removal(),
            Kind::Share(group) => return group.removal(),
        };
        let owed = self.owed.iter().cloned();
        owed.chain(own).chain([Change::Classic(None)]).collect()
    }

    /// Goes back to the classic protocol if nobody speaks the new one any more. If that is since
    /// somebody has left, the others are still in the generation of the epoch at which it did: they
    /// are told to come together, with what they have.
    fn go_back(&mut self, around: Around<'_>, left_at: Option<i32>, out: &mut Vec<Output>) {
        let Kind::Consumer(group) = &self.kind else { return };
        if !group.should_downgrade(around.consumer, around.classic) {
            return;
        }
        let mut classic = group.downgrade(around.consumer.topics, around.now());
        classic.generation = left_at.unwrap_or(classic.generation);
        let mut changes = group.removal();
        changes.push(Change::Classic(Some(classic.snapshot())));
        out.push(Output::Keep(changes));
        if left_at.is_some() {
            classic.prepare_rebalance(around.now(), out);
        }
        self.kind = Kind::Classic(classic);
    }

    /// What has changed is to be kept before anything is answered.
    fn tell(&mut self, out: &mut Vec<Output>) {
        let (Kind::Consumer(group) | Kind::Share(group)) = &mut self.kind else { return };
        let changes = group.take_changes();
        if !changes.is_empty() {
            out.push(Output::Keep(changes));
        }
    }

    /// What is owed goes with the first record of a classic group.
    fn pay(&mut self, out: &mut [Output]) {
        if self.owed.is_empty() {
            return;
        }
        let kept = out.iter_mut().find_map(|output| match output {
            Output::Persist(snapshot) => Some((Change::Classic(Some(snapshot.clone())), output)),
            _ => None,
        });
        if let Some((record, output)) = kept {
            let mut changes = std::mem::take(&mut self.owed);
            changes.push(record);
            *output = Output::Keep(changes);
        }
    }
}
