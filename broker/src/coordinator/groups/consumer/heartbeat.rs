//! ConsumerGroupHeartbeat: joining, reporting, leaving.

use std::sync::Arc;

use super::assignment::Assignment;
use super::assignor::Assignor;
use super::member::{AWAY, Current, JOINING, LEAVING, Member, MemberFacts, after};
use super::topics::{Subscription, compile};
use super::{ConsumerGroup, Surroundings};
use crate::coordinator::groups::messages::{GroupError, InstanceId, MemberId};

/// ConsumerGroupHeartbeat. What is `None` has not changed since the last one.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// The rim has made one up for a member that has none.
    pub member_id: MemberId,
    pub epoch: i32,
    pub instance_id: Option<InstanceId>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<Vec<Arc<str>>>,
    /// Empty: no longer by expression.
    pub regex: Option<Arc<str>>,
    pub assignor: Option<Arc<str>>,
    /// What the member owns.
    pub owned: Option<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    pub member_id: MemberId,
    pub epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// All that the member may own from now on, if it has to be told.
    pub assignment: Option<Assignment>,
}

/// Why a heartbeat is refused, by Kafka's code and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: GroupError,
    pub reason: String,
}

impl Refusal {
    pub fn new(error: GroupError, reason: impl Into<String>) -> Refusal {
        Refusal { error, reason: reason.into() }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Refusal {
        Refusal::new(error, error.to_string())
    }
}

/// How a request relates to the members that there are.
pub(super) enum Comer {
    Known,
    New,
    /// A static member in a new life.
    InPlaceOf(MemberId),
}

impl Beat {
    /// What can be said of a heartbeat without knowing the group.
    pub fn check(&self, assignors: &[Assignor]) -> Result<(), Refusal> {
        let invalid = |reason: &str| Err(Refusal::new(GroupError::InvalidRequest, reason));
        if self.instance_id.as_ref().is_some_and(|id| id.0.is_empty()) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack_id.as_ref().is_some_and(String::is_empty) {
            return invalid("RackId can't be empty.");
        }
        match self.epoch {
            JOINING if self.rebalance_timeout_ms.is_none() => {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            JOINING if !self.owned.as_ref().is_some_and(Assignment::is_empty) => {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            JOINING if self.topics.is_none() && self.regex.is_none() => {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                     (re-)joining.",
                );
            }
            AWAY if self.instance_id.is_none() => return invalid("InstanceId can't be null."),
            ..AWAY => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        let Some(wanted) = &self.assignor else { return Ok(()) };
        if assignors.iter().any(|assignor| assignor.name() == &**wanted) {
            return Ok(());
        }
        let names: Vec<&str> = assignors.iter().map(|assignor| assignor.name()).collect();
        let reason = format!(
            "ServerAssignor {wanted} is not supported. Supported assignors: {}.",
            names.join(", ")
        );
        Err(Refusal::new(GroupError::UnsupportedAssignor, reason))
    }

    /// The same of a member of a share group.
    pub fn check_shared(&self) -> Result<(), Refusal> {
        let has_topics = self.topics.as_ref().is_some_and(|topics| !topics.is_empty());
        let reason = match self.epoch {
            _ if self.member_id.0.is_empty() => "MemberId can't be empty.",
            _ if self.rack_id.as_ref().is_some_and(String::is_empty) => "RackId can't be empty.",
            JOINING if !has_topics => "SubscribedTopicNames must be set in first request.",
            epoch if epoch < LEAVING => "MemberEpoch is invalid.",
            _ => return Ok(()),
        };
        Err(Refusal::new(GroupError::InvalidRequest, reason))
    }

    pub fn leaves(&self) -> bool {
        matches!(self.epoch, LEAVING | AWAY)
    }
}

impl ConsumerGroup {
    pub fn heartbeat(&mut self, beat: Beat, around: Surroundings<'_>) -> Result<Beaten, Refusal> {
        if beat.leaves() {
            return self.leave(&beat, around);
        }
        let comer = self.find(&beat)?;
        if !matches!(comer, Comer::Known) {
            self.check_room(&comer, around.config.members_max)?;
        }
        check_regex(beat.regex.as_deref())?;
        let id = beat.member_id.clone();
        self.admit(&id, comer);
        let has_new_wishes = self.update(&id, &beat);
        self.move_on(has_new_wishes, around);
        let is_full = beat.epoch == JOINING
            || (beat.rebalance_timeout_ms.is_some()
                && (beat.topics.is_some() || beat.regex.is_some())
                && beat.owned.is_some());
        let has_changed = self.reconcile(&id, beat.owned.as_ref(), around.now);
        let session_ms = after(around.now, around.config.session_timeout_ms);
        let member = self.members.get_mut(&id).expect("it was admitted");
        member.timers.session_ms = session_ms;
        Ok(Beaten {
            epoch: member.current.epoch,
            heartbeat_interval_ms: around.config.heartbeat_interval_ms,
            assignment: (is_full || has_changed).then(|| member.current.assigned.clone()),
            member_id: id,
        })
    }

    /// Raises the group's epoch if what is read, or who reads, has changed, and aims anew.
    pub(super) fn move_on(&mut self, has_new_wishes: bool, around: Surroundings<'_>) {
        let mut changed = has_new_wishes || self.epoch == 0;
        if changed || !self.subscribed.is_of(around.topics) {
            changed |= self.look_at_topics(around.topics);
        }
        if changed {
            self.raise_epoch();
        }
        self.aim(around.config);
    }

    fn find(&self, beat: &Beat) -> Result<Comer, Refusal> {
        let joins = beat.epoch == JOINING;
        let Some(instance) = &beat.instance_id else {
            return match self.members.get(&beat.member_id) {
                Some(member) => self.check_heard(&member.current, beat).map(|()| Comer::Known),
                None if joins => Ok(Comer::New),
                None => Err(unknown(&beat.member_id)),
            };
        };
        let owner = self.instances.get(instance);
        let owner = owner.and_then(|id| Some((id, self.members.get(id)?)));
        match owner {
            None if joins && !self.members.contains_key(&beat.member_id) => Ok(Comer::New),
            // A member that was there without a name takes one.
            None if joins => Ok(Comer::Known),
            None => {
                let reason = format!("Instance id {instance} is unknown.");
                Err(Refusal::new(GroupError::UnknownMemberId, reason))
            }
            // In its own life too: another process may have its member id, and Kafka says so.
            Some((id, member)) if joins => {
                let is_free = member.is_classic() || member.current.epoch == AWAY;
                is_free.then(|| Comer::InPlaceOf(id.clone())).ok_or_else(|| {
                    let reason = format!(
                        "Static member {} with instance id {instance} cannot join the group \
                         because the instance id is owned by {id} member.",
                        beat.member_id
                    );
                    Refusal::new(GroupError::UnreleasedInstanceId, reason)
                })
            }
            Some((id, _)) if *id != beat.member_id => Err(fenced_instance(beat, instance, id)),
            Some((_, member)) => self.check_heard(&member.current, beat).map(|()| Comer::Known),
        }
    }

    pub(super) fn check_room(&self, comer: &Comer, members_max: usize) -> Result<(), Refusal> {
        if matches!(comer, Comer::New) && self.members.len() >= members_max {
            let kind = self.kind();
            let reason = format!(
                "The {kind} group has reached its maximum capacity of {members_max} members."
            );
            return Err(Refusal::new(GroupError::GroupMaxSizeReached, reason));
        }
        Ok(())
    }

    /// Makes a member of who comes; one in a new life has what it had in the last.
    pub(super) fn admit(&mut self, id: &MemberId, comer: Comer) {
        match comer {
            Comer::Known => {}
            Comer::New => self.insert(id.clone(), Member::default()),
            Comer::InPlaceOf(older) => {
                let Some(older) = self.remove(&older) else { return };
                let assigned = older.current.assigned;
                let current = Current { assigned, ..Current::default() };
                self.insert(id.clone(), Member { current, ..older });
            }
        }
    }

    /// A member may come with the epoch before its own, if the answer that told it of the newer one
    /// was lost: then it owns nothing that it should not.
    fn check_heard(&self, current: &Current, beat: &Beat) -> Result<(), Refusal> {
        let (given, known, kind) = (beat.epoch, current.epoch, self.kind());
        let than = match given {
            _ if given == known => return Ok(()),
            _ if given > known => "greater",
            _ => {
                let owned = beat.owned.as_ref();
                let is_harmless = owned.is_some_and(|owned| owned.is_subset(&current.assigned));
                if given == current.previous_epoch && (is_harmless || self.is_shared) {
                    return Ok(());
                }
                "smaller"
            }
        };
        let reason = format!(
            "The {kind} group member has a {than} member epoch ({given}) than the one known by the \
             group coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(Refusal::new(GroupError::FencedMemberEpoch, reason))
    }

    /// As messages name it.
    fn kind(&self) -> &'static str {
        if self.is_shared { "share" } else { "consumer" }
    }

    /// Takes over what a member says of itself; whether it wants to read something else.
    fn update(&mut self, id: &MemberId, beat: &Beat) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let known = &member.facts;
        let wants = &known.subscription;
        let names = beat.topics.as_ref().map(|topics| topics.iter().cloned().collect());
        let regex = match &beat.regex {
            None => wants.regex.clone(),
            Some(regex) => Some(regex.clone()).filter(|regex| !regex.is_empty()),
        };
        let facts = MemberFacts {
            instance_id: beat.instance_id.clone().or_else(|| known.instance_id.clone()),
            rack_id: beat.rack_id.clone().or_else(|| known.rack_id.clone()),
            client_id: beat.client_id.clone(),
            client_host: beat.client_host.clone(),
            rebalance_timeout_ms: beat.rebalance_timeout_ms.unwrap_or(known.rebalance_timeout_ms),
            assignor: beat.assignor.clone().or_else(|| known.assignor.clone()),
            subscription: Subscription {
                names: names.unwrap_or_else(|| wants.names.clone()),
                regex,
            },
            classic: None,
        };
        self.set_facts(id, facts)
    }

    pub(super) fn set_facts(&mut self, id: &MemberId, facts: MemberFacts) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if member.facts == facts {
            return false;
        }
        if facts.classic.is_none() {
            (member.timers.join_ms, member.timers.sync_ms) = (None, None);
        }
        if let Some(instance) = &facts.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let has_new_wishes = member.facts.subscription != facts.subscription;
        member.facts = facts;
        self.changed.members.insert(id.clone());
        has_new_wishes
    }

    fn leave(&mut self, beat: &Beat, around: Surroundings<'_>) -> Result<Beaten, Refusal> {
        let id = beat.member_id.clone();
        match &beat.instance_id {
            None if self.members.contains_key(&id) => {}
            None => return Err(unknown(&id)),
            Some(instance) => match self.instances.get(instance) {
                Some(owner) if *owner == id => {}
                Some(owner) => return Err(fenced_instance(beat, instance, owner)),
                None => {
                    let reason = format!("Instance id {instance} is unknown.");
                    return Err(Refusal::new(GroupError::UnknownMemberId, reason));
                }
            },
        }
        if beat.epoch == AWAY {
            let current = self.members.get(&id).map(|member| member.current.clone());
            let current = current.unwrap_or_default();
            let revoking = Assignment::default();
            self.set_current(&id, Current { epoch: AWAY, revoking, ..current });
            if let Some(member) = self.members.get_mut(&id) {
                member.timers.revoke_ms = None;
            }
        } else {
            self.fence(std::slice::from_ref(&id), around);
        }
        Ok(Beaten { member_id: id, epoch: beat.epoch, heartbeat_interval_ms: 0, assignment: None })
    }
}

pub fn check_regex(regex: Option<&str>) -> Result<(), Refusal> {
    let Some(text) = regex.filter(|text| !text.is_empty()) else { return Ok(()) };
    compile(text).map(|_| ()).map_err(|error| {
        // The crate's own text shows the place in several lines.
        let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        let why = why.strip_prefix("error: ").unwrap_or(&why).to_owned();
        let reason =
            format!("SubscribedTopicRegex `{text}` is not a valid regular expression: {why}.");
        Refusal::new(GroupError::InvalidRegularExpression, reason)
    })
}

fn unknown(id: &MemberId) -> Refusal {
    Refusal::new(GroupError::UnknownMemberId, format!("Member {id} is not a member of the group."))
}

fn fenced_instance(beat: &Beat, instance: &InstanceId, owner: &MemberId) -> Refusal {
    let reason = format!(
        "Static member {} with instance id {instance} was fenced by member {owner}.",
        beat.member_id
    );
    Refusal::new(GroupError::FencedInstanceId, reason)
}
