//! Groups of the new protocol (KIP-848): heartbeats that make sense and those that do not, what is
//! committed and fetched with them, looking at them, and members of the classic protocol among
//! them.

use broker::protocol::Message;
use broker::protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use broker::protocol::messages::{
    k08_offset_commit::*, k09_offset_fetch::*, k11_join_group::*, k12_heartbeat::*,
    k14_sync_group::*, k15_describe_groups::*, k16_list_groups::*, k42_delete_groups::*,
    k68_consumer_group_heartbeat::*, k69_consumer_group_describe::ConsumerGroupDescribeRequest,
};
use broker::protocol::{Request, Response};

use crate::groups::{join, joined, leave, sync};
use crate::script::Script;

fn joining(group: &str, member: &str, topic: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec![topic.to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn silent(group: &str, member: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch,
        ..Default::default()
    }
}

fn owning(
    group: &str,
    member: &str,
    member_epoch: i32,
    owned: &Option<Assignment>,
) -> ConsumerGroupHeartbeatRequest {
    let owned = owned.clone().unwrap_or_default().topic_partitions;
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(owned),
        ..silent(group, member, member_epoch)
    }
}

async fn beat(
    script: &mut Script,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let Response::ConsumerGroupHeartbeat(response) = script.ask(1, request).await else { panic!() };
    response
}

pub async fn refusals(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 4).await);
    let good = || joining(group, "m", topic);
    let bad = [
        joining("", "m", topic),
        joining(group, "", topic),
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good() },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good() },
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good() },
        ConsumerGroupHeartbeatRequest { instance_id: Some(String::new()), ..good() },
        ConsumerGroupHeartbeatRequest { rack_id: Some(String::new()), ..good() },
        ConsumerGroupHeartbeatRequest { server_assignor: Some("best".to_owned()), ..good() },
        ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good() },
        ConsumerGroupHeartbeatRequest { member_epoch: -2, ..good() },
        ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("a(".to_owned()), ..good() },
        silent(group, "m", 1),
        silent(group, "m", -1),
        silent(group, "", -1),
    ];
    for request in bad {
        script.ask(1, request).await;
    }
    script.ask(0, silent(group, "", 1)).await;
    let describe = |ids: &[&str]| ConsumerGroupDescribeRequest {
        group_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        include_authorized_operations: false,
    };
    for id in [group.as_str(), "", "none"] {
        script.ask(1, describe(&[id])).await;
    }
}

pub async fn members(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 4).await);
    let one = beat(script, joining(group, "one", topic)).await;
    beat(script, joining(group, "one", topic)).await;
    beat(script, silent(group, "one", 1)).await;
    beat(script, owning(group, "one", 1, &one.assignment)).await;
    beat(script, silent(group, "one", 7)).await;
    beat(script, silent(group, "other", 1)).await;
    offsets(script, group, topic).await;
    look(script, group).await;

    beat(script, joining(group, "two", topic)).await;
    look(script, group).await;
    let less = beat(script, owning(group, "one", 1, &one.assignment)).await;
    beat(script, silent(group, "two", 2)).await;
    beat(script, owning(group, "one", 1, &less.assignment)).await;
    beat(script, owning(group, "one", 1, &less.assignment)).await;
    beat(script, owning(group, "one", 1, &one.assignment)).await;
    beat(script, silent(group, "two", 2)).await;
    look(script, group).await;
    script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await;

    beat(script, silent(group, "one", -1)).await;
    beat(script, silent(group, "one", -1)).await;
    look(script, group).await;
    beat(script, silent(group, "two", 2)).await;
    beat(script, silent(group, "two", -1)).await;
    look(script, group).await;
    beat(script, joining(group, "three", topic)).await;
    beat(script, silent(group, "three", -1)).await;
    script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await;
    look(script, group).await;
}

pub async fn static_members(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 4).await);
    let fixed = |member: &str, member_epoch| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".to_owned()),
        member_epoch,
        ..joining(group, member, topic)
    };
    beat(script, fixed("one", 0)).await;
    beat(script, fixed("one", 0)).await;
    beat(script, fixed("two", 0)).await;
    beat(script, fixed("two", 1)).await;
    beat(script, fixed("two", -2)).await;
    beat(script, fixed("two", -1)).await;
    beat(script, fixed("one", -2)).await;
    look(script, group).await;
    beat(script, silent(group, "one", 1)).await;
    beat(script, fixed("two", 0)).await;
    beat(script, fixed("one", 1)).await;
    look(script, group).await;
    beat(script, fixed("two", -1)).await;
    beat(script, fixed("two", -1)).await;
}

/// Commits and fetches as a member of epoch 1 of a group with members.
async fn offsets(script: &mut Script, group: &str, topic: &str) {
    let commit = |member_id: &str, epoch| OffsetCommitRequest {
        group_id: group.to_owned(),
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: epoch,
        topics: vec![OffsetCommitRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 5,
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let of_none = OffsetCommitRequest { group_id: script.named("none"), ..commit("one", 1) };
    script.ask(8, of_none.clone()).await;
    script.ask(9, of_none).await;
    for (member, epoch) in [("one", 1), ("one", 0), ("one", 2), ("other", 1), ("", -1)] {
        script.ask(8, commit(member, epoch)).await;
        script.ask(9, commit(member, epoch)).await;
        let asked = OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            member_id: (!member.is_empty()).then(|| member.to_owned()),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.to_owned(),
                partition_indexes: vec![0],
            }]),
        };
        let fetch = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
        script.ask(9, fetch).await;
    }
}

async fn look(script: &mut Script, group: &str) {
    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        include_authorized_operations: true,
    };
    let described = script.ask_quietly(1, describe).await;
    let Response::ConsumerGroupDescribe(mut described) = described else { panic!() };
    for group in &mut described.groups {
        group.members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    }
    script.note("describe".to_owned(), format!("{described:?}"));
    let classic = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    script.ask(5, classic.clone()).await;
    script.ask(6, classic).await;
    for types in [vec![], vec!["consumer".to_owned()], vec!["classic".to_owned()]] {
        let list = ListGroupsRequest { types_filter: types, ..Default::default() };
        let Response::ListGroups(mut listed) = script.ask_quietly(5, list).await else { panic!() };
        listed.groups.retain(|one| one.group_id == group);
        script.note("list".to_owned(), format!("{listed:?}"));
    }
}

/// What a consumer says to its leader in the embedded protocol.
fn consumer(group: &str, member_id: &str, topic: &str) -> JoinGroupRequest {
    let said =
        ConsumerProtocolSubscription { topics: vec![topic.to_owned()], ..Default::default() };
    let mut request = join(group, member_id, None);
    request.protocols[0].metadata = said.encode_versioned(1).unwrap();
    request
}

/// And what it is given: the first partitions of a topic.
fn assigning(
    group: &str,
    joined: &JoinGroupResponse,
    topic: &str,
    partitions: i32,
) -> SyncGroupRequest {
    let assigned =
        TopicPartition { topic: topic.to_owned(), partitions: (0..partitions).collect() };
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: vec![assigned], user_data: None };
    let mut request = sync(group, joined, None);
    request.assignments[0].assignment = assignment.encode_versioned(1).unwrap();
    request
}

/// A classic group that a member of the new protocol joins, until it leaves again.
pub async fn migration(script: &mut Script) {
    let (group, topic) = (&script.named("g"), &script.topic("t", 4).await);
    // Where the assignment cannot be read nobody knows who has what.
    let strange = &script.named("strange");
    crate::groups::member(script, strange).await;
    beat(script, joining(strange, "new", topic)).await;

    let first = joined(script, consumer(group, "", topic)).await;
    let old = joined(script, consumer(group, &first.member_id, topic)).await;
    script.ask(5, assigning(group, &old, topic, 4)).await;
    let request = |generation_id| -> Request {
        let (group_id, member_id) = (group.clone(), old.member_id.clone());
        HeartbeatRequest { group_id, generation_id, member_id, ..Default::default() }.into()
    };
    beat(script, joining(group, "new", topic)).await;
    script.ask(4, request(1)).await;
    script.ask(5, sync(group, &old, None)).await;
    // It has let go of everything, as an eager one does.
    let again = joined(script, consumer(group, &old.member_id, topic)).await;
    beat(script, silent(group, "new", 2)).await;
    script.ask(5, sync(group, &again, None)).await;
    script.ask(4, request(1)).await;
    script.ask(4, request(again.generation_id)).await;
    let mut other_kind = consumer(group, "", topic);
    other_kind.protocol_type = "connect".to_owned();
    script.ask(9, other_kind).await;
    let mut other_protocol = consumer(group, "", topic);
    other_protocol.protocols[0].name = "sticky".to_owned();
    script.ask(9, other_protocol).await;
    script.ask(5, leave(group, &[("new", None), ("m", None)])).await;
    look(script, group).await;
    beat(script, silent(group, "new", -1)).await;
    script.ask(4, request(again.generation_id)).await;
    look(script, group).await;
    script.ask(5, leave(group, &[(&old.member_id, None)])).await;
    look(script, group).await;
    // An empty one goes over to whichever comes.
    beat(script, joining(group, "new", topic)).await;
    look(script, group).await;
}
