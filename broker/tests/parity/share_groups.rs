//! Share groups (KIP-932): members that come, report and leave, heartbeats that make no sense, what
//! other requests say to such a group; records that are given out, and what is said of them.

use std::time::Duration;

use broker::protocol::Response;
use broker::protocol::messages::{
    k08_offset_commit::OffsetCommitRequest,
    k15_describe_groups::DescribeGroupsRequest,
    k16_list_groups::ListGroupsRequest,
    k42_delete_groups::DeleteGroupsRequest,
    k44_incremental_alter_configs::*,
    k69_consumer_group_describe::ConsumerGroupDescribeRequest,
    k76_share_group_heartbeat::*,
    k77_share_group_describe::ShareGroupDescribeRequest,
    k78_share_fetch::{self as k78, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest},
    k79_share_acknowledge::{
        self as k79, AcknowledgePartition, AcknowledgeTopic, ShareAcknowledgeRequest,
    },
};
use uuid::Uuid;

use crate::harness::{batch, produce};
use crate::script::Script;

fn joining(group: &str, member: &str, topics: &[&str]) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        subscribed_topic_names: Some(topics.iter().map(|name| (*name).to_owned()).collect()),
        ..silent(group, member, 0)
    }
}

fn silent(group: &str, member: &str, member_epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch,
        ..Default::default()
    }
}

pub async fn refusals(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 2).await);
    let good = || joining(group, "m", &[topic]);
    let bad = [
        joining("", "m", &[topic]),
        joining(group, "", &[topic]),
        joining(group, "m", &[]),
        silent(group, "m", 0),
        ShareGroupHeartbeatRequest { rack_id: Some(String::new()), ..good() },
        ShareGroupHeartbeatRequest { member_epoch: -2, ..good() },
        silent(group, "m", 1),
        silent(group, "m", -1),
        silent(group, "", -1),
    ];
    for request in bad {
        script.ask(1, request).await;
    }
    for id in [group.as_str(), "", "none"] {
        let request = ShareGroupDescribeRequest {
            group_ids: vec![id.to_owned()],
            include_authorized_operations: false,
        };
        script.ask(1, request).await;
    }
    let classic = &script.named("classic");
    crate::groups::member(script, classic).await;
    script.ask(1, joining(classic, "m", &[topic])).await;
    look(script, classic).await;
}

/// Kafka gives partitions out once it has made a place for their state, which may be at any later
/// heartbeat: here all but these is compared.
async fn beat(script: &mut Script, request: ShareGroupHeartbeatRequest) {
    let asked = format!("{request:?}");
    let Response::ShareGroupHeartbeat(mut told) = script.ask_quietly(1, request).await else {
        panic!()
    };
    if let Some(assignment) = &mut told.assignment {
        assignment.topic_partitions.clear();
    }
    script.note(asked, format!("{told:?}"));
}

pub async fn members(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 3).await);
    let other = &script.topic("u", 1).await;
    beat(script, joining(group, "one", &[topic])).await;
    beat(script, joining(group, "one", &[topic])).await;
    beat(script, silent(group, "one", 1)).await;
    beat(script, silent(group, "one", 7)).await;
    beat(script, silent(group, "other", 1)).await;
    look(script, group).await;

    beat(script, joining(group, "two", &[topic])).await;
    look(script, group).await;
    beat(script, silent(group, "one", 1)).await;
    let mut wishes = joining(group, "one", &[topic, other]);
    wishes.member_epoch = 2;
    beat(script, wishes).await;
    beat(script, silent(group, "one", 2)).await;
    beat(script, silent(group, "one", 1)).await;
    beat(script, silent(group, "two", 2)).await;
    beat(script, joining(group, "one", &[topic])).await;
    look(script, group).await;
    script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await;
    let commit = OffsetCommitRequest {
        group_id: group.clone(),
        member_id: "one".to_owned(),
        generation_id_or_member_epoch: 3,
        ..Default::default()
    };
    script.ask(9, commit).await;

    beat(script, silent(group, "one", -1)).await;
    beat(script, silent(group, "one", -1)).await;
    look(script, group).await;
    beat(script, silent(group, "two", 3)).await;
    beat(script, silent(group, "two", -1)).await;
    look(script, group).await;
}

/// A member gets its partitions, and the group goes with what is kept of it.
pub async fn partitions(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 3).await);
    let mut request = joining(group, "m", &[topic]);
    let assigned = loop {
        let Response::ShareGroupHeartbeat(told) = script.ask_quietly(1, request).await else {
            panic!()
        };
        let assigned = told.assignment.unwrap_or_default();
        if !assigned.topic_partitions.is_empty() {
            break assigned;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        request = silent(group, "m", told.member_epoch);
    };
    script.note("heartbeats".to_owned(), format!("{assigned:?}"));
    script.ask(1, silent(group, "m", -1)).await;
    script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await;
    for id in [group.as_str(), ""] {
        let request = ShareGroupDescribeRequest {
            group_ids: vec![id.to_owned()],
            include_authorized_operations: true,
        };
        script.ask(1, request).await;
    }
}

async fn look(script: &mut Script, group: &str) {
    let describe = ShareGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        include_authorized_operations: true,
    };
    let described = script.ask_quietly(1, describe).await;
    let Response::ShareGroupDescribe(mut described) = described else { panic!() };
    for group in &mut described.groups {
        group.members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
        for member in &mut group.members {
            member.assignment.topic_partitions.clear();
            member.subscribed_topic_names.sort_unstable();
        }
    }
    script.note("describe".to_owned(), format!("{described:?}"));
    let of_consumers = ConsumerGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        include_authorized_operations: false,
    };
    let classic = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    for types in [vec![], vec!["share".to_owned()], vec!["consumer".to_owned()]] {
        let list = ListGroupsRequest { types_filter: types, ..Default::default() };
        let Response::ListGroups(mut listed) = script.ask_quietly(5, list).await else { panic!() };
        listed.groups.retain(|one| one.group_id == group);
        script.note("list".to_owned(), format!("{listed:?}"));
    }
    // A classic group has members whose ids differ from broker to broker.
    if !group.starts_with("classic") {
        script.ask(1, of_consumers).await;
        script.ask(6, classic).await;
    }
}

/// Members make their ids themselves.
const ONE: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const TWO: &str = "AAAAAAAAAAAAAAAAAAAAAg";

/// A group that begins where the log does, with these members.
async fn group(script: &mut Script, topic: &str, members: &[&str]) -> String {
    let group = script.named("g");
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: group.clone(),
        configs: vec![AlterableConfig {
            name: "share.auto.offset.reset".to_owned(),
            config_operation: 0,
            value: Some("earliest".to_owned()),
        }],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    script.ask(1, request).await;
    for member in members {
        let mut request = joining(&group, member, &[topic]);
        loop {
            let Response::ShareGroupHeartbeat(told) = script.ask_quietly(1, request).await else {
                panic!()
            };
            if !told.assignment.unwrap_or_default().topic_partitions.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            request = silent(&group, member, told.member_epoch);
        }
    }
    group
}

/// A fetch of these partitions that waits as long.
fn fetching(group: &str, member: &str, epoch: i32, topic: Uuid, partitions: &[i32]) -> Fetching {
    let partition = |index: &i32| FetchPartition { partition_index: *index, ..Default::default() };
    Fetching {
        group_id: Some(group.to_owned()),
        member_id: Some(member.to_owned()),
        share_session_epoch: epoch,
        max_wait_ms: 300,
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 500,
        batch_size: 500,
        topics: match partitions {
            [] => vec![],
            _ => vec![FetchTopic {
                topic_id: topic,
                partitions: partitions.iter().map(partition).collect(),
            }],
        },
        forgotten_topics_data: vec![],
    }
}

type Fetching = ShareFetchRequest;
type Said<'a> = (i64, i64, &'a [i8]);

fn saying(mut request: Fetching, topic_id: Uuid, said: &[Said<'_>]) -> Fetching {
    let batches = said.iter().map(|(first, last, types)| k78::AcknowledgementBatch {
        first_offset: *first,
        last_offset: *last,
        acknowledge_types: types.to_vec(),
    });
    let partition =
        FetchPartition { partition_index: 0, acknowledgement_batches: batches.collect() };
    request.topics = vec![FetchTopic { topic_id, partitions: vec![partition] }];
    request
}

fn acknowledging(
    group: &str,
    member: &str,
    epoch: i32,
    topic_id: Uuid,
    said: &[Said<'_>],
) -> ShareAcknowledgeRequest {
    let batches = said.iter().map(|(first, last, types)| k79::AcknowledgementBatch {
        first_offset: *first,
        last_offset: *last,
        acknowledge_types: types.to_vec(),
    });
    let partition =
        AcknowledgePartition { partition_index: 0, acknowledgement_batches: batches.collect() };
    ShareAcknowledgeRequest {
        group_id: Some(group.to_owned()),
        member_id: Some(member.to_owned()),
        share_session_epoch: epoch,
        topics: vec![AcknowledgeTopic { topic_id, partitions: vec![partition] }],
    }
}

/// Records are given out, accepted, released, rejected, and given out again.
pub async fn records(script: &mut Script) {
    let topic = &script.topic("t", 1).await;
    let id = script.ready(topic).await.topic_id;
    let group = &group(script, topic, &[ONE, TWO]).await;
    script.ask_quietly(9, produce(topic, 0, -1, batch(&["a", "b", "c"]))).await;
    script.ask_quietly(9, produce(topic, 0, -1, batch(&["d", "e", "f"]))).await;
    let of_one = |epoch, partitions: &[i32]| fetching(group, ONE, epoch, id, partitions);
    let of_two = |epoch, partitions: &[i32]| fetching(group, TWO, epoch, id, partitions);

    let first = Fetching { max_records: 2, ..of_one(0, &[0]) };
    script.ask(1, first).await;
    script.ask(1, of_two(0, &[0])).await;
    script.ask(1, of_one(1, &[])).await;
    let accept: Said<'_> = (0, 2, &[1]);
    script.ask(1, acknowledging(group, TWO, 1, id, &[accept])).await;
    script.ask(1, acknowledging(group, ONE, 2, id, &[(0, 2, &[1, 2, 3])])).await;
    script.ask(1, acknowledging(group, ONE, 3, id, &[(0, 0, &[1])])).await;
    script.ask(1, acknowledging(group, ONE, 4, id, &[(1, 1, &[1])])).await;
    script.ask(1, of_one(5, &[])).await;
    script.ask(1, saying(of_one(6, &[]), id, &[(1, 1, &[1])])).await;
    for (at, said) in [
        &[(3, 5, &[9][..])][..],
        &[(3, 5, &[-1])],
        &[(3, 5, &[])],
        &[(3, 5, &[1, 1])],
        &[(5, 3, &[1])],
        &[(4, 5, &[1]), (3, 3, &[1])],
        &[(3, 6, &[1])],
        &[(7, 9, &[1])],
        &[(0, 1, &[1])],
        &[],
        &[(3, 3, &[2]), (4, 5, &[0])],
        &[(3, 3, &[1])],
    ]
    .into_iter()
    .enumerate()
    {
        let epoch = 2 + at as i32;
        script.ask(1, acknowledging(group, TWO, epoch, id, said)).await;
    }
    script.ask(1, of_one(7, &[])).await;
    script.ask(1, saying(of_one(-1, &[]), id, &[(3, 3, &[2])])).await;
    script.ask(1, of_two(14, &[])).await;
    script.ask(1, acknowledging(group, TWO, -1, id, &[(3, 3, &[1])])).await;
    script.ask(1, of_two(15, &[])).await;
    script.ask(1, of_two(0, &[0])).await;
}

/// Sessions, and requests that make no sense.
pub async fn sessions(script: &mut Script) {
    let topic = &script.topic("t", 2).await;
    let id = script.ready(topic).await.topic_id;
    let group = &group(script, topic, &[ONE]).await;
    script.ask_quietly(9, produce(topic, 0, -1, batch(&["a", "b"]))).await;
    let of_one = |epoch, partitions: &[i32]| Fetching {
        max_wait_ms: 50,
        ..fetching(group, ONE, epoch, id, partitions)
    };
    for epoch in [3, 1, -1, -2] {
        script.ask(1, of_one(epoch, &[0])).await;
        script.ask(1, acknowledging(group, ONE, epoch, id, &[])).await;
    }
    script.ask(1, acknowledging(group, ONE, 0, id, &[])).await;
    script.ask(1, saying(of_one(0, &[]), id, &[(0, 0, &[1])])).await;
    script.ask(1, of_one(0, &[])).await;
    script.ask(1, of_one(1, &[0])).await;
    script.ask(1, of_one(1, &[0])).await;
    script.ask(1, of_one(3, &[0])).await;
    script.ask(1, of_one(2, &[1])).await;
    let mut forgets = of_one(3, &[]);
    forgets.forgotten_topics_data =
        vec![ForgottenTopic { topic_id: id, partitions: vec![0, 1, 7] }];
    script.ask(1, forgets).await;
    // What is not fetched any more can still be spoken of.
    script.ask(1, acknowledging(group, ONE, 4, id, &[(0, 1, &[2])])).await;
    script.ask(1, of_one(5, &[])).await;
    script.ask(1, of_one(6, &[0])).await;
    // A session that begins anew has nothing of the old one, whose records stay locked.
    script.ask(1, of_one(0, &[0])).await;
    script.ask(1, acknowledging(group, ONE, 1, id, &[(0, 1, &[1])])).await;
    let elsewhere = Uuid::from_u128(7);
    script.ask(1, acknowledging(group, ONE, 2, elsewhere, &[(0, 1, &[1])])).await;
    let mut of_partition = acknowledging(group, ONE, 3, id, &[(0, 1, &[1])]);
    of_partition.topics[0].partitions[0].partition_index = 9;
    script.ask(1, of_partition).await;
    script.ask(1, of_one(-1, &[])).await;
}

/// Where groups stand, and how that is changed.
pub async fn offsets(script: &mut Script) {
    let topic = &script.topic("t", 2).await;
    let id = script.ready(topic).await.topic_id;
    let group = &group(script, topic, &[ONE]).await;
    script.ask_quietly(9, produce(topic, 0, -1, batch(&["a", "b"]))).await;
    script.ask(1, fetching(group, ONE, 0, id, &[0])).await;
    script.ask(1, acknowledging(group, ONE, 1, id, &[(0, 0, &[1])])).await;
    describe(script, group, topic).await;
    describe(script, "none", topic).await;
    change(script, group, topic, false).await;
    script.ask(1, acknowledging(group, ONE, -1, id, &[])).await;
    script.ask(1, silent(group, ONE, -1)).await;
    change(script, "none", topic, false).await;
    change(script, group, topic, true).await;
    describe(script, group, topic).await;
    script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await;
    describe(script, group, topic).await;
}

async fn describe(script: &mut Script, group: &str, topic: &str) {
    use broker::protocol::messages::k90_describe_share_group_offsets::*;
    let of_topic = |name: &str, partitions: &[i32]| DescribeShareGroupOffsetsRequestTopic {
        topic_name: name.to_owned(),
        partitions: partitions.to_vec(),
    };
    let named = vec![of_topic("zz", &[1]), of_topic(topic, &[7, 0]), of_topic("none", &[0])];
    for topics in [Some(named), Some(vec![]), None] {
        let asked = DescribeShareGroupOffsetsRequestGroup { group_id: group.to_owned(), topics };
        let request = DescribeShareGroupOffsetsRequest { groups: vec![asked] };
        let text = format!("{request:?}");
        let told = script.ask_quietly(0, request).await;
        let Response::DescribeShareGroupOffsets(mut told) = told else { panic!() };
        // Kafka tells a start that moves on with the next acknowledgement only.
        for topic in &mut told.groups[0].topics {
            for partition in &mut topic.partitions {
                partition.start_offset = partition.start_offset.min(0);
            }
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
        script.note(text, format!("{told:?}"));
    }
}

/// Of what it was to alter Kafka tells those topics alone that are not there, even where it has
/// not done it since the group has members, or is none.
async fn change(script: &mut Script, group: &str, topic: &str, is_idle: bool) {
    use broker::protocol::messages::k91_alter_share_group_offsets::*;
    use broker::protocol::messages::k92_delete_share_group_offsets::*;
    let altering = [(topic, 0, 1), (topic, 0, 1_000), ("none", 0, 1), (topic, 7, 1)];
    for (name, partition_index, start_offset) in altering {
        let partition = AlterShareGroupOffsetsRequestPartition { partition_index, start_offset };
        let topics = vec![AlterShareGroupOffsetsRequestTopic {
            topic_name: name.to_owned(),
            partitions: vec![partition],
        }];
        let request = AlterShareGroupOffsetsRequest { group_id: group.to_owned(), topics };
        match is_idle && name == "none" {
            true => _ = script.ask(0, request).await,
            false => _ = script.ask_quietly(0, request).await,
        }
    }
    describe(script, group, topic).await;
    for name in [topic, "none", topic] {
        let topics = vec![DeleteShareGroupOffsetsRequestTopic { topic_name: name.to_owned() }];
        let group_id = group.to_owned();
        script.ask(0, DeleteShareGroupOffsetsRequest { group_id, topics }).await;
    }
}
