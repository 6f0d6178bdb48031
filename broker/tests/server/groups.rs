//! Groups and their offsets over the wire. What groups do is tested beside their machine; here it
//! is what requests say and responses bring, in each version.

use std::collections::BTreeSet;

use broker::protocol::messages::{
    k08_offset_commit::*,
    k09_offset_fetch::*,
    k10_find_coordinator::*,
    k11_join_group::*,
    k12_heartbeat::*,
    k13_leave_group::*,
    k14_sync_group::*,
    k15_describe_groups::*,
    k16_list_groups::*,
    k42_delete_groups::*,
    k47_offset_delete::*,
    k68_consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
    k69_consumer_group_describe::{Assignment, ConsumerGroupDescribeRequest},
    k76_share_group_heartbeat::ShareGroupHeartbeatRequest,
    k77_share_group_describe::ShareGroupDescribeRequest,
};
use broker::protocol::{ApiKey, ErrorCode, Response};
use bytes::Bytes;

use crate::harness::*;

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"what I read"),
        }],
        ..Default::default()
    }
}

fn sync(group: &str, joined: &JoinGroupResponse, assignment: &'static [u8]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(assignment),
        }],
        ..Default::default()
    }
}

fn heartbeat(group: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    }
}

/// Joins, with the second request that v4 and later ask of new members (KIP-394).
async fn joined(client: &mut Connection, version: i16, group: &str) -> JoinGroupResponse {
    let mut response = ask!(client, JoinGroup v version, join(group, ""));
    if version >= 4 {
        assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        response = ask!(client, JoinGroup v version, join(group, &response.member_id));
    }
    assert_eq!(response.error_code, ErrorCode::NONE);
    response
}

/// A join that had to wait did not move the group's timer: the others had until the end of their
/// session to come back, whatever they had said, and a first join waited for its own.
#[tokio::test]
async fn nobody_waits_longer_than_members_have_said() {
    let broker = TestBroker::with(|broker, _| broker.groups.initial_rebalance_delay_ms = 100).await;
    let patient = |group: &str| JoinGroupRequest {
        session_timeout_ms: 600_000,
        rebalance_timeout_ms: 200,
        ..join(group, "")
    };
    let long = std::time::Duration::from_secs(60);
    let (mut here, mut silent) = (broker.connect().await, broker.connect().await);
    let first = async { ask!(silent, JoinGroup v 3, patient("g")) };
    let first =
        tokio::time::timeout(long, first).await.expect("the delay of a first join is 100 ms");
    assert_eq!((first.error_code, first.generation_id), (ErrorCode::NONE, 1));
    // The first one does not come back.
    let second = async { ask!(here, JoinGroup v 3, patient("g")) };
    let second =
        tokio::time::timeout(long, second).await.expect("the first one has 200 ms to come back");
    assert_eq!((second.error_code, second.members.len()), (ErrorCode::NONE, 1));
}

#[tokio::test]
async fn a_member_lives_through_its_life_in_every_version() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=9 {
        let group = &format!("group-{version}");
        let member = joined(&mut client, version, group).await;
        assert_eq!((member.generation_id, &member.leader), (1, &member.member_id));
        assert_eq!(member.protocol_name.as_deref(), Some("range"));
        assert_eq!(member.members[0].metadata, &b"what I read"[..]);
        let request = sync(group, &member, b"yours");
        let synced = ask!(client, SyncGroup v version.min(5), request);
        assert_eq!((synced.error_code, &synced.assignment[..]), (ErrorCode::NONE, &b"yours"[..]));
        let beat = ask!(client, Heartbeat v version.min(4), heartbeat(group, &member));
        assert_eq!(beat.error_code, ErrorCode::NONE);
        let mut old = heartbeat(group, &member);
        old.generation_id = 0;
        let beat = ask!(client, Heartbeat v version.min(4), old);
        assert_eq!(beat.error_code, ErrorCode::ILLEGAL_GENERATION);

        let described = ask!(client, DescribeGroups v version.min(6), DescribeGroupsRequest {
            groups: vec![group.clone(), "none".to_owned()],
            ..Default::default()
        });
        let described = &described.groups;
        assert_eq!(described[0].group_state, "Stable");
        assert_eq!(described[0].protocol_data, "range");
        assert_eq!(described[0].members[0].client_id, "test");
        assert_eq!(described[0].members[0].client_host, "/127.0.0.1");
        assert_eq!(described[0].members[0].member_assignment, &b"yours"[..]);
        let missing = if version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE };
        assert_eq!((described[1].error_code, &described[1].group_state[..]), (missing, "Dead"));

        let identity = MemberIdentity { member_id: member.member_id.clone(), ..Default::default() };
        let version = version.min(5);
        let mut leave = LeaveGroupRequest { group_id: group.clone(), ..Default::default() };
        match version {
            3.. => leave.members = vec![identity],
            _ => leave.member_id = member.member_id.clone(),
        }
        let left = ask!(client, LeaveGroup v version, leave);
        assert_eq!(left.error_code, ErrorCode::NONE);
        assert!(left.members.iter().all(|member| member.error_code == ErrorCode::NONE));
        let beat = ask!(client, Heartbeat v 4, heartbeat(group, &member));
        assert_eq!(beat.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    }
    let listed = ask!(client, ListGroups v 5, ListGroupsRequest {
        states_filter: vec!["empty".to_owned()],
        types_filter: vec!["classic".to_owned()],
    });
    assert_eq!(listed.groups.len(), 10);
    let stable =
        ListGroupsRequest { states_filter: vec!["Stable".to_owned()], ..Default::default() };
    assert!(ask!(client, ListGroups v 4, stable).groups.is_empty());
}

#[tokio::test]
async fn a_second_member_makes_a_rebalance_and_both_are_answered() {
    let broker = TestBroker::start().await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    let leader = joined(&mut first, 5, "g").await;
    let request = sync("g", &leader, b"all");
    ask!(first, SyncGroup v 3, request);
    let id = ask!(second, JoinGroup v 5, join("g", "")).member_id;
    second.send(5, join("g", &id).into()).await;
    // The leader learns of it by its heartbeat, once the join has arrived.
    loop {
        let beat = ask!(first, Heartbeat v 3, heartbeat("g", &leader));
        if beat.error_code == ErrorCode::REBALANCE_IN_PROGRESS {
            break;
        }
        assert_eq!(beat.error_code, ErrorCode::NONE);
        tokio::task::yield_now().await;
    }
    let again = ask!(first, JoinGroup v 5, join("g", &leader.member_id));
    let (_, response) = second.receive(ApiKey::JoinGroup, 5).await;
    let Response::JoinGroup(follower) = response else { panic!() };
    assert_eq!((again.generation_id, follower.generation_id), (2, 2));
    assert_eq!((again.members.len(), follower.members.len()), (2, 0));
    second.send(3, sync("g", &follower, b"ignored").into()).await;
    let mut request = sync("g", &again, b"one half");
    request.assignments.push(SyncGroupRequestAssignment {
        member_id: follower.member_id.clone(),
        assignment: Bytes::from_static(b"the other"),
    });
    let mine = ask!(first, SyncGroup v 3, request);
    let (_, response) = second.receive(ApiKey::SyncGroup, 3).await;
    let Response::SyncGroup(theirs) = response else { panic!() };
    assert_eq!(
        (&mine.assignment[..], &theirs.assignment[..]),
        (&b"one half"[..], &b"the other"[..])
    );
}

fn commit(group: &str, topic: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
    let partitions =
        offsets.iter().map(|(partition_index, committed_offset)| OffsetCommitRequestPartition {
            partition_index: *partition_index,
            committed_offset: *committed_offset,
            committed_metadata: Some("note".to_owned()),
            ..Default::default()
        });
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: partitions.collect(),
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_in_every_version() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    for version in 2..=9 {
        let offset = i64::from(version) * 10;
        let request = commit("g", "t", &[(0, offset), (1, offset + 1), (2, 5)]);
        let response = ask!(client, OffsetCommit v version, request);
        let codes: Vec<_> =
            response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, unknown]);
    }
    for version in 1..=7 {
        let topics = vec![OffsetFetchRequestTopic {
            name: "t".to_owned(),
            partition_indexes: vec![1, 0, 7],
        }];
        for topics in [Some(topics), None] {
            if version == 1 && topics.is_none() {
                continue;
            }
            let all = topics.is_none();
            let request =
                OffsetFetchRequest { group_id: "g".to_owned(), topics, ..Default::default() };
            let response = ask!(client, OffsetFetch v version, request);
            let partitions = &response.topics[0].partitions;
            let offsets: Vec<_> = partitions
                .iter()
                .map(|partition| (partition.partition_index, partition.committed_offset))
                .collect();
            let expected = [(1, 91), (0, 90), (7, -1)];
            assert_eq!(offsets, if all { vec![(0, 90), (1, 91)] } else { expected.to_vec() });
            assert_eq!(partitions[0].metadata.as_deref(), Some("note"));
        }
    }
    for version in 8..=9 {
        let group = |name: &str| OffsetFetchRequestGroup {
            group_id: name.to_owned(),
            topics: None,
            ..Default::default()
        };
        let request =
            OffsetFetchRequest { groups: vec![group("g"), group("none")], ..Default::default() };
        let response = ask!(client, OffsetFetch v version, request);
        assert_eq!(response.groups[0].topics[0].partitions[1].committed_offset, 91);
        assert!(response.groups[1].topics.is_empty());
    }
    let mut zombie = commit("g", "t", &[(0, 1)]);
    (zombie.member_id, zombie.generation_id_or_member_epoch) = ("nobody".to_owned(), 3);
    let response = ask!(client, OffsetCommit v 9, zombie);
    assert_ne!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);

    let delete = |name: &str| DeleteGroupsRequest { groups_names: vec![name.to_owned()] };
    let deleted = ask!(client, DeleteGroups v 2, delete("g"));
    assert_eq!(deleted.results[0].error_code, ErrorCode::NONE);
    let deleted = ask!(client, DeleteGroups v 2, delete("g"));
    assert_eq!(deleted.results[0].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}

#[tokio::test]
async fn the_coordinator_is_the_node_that_was_asked() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=6 {
        let mut request = FindCoordinatorRequest::default();
        match version {
            4.. => request.coordinator_keys = vec!["a".to_owned(), "b".to_owned()],
            _ => request.key = "a".to_owned(),
        }
        let response = ask!(client, FindCoordinator v version, request.clone());
        let port = i32::from(broker.address.port());
        if version < 4 {
            assert_eq!((response.error_code, response.port), (ErrorCode::NONE, port));
        } else {
            let keys: Vec<_> = response.coordinators.iter().map(|one| one.key.as_str()).collect();
            assert_eq!((keys, response.coordinators[1].port), (vec!["a", "b"], port));
        }
        if version >= 1 {
            request.key_type = 7;
            let response = ask!(client, FindCoordinator v version, request);
            let code = response.coordinators.first().map_or(response.error_code, |c| c.error_code);
            assert_eq!(code, ErrorCode::INVALID_REQUEST);
        }
    }
}

#[tokio::test]
async fn a_group_without_a_name_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let invalid = ErrorCode::INVALID_GROUP_ID;
    assert_eq!(ask!(client, JoinGroup v 9, join("", "")).error_code, invalid);
    let nobody = JoinGroupResponse::default();
    assert_eq!(ask!(client, SyncGroup v 5, sync("", &nobody, b"")).error_code, invalid);
    assert_eq!(ask!(client, Heartbeat v 4, heartbeat("", &nobody)).error_code, invalid);
    let leave = LeaveGroupRequest::default();
    assert_eq!(ask!(client, LeaveGroup v 5, leave).error_code, invalid);
    let mut unnamed = sync("g", &nobody, b"");
    unnamed.protocol_name = None;
    let refused = ask!(client, SyncGroup v 5, unnamed).error_code;
    assert_eq!(refused, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
}

async fn offsets_of(client: &mut Connection, group: &str) -> Vec<(String, i32, i64)> {
    let request =
        OffsetFetchRequest { group_id: group.to_owned(), topics: None, ..Default::default() };
    let response = ask!(client, OffsetFetch v 7, request);
    let topics = response.topics.iter();
    topics
        .flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|one| (topic.name.clone(), one.partition_index, one.committed_offset))
        })
        .collect()
}

#[tokio::test]
async fn offsets_are_deleted_on_request_and_with_their_topic() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    broker.topic("u", 1).await;
    let mut client = broker.connect().await;
    ask!(client, OffsetCommit v 9, commit("g", "t", &[(0, 1), (1, 2)]));
    ask!(client, OffsetCommit v 9, commit("g", "u", &[(0, 3)]));
    let delete = |group: &str| OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".to_owned(),
            partitions: [0, 7]
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .to_vec(),
        }],
    };
    let unknown = ask!(client, OffsetDelete v 0, delete("none"));
    assert_eq!(unknown.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let deleted = ask!(client, OffsetDelete v 0, delete("g"));
    assert_eq!(deleted.error_code, ErrorCode::NONE);
    let codes = deleted.topics[0].partitions.iter().map(|partition| partition.error_code);
    let codes: Vec<_> = codes.collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
    let left = vec![("t".to_owned(), 1, 2), ("u".to_owned(), 0, 3)];
    assert_eq!(offsets_of(&mut client, "g").await, left);
    // A topic that is created anew is another one: it is read from where its readers wish.
    broker.broker.delete_topic("t").await.unwrap();
    broker.topic("t", 2).await;
    assert_eq!(offsets_of(&mut client, "g").await, left[1..]);
}

fn beat(member: &str, epoch: i32, first: bool) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "new".to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        rebalance_timeout_ms: if first { 30_000 } else { -1 },
        subscribed_topic_names: first.then(|| vec!["t".to_owned()]),
        topic_partitions: first.then(Vec::new),
        ..Default::default()
    }
}

/// Of the new protocol: what a member has been told outlives the broker.
#[tokio::test]
async fn a_consumer_group_goes_on_where_it_was_after_a_restart() {
    let broker = TestBroker::start().await;
    broker.topic("t", 3).await;
    let mut client = broker.connect().await;
    let told = ask!(client, ConsumerGroupHeartbeat v 0, beat("", 0, true));
    let member = told.member_id.expect("v0 gives the id");
    assert_eq!((told.error_code, told.member_epoch), (ErrorCode::NONE, 1));
    assert_eq!(told.heartbeat_interval_ms, 5_000);
    assert_eq!(told.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2]);
    ask!(client, ConsumerGroupHeartbeat v 1, beat("other", 0, true));

    let broker = broker.restarted().await;
    let mut client = broker.connect().await;
    let told = ask!(client, ConsumerGroupHeartbeat v 1, beat(&member, 1, false));
    assert_eq!((told.error_code, told.member_epoch), (ErrorCode::NONE, 1), "it has to revoke");
    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec!["new".to_owned()],
        include_authorized_operations: true,
    };
    let described = ask!(client, ConsumerGroupDescribe v 1, describe.clone());
    let group = &described.groups[0];
    assert_eq!((group.error_code, &*group.group_state), (ErrorCode::NONE, "Reconciling"));
    assert_eq!((group.group_epoch, group.assignment_epoch, group.members.len()), (2, 2, 2));
    assert_eq!(group.members[0].subscribed_topic_names, ["t"]);
    let assigned = |one: &Assignment| {
        one.topic_partitions.iter().map(|topic| topic.partitions.len()).sum::<usize>()
    };
    let targets: usize = group.members.iter().map(|one| assigned(&one.target_assignment)).sum();
    assert_eq!(targets, 3);
    let epochs: BTreeSet<i32> = group.members.iter().map(|one| one.member_epoch).collect();
    assert_eq!(epochs, BTreeSet::from([1, 2]));
    ask!(client, ConsumerGroupHeartbeat v 1, beat(&member, -1, false));
    ask!(client, ConsumerGroupHeartbeat v 1, beat("other", -1, false));
    let request = DeleteGroupsRequest { groups_names: vec!["new".to_owned()] };
    let deleted = ask!(client, DeleteGroups v 2, request);
    assert_eq!(deleted.results[0].error_code, ErrorCode::NONE);

    let broker = broker.restarted().await;
    let mut client = broker.connect().await;
    let described = ask!(client, ConsumerGroupDescribe v 1, describe);
    assert_eq!(described.groups[0].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}

fn share_beat(member: &str, epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: "shared".to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        subscribed_topic_names: (epoch == 0).then(|| vec!["t".to_owned()]),
        ..Default::default()
    }
}

/// Members of a share group have all partitions, all of them at once, and outlive the broker.
#[tokio::test]
async fn a_share_group_has_its_members_after_a_restart() {
    let broker = TestBroker::start().await;
    broker.topic("t", 3).await;
    let mut client = broker.connect().await;
    for (member, epoch) in [("one", 1), ("two", 2)] {
        let told = ask!(client, ShareGroupHeartbeat v 1, share_beat(member, 0));
        assert_eq!((told.error_code, told.member_epoch), (ErrorCode::NONE, epoch));
        assert_eq!(told.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2]);
    }
    let list = |types: &[&str]| ListGroupsRequest {
        types_filter: types.iter().map(|one| (*one).to_owned()).collect(),
        ..Default::default()
    };
    let listed = ask!(client, ListGroups v 5, list(&["Share"]));
    let group = &listed.groups[0];
    assert_eq!((&*group.group_id, &*group.protocol_type), ("shared", "share"));
    assert_eq!((&*group.group_state, &*group.group_type), ("Stable", "share"));
    assert!(ask!(client, ListGroups v 5, list(&["consumer"])).groups.is_empty());

    let broker = broker.restarted().await;
    let mut client = broker.connect().await;
    let told = ask!(client, ShareGroupHeartbeat v 1, share_beat("one", 1));
    assert_eq!((told.error_code, told.assignment), (ErrorCode::NONE, None));
    let describe = ShareGroupDescribeRequest {
        group_ids: vec!["shared".to_owned(), "none".to_owned()],
        include_authorized_operations: false,
    };
    let described = ask!(client, ShareGroupDescribe v 1, describe.clone());
    assert_eq!(described.groups[1].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let group = &described.groups[0];
    assert_eq!((&*group.group_state, &*group.assignor_name), ("Stable", "simple"));
    assert_eq!(group.members.len(), 2);
    for member in &group.members {
        assert_eq!(member.subscribed_topic_names, ["t"]);
        assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");
        assert_eq!(member.assignment.topic_partitions[0].partitions, [0, 1, 2]);
    }

    let delete = DeleteGroupsRequest { groups_names: vec!["shared".to_owned()] };
    let refused = ask!(client, DeleteGroups v 2, delete.clone());
    assert_eq!(refused.results[0].error_code, ErrorCode::NON_EMPTY_GROUP);
    for member in ["one", "two"] {
        let left = ask!(client, ShareGroupHeartbeat v 1, share_beat(member, -1));
        assert_eq!((left.error_code, left.member_epoch), (ErrorCode::NONE, -1));
    }
    let deleted = ask!(client, DeleteGroups v 2, delete);
    assert_eq!(deleted.results[0].error_code, ErrorCode::NONE);
    let broker = broker.restarted().await;
    let mut client = broker.connect().await;
    let described = ask!(client, ShareGroupDescribe v 1, describe);
    assert_eq!(described.groups[0].error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}
