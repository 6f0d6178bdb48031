//! Rules of the new protocol one by one.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::assignment::Assignment;
use super::changes::{Change, KeptGroup};
use super::heartbeat::{Beat, Beaten, Refusal};
use super::member::{AWAY, JOINING, LEAVING};
use super::topics::{TopicFacts, Topics};
use super::*;
use crate::coordinator::Waiter;
use crate::coordinator::groups::any::{AnyGroup, Around, Kind};
use crate::coordinator::groups::group::{GroupConfig, GroupState};
use crate::coordinator::groups::messages::{
    GroupError, JoinRefused, JoinRequest, Joined, LeavingMember, MemberClaim, Output, SyncRequest,
    Synced,
};
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};

pub fn topic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A group with what surrounds it, at a time that the test says.
pub struct Harness {
    pub group: AnyGroup,
    pub config: GroupConfig,
    pub topics: Topics,
    pub now_ms: u64,
    pub kept: KeptGroup,
    pub out: Vec<Output>,
}

impl Harness {
    pub fn new(topics: &[(&str, i32)]) -> Harness {
        let mut harness = Harness {
            group: AnyGroup::new(Now { elapsed_ms: 0, wall_ms: 0 }),
            config: GroupConfig::default(),
            topics: Topics::default(),
            now_ms: 0,
            kept: KeptGroup::default(),
            out: Vec::new(),
        };
        harness.set_topics(topics);
        harness
    }

    /// The topics that there are now; the same name is the same topic.
    pub fn set_topics(&mut self, topics: &[(&str, i32)]) {
        let facts = topics.iter().map(|(name, partitions)| {
            let id = topic(u128::from(name.bytes().map(u32::from).sum::<u32>()));
            (Arc::from(*name), TopicFacts { id, partitions: *partitions })
        });
        self.topics = Topics::new(self.topics.version() + 1, facts);
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut AnyGroup, Around<'_>, &mut Vec<Output>) -> T) -> T {
        let now = Now { elapsed_ms: self.now_ms, wall_ms: self.now_ms as i64 };
        let consumer = Surroundings { config: &self.config.consumer, topics: &self.topics, now };
        let around = Around { classic: &self.config, consumer, share: &self.config.share };
        let done = act(&mut self.group, around, &mut self.out);
        for output in &self.out {
            if let Output::Keep(changes) = output {
                changes.iter().cloned().for_each(|change| self.kept.apply(change));
            }
        }
        self.check();
        done
    }

    /// What was kept is what there is.
    fn check(&self) {
        if let Kind::Consumer(group) = self.group.kind() {
            assert_eq!(self.kept, group.kept());
        }
    }

    pub fn beat(&mut self, beat: Beat) -> Result<Beaten, Refusal> {
        self.out.clear();
        self.act(|group, around, out| group.beat(Waiter(0), beat, around, out));
        let answer = self.out.iter().find_map(|output| match output {
            Output::Beat(_, answer) => Some(answer.clone()),
            _ => None,
        });
        answer.expect("a heartbeat is answered at once")
    }

    pub fn join(&mut self, request: JoinRequest) -> Option<Result<Joined, JoinRefused>> {
        self.out.clear();
        self.act(|group, around, out| group.join(Waiter(1), request, around, out));
        self.out.iter().find_map(|output| match output {
            Output::Join(_, answer) => Some(answer.clone()),
            _ => None,
        })
    }

    pub fn sync(&mut self, request: SyncRequest) -> Result<Synced, GroupError> {
        self.out.clear();
        self.act(|group, around, out| group.sync(Waiter(2), request, around, out));
        let answer = self.out.iter().find_map(|output| match output {
            Output::Sync(_, answer) => Some(answer.clone()),
            _ => None,
        });
        answer.expect("answered at once")
    }

    pub fn classic_beat(&mut self, claim: &MemberClaim) -> Result<(), GroupError> {
        self.act(|group, around, _| group.heartbeat(claim, around.consumer.now))
    }

    pub fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.group.next_deadline_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            self.act(|group, around, out| group.tick(around, out));
        }
        self.now_ms = until;
    }

    pub fn consumer(&self) -> &ConsumerGroup {
        match self.group.kind() {
            Kind::Consumer(group) => group,
            Kind::Share(_) => panic!("the group is a share group"),
            Kind::Classic(_) => panic!("the group is a classic one"),
        }
    }

    fn classic_state(&self) -> GroupState {
        match self.group.kind() {
            Kind::Classic(group) => group.state(),
            Kind::Consumer(_) | Kind::Share(_) => panic!("the group is a new one"),
        }
    }

    /// Comes in and does what it is told until it has its part.
    fn joined(&mut self, id: &str, topics: &[&str]) -> (i32, Assignment) {
        let beaten = self.beat(joining(id, topics)).unwrap();
        (beaten.epoch, beaten.assignment.unwrap())
    }

    /// A heartbeat in which a member says what it owns.
    fn report(&mut self, id: &str, epoch: i32, owned: &Assignment) -> Beaten {
        self.beat(report(id, epoch, owned)).unwrap()
    }
}

pub fn joining(id: &str, topics: &[&str]) -> Beat {
    Beat {
        member_id: id.into(),
        rebalance_timeout_ms: Some(60_000),
        topics: Some(topics.iter().map(|name| Arc::from(*name)).collect()),
        owned: Some(Assignment::default()),
        ..Beat::default()
    }
}

pub fn report(id: &str, epoch: i32, owned: &Assignment) -> Beat {
    Beat { member_id: id.into(), epoch, owned: Some(owned.clone()), ..Beat::default() }
}

fn silent(id: &str, epoch: i32) -> Beat {
    Beat { member_id: id.into(), epoch, ..Beat::default() }
}

fn error(answer: Result<Beaten, Refusal>) -> GroupError {
    answer.unwrap_err().error
}

#[test]
fn a_member_is_given_only_what_others_have_let_go() {
    let mut group = Harness::new(&[("t", 4)]);
    let (epoch, all) = group.joined("a", &["t"]);
    assert_eq!((epoch, all.len()), (1, 4));
    assert_eq!(group.consumer().state(), ConsumerState::Stable);

    let (epoch, none) = group.joined("b", &["t"]);
    assert_eq!((epoch, none.len()), (2, 0), "at its epoch, and waits");
    assert_eq!(group.consumer().state(), ConsumerState::Reconciling);

    let told = group.report("a", 1, &all);
    let left = told.assignment.unwrap();
    assert_eq!((told.epoch, left.len()), (1, 2), "has to let two go first");
    assert_eq!(group.report("b", 2, &none).assignment, None);
    assert_eq!(group.report("a", 1, &all).assignment, None, "still owns them");

    let told = group.report("a", 1, &left);
    assert_eq!((told.epoch, told.assignment), (2, None));
    let told = group.report("b", 2, &none);
    let part = told.assignment.unwrap();
    assert_eq!((told.epoch, part.len()), (2, 2));
    assert!(!part.intersects(&left));
    assert_eq!(group.consumer().state(), ConsumerState::Stable);
}

#[test]
fn who_is_silent_or_slow_is_out_and_the_others_get_its_part() {
    let mut group = Harness::new(&[("t", 4)]);
    let (_, all) = group.joined("a", &["t"]);
    group.joined("b", &["t"]);
    group.report("a", 1, &all);
    // It goes on being heard of, but lets nothing go.
    for _ in 0..11 {
        group.wait(5_000);
        assert_eq!(group.beat(silent("a", 1)).unwrap().epoch, 1);
        assert_eq!(group.beat(silent("b", 2)).unwrap().epoch, 2);
    }
    group.wait(5_000);
    assert_eq!(error(group.beat(silent("a", 1))), GroupError::UnknownMemberId);
    let told = group.beat(silent("b", 2)).unwrap();
    assert_eq!((told.epoch, told.assignment.map(|all| all.len())), (3, Some(4)));
    group.wait(45_001);
    assert_eq!(group.consumer().state(), ConsumerState::Empty);
    assert_eq!(error(group.beat(silent("b", 3))), GroupError::UnknownMemberId);
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_other_epochs_are_fenced() {
    let mut group = Harness::new(&[("t", 2)]);
    let first = group.beat(joining("a", &["t"])).unwrap();
    assert_eq!(group.beat(joining("a", &["t"])).unwrap(), first);
    let all = first.assignment.unwrap();
    assert_eq!(error(group.beat(silent("a", 7))), GroupError::FencedMemberEpoch);
    group.joined("b", &["t"]);
    let left = group.report("a", 1, &all).assignment.unwrap();
    assert_eq!(group.report("a", 1, &left).epoch, 2);
    // Its answer was lost: with what it has it may come once more.
    assert_eq!(group.report("a", 1, &left).epoch, 2);
    assert_eq!(error(group.beat(report("a", 1, &all))), GroupError::FencedMemberEpoch);
    assert_eq!(error(group.beat(silent("a", 1))), GroupError::FencedMemberEpoch);
    assert_eq!(error(group.beat(silent("c", 1))), GroupError::UnknownMemberId);
}

#[test]
fn topics_that_grow_and_go_are_heard_of() {
    let mut group = Harness::new(&[("t", 2)]);
    let (_, all) = group.joined("a", &["t", "later"]);
    assert_eq!(all.len(), 2);
    group.set_topics(&[("t", 3), ("other", 9)]);
    let told = group.report("a", 1, &all);
    assert_eq!((told.epoch, told.assignment.unwrap().len()), (2, 3));
    group.set_topics(&[("t", 3), ("later", 1)]);
    let all = group.report("a", 2, &all).assignment.unwrap();
    assert_eq!(all.len(), 4);
    group.set_topics(&[("later", 1)]);
    let told = group.report("a", 3, &all);
    let left = told.assignment.unwrap();
    assert_eq!((told.epoch, left.len()), (3, 1), "it lets go of what is gone");
    assert_eq!(group.report("a", 3, &left).epoch, 4);
    assert_eq!(group.report("a", 4, &left).epoch, 4, "nothing new");
}

#[test]
fn topics_are_read_by_expression_too() {
    let mut group = Harness::new(&[("cars-1", 1), ("cars-12", 1), ("my-cars-1", 1)]);
    let by = |text: &str| Beat { regex: Some(text.into()), ..joining("a", &[]) };
    assert_eq!(error(group.beat(by("cars-("))), GroupError::InvalidRegularExpression);
    assert_eq!(error(group.beat(by("a)|(b"))), GroupError::InvalidRegularExpression);
    let told = group.beat(by("cars-[0-9]")).unwrap();
    assert_eq!(told.assignment.unwrap().len(), 1, "the whole name");
    group.set_topics(&[("cars-1", 1), ("cars-2", 2)]);
    let told = group.report("a", 1, &Assignment::default());
    assert_eq!((told.epoch, told.assignment.unwrap().len()), (2, 3));
    let other = Beat { regex: Some("boats".into()), ..silent("a", 2) };
    assert_eq!(group.beat(other).unwrap().assignment.unwrap().len(), 0, "another expression");
    assert!(group.consumer().reads("boats") || !group.consumer().reads("cars-1"));
    let none = Beat {
        regex: Some("".into()),
        topics: Some(vec!["cars-1".into()]),
        ..report("a", 2, &Assignment::default())
    };
    assert_eq!(group.beat(none).unwrap().assignment.unwrap().len(), 1);
}

#[test]
fn requests_that_make_no_sense_are_refused_as_kafka_does() {
    let mut group = Harness::new(&[("t", 2)]);
    let good = || joining("a", &["t"]);
    let cases = [
        (Beat { rebalance_timeout_ms: None, ..good() }, GroupError::InvalidRequest),
        (Beat { owned: None, ..good() }, GroupError::InvalidRequest),
        (Beat { topics: None, ..good() }, GroupError::InvalidRequest),
        (Beat { instance_id: Some("".into()), ..good() }, GroupError::InvalidRequest),
        (Beat { rack_id: Some(String::new()), ..good() }, GroupError::InvalidRequest),
        (Beat { epoch: -3, ..good() }, GroupError::InvalidRequest),
        (Beat { epoch: AWAY, ..good() }, GroupError::InvalidRequest),
        (Beat { assignor: Some("best".into()), ..good() }, GroupError::UnsupportedAssignor),
        (Beat { epoch: 4, ..good() }, GroupError::GroupIdNotFound),
        (Beat { epoch: LEAVING, ..good() }, GroupError::GroupIdNotFound),
    ];
    for (beat, expected) in cases {
        assert_eq!(group.beat(beat.clone()).unwrap_err().error, expected, "{beat:?}");
        assert!(group.group.is_untouched());
    }
    group.config.consumer.members_max = 1;
    group.joined("a", &["t"]);
    assert_eq!(error(group.beat(joining("b", &["t"]))), GroupError::GroupMaxSizeReached);
    assert_eq!(error(group.beat(silent("b", LEAVING))), GroupError::UnknownMemberId);
}

#[test]
fn the_assignor_that_most_want_shares_out() {
    let mut group = Harness::new(&[("t", 4), ("u", 4)]);
    let config = group.config.consumer.clone();
    let wants = |id: &str, name: &str| Beat { assignor: Some(name.into()), ..joining(id, &["t"]) };
    group.joined("a", &["t"]);
    assert_eq!(group.consumer().assignor(&config), Assignor::Uniform);
    group.beat(wants("b", "range")).unwrap();
    assert_eq!(group.consumer().assignor(&config), Assignor::Range);
    group.beat(wants("c", "uniform")).unwrap();
    assert_eq!(group.consumer().assignor(&config), Assignor::Uniform, "the first of equals");
}

#[test]
fn a_static_member_that_comes_back_finds_what_it_had() {
    let mut group = Harness::new(&[("t", 4)]);
    let fixed =
        |id: &str, epoch| Beat { instance_id: Some("one".into()), epoch, ..joining(id, &["t"]) };
    let (_, all) = {
        let beaten = group.beat(fixed("a", JOINING)).unwrap();
        (beaten.epoch, beaten.assignment.unwrap())
    };
    assert_eq!(error(group.beat(fixed("b", JOINING))), GroupError::UnreleasedInstanceId);
    assert_eq!(error(group.beat(fixed("b", AWAY))), GroupError::FencedInstanceId);
    group.beat(fixed("a", AWAY)).unwrap();
    assert_eq!(group.consumer().epoch(), 1, "the others do not hear of it");
    assert_eq!(error(group.beat(silent("a", 1))), GroupError::FencedMemberEpoch);
    let back = group.beat(fixed("b", JOINING)).unwrap();
    assert_eq!((back.epoch, back.assignment), (1, Some(all)));
    assert_eq!(error(group.beat(fixed("a", 1))), GroupError::FencedInstanceId);
    let unknown = Beat { instance_id: Some("two".into()), ..silent("b", 1) };
    assert_eq!(error(group.beat(unknown)), GroupError::UnknownMemberId);
    // One that does not come back is out after its session's time.
    group.beat(fixed("b", AWAY)).unwrap();
    group.wait(45_001);
    assert_eq!(group.consumer().state(), ConsumerState::Empty);
}

#[test]
fn offsets_are_committed_by_members_of_the_epoch() {
    let mut group = Harness::new(&[("t", 4)]);
    let claim =
        |id: &str, generation| MemberClaim { member_id: id.into(), instance_id: None, generation };
    group.joined("a", &["t"]);
    let group = group.consumer();
    assert_eq!(group.check_commit(&claim("a", 1), false, true), Ok(()));
    let stale = group.check_commit(&claim("a", 0), false, true);
    assert_eq!(stale, Err(GroupError::StaleMemberEpoch));
    let transactional = group.check_commit(&claim("a", 0), true, false);
    assert_eq!(transactional, Err(GroupError::IllegalGeneration));
    let old = group.check_commit(&claim("a", 1), false, false);
    assert_eq!(old, Err(GroupError::UnsupportedVersion));
    let nobody = group.check_commit(&claim("", -1), false, true);
    assert_eq!(nobody, Err(GroupError::UnknownMemberId));
    assert_eq!(group.check_commit(&claim("", -1), true, true), Ok(()));
    assert_eq!(group.check_fetch(&"a".into(), 1), Ok(()));
    assert_eq!(group.check_fetch(&"a".into(), 2), Err(GroupError::StaleMemberEpoch));
    assert_eq!(group.check_fetch(&"b".into(), 1), Err(GroupError::UnknownMemberId));
}

pub fn classic(id: &str, topics: &[&str], owned: &[(&str, &[i32])]) -> JoinRequest {
    let owned = owned.iter().map(|(topic, partitions)| TopicPartition {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
    });
    let said = ConsumerProtocolSubscription {
        topics: topics.iter().map(|name| (*name).to_owned()).collect(),
        owned_partitions: owned.collect(),
        ..Default::default()
    };
    JoinRequest {
        member_id: id.into(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), said.encode_versioned(3).unwrap())],
        requires_known_member: true,
        can_skip_assignment: true,
        fresh: Uuid::new_v4(),
    }
}

/// All of it to one member.
fn all_to(id: &MemberId, topic: &str, partitions: i32) -> Vec<(MemberId, Bytes)> {
    let assigned_partitions =
        vec![TopicPartition { topic: topic.to_owned(), partitions: (0..partitions).collect() }];
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    vec![(id.clone(), assignment.encode_versioned(3).unwrap())]
}

fn syncing(joined: &Joined, assignments: Vec<(MemberId, Bytes)>) -> SyncRequest {
    SyncRequest { member: claim(joined), protocol_type: None, protocol: None, assignments }
}

fn claim(joined: &Joined) -> MemberClaim {
    let (member_id, generation) = (joined.member_id.clone(), joined.generation);
    MemberClaim { member_id, instance_id: None, generation }
}

fn partitions(synced: &Synced) -> Vec<i32> {
    let read = consumer_protocol::decode::<ConsumerProtocolAssignment>(&synced.assignment);
    read.unwrap().1.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// A classic member alone in its group, reading `t` with its four partitions.
fn classic_alone(group: &mut Harness) -> Joined {
    let id = group.join(classic("", &["t"], &[])).unwrap().unwrap_err().member_id;
    let joined = group.join(classic(&id.0, &["t"], &[])).unwrap().unwrap();
    let shares = all_to(&joined.member_id, "t", 4);
    assert_eq!(partitions(&group.sync(syncing(&joined, shares)).unwrap()), [0, 1, 2, 3]);
    joined
}

#[test]
fn a_classic_group_goes_over_online_and_back() {
    let mut group = Harness::new(&[("t", 4)]);
    let old = classic_alone(&mut group);
    let (epoch, none) = group.joined("new", &["t"]);
    assert_eq!((epoch, none.len()), (2, 0), "the other has all still");
    let is_tombstone = |change: &Change| matches!(change, Change::Classic(None));
    let told = group
        .out
        .iter()
        .any(|output| matches!(output, Output::Keep(all) if all.iter().any(is_tombstone)));
    assert!(told, "the classic record goes");

    // The classic one is told to come again, says what it owns, and keeps half.
    assert_eq!(group.classic_beat(&claim(&old)), Err(GroupError::RebalanceInProgress));
    let id = old.member_id.0.clone();
    let again = group.join(classic(&id, &["t"], &[("t", &[0, 1, 2, 3])])).unwrap().unwrap();
    assert_eq!((again.generation, &*again.protocol, again.leader.is_none()), (1, "range", true));
    let kept = partitions(&group.sync(syncing(&again, Vec::new())).unwrap());
    assert_eq!(kept.len(), 2);
    assert_eq!(group.beat(silent("new", 2)).unwrap().assignment, None, "not let go yet");
    assert_eq!(group.classic_beat(&claim(&again)), Err(GroupError::RebalanceInProgress));
    let again = group.join(classic(&id, &["t"], &[("t", &kept)])).unwrap().unwrap();
    assert_eq!(again.generation, 2);
    assert_eq!(partitions(&group.sync(syncing(&again, Vec::new())).unwrap()), kept);
    assert_eq!(group.classic_beat(&claim(&again)), Ok(()));
    assert_eq!(group.beat(silent("new", 2)).unwrap().assignment.unwrap().len(), 2);
    assert_eq!(group.consumer().state(), ConsumerState::Stable);
    let old_epoch = MemberClaim { generation: 1, ..claim(&again) };
    assert_eq!(group.classic_beat(&old_epoch), Err(GroupError::IllegalGeneration));
    let commit = group.consumer().check_commit(&old_epoch, false, true);
    assert_eq!(commit, Err(GroupError::IllegalGeneration));

    // The last of the new protocol goes: classic again, and all come together.
    group.beat(silent("new", LEAVING)).unwrap();
    assert_eq!(group.classic_state(), GroupState::PreparingRebalance);
    assert_eq!(group.kept, KeptGroup::default(), "nothing of the new group is left");
    assert_eq!(group.classic_beat(&claim(&again)), Err(GroupError::RebalanceInProgress));
    let last = group.join(classic(&id, &["t"], &[])).unwrap().unwrap();
    assert_eq!((last.leader, last.generation), (last.member_id, 3));
}

#[test]
fn without_the_policy_a_classic_group_with_members_stays_classic() {
    let mut group = Harness::new(&[("t", 4)]);
    group.config.consumer.migration = MigrationPolicy::Downgrade;
    let old = classic_alone(&mut group);
    assert_eq!(error(group.beat(joining("new", &["t"]))), GroupError::GroupIdNotFound);
    assert_eq!(group.classic_beat(&claim(&old)), Ok(()));
    // Of one without members nothing keeps it.
    let leaving = LeavingMember { member_id: old.member_id, instance_id: None };
    group.act(|group, around, out| group.leave(&leaving, around, out)).unwrap();
    assert_eq!(group.joined("new", &["t"]).1.len(), 4);
    // And back, once the last has gone.
    let refused = group.join(classic("", &["t"], &[])).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired, "into the new group");
    group.beat(silent("new", LEAVING)).unwrap();
    let id = group.join(classic("", &["t"], &[])).unwrap().unwrap_err().member_id;
    let joined = group.join(classic(&id.0, &["t"], &[])).unwrap().unwrap();
    assert_eq!(joined.leader, joined.member_id);
    let shares = all_to(&joined.member_id, "t", 4);
    group.sync(syncing(&joined, shares)).unwrap();
    assert_eq!(group.kept, KeptGroup::default(), "taken away with the classic record");
}

#[test]
fn without_the_policy_classic_members_stay_in_the_new_group() {
    let mut group = Harness::new(&[("t", 4)]);
    group.config.consumer.migration = MigrationPolicy::Upgrade;
    let old = classic_alone(&mut group);
    group.joined("new", &["t"]);
    group.beat(silent("new", LEAVING)).unwrap();
    let joined = group.join(classic(&old.member_id.0, &["t"], &[])).unwrap().unwrap();
    assert_eq!(joined.generation, 3);
    assert_eq!(partitions(&group.sync(syncing(&joined, Vec::new())).unwrap()), [0, 1, 2, 3]);
    // One that does not come when it is called is out.
    let (epoch, none) = group.joined("other", &["t"]);
    assert_eq!((epoch, none.len()), (4, 0));
    for _ in 0..12 {
        let called = group.classic_beat(&claim(&joined));
        assert_eq!(called, Err(GroupError::RebalanceInProgress));
        assert_eq!(group.beat(silent("other", 4)).unwrap().assignment, None);
        group.wait(5_000);
    }
    assert_eq!(group.classic_beat(&claim(&joined)), Err(GroupError::UnknownMemberId));
    assert_eq!(group.beat(silent("other", 4)).unwrap().assignment.unwrap().len(), 4);
}

/// A group whose members speak something else cannot be read here.
#[test]
fn a_group_of_something_else_is_no_consumer_group() {
    let mut group = Harness::new(&[("t", 4)]);
    let connect = |id: &str| JoinRequest {
        protocol_type: "connect".into(),
        protocols: vec![("sessioned".into(), Bytes::from_static(b"who knows"))],
        ..classic(id, &[], &[])
    };
    let id = group.join(connect("")).unwrap().unwrap_err().member_id;
    group.join(connect(&id.0)).unwrap().unwrap();
    assert_eq!(error(group.beat(joining("new", &["t"]))), GroupError::GroupIdNotFound);

    let mut group = Harness::new(&[("t", 4)]);
    group.joined("a", &["t"]);
    let refused = group.join(connect("b")).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
    let garbled = JoinRequest {
        protocols: vec![("range".into(), Bytes::from_static(b"?"))],
        ..classic("b", &["t"], &[])
    };
    let refused = group.join(garbled).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
}

/// A group that is heard of again after a restart goes on where it was, and an append that the log
/// refuses is made up for by the next.
#[test]
fn a_restart_and_a_refused_append_lose_nothing() {
    let mut group = Harness::new(&[("t", 4)]);
    let (_, all) = group.joined("a", &["t"]);
    let kept = group.kept.clone();
    group.out.clear();
    // Not through the harness, which would keep what comes of it.
    let now = Now { elapsed_ms: 0, wall_ms: 0 };
    let consumer = Surroundings { config: &group.config.consumer, topics: &group.topics, now };
    let around = Around { classic: &group.config, consumer, share: &group.config.share };
    let mut out = Vec::new();
    group.group.beat(Waiter(0), joining("b", &["t"]), around, &mut out);
    let Some(Output::Keep(lost)) = out.first() else { panic!("{out:?}") };
    group.group.not_kept(lost, now, &mut Vec::new());
    // Whoever comes next has it written.
    let told = group.report("a", 1, &all);
    assert_eq!(told.assignment.unwrap().len(), 2);
    assert_ne!(group.kept, kept);

    let restored = ConsumerGroup::restore(group.kept.clone(), &group.config.consumer, now);
    assert_eq!(restored.kept(), group.kept);
    group.group = AnyGroup::of(Kind::Consumer(Box::new(restored)));
    let left = group.kept.currents[&"a".into()].assigned.clone();
    assert_eq!(group.report("a", 1, &left).epoch, 2);
    assert_eq!(group.report("b", 2, &Assignment::default()).assignment.unwrap().len(), 2);
}
