//! Share groups (KIP-932): members that come, report and leave, heartbeats that make no sense, and
//! what other requests say to such a group.

use std::time::Duration;

use broker::protocol::Response;
use broker::protocol::messages::{
    k08_offset_commit::OffsetCommitRequest, k15_describe_groups::DescribeGroupsRequest,
    k16_list_groups::ListGroupsRequest, k42_delete_groups::DeleteGroupsRequest,
    k69_consumer_group_describe::ConsumerGroupDescribeRequest, k76_share_group_heartbeat::*,
    k77_share_group_describe::ShareGroupDescribeRequest,
};

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
