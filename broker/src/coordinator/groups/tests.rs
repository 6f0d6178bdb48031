//! Rules of the classic protocol one by one, a seeded simulation of members that come, go, lag
//! and fall silent, and the service over a real log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::group::{Group, GroupConfig, GroupState};
use super::messages::*;
use super::offsets::{Offsets, StoredOffset};
use super::service::GroupService;
use crate::broker::group_configs::GroupHost;
use crate::broker::state_log::TopicStateLog;
use crate::broker::{Broker, BrokerConfig};
use crate::coordinator::state_log::{Marker, OFFSETS_TOPIC, StateLog};
use crate::coordinator::{Now, Waiter};
use crate::ids::{ProducerId, TopicPartition};
use crate::record::ControlType;

fn at(elapsed_ms: u64) -> Now {
    Now { elapsed_ms, wall_ms: 1_000_000 + elapsed_ms as i64 }
}

fn request(member: &MemberId, metadata: &str) -> JoinRequest {
    JoinRequest {
        member_id: member.clone(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::copy_from_slice(metadata.as_bytes()))],
        requires_known_member: false,
        can_skip_assignment: true,
        fresh: Uuid::new_v4(),
    }
}

/// A group with its outputs.
struct Harness {
    group: Group,
    waiters: u64,
    out: Vec<Output>,
}

impl Harness {
    fn new() -> Harness {
        Harness { group: Group::new(at(0)), waiters: 0, out: Vec::new() }
    }

    fn join(&mut self, request: JoinRequest, now: Now) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        self.group.join(waiter, request, &GroupConfig::default(), now, &mut self.out);
        waiter
    }

    fn sync(&mut self, member: MemberClaim, assign: &[(&MemberId, &str)], now: Now) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        let assignments = assign
            .iter()
            .map(|(id, bytes)| ((*id).clone(), Bytes::copy_from_slice(bytes.as_bytes())))
            .collect();
        let request = SyncRequest { member, protocol_type: None, protocol: None, assignments };
        self.group.sync(waiter, request, now, &mut self.out);
        waiter
    }

    fn joined(&mut self, waiter: Waiter) -> Option<Result<Joined, JoinRefused>> {
        self.out.iter().find_map(|output| match output {
            Output::Join(to, answer) if *to == waiter => Some(answer.clone()),
            _ => None,
        })
    }

    fn synced(&mut self, waiter: Waiter) -> Option<Result<Synced, GroupError>> {
        self.out.iter().find_map(|output| match output {
            Output::Sync(to, answer) if *to == waiter => Some(answer.clone()),
            _ => None,
        })
    }

    /// A member alone in a stable group.
    fn alone(&mut self, request: JoinRequest) -> MemberClaim {
        let waiter = self.join(request, at(0));
        let joined = self.joined(waiter).unwrap().unwrap();
        let claim = claim(&joined);
        let waiter = self.sync(claim.clone(), &[(&joined.member_id, "all")], at(0));
        assert_eq!(self.synced(waiter).unwrap().unwrap().assignment, "all");
        claim
    }
}

fn claim(joined: &Joined) -> MemberClaim {
    MemberClaim {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
    }
}

/// Who had only been given an id, and may never come, held up whoever came into an empty group, and
/// the end of one that all others had left.
#[test]
fn a_member_to_be_holds_up_no_empty_group() {
    let mut group = Harness::new();
    let careful = JoinRequest { requires_known_member: true, ..request(&MemberId::default(), "") };
    let given = group.join(careful, at(0));
    assert!(group.joined(given).unwrap().is_err());
    let came = group.join(request(&MemberId::default(), "a"), at(1));
    let member_id = group.joined(came).unwrap().unwrap().member_id;
    let leaving = LeavingMember { member_id, instance_id: None };
    group.group.leave(&leaving, at(2), &mut group.out).unwrap();
    assert_eq!(group.group.state(), GroupState::Empty);
}

#[test]
fn a_second_member_makes_a_generation_once_the_first_has_come_back() {
    let mut group = Harness::new();
    let first = group.alone(request(&MemberId::default(), "a"));
    let second = group.join(request(&MemberId::default(), "b"), at(10));
    assert_eq!(group.joined(second), None, "waits for the first");
    assert_eq!(group.group.heartbeat(&first, at(11)), Err(GroupError::RebalanceInProgress));
    let again = group.join(request(&first.member_id, "a"), at(12));
    let led = group.joined(again).unwrap().unwrap();
    let followed = group.joined(second).unwrap().unwrap();
    assert_eq!((led.generation, followed.generation), (2, 2));
    assert_eq!(led.leader, first.member_id, "the leader stays");
    assert_eq!((led.members.len(), followed.members.len()), (2, 0));
    let waiting = group.sync(claim(&followed), &[], at(13));
    assert_eq!(group.synced(waiting), None, "waits for the leader");
    let shares = [(&led.member_id, "left"), (&followed.member_id, "right")];
    group.sync(claim(&led), &shares, at(14));
    assert_eq!(group.synced(waiting).unwrap().unwrap().assignment, "right");
    let old = group.group.heartbeat(&first, at(15));
    assert_eq!(old, Err(GroupError::IllegalGeneration));
}

#[test]
fn a_member_id_is_given_out_first_and_expires_unused() {
    let mut group = Harness::new();
    let careful = JoinRequest { requires_known_member: true, ..request(&MemberId::default(), "") };
    let waiter = group.join(careful.clone(), at(0));
    let refused = group.joined(waiter).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::MemberIdRequired);
    let waiter = group.join(request(&refused.member_id, ""), at(1));
    assert!(group.joined(waiter).unwrap().is_ok());
    let waiter = group.join(careful, at(2));
    let unused = group.joined(waiter).unwrap().unwrap_err().member_id;
    group.group.tick(at(10_003), &mut group.out);
    let waiter = group.join(request(&unused, ""), at(10_004));
    assert_eq!(group.joined(waiter).unwrap().unwrap_err().error, GroupError::UnknownMemberId);
}

/// `group.initial.rebalance.delay.ms`, by Kafka's rule: each time others have come there is as
/// much time again, up to the rebalance timeout.
#[test]
fn a_group_that_was_empty_waits_for_others_if_told_to() {
    let config = GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() };
    let mut harness = Harness::new();
    let join = |harness: &mut Harness, member: &MemberId, now| {
        harness.waiters += 1;
        let waiter = Waiter(harness.waiters);
        let request = JoinRequest { rebalance_timeout_ms: 7_000, ..request(member, "m") };
        harness.group.join(waiter, request, &config, now, &mut harness.out);
        waiter
    };
    let none = MemberId::default();
    let first = join(&mut harness, &none, at(0));
    let tick = |harness: &mut Harness, ms| harness.group.tick(at(ms), &mut harness.out);
    assert_eq!(harness.group.next_deadline_ms(), Some(3_000));
    let second = join(&mut harness, &none, at(2_000));
    tick(&mut harness, 3_000);
    let third = join(&mut harness, &none, at(5_000));
    tick(&mut harness, 6_000);
    // Of the seven seconds one is left.
    assert_eq!(harness.group.next_deadline_ms(), Some(7_000));
    let fourth = join(&mut harness, &none, at(6_500));
    assert_eq!(harness.joined(first), None);
    tick(&mut harness, 7_000);
    for waiter in [first, second, third, fourth] {
        assert_eq!(harness.joined(waiter).unwrap().unwrap().generation, 1);
    }
    // From then on members wait for each other alone.
    join(&mut harness, &none, at(8_000));
    assert_eq!(harness.group.next_deadline_ms(), Some(15_000));

    // Nobody else comes, and one that goes again is not waited for.
    let mut harness = Harness::new();
    let first = join(&mut harness, &none, at(0));
    tick(&mut harness, 3_000);
    assert_eq!(harness.joined(first).unwrap().unwrap().generation, 1);
    let mut harness = Harness::new();
    join(&mut harness, &none, at(0));
    let member_id = harness.group.snapshot().members[0].member_id.clone();
    let leaving = LeavingMember { member_id, instance_id: None };
    harness.group.leave(&leaving, at(1), &mut harness.out).unwrap();
    assert_eq!(harness.group.state(), GroupState::Empty);
}

#[test]
fn a_silent_member_is_gone_after_its_session() {
    let mut group = Harness::new();
    let member = group.alone(request(&MemberId::default(), "a"));
    assert_eq!(group.group.heartbeat(&member, at(9_000)), Ok(()));
    assert_eq!(group.group.next_deadline_ms(), Some(19_000));
    group.group.tick(at(19_000), &mut group.out);
    assert_eq!(group.group.state(), GroupState::Empty);
    assert_eq!(group.group.heartbeat(&member, at(19_001)), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_rebalance_goes_on_without_those_who_stay_away() {
    let mut group = Harness::new();
    let first = group.alone(request(&MemberId::default(), "a"));
    let second = group.join(request(&MemberId::default(), "b"), at(10));
    // It shows that it lives, but does not join again.
    for time in (5_000..60_000).step_by(5_000) {
        assert_eq!(group.group.heartbeat(&first, at(time)), Err(GroupError::RebalanceInProgress));
    }
    group.group.tick(at(60_010), &mut group.out);
    let joined = group.joined(second).unwrap().unwrap();
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    assert_eq!(group.group.heartbeat(&first, at(60_011)), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_older_life() {
    let mut group = Harness::new();
    let fixed =
        JoinRequest { instance_id: Some("one".into()), ..request(&MemberId::default(), "a") };
    let first = group.alone(fixed.clone());
    let again = JoinRequest { fresh: Uuid::new_v4(), ..fixed.clone() };
    let waiter = group.join(again, at(10));
    let joined = group.joined(waiter).unwrap().unwrap();
    assert_eq!(joined.generation, first.generation);
    assert!(joined.skip_assignment && joined.leader == joined.member_id);
    let waiter = group.sync(claim(&joined), &[], at(11));
    assert_eq!(group.synced(waiter).unwrap().unwrap().assignment, "all");
    let older = MemberClaim { instance_id: Some("one".into()), ..first };
    assert_eq!(group.group.heartbeat(&older, at(12)), Err(GroupError::FencedInstanceId));
    // What it says to the leader may differ, unlike what the group would then agree upon.
    let range = |metadata: &'static str| ("range".into(), Bytes::from(metadata));
    let says_more = JoinRequest { protocols: vec![range("b")], ..fixed.clone() };
    let waiter = group.join(says_more, at(13));
    assert_eq!(group.joined(waiter).unwrap().unwrap().generation, first.generation);
    let other = ("other".into(), Bytes::new());
    let changed = JoinRequest { protocols: vec![other, range("b")], ..fixed };
    let waiter = group.join(changed, at(14));
    assert_eq!(group.joined(waiter).unwrap().unwrap().generation, first.generation + 1);
}

#[test]
fn members_must_have_a_protocol_in_common() {
    let mut group = Harness::new();
    group.alone(request(&MemberId::default(), "a"));
    for wrong in [
        JoinRequest { protocol_type: "connect".into(), ..request(&MemberId::default(), "") },
        JoinRequest {
            protocols: vec![("other".into(), Bytes::new())],
            ..request(&MemberId::default(), "")
        },
        JoinRequest { protocols: Vec::new(), ..request(&MemberId::default(), "") },
    ] {
        let waiter = group.join(wrong, at(1));
        let refused = group.joined(waiter).unwrap().unwrap_err();
        assert_eq!(refused.error, GroupError::InconsistentGroupProtocol);
    }
    let short = JoinRequest { session_timeout_ms: 5_999, ..request(&MemberId::default(), "") };
    let waiter = group.join(short, at(1));
    let refused = group.joined(waiter).unwrap().unwrap_err();
    assert_eq!(refused.error, GroupError::InvalidSessionTimeout);
}

#[test]
fn the_protocol_is_the_one_that_most_prefer_of_those_that_all_speak() {
    let mut group = Harness::new();
    let speaks = |names: &[&str]| JoinRequest {
        protocols: names.iter().map(|name| ((*name).into(), Bytes::new())).collect(),
        ..request(&MemberId::default(), "")
    };
    let first = group.join(speaks(&["alone", "sticky", "range"]), at(0));
    let first = group.joined(first).unwrap().unwrap();
    assert_eq!(&*first.protocol, "alone");
    let second = group.join(speaks(&["range", "sticky"]), at(1));
    let third = group.join(speaks(&["other", "range", "sticky"]), at(1));
    let again = JoinRequest { member_id: first.member_id, ..speaks(&["alone", "sticky", "range"]) };
    group.join(again, at(2));
    for waiter in [second, third] {
        assert_eq!(&*group.joined(waiter).unwrap().unwrap().protocol, "range");
    }
}

#[test]
fn an_older_client_that_leads_again_as_static_member_does_not_assign_again() {
    let mut group = Harness::new();
    let fixed = JoinRequest {
        instance_id: Some("one".into()),
        can_skip_assignment: false,
        ..request(&MemberId::default(), "a")
    };
    let first = group.alone(fixed.clone());
    let waiter = group.join(JoinRequest { fresh: Uuid::new_v4(), ..fixed }, at(1));
    let joined = group.joined(waiter).unwrap().unwrap();
    assert_eq!((joined.leader.clone(), joined.skip_assignment), (first.member_id, false));
    assert!(joined.members.is_empty());
    // Yet it leads: when it joins once more there is a new generation.
    let waiter = group.join(request(&joined.member_id, "a"), at(2));
    assert_eq!(group.joined(waiter).unwrap().unwrap().generation, joined.generation + 1);
}

#[test]
fn members_leave_by_their_id_or_by_that_of_their_instance() {
    let mut group = Harness::new();
    let leave = |group: &mut Harness, member: &str, instance: Option<&str>| {
        let instance_id = instance.map(InstanceId::from);
        let leaving = LeavingMember { member_id: member.into(), instance_id };
        group.group.leave(&leaving, at(5), &mut group.out)
    };
    let fixed =
        JoinRequest { instance_id: Some("one".into()), ..request(&MemberId::default(), "a") };
    let member = group.alone(fixed);
    assert_eq!(leave(&mut group, "nobody", None), Err(GroupError::UnknownMemberId));
    assert_eq!(leave(&mut group, "", Some("two")), Err(GroupError::UnknownMemberId));
    assert_eq!(leave(&mut group, "nobody", Some("one")), Err(GroupError::FencedInstanceId));
    assert_eq!(leave(&mut group, "", Some("one")), Ok(()));
    assert_eq!(group.group.state(), GroupState::Empty);
    assert_eq!(leave(&mut group, &member.member_id.0, None), Err(GroupError::UnknownMemberId));
    // One that was only promised a place can give it back, and then holds up nobody.
    let careful = JoinRequest { requires_known_member: true, ..request(&MemberId::default(), "") };
    let waiter = group.join(careful, at(6));
    let promised = group.joined(waiter).unwrap().unwrap_err().member_id;
    let waiter = group.join(request(&MemberId::default(), ""), at(7));
    let member = group.joined(waiter).unwrap().unwrap();
    let waiter = group.join(request(&member.member_id, "other"), at(8));
    assert_eq!(group.joined(waiter), None);
    assert_eq!(leave(&mut group, &promised.0, None), Ok(()));
    assert!(group.joined(waiter).unwrap().is_ok());
}

#[test]
fn a_full_group_takes_nobody_in_and_ids_stay_short() {
    let config = GroupConfig { members_max: 1, ..GroupConfig::default() };
    let (mut group, mut out) = (Group::new(at(0)), Vec::new());
    let long = JoinRequest { client_id: "é".repeat(5_000), ..request(&MemberId::default(), "") };
    group.join(Waiter(1), long, &config, at(0), &mut out);
    let Some(Output::Join(_, Ok(joined))) = out.pop() else { panic!("{out:?}") };
    assert!(joined.member_id.0.len() < 600);
    group.join(Waiter(2), request(&MemberId::default(), ""), &config, at(0), &mut out);
    let Some(Output::Join(_, Err(refused))) = out.pop() else { panic!("{out:?}") };
    assert_eq!(refused.error, GroupError::GroupMaxSizeReached);
}

#[test]
fn only_members_commit_while_there_are_any() {
    let mut group = Harness::new();
    assert_eq!(group.group.check_commit(&MemberClaim::none(), false, at(0)), Ok(()));
    let named = MemberClaim { member_id: MemberId("z".into()), ..MemberClaim::none() };
    assert_eq!(group.group.check_commit(&named, false, at(0)), Ok(()));
    let member = group.alone(request(&MemberId::default(), "a"));
    let named = group.group.check_commit(&named, false, at(1));
    assert_eq!(named, Err(GroupError::UnknownMemberId));
    let outside = group.group.check_commit(&MemberClaim::none(), false, at(1));
    assert_eq!(outside, Err(GroupError::UnknownMemberId));
    assert_eq!(group.group.check_commit(&MemberClaim::none(), true, at(1)), Ok(()));
    assert_eq!(group.group.check_commit(&member, false, at(1)), Ok(()));
    let older = MemberClaim { generation: 0, ..member };
    let late = group.group.check_commit(&older, true, at(1));
    assert_eq!(late, Err(GroupError::IllegalGeneration));
}

#[test]
fn a_snapshot_restores_members_and_what_they_have() {
    let mut group = Harness::new();
    let member = group.alone(request(&MemberId::default(), "a"));
    let mut restored = Group::restore(group.group.snapshot(), at(0));
    assert_eq!(restored.snapshot(), group.group.snapshot());
    assert_eq!(restored.heartbeat(&member, at(1)), Ok(()));
}

/// What one simulated client does.
#[derive(Clone, Debug)]
enum Act {
    /// Asks for a place, or for its place in the next generation.
    Join {
        client: usize,
        fixed: bool,
    },
    Sync {
        client: usize,
    },
    Heartbeat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Wait {
        ms: u64,
    },
    /// The log refuses what it is asked to keep next.
    Refuse,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..5usize, any::<bool>()).prop_map(|(client, fixed)| Act::Join { client, fixed }),
        4 => (0..5usize).prop_map(|client| Act::Sync { client }),
        2 => (0..5usize).prop_map(|client| Act::Heartbeat { client }),
        1 => (0..5usize).prop_map(|client| Act::Leave { client }),
        2 => (0..20_000u64).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Refuse),
    ]
}

#[derive(Clone, Debug, Default)]
struct Client {
    member_id: MemberId,
    generation: i32,
    leads: Vec<MemberId>,
}

/// Every waiter gets one answer; a generation has one leader and one protocol; only members of
/// it get an assignment, and exactly the one that the leader gave them.
fn simulate(acts: Vec<Act>) {
    let mut harness = Harness::new();
    let mut clients = vec![Client::default(); 5];
    let mut asked: BTreeMap<Waiter, usize> = BTreeMap::new();
    let mut answered: BTreeSet<Waiter> = BTreeSet::new();
    let mut leaders: BTreeMap<i32, MemberId> = BTreeMap::new();
    let (mut now_ms, mut refuses, mut refused) = (0, false, false);
    let ends = std::iter::repeat_n(Act::Wait { ms: 30_000 }, 12);
    for act in acts.into_iter().chain(ends) {
        match act {
            Act::Join { client, fixed } => {
                let mut join = request(&clients[client].member_id, "m");
                if fixed {
                    join.instance_id = Some(format!("fixed-{client}").as_str().into());
                }
                asked.insert(harness.join(join, at(now_ms)), client);
            }
            Act::Sync { client } => {
                let one = &clients[client];
                let member = MemberClaim {
                    member_id: one.member_id.clone(),
                    instance_id: None,
                    generation: one.generation,
                };
                let shares: Vec<String> =
                    one.leads.iter().map(|id| format!("{id}@{}", one.generation)).collect();
                let shares: Vec<(&MemberId, &str)> =
                    one.leads.iter().zip(&shares).map(|(id, share)| (id, share.as_str())).collect();
                asked.insert(harness.sync(member, &shares, at(now_ms)), client);
            }
            Act::Heartbeat { client } => {
                let one = &clients[client];
                let member = MemberClaim {
                    member_id: one.member_id.clone(),
                    instance_id: None,
                    generation: one.generation,
                };
                let _ = harness.group.heartbeat(&member, at(now_ms));
            }
            Act::Leave { client } => {
                let member_id = clients[client].member_id.clone();
                let leaving = LeavingMember { member_id, instance_id: None };
                let _ = harness.group.leave(&leaving, at(now_ms), &mut harness.out);
            }
            Act::Refuse => refuses = true,
            Act::Wait { ms } => {
                let until = now_ms + ms;
                // As the service does: at each deadline on the way.
                while let Some(deadline) = harness.group.next_deadline_ms().filter(|d| *d <= until)
                {
                    now_ms = now_ms.max(deadline);
                    harness.group.tick(at(now_ms), &mut harness.out);
                }
                now_ms = until;
            }
        }
        if std::mem::take(&mut refused) {
            harness.group.not_kept(at(now_ms), &mut harness.out);
        }
        for output in std::mem::take(&mut harness.out) {
            match output {
                Output::Join(waiter, answer) => {
                    assert!(answered.insert(waiter), "{waiter:?} was answered twice");
                    let client = &mut clients[asked[&waiter]];
                    match answer {
                        Ok(joined) => {
                            let leader = joined.leader.clone();
                            if !joined.skip_assignment && joined.generation != client.generation {
                                let first =
                                    leaders.entry(joined.generation).or_insert(leader.clone());
                                assert_eq!(*first, leader, "two leaders of one generation");
                            }
                            client.leads =
                                joined.members.iter().map(|one| one.member_id.clone()).collect();
                            client.member_id = joined.member_id;
                            client.generation = joined.generation;
                        }
                        Err(refused) if refused.error == GroupError::MemberIdRequired => {
                            client.member_id = refused.member_id;
                        }
                        Err(_) => *client = Client::default(),
                    }
                }
                Output::Sync(waiter, answer) => {
                    assert!(answered.insert(waiter), "{waiter:?} was answered twice");
                    let client = &clients[asked[&waiter]];
                    if let Ok(synced) = answer
                        && !synced.assignment.is_empty()
                    {
                        let share = String::from_utf8(synced.assignment.to_vec()).unwrap();
                        let (_, generation) = share.rsplit_once('@').unwrap();
                        let current = harness.group.snapshot().generation;
                        assert_eq!(generation, current.to_string());
                        assert!(client.generation <= current);
                    }
                }
                Output::Persist(snapshot) => {
                    let restored = Group::restore(snapshot.clone(), at(now_ms)).snapshot();
                    assert_eq!(restored.members, snapshot.members);
                    refused = std::mem::take(&mut refuses);
                }
                Output::Beat(..) | Output::Keep(_) => unreachable!("the group stays classic"),
            }
        }
    }
    let forgotten: Vec<_> = asked.keys().filter(|waiter| !answered.contains(waiter)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?} wait forever");
    assert_eq!(harness.group.state(), GroupState::Empty, "silent members are still there");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn every_waiter_is_answered_once_whatever_members_do(
        acts in proptest::collection::vec(act(), 1..60)
    ) {
        simulate(acts);
    }

    #[test]
    fn offsets_are_those_of_the_log_whatever_transactions_do(
        commits in proptest::collection::vec((0..3i32, proptest::option::of(0..2i64)), 1..30),
        ends in proptest::collection::vec((0..30usize, 0..2i64, any::<bool>()), 0..6),
    ) {
        let mut offsets = Offsets::default();
        // The log: commits, and behind some of them the end of a transaction.
        let mut model: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        let mut open: Vec<(i64, i32, i64)> = Vec::new();
        let mut place = 0;
        for (index, (partition, producer)) in commits.iter().enumerate() {
            let at = place;
            place += 1;
            let value = StoredOffset {
                offset: at * 10, leader_epoch: -1, metadata: String::new(), committed_ms: 0,
            };
            let of = TopicPartition::new("t", *partition);
            let behind = offsets.place();
            offsets.commit(of, Some(value), behind, producer.map(ProducerId));
            match producer {
                None => { model.insert(*partition, (at, at * 10)); }
                Some(producer) => open.push((*producer, *partition, at)),
            }
            for (_, producer, commit) in ends.iter().filter(|(after, ..)| *after == index) {
                place += 1;
                let decision = if *commit { ControlType::Commit } else { ControlType::Abort };
                offsets.end(ProducerId(*producer), decision);
                for (_, partition, at) in open.extract_if(.., |(open, ..)| open == producer) {
                    let newer = model.get(&partition).is_none_or(|(known, _)| *known <= at);
                    if *commit && newer {
                        model.insert(partition, (at, at * 10));
                    }
                }
            }
        }
        for partition in 0..3 {
            let of = TopicPartition::new("t", partition);
            let expected = model.get(&partition).map(|(_, offset)| *offset);
            prop_assert_eq!(offsets.get(&of).map(|stored| stored.offset), expected);
            let undecided = open.iter().any(|(_, open, _)| *open == partition);
            prop_assert_eq!(offsets.is_undecided(&of), undecided);
        }
    }
}

fn offset(partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        partition: TopicPartition::new("orders", partition),
        offset,
        leader_epoch: -1,
        metadata: "note".to_owned(),
    }
}

async fn service(broker: &Arc<Broker>) -> Arc<GroupService> {
    let (log, host) = (Arc::new(TopicStateLog::new(broker)), Arc::new(GroupHost::new(broker)));
    let service = GroupService::new(log, host, GroupConfig::default());
    service.recover().unwrap();
    service
}

/// Group `g`: offsets by partition, with errors as they are.
fn fetched(service: &GroupService) -> Vec<(i32, Result<i64, GroupError>)> {
    let partitions: Vec<_> = (0..3).map(|number| TopicPartition::new("orders", number)).collect();
    let found = service.fetch_offsets("g", Some(&partitions), true).into_iter();
    found
        .filter_map(|(of, stored)| match stored {
            Ok(stored) => Some((of.partition, Ok(stored?.offset))),
            Err(error) => Some((of.partition, Err(error))),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_offsets_are_there_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let groups = service(&broker).await;
    let plain = CommitRequest {
        member: MemberClaim::none(),
        producer: None,
        knows_epochs: false,
        offsets: vec![offset(0, 5), offset(1, 6)],
    };
    let too_long = OffsetToCommit { metadata: "m".repeat(5_000), ..offset(2, 1) };
    let results = groups
        .commit_offsets(
            "g",
            CommitRequest { offsets: vec![too_long, offset(0, 4)], ..plain.clone() },
        )
        .await;
    assert_eq!(results, Ok(vec![Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
    groups.commit_offsets("g", plain.clone()).await.unwrap();
    // Of a transaction that its coordinator knows: any other would end with the broker.
    let transactions = broker.transactions();
    let id = transactions.init_producer("t", 60_000, None).await.unwrap();
    transactions.add_offsets("t", id, "g").await.unwrap();
    let producer = Some((id.producer_id, id.epoch));
    let transactional = CommitRequest { producer, offsets: vec![offset(1, 60)], ..plain };
    groups.commit_offsets("g", transactional).await.unwrap();
    let undecided = vec![(0, Ok(5)), (1, Err(GroupError::UnstableOffsetCommit))];
    assert_eq!(fetched(&groups), undecided);

    let joined = groups.join("g", request(&MemberId::default(), "a")).await.unwrap();
    let assignments = vec![(joined.member_id.clone(), Bytes::from("all"))];
    let sync = SyncRequest {
        member: claim(&joined),
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        assignments,
    };
    assert_eq!(groups.sync("g", sync.clone()).await.unwrap().assignment, "all");
    let before = groups.describe("g").unwrap().classic().1;
    drop((groups, broker));

    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let groups = service(&broker).await;
    assert_eq!(groups.describe("g").unwrap().classic().1, before);
    assert_eq!(groups.heartbeat("g", &claim(&joined)), Ok(()));
    assert_eq!(groups.sync("g", sync).await.unwrap().assignment, "all");
    assert_eq!(fetched(&groups), undecided);
    let (producer_id, epoch) = (id.producer_id, id.epoch);
    let marker = Marker { producer_id, epoch, control_type: ControlType::Commit };
    let to = TopicPartition::new(OFFSETS_TOPIC, 0);
    TopicStateLog::new(&broker).append_marker(&to, marker).await.unwrap();
    groups.transaction_ended(producer_id, ControlType::Commit, &[0]);
    assert_eq!(fetched(&groups), [(0, Ok(5)), (1, Ok(60))]);

    assert_eq!(groups.delete("g").await, Err(GroupError::NonEmptyGroup));
    let leaving = LeavingMember { member_id: joined.member_id, instance_id: None };
    assert_eq!(groups.leave("g", &[leaving]), [Ok(())]);
    assert_eq!(groups.delete("g").await, Ok(()));
    assert!(groups.list().is_empty());
    drop((groups, broker));
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    assert!(service(&broker).await.list().is_empty());
}
