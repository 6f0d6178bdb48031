//! Groups: members, static and others, offsets, and looking at it all.

use broker::protocol::messages::{
    k08_offset_commit::*, k09_offset_fetch::*, k10_find_coordinator::*, k11_join_group::*,
    k12_heartbeat::*, k13_leave_group::*, k14_sync_group::*, k15_describe_groups::*,
    k16_list_groups::*, k42_delete_groups::*, k47_offset_delete::*,
};
use broker::protocol::{ErrorCode, Response};
use bytes::Bytes;

use crate::script::Script;

/// What a consumer says to its leader: that it reads topic `t`.
const SUBSCRIPTION: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];

pub fn join(group: &str, member_id: &str, instance: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(SUBSCRIPTION),
        }],
        ..Default::default()
    }
}

pub fn sync(group: &str, joined: &JoinGroupResponse, instance: Option<&str>) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(b"yours"),
        }],
    }
}

fn heartbeat(group: &str, member_id: &str, generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        ..Default::default()
    }
}

pub fn leave(group: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let identity = |(member_id, instance): &(&str, Option<&str>)| MemberIdentity {
        member_id: (*member_id).to_owned(),
        group_instance_id: instance.map(str::to_owned),
        ..Default::default()
    };
    LeaveGroupRequest {
        group_id: group.to_owned(),
        members: members.iter().map(identity).collect(),
        ..Default::default()
    }
}

pub async fn joined(script: &mut Script, request: JoinGroupRequest) -> JoinGroupResponse {
    let Response::JoinGroup(response) = script.ask(9, request).await else { panic!() };
    response
}

/// A member that has its assignment.
pub async fn member(script: &mut Script, group: &str) -> JoinGroupResponse {
    let first = joined(script, join(group, "", None)).await;
    let member = joined(script, join(group, &first.member_id, None)).await;
    script.ask(5, sync(group, &member, None)).await;
    member
}

pub async fn membership(script: &mut Script) {
    let group = &script.named("g");
    for (id, ms, kind, protocols) in [
        ("", 30_000, "consumer", true),
        (group, 5_999, "consumer", true),
        (group, 1_800_001, "consumer", true),
        (group, -1, "consumer", true),
        (group, 30_000, "", true),
        (group, 30_000, "consumer", false),
    ] {
        for version in [3, 9] {
            let mut request = join(id, "", None);
            request.session_timeout_ms = ms;
            request.protocol_type = kind.to_owned();
            if !protocols {
                request.protocols.clear();
            }
            script.ask(version, request).await;
        }
    }
    for version in [3, 9] {
        script.ask(version, join(group, "unknown", None)).await;
    }
    for version in [0, 4] {
        script.ask(version, heartbeat("", "m", 1)).await;
        script.ask(version, heartbeat(group, "m", 1)).await;
        script.ask(version, heartbeat(group, "", -1)).await;
    }
    let nobody = JoinGroupResponse { member_id: "m".to_owned(), ..Default::default() };
    script.ask(5, sync("", &nobody, None)).await;
    script.ask(5, sync(group, &nobody, None)).await;
    script.ask(5, leave("", &[("m", None)])).await;
    script.ask(5, leave(group, &[("m", None), ("", None), ("m", Some("i"))])).await;
    let old = LeaveGroupRequest {
        group_id: group.clone(),
        member_id: "m".to_owned(),
        ..Default::default()
    };
    script.ask(1, old).await;

    let one = member(script, group).await;
    script.ask(4, heartbeat(group, &one.member_id, one.generation_id)).await;
    script.ask(4, heartbeat(group, &one.member_id, one.generation_id + 1)).await;
    script.ask(4, heartbeat(group, "m", one.generation_id)).await;
    let mut other_kind = join(group, "", None);
    other_kind.protocol_type = "connect".to_owned();
    script.ask(9, other_kind).await;
    let mut other_protocol = join(group, "", None);
    other_protocol.protocols[0].name = "sticky".to_owned();
    script.ask(9, other_protocol).await;
    // Once more, as who has not heard the answer.
    script.ask(5, sync(group, &one, None)).await;
    let mut other_name = sync(group, &one, None);
    other_name.protocol_name = Some("sticky".to_owned());
    script.ask(5, other_name).await;
    let mut other_type = sync(group, &one, None);
    other_type.protocol_type = Some("connect".to_owned());
    script.ask(5, other_type).await;
    let mut no_name = sync(group, &one, None);
    no_name.protocol_name = None;
    script.ask(5, no_name).await;
    let mut old = sync(group, &one, None);
    old.generation_id -= 1;
    script.ask(5, old).await;
    // A leader that joins again calls for a rebalance, here of itself alone.
    let again = joined(script, join(group, &one.member_id, None)).await;
    script.ask(4, heartbeat(group, &one.member_id, again.generation_id)).await;
    offsets_of_a_generation(script, group, &again).await;
    script.ask(5, sync(group, &again, None)).await;
    two_members(script, group, &again).await;
}

async fn offsets_of_a_generation(script: &mut Script, group: &str, member: &JoinGroupResponse) {
    for (generation, id) in [
        (member.generation_id, &*member.member_id),
        (member.generation_id - 1, &member.member_id),
        (-1, &member.member_id),
        (member.generation_id, "m"),
        (-1, ""),
    ] {
        let request = OffsetCommitRequest {
            group_id: group.to_owned(),
            generation_id_or_member_epoch: generation,
            member_id: id.to_owned(),
            topics: vec![OffsetCommitRequestTopic {
                name: "none".to_owned(),
                partitions: vec![OffsetCommitRequestPartition::default()],
            }],
            ..Default::default()
        };
        script.ask(8, request).await;
    }
}

async fn two_members(script: &mut Script, group: &str, first: &JoinGroupResponse) {
    let mut client = script.another().await;
    let Response::JoinGroup(second) = client.ask(9, join(group, "", None).into()).await else {
        panic!()
    };
    client.send(9, join(group, &second.member_id, None).into()).await;
    // The first hears of it by its heartbeat, as soon as the second has come.
    let beat = loop {
        let request = heartbeat(group, &first.member_id, first.generation_id);
        let Response::Heartbeat(beat) = script.ask_quietly(4, request).await else { panic!() };
        if beat.error_code != ErrorCode::NONE {
            break beat;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    script.note("heartbeat".to_owned(), format!("{beat:?}"));
    offsets_of_a_generation(script, group, first).await;
    script.ask(5, sync(group, first, None)).await;
    let again = script.ask_quietly(9, join(group, &first.member_id, None)).await;
    let Response::JoinGroup(mut again) = again else { panic!() };
    again.members.sort_by_key(|member| member.member_id != first.member_id);
    script.note("join again".to_owned(), format!("{again:?}"));
    let (_, response) = client.receive(broker::protocol::ApiKey::JoinGroup, 9).await;
    let Response::JoinGroup(second) = response else { panic!() };
    script.note("the second has joined".to_owned(), format!("{second:?}"));
    client.send(5, sync(group, &second, None).into()).await;
    script.ask(5, sync(group, &again, None)).await;
    let (_, response) = client.receive(broker::protocol::ApiKey::SyncGroup, 5).await;
    script.note("the second has its part".to_owned(), format!("{response:?}"));
    script.ask(5, leave(group, &[(&second.member_id, None), (&first.member_id, None)])).await;
    script.ask(4, heartbeat(group, &first.member_id, again.generation_id)).await;
}

pub async fn static_membership(script: &mut Script) {
    let group = &script.named("g");
    let one = joined(script, join(group, "", Some("i1"))).await;
    script.ask(5, sync(group, &one, Some("i1"))).await;
    let beat = |id: &str, generation, instance: Option<&str>| HeartbeatRequest {
        group_instance_id: instance.map(str::to_owned),
        ..heartbeat(group, id, generation)
    };
    script.ask(4, beat(&one.member_id, one.generation_id, Some("i1"))).await;
    script.ask(4, beat("m", one.generation_id, Some("i1"))).await;
    script.ask(4, beat(&one.member_id, one.generation_id, Some("i2"))).await;
    script.ask(4, beat("", one.generation_id, Some("i1"))).await;
    script.ask(9, join(group, "m", Some("i1"))).await;
    script.ask(9, join(group, "m", Some("i2"))).await;
    // It restarts: without a rebalance it has what it had.
    let two = joined(script, join(group, "", Some("i1"))).await;
    script.note("generations".into(), format!("{} {}", one.generation_id, two.generation_id));
    script.ask(4, beat(&one.member_id, one.generation_id, Some("i1"))).await;
    script.ask(5, sync(group, &one, Some("i1"))).await;
    script.ask(5, sync(group, &two, Some("i1"))).await;
    // For an older client the answer is another.
    let old = script.ask(8, join(group, "", Some("i1"))).await;
    let Response::JoinGroup(three) = old else { panic!() };
    script.ask(5, sync(group, &three, Some("i1"))).await;
    // So it is with something else to say to the leader.
    let mut says_more = join(group, "", Some("i1"));
    says_more.protocols[0].metadata =
        Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let told = joined(script, says_more).await;
    script.note("generation".into(), format!("{}", told.generation_id));
    script.ask(5, sync(group, &told, Some("i1"))).await;
    let described = DescribeGroupsRequest { groups: vec![group.clone()], ..Default::default() };
    script.ask(4, described).await;
    // With another protocol it does not fit to its own older life.
    let mut changed = join(group, "", Some("i1"));
    let protocol = JoinGroupRequestProtocol {
        name: "sticky".to_owned(),
        metadata: Bytes::from_static(b"new"),
    };
    changed.protocols = vec![protocol];
    let four = joined(script, changed).await;
    script.ask(4, beat(&four.member_id, four.generation_id, Some("i1"))).await;
    for (id, instance) in [
        ("m", Some("i1")),
        (&*four.member_id, Some("i2")),
        ("", Some("i2")),
        ("", None),
        ("", Some("i1")),
        ("", Some("i1")),
    ] {
        script.ask(5, leave(group, &[(id, instance)])).await;
    }
}

pub async fn offsets(script: &mut Script) {
    let topic = &script.topic("t", 2).await;
    let group = &script.named("g");
    let commit = |group: &str, topic: &str, index, offset, metadata: &str| OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: index,
                committed_offset: offset,
                committed_metadata: Some(metadata.to_owned()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let long = "x".repeat(4_097);
    for version in [2, 8, 9] {
        for (group, topic, index, offset, metadata) in [
            (&**group, &**topic, 0, 5, ""),
            (group, topic, 0, -7, ""),
            (group, topic, 9, 5, ""),
            (group, "none", 0, 5, ""),
            (group, topic, 1, 5, &*long),
            (group, topic, 1, 5, "why"),
            ("", topic, 0, 5, ""),
        ] {
            script.ask(version, commit(group, topic, index, offset, metadata)).await;
        }
    }
    let unknown = OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: "m".to_owned(),
        ..commit(&script.named("h"), topic, 0, 5, "")
    };
    script.ask(8, unknown).await;
    let names = [group.clone(), script.named("h"), String::new()];
    for version in [1, 2, 5, 7] {
        for (name, all) in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true)] {
            if all && version < 2 {
                continue;
            }
            let topics = [topic, "none"].map(|name| OffsetFetchRequestTopic {
                name: name.to_owned(),
                partition_indexes: vec![0, 1, 9],
            });
            let request = OffsetFetchRequest {
                group_id: names[name].clone(),
                topics: (!all).then(|| topics.to_vec()),
                ..Default::default()
            };
            script.ask(version, request).await;
        }
    }
    for (version, member) in [(8, None), (9, None), (9, Some("m"))] {
        for stable in [false, true] {
            let groups = names.iter().enumerate().map(|(at, name)| OffsetFetchRequestGroup {
                group_id: name.clone(),
                member_id: member.map(str::to_owned),
                member_epoch: if member.is_some() { 3 } else { -1 },
                topics: (at != 1).then(|| {
                    vec![OffsetFetchRequestTopics {
                        name: topic.clone(),
                        partition_indexes: vec![0, 1, 9],
                    }]
                }),
            });
            let groups = groups.collect();
            let request =
                OffsetFetchRequest { groups, require_stable: stable, ..Default::default() };
            script.ask(version, request).await;
        }
    }
    forgetting(script, group, topic).await;
}

async fn forgetting(script: &mut Script, group: &str, topic: &str) {
    for (group, topic, index) in [
        (group, topic, 0),
        (group, topic, 0),
        (group, topic, 9),
        (group, "none", 0),
        (&*script.named("h"), topic, 0),
        ("", topic, 0),
    ] {
        let request = OffsetDeleteRequest {
            group_id: group.to_owned(),
            topics: vec![OffsetDeleteRequestTopic {
                name: topic.to_owned(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: index }],
            }],
        };
        script.ask(0, request).await;
    }
    let member = member(script, group).await;
    let groups_names = vec![group.to_owned(), script.named("h"), String::new()];
    delete(script, &groups_names).await;
    let subscribed = OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    script.ask(0, subscribed).await;
    script.ask(5, leave(group, &[(&member.member_id, None)])).await;
    delete(script, &groups_names).await;
    delete(script, &groups_names).await;
}

async fn delete(script: &mut Script, groups_names: &[String]) {
    let request = DeleteGroupsRequest { groups_names: groups_names.to_vec() };
    let Response::DeleteGroups(mut deleted) = script.ask_quietly(2, request).await else {
        panic!()
    };
    deleted.results.sort_by(|one, other| one.group_id.cmp(&other.group_id));
    script.note("delete groups".to_owned(), format!("{deleted:?}"));
}

pub async fn looking(script: &mut Script) {
    let group = &script.named("g");
    let simple = &script.named("s");
    let topic = &script.topic("t", 1).await;
    let commit = OffsetCommitRequest {
        group_id: simple.clone(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.clone(),
            partitions: vec![OffsetCommitRequestPartition::default()],
        }],
        ..Default::default()
    };
    script.ask(8, commit).await;
    describe(script, &[group, simple]).await;
    // Until the first assignment is kept, Kafka says of a group that there is none.
    let pending = joined(script, join(group, "", None)).await;
    let one = joined(script, join(group, &pending.member_id, None)).await;
    script.ask(5, sync(group, &one, None)).await;
    // Not the group without a name: all scripts share it at Kafka, and another may just have
    // committed as it.
    describe(script, &[group, "none"]).await;
    script.ask(5, leave(group, &[(&one.member_id, None)])).await;
    describe(script, &[group]).await;
    for (version, states, types) in [
        (0, &[][..], &[][..]),
        (4, &["Empty"], &[]),
        (4, &["empty", "Nonsense"], &[]),
        (5, &["Stable"], &[]),
        (5, &[], &["classic"]),
        (5, &[], &["Classic"]),
        (5, &[], &["consumer"]),
        (5, &[], &["nonsense"]),
        (5, &["nonsense"], &[]),
    ] {
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|state| (*state).to_owned()).collect(),
            types_filter: types.iter().map(|kind| (*kind).to_owned()).collect(),
        };
        let Response::ListGroups(mut listed) = script.ask_quietly(version, request).await else {
            panic!()
        };
        listed.groups.retain(|listed| [group, simple].contains(&&listed.group_id));
        listed.groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
        script.note(format!("list v{version} {states:?} {types:?}"), format!("{listed:?}"));
    }
    for (version, key_type) in [(0, 0), (3, 1), (3, 2), (3, 9), (4, 0), (4, 9), (6, 2), (6, 9)] {
        let (mut key, mut coordinator_keys) = (group.clone(), vec![]);
        if version >= 4 {
            coordinator_keys = vec![std::mem::take(&mut key), String::new()];
        }
        script.ask(version, FindCoordinatorRequest { key, key_type, coordinator_keys }).await;
    }
}

async fn describe(script: &mut Script, groups: &[&str]) {
    // Kafka shows groups as they were a moment ago, and there is no event to wait for.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for version in [0, 4, 5, 6] {
        let request = DescribeGroupsRequest {
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            include_authorized_operations: version >= 3,
        };
        let what = format!("v{version} {request:?}");
        let Response::DescribeGroups(mut described) = script.ask_quietly(version, request).await
        else {
            panic!()
        };
        described.groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
        script.note(what, format!("{described:?}"));
    }
}
