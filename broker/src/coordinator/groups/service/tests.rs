//! The service over a log in memory that can refuse and that can take its time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::{self, BoxFuture, FutureExt, join_all};
use proptest::prelude::*;
use tokio::sync::watch;
use uuid::Uuid;

use super::super::consumer::member::LEAVING;
use super::super::consumer::topics::TopicFacts;
use super::super::messages::*;
use super::super::{GroupConfig, GroupState};
use super::*;
use crate::coordinator::state_log::Marker;
use crate::ids::{Offset, ProducerEpoch};
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use crate::record::{ControlType, RecordBatch, control_batch};

/// Batches by partition.
struct MemoryLog {
    batches: Mutex<BTreeMap<TopicPartition, Vec<RecordBatch>>>,
    exists: AtomicBool,
    refuses: AtomicBool,
    appends: AtomicUsize,
    /// What is appended while this is false becomes durable once it is true.
    flows: watch::Sender<bool>,
}

impl MemoryLog {
    fn new() -> Arc<MemoryLog> {
        Arc::new(MemoryLog {
            batches: Mutex::default(),
            exists: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            appends: AtomicUsize::new(0),
            flows: watch::Sender::new(true),
        })
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    fn flow(&self, flows: bool) {
        self.flows.send_replace(flows);
    }
}

impl StateLog for MemoryLog {
    fn append(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            let reason = "the disk is full".to_owned();
            let refused = StateLogError::Unavailable { partition: to.clone(), reason };
            return future::ready(Err(refused)).boxed();
        }
        let mut batches = self.batches.lock().unwrap();
        let own = batches.entry(to.clone()).or_default();
        own.push(batch);
        let offset = Offset(own.len() as i64);
        let mut flows = self.flows.subscribe();
        async move {
            flows.wait_for(|flows| *flows).await.unwrap();
            Ok(offset)
        }
        .boxed()
    }

    fn append_marker(
        &self,
        to: &TopicPartition,
        marker: Marker,
    ) -> BoxFuture<'static, Result<Option<Offset>, StateLogError>> {
        let Marker { producer_id, epoch, control_type } = marker;
        let batch = control_batch(producer_id, epoch, control_type, 0, 0);
        self.append(to, batch).map(|appended| appended.map(Some)).boxed()
    }

    fn ensure_topic(
        &self,
        _: &'static str,
        partitions: i32,
    ) -> BoxFuture<'static, Result<i32, StateLogError>> {
        self.exists.store(true, Ordering::SeqCst);
        future::ready(Ok(partitions)).boxed()
    }

    fn partitions(&self, _: &'static str) -> Option<i32> {
        self.exists.load(Ordering::SeqCst).then_some(1)
    }

    fn replay(
        &self,
        from: &TopicPartition,
        each: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), StateLogError> {
        let batches = self.batches.lock().unwrap();
        batches.get(from).into_iter().flatten().cloned().for_each(each);
        Ok(())
    }
}

/// Topics and settings that stay as they are.
#[derive(Default)]
struct Fixed {
    topics: Arc<Topics>,
    settings: GroupSettings,
}

impl Host for Fixed {
    fn topics(&self) -> Arc<Topics> {
        self.topics.clone()
    }

    fn group_settings(&self, _: &str) -> GroupSettings {
        self.settings
    }
}

impl GroupDescription {
    pub fn classic(self) -> (GroupState, GroupSnapshot) {
        match self.described {
            Described::Classic { state, snapshot } => (state, snapshot),
            other => panic!("not a classic group: {other:?}"),
        }
    }
}

fn recovered(log: &Arc<MemoryLog>, config: GroupConfig) -> Arc<GroupService> {
    let service = GroupService::new(log.clone(), Arc::new(Fixed::default()), config);
    service.recover().unwrap();
    service
}

fn service(log: &Arc<MemoryLog>) -> Arc<GroupService> {
    recovered(log, GroupConfig::default())
}

fn subscription(topic: &str) -> Bytes {
    let subscription =
        ConsumerProtocolSubscription { topics: vec![topic.to_owned()], ..Default::default() };
    subscription.encode_versioned(3).unwrap()
}

fn join(member_id: &MemberId) -> JoinRequest {
    JoinRequest {
        member_id: member_id.clone(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription("read"))],
        requires_known_member: false,
        can_skip_assignment: false,
        fresh: Uuid::new_v4(),
    }
}

fn claim(joined: &Joined) -> MemberClaim {
    let (member_id, generation) = (joined.member_id.clone(), joined.generation);
    MemberClaim { member_id, instance_id: None, generation }
}

fn sync(joined: &Joined) -> SyncRequest {
    let shares = joined.members.iter();
    SyncRequest {
        member: claim(joined),
        protocol_type: None,
        protocol: None,
        assignments: shares.map(|one| (one.member_id.clone(), Bytes::from("share"))).collect(),
    }
}

/// A member alone in a stable group.
async fn alone(service: &Arc<GroupService>, group: &str) -> MemberClaim {
    let joined = service.join(group, join(&MemberId::default())).await.unwrap();
    service.sync(group, sync(&joined)).await.unwrap();
    claim(&joined)
}

fn offset(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    let partition = TopicPartition::new(topic, partition);
    OffsetToCommit { partition, offset, leader_epoch: -1, metadata: String::new() }
}

fn commit(offsets: Vec<OffsetToCommit>) -> CommitRequest {
    CommitRequest { member: MemberClaim::none(), producer: None, knows_epochs: false, offsets }
}

fn transactional(producer: i64, offsets: Vec<OffsetToCommit>) -> CommitRequest {
    let producer = Some((ProducerId(producer), ProducerEpoch(0)));
    CommitRequest { producer, ..commit(offsets) }
}

/// All offsets of a group; `None` for one that is undecided.
fn fetched(service: &GroupService, group: &str) -> Vec<(String, Option<i64>)> {
    let found = service.fetch_offsets(group, None, true).into_iter();
    found
        .map(|(of, found)| (of.to_string(), found.ok().flatten().map(|stored| stored.offset)))
        .collect()
}

#[tokio::test]
async fn an_assignment_is_given_out_only_once_it_is_durable() {
    let log = MemoryLog::new();
    let service = service(&log);
    let first = service.join("g", join(&MemberId::default())).await.unwrap();
    let (second, again) = tokio::join!(
        service.join("g", join(&MemberId::default())),
        service.join("g", join(&first.member_id)),
    );
    let (second, first) = (second.unwrap(), again.unwrap());
    log.flow(false);
    let mut leading = Box::pin(service.sync("g", sync(&first)));
    assert!(futures::poll!(&mut leading).is_pending());
    // It comes when the group is stable already, but not yet for good.
    let mut following = Box::pin(service.sync("g", sync(&second)));
    assert!(futures::poll!(&mut following).is_pending());
    tokio::task::yield_now().await;
    assert!(futures::poll!(&mut following).is_pending());
    log.flow(true);
    assert_eq!(leading.await.unwrap().assignment, "share");
    assert_eq!(following.await.unwrap().assignment, "share");
}

#[tokio::test]
async fn members_agree_anew_on_what_the_log_refused() {
    let log = MemoryLog::new();
    let service = service(&log);
    let joined = service.join("g", join(&MemberId::default())).await.unwrap();
    log.refuse(true);
    let refused = service.sync("g", sync(&joined)).await;
    assert_eq!(refused, Err(GroupError::CoordinatorNotAvailable));
    let heard = service.heartbeat("g", &claim(&joined));
    assert_eq!(heard, Err(GroupError::RebalanceInProgress));
    log.refuse(false);
    let again = service.join("g", join(&joined.member_id)).await.unwrap();
    assert_eq!(again.generation, joined.generation + 1);
    assert_eq!(service.sync("g", sync(&again)).await.unwrap().assignment, "share");
    assert_eq!(service.heartbeat("g", &claim(&again)), Ok(()));
}

/// One topic, `read`, with three partitions, and a session timeout of the group's own.
fn of_consumers(log: &Arc<MemoryLog>) -> Arc<GroupService> {
    let facts = TopicFacts { id: Uuid::from_u128(7), partitions: 3 };
    let topics = Arc::new(Topics::new(1, [(Arc::from("read"), facts)]));
    let settings = GroupSettings { heartbeat_interval_ms: Some(77), ..Default::default() };
    let host = Arc::new(Fixed { topics, settings });
    let service = GroupService::new(log.clone(), host, GroupConfig::default());
    service.recover().unwrap();
    service
}

/// A heartbeat of the new protocol; the first one says everything.
fn beat(id: &str, epoch: i32) -> Beat {
    let first = epoch == JOINING;
    Beat {
        member_id: id.into(),
        epoch,
        rebalance_timeout_ms: first.then_some(60_000),
        topics: first.then(|| vec![Arc::from("read")]),
        owned: first.then(Default::default),
        ..Beat::default()
    }
}

#[tokio::test]
async fn a_heartbeat_is_answered_once_what_it_rests_on_is_durable() {
    let log = MemoryLog::new();
    let service = of_consumers(&log);
    log.refuse(true);
    let refused = service.beat("g", beat("a", 0)).await.unwrap_err();
    assert_eq!(refused.error, GroupError::CoordinatorNotAvailable);
    assert!(of_consumers(&log).list().is_empty(), "nothing is kept");
    log.refuse(false);
    log.flow(false);
    // The group is there, and the log knows nothing of it: even a retry is written first.
    let mut again = Box::pin(service.beat("g", beat("a", 0)));
    assert!(futures::poll!(&mut again).is_pending());
    let mut behind = Box::pin(service.beat("g", beat("a", 0)));
    assert!(futures::poll!(&mut behind).is_pending());
    log.flow(true);
    let told = again.await.unwrap();
    assert_eq!((told.epoch, told.heartbeat_interval_ms), (1, 77));
    assert_eq!(told.assignment.as_ref().map(|all| all.len()), Some(3));
    assert_eq!(behind.await.unwrap(), told);
    let appends = log.appends.load(Ordering::SeqCst);
    assert_eq!(service.beat("g", beat("a", 1)).await.unwrap().assignment, None);
    assert_eq!(log.appends.load(Ordering::SeqCst), appends, "nothing new to keep");
}

#[tokio::test]
async fn a_group_that_went_over_is_what_it_was_last_after_a_restart() {
    let log = MemoryLog::new();
    let service = of_consumers(&log);
    let joined = service.join("g", join(&MemberId::default())).await.unwrap();
    let nothing = SyncRequest { assignments: Vec::new(), ..sync(&joined) };
    service.sync("g", nothing).await.unwrap();
    service.beat("g", beat("new", 0)).await.unwrap();
    let kind = |service: &GroupService| {
        service.describe("g").map(|group| (group.kind(), group.members().len()))
    };
    assert_eq!(kind(&service), Some(("consumer", 2)));
    assert_eq!(kind(&of_consumers(&log)), Some(("consumer", 2)));
    service
        .commit_offsets(
            "g",
            CommitRequest {
                member: MemberClaim { member_id: "new".into(), instance_id: None, generation: 2 },
                knows_epochs: true,
                ..commit(vec![offset("read", 0, 4)])
            },
        )
        .await
        .unwrap();

    service.beat("g", beat("new", LEAVING)).await.unwrap();
    assert_eq!(kind(&service), Some(("classic", 1)));
    let restarted = of_consumers(&log);
    assert_eq!(kind(&restarted), Some(("classic", 1)));
    assert_eq!(fetched(&restarted, "g"), [("read-0".to_owned(), Some(4))]);
    let leaving = LeavingMember { member_id: joined.member_id, instance_id: None };
    assert_eq!(restarted.leave("g", &[leaving]), [Ok(())]);
    restarted.beat("g", beat("newer", 0)).await.unwrap();
    assert_eq!(restarted.delete("g").await, Err(GroupError::NonEmptyGroup));
    restarted.beat("g", beat("newer", LEAVING)).await.unwrap();
    assert_eq!(kind(&of_consumers(&log)), Some(("consumer", 0)));
    restarted.delete("g").await.unwrap();
    assert_eq!(kind(&of_consumers(&log)), None);
}

/// A transaction may time out while its offsets are being written. They were noted as pending
/// only when they were durable, so its end missed them, and they stayed undecided for ever.
#[tokio::test]
async fn a_transaction_may_end_before_its_offsets_are_known_to_be_durable() {
    for (decision, expected) in [(ControlType::Abort, vec![]), (ControlType::Commit, vec![Some(7)])]
    {
        let log = MemoryLog::new();
        let service = service(&log);
        log.flow(false);
        let request = transactional(1, vec![offset("t", 0, 7)]);
        let mut committing = Box::pin(service.commit_offsets("g", request));
        assert!(futures::poll!(&mut committing).is_pending());
        let of = [TopicPartition::new("t", 0)];
        let undecided = service.fetch_offsets("g", Some(&of), true).remove(0).1;
        assert_eq!(undecided, Err(GroupError::UnstableOffsetCommit));
        service.transaction_ended(ProducerId(1), decision, &[0]);
        log.flow(true);
        assert_eq!(committing.await, Ok(vec![Ok(())]));
        let found = service.fetch_offsets("g", Some(&of), true).remove(0).1.unwrap();
        let found: Vec<_> = found.into_iter().map(|stored| Some(stored.offset)).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn offsets_that_the_log_refused_are_not_there() {
    let log = MemoryLog::new();
    let service = service(&log);
    service.commit_offsets("g", commit(vec![offset("t", 0, 1)])).await.unwrap();
    log.refuse(true);
    let refused = Err(GroupError::CoordinatorNotAvailable);
    let of = |number| vec![offset("t", 0, number)];
    assert_eq!(service.commit_offsets("g", commit(of(2))).await, refused);
    assert_eq!(service.commit_offsets("g", transactional(1, of(3))).await, refused);
    assert_eq!(fetched(&service, "g"), [("t-0".to_owned(), Some(1))]);
}

#[tokio::test]
async fn refused_requests_leave_nothing_behind() {
    let log = MemoryLog::new();
    let service = service(&log);
    let short = JoinRequest { session_timeout_ms: 1, ..join(&MemberId::default()) };
    let refused = service.join("a", short).await.unwrap_err();
    assert_eq!(refused.error, GroupError::InvalidSessionTimeout);
    let passed = MemberClaim { generation: 4, ..MemberClaim::none() };
    let late = CommitRequest { member: passed, ..commit(vec![offset("t", 0, 1)]) };
    assert_eq!(service.commit_offsets("b", late).await, Err(GroupError::IllegalGeneration));
    assert!(service.commit_offsets(&"c".repeat(40_000), commit(Vec::new())).await.is_err());
    let request = transactional(1, vec![offset("t", 0, 7)]);
    service.commit_offsets("d", request).await.unwrap();
    service.transaction_ended(ProducerId(1), ControlType::Abort, &[0]);
    // There was an offset, if only within a transaction: that group stays for a while.
    assert_eq!(locked(&service.slots).keys().map(|name| &**name).collect::<Vec<_>>(), ["d"]);
    service.expire().await;
    assert!(locked(&service.slots).is_empty());
    assert!(locked(&service.undecided).is_empty());
}

#[tokio::test]
async fn offsets_go_with_their_topics_and_on_request() {
    let log = MemoryLog::new();
    let groups = service(&log);
    alone(&groups, "g").await;
    let unknown = groups.delete_offsets("none", &[]).await;
    assert_eq!(unknown, Err(GroupError::GroupIdNotFound));
    for group in ["g", "simple"] {
        let offsets = ["read", "other", "gone"].map(|topic| offset(topic, 0, 5)).to_vec();
        // Outside of the group, as a transaction may.
        groups.commit_offsets(group, transactional(1, offsets)).await.unwrap();
    }
    groups.transaction_ended(ProducerId(1), ControlType::Commit, &[0]);
    let marker = Marker {
        producer_id: ProducerId(1),
        epoch: ProducerEpoch(0),
        control_type: ControlType::Commit,
    };
    log.append_marker(&TopicPartition::new(OFFSETS_TOPIC, 0), marker).await.unwrap();
    groups.topic_deleted("gone").await.unwrap();
    let asked = ["read", "other", "never"].map(|topic| TopicPartition::new(topic, 0));
    let deleted = groups.delete_offsets("g", &asked).await;
    assert_eq!(deleted, Ok(vec![Err(GroupError::GroupSubscribedToTopic), Ok(()), Ok(())]));
    let check = |groups: &GroupService| {
        assert_eq!(fetched(groups, "g"), [("read-0".to_owned(), Some(5))]);
        let simple = [("other-0".to_owned(), Some(5)), ("read-0".to_owned(), Some(5))];
        assert_eq!(fetched(groups, "simple"), simple);
    };
    check(&groups);
    check(&service(&log));
}

#[tokio::test]
async fn offsets_expire_where_nobody_reads_any_more() {
    let log = MemoryLog::new();
    let groups = service(&log);
    groups.commit_offsets("simple", commit(vec![offset("t", 0, 1)])).await.unwrap();
    let member = alone(&groups, "live").await;
    let both = CommitRequest {
        member: member.clone(),
        ..commit(vec![offset("read", 0, 1), offset("other", 0, 1)])
    };
    groups.commit_offsets("live", both).await.unwrap();
    let member = alone(&groups, "left").await;
    let one = CommitRequest { member: member.clone(), ..commit(vec![offset("read", 0, 1)]) };
    groups.commit_offsets("left", one).await.unwrap();
    groups.leave("left", &[LeavingMember { member_id: member.member_id, instance_id: None }]);
    groups.expire().await;
    let names = |groups: &GroupService| {
        groups.list().into_iter().map(|group| group.group.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&groups), ["left", "live", "simple"], "none of it is old");

    // Everything is older than this.
    let config = GroupConfig { offsets_retention_ms: -60_000, ..GroupConfig::default() };
    let later = recovered(&log, config);
    later.expire().await;
    for groups in [later, service(&log)] {
        assert_eq!(names(&groups), ["live"]);
        assert_eq!(fetched(&groups, "live"), [("read-0".to_owned(), Some(1))]);
        assert_eq!(groups.describe("live").unwrap().classic().0, GroupState::Stable);
    }
}

/// As Kafka's: deleting the last offset leaves an empty group, which goes when groups are next
/// looked through, however young it is.
#[tokio::test]
async fn a_group_without_offsets_stays_until_groups_are_looked_through() {
    let log = MemoryLog::new();
    let groups = service(&log);
    let partition = [TopicPartition::new("t", 0)];
    groups.commit_offsets("simple", commit(vec![offset("t", 0, 1)])).await.unwrap();
    let member = alone(&groups, "left").await;
    let one = CommitRequest { member: member.clone(), ..commit(vec![offset("t", 0, 1)]) };
    groups.commit_offsets("left", one).await.unwrap();
    groups.leave("left", &[LeavingMember { member_id: member.member_id, instance_id: None }]);
    let member = alone(&groups, "empty").await;
    groups.leave("empty", &[LeavingMember { member_id: member.member_id, instance_id: None }]);
    alone(&groups, "live").await;
    let names = |groups: &GroupService| {
        groups.list().into_iter().map(|group| group.group.to_string()).collect::<Vec<_>>()
    };
    for group in ["simple", "left"] {
        assert_eq!(groups.delete_offsets(group, &partition).await, Ok(vec![Ok(())]));
    }
    for groups in [groups, service(&log)] {
        assert_eq!(names(&groups), ["empty", "left", "live", "simple"]);
        assert_eq!(groups.describe("simple").unwrap().classic().0, GroupState::Empty);
    }
    let groups = service(&log);
    // Offsets that are not decided keep theirs.
    let producer = Some((ProducerId(1), ProducerEpoch(0)));
    let pending = CommitRequest { producer, ..commit(vec![offset("t", 0, 1)]) };
    groups.commit_offsets("pending", pending).await.unwrap();
    groups.expire().await;
    for groups in [groups, service(&log)] {
        assert_eq!(names(&groups), ["live", "pending"]);
        assert_eq!(groups.delete("simple").await, Err(GroupError::GroupIdNotFound));
    }
}

/// What happens to one of two groups.
#[derive(Clone, Debug)]
enum Act {
    Commit { group: usize, partition: i32, producer: Option<i64> },
    End { producer: i64, decision: bool },
    DeleteOffsets { group: usize, partition: i32 },
    DeleteGroup { group: usize },
    Join { group: usize },
    Leave { group: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let (group, partition) = (0..2usize, 0..3i32);
    let producer = prop::option::of(0..2i64);
    prop_oneof![
        6 => (group.clone(), partition.clone(), producer)
            .prop_map(|(group, partition, producer)| Act::Commit { group, partition, producer }),
        2 => (0..2i64, any::<bool>())
            .prop_map(|(producer, decision)| Act::End { producer, decision }),
        2 => (group.clone(), partition)
            .prop_map(|(group, partition)| Act::DeleteOffsets { group, partition }),
        1 => group.clone().prop_map(|group| Act::DeleteGroup { group }),
        2 => group.clone().prop_map(|group| Act::Join { group }),
        1 => group.prop_map(|group| Act::Leave { group }),
    ]
}

struct World {
    log: Arc<MemoryLog>,
    service: Arc<GroupService>,
    members: Mutex<[Option<MemberClaim>; 2]>,
    next_offset: AtomicUsize,
}

impl World {
    async fn act(&self, act: &Act) {
        let name = |group: &usize| ["g", "h"][*group];
        let service = &self.service;
        match act {
            Act::Commit { group, partition, producer } => {
                let next = self.next_offset.fetch_add(1, Ordering::SeqCst) as i64;
                let offsets = vec![offset("t", *partition, next)];
                let member = self.members.lock().unwrap()[*group].clone();
                let request = match producer {
                    Some(producer) => transactional(*producer, offsets),
                    None => commit(offsets),
                };
                let member = member.unwrap_or_else(MemberClaim::none);
                _ = service.commit_offsets(name(group), CommitRequest { member, ..request }).await;
            }
            Act::End { producer, decision } => {
                let control_type = match decision {
                    true => ControlType::Commit,
                    false => ControlType::Abort,
                };
                let (producer_id, epoch) = (ProducerId(*producer), ProducerEpoch(0));
                let marker = Marker { producer_id, epoch, control_type };
                let to = TopicPartition::new(OFFSETS_TOPIC, 0);
                // The coordinator of transactions tries until the marker is in the log.
                if self.log.append_marker(&to, marker).await.is_ok() {
                    service.transaction_ended(producer_id, control_type, &[0]);
                }
            }
            Act::DeleteOffsets { group, partition } => {
                let of = [TopicPartition::new("t", *partition)];
                _ = service.delete_offsets(name(group), &of).await;
            }
            Act::DeleteGroup { group } => _ = service.delete(name(group)).await,
            Act::Join { group } => {
                if self.members.lock().unwrap()[*group].is_some() {
                    return;
                }
                let joined = service.join(name(group), join(&MemberId::default())).await.unwrap();
                _ = service.sync(name(group), sync(&joined)).await;
                self.members.lock().unwrap()[*group] = Some(claim(&joined));
            }
            Act::Leave { group } => {
                let Some(member) = self.members.lock().unwrap()[*group].take() else { return };
                let leaving = LeavingMember { member_id: member.member_id, instance_id: None };
                assert_eq!(service.leave(name(group), &[leaving]), [Ok(())]);
            }
        }
    }
}

/// Does steps one after the other, and what is within a step at once, so that it is all on its
/// way to the disk together. Then what is in the log equals what is in memory.
async fn simulate(steps: Vec<(Vec<Act>, bool)>) {
    let log = MemoryLog::new();
    log.ensure_topic(OFFSETS_TOPIC, 1).await.unwrap();
    let service = service(&log);
    let (members, next_offset) = (Mutex::new([None, None]), AtomicUsize::new(0));
    let world = World { log: log.clone(), service: service.clone(), members, next_offset };
    for (mut acts, refused) in steps {
        let mut ended = Vec::new();
        acts.retain(|act| match act {
            Act::End { producer, .. } => {
                ended.push(*producer);
                true
            }
            // A producer waits for the end of its transaction before it begins another.
            Act::Commit { producer: Some(producer), .. } => !ended.contains(producer),
            _ => true,
        });
        let changes_members = |act: &Act| matches!(act, Act::Join { .. } | Act::Leave { .. });
        if acts.iter().any(changes_members) {
            for act in &acts {
                world.act(act).await;
            }
        } else {
            let ends = |act: &Act| matches!(act, Act::End { .. });
            log.refuse(refused && !acts.iter().any(ends));
            log.flow(false);
            let mut all = join_all(acts.iter().map(|act| world.act(act))).boxed();
            _ = futures::poll!(&mut all);
            log.flow(true);
            all.await;
            log.refuse(false);
        }
        // What was answered early is durable, too.
        while service.all().iter().any(|slot| locked(&slot.cell).keeping > 0) {
            tokio::task::yield_now().await;
        }
        let again = self::service(&log);
        for group in ["g", "h"] {
            let of: Vec<_> = (0..3).map(|number| TopicPartition::new("t", number)).collect();
            let found =
                |service: &GroupService, stable| service.fetch_offsets(group, Some(&of), stable);
            assert_eq!(found(&service, true), found(&again, true));
            assert_eq!(found(&service, false), found(&again, false));
            let seen = |service: &GroupService| {
                let (state, mut snapshot) = service.describe(group)?.classic();
                if snapshot.generation == 0 {
                    // A group that never had members is not kept, only its offsets are.
                    snapshot.state_since_ms = 0;
                }
                Some((state, snapshot))
            };
            assert_eq!(seen(&service), seen(&again));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_log_says_what_memory_says_whatever_happens_at_once(
        steps in prop::collection::vec(
            (prop::collection::vec(act(), 1..5), prop::bool::weighted(0.2)), 1..15)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(simulate(steps));
    }
}
