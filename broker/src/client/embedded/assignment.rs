//! Who reads what: the range assignor, and its messages in the consumer protocol, so that members
//! over sockets and in this process can share a group.
//!
//! Partitions of each topic are dealt out in runs, members in order of their ids: partition n of
//! two topics with equally many partitions goes to the same member, which joins rely on.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::coordinator::groups::MemberId;
use crate::ids::TopicPartition;
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use crate::protocol::{DecodeError, EncodeError};

/// The protocol's name.
pub(super) const RANGE: &str = "range";
/// Versions that every client reads.
const VERSION: i16 = 1;

/// What a member tells the leader.
pub(super) fn encode_subscription(topics: &[String]) -> Result<Bytes, EncodeError> {
    let topics = topics.to_vec();
    let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
    subscription.encode_versioned(VERSION)
}

pub(super) fn decode_subscription(bytes: &Bytes) -> Result<Vec<String>, DecodeError> {
    consumer_protocol::decode::<ConsumerProtocolSubscription>(bytes).map(|(_, found)| found.topics)
}

/// What the leader tells a member.
pub(super) fn encode_assignment(partitions: &[TopicPartition]) -> Result<Bytes, EncodeError> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let assigned = by_topic.into_iter().map(|(topic, partitions)| {
        consumer_protocol::TopicPartition { topic: topic.to_owned(), partitions }
    });
    let assigned_partitions = assigned.collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, ..Default::default() };
    assignment.encode_versioned(VERSION)
}

pub(super) fn decode_assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    // A member for whom there is nothing may get no bytes at all.
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (_, assignment) = consumer_protocol::decode::<ConsumerProtocolAssignment>(bytes)?;
    let partitions = assignment.assigned_partitions.into_iter().flat_map(|of| {
        let topic = of.topic;
        of.partitions.into_iter().map(move |number| TopicPartition::new(topic.as_str(), number))
    });
    Ok(partitions.collect())
}

/// Deals the partitions of every topic out among the members that have subscribed to it.
pub(super) fn assign(
    members: &BTreeMap<MemberId, Vec<String>>,
    partitions_of: impl Fn(&str) -> i32,
) -> BTreeMap<MemberId, Vec<TopicPartition>> {
    let mut assigned: BTreeMap<MemberId, Vec<TopicPartition>> =
        members.keys().map(|member| (member.clone(), Vec::new())).collect();
    let mut subscribers: BTreeMap<&str, Vec<&MemberId>> = BTreeMap::new();
    for (member, topics) in members {
        for topic in topics {
            let subscribed = subscribers.entry(topic).or_default();
            // A topic may be named twice.
            if subscribed.last() != Some(&member) {
                subscribed.push(member);
            }
        }
    }
    for (topic, members) in subscribers {
        let (partitions, count) = (partitions_of(topic), members.len() as i32);
        let (share, extra) = (partitions / count, partitions % count);
        let mut next = 0;
        for (index, member) in (0..).zip(members) {
            let end = next + share + i32::from(index < extra);
            let run = (next..end).map(|number| TopicPartition::new(topic, number));
            assigned.get_mut(member).expect("one entry per member").extend(run);
            next = end;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> (MemberId, Vec<String>) {
        (MemberId::from(id), topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    #[test]
    fn runs_of_partitions_go_to_members_in_order() {
        let members = BTreeMap::from([
            member("b", &["x", "y"]),
            member("a", &["x", "x", "gone"]),
            member("c", &["x"]),
        ]);
        let counts = BTreeMap::from([("x", 5), ("y", 2)]);
        let assigned = assign(&members, |topic| counts.get(topic).copied().unwrap_or(0));
        let names: Vec<String> = assigned
            .iter()
            .map(|(id, own)| {
                let own: Vec<String> = own.iter().map(ToString::to_string).collect();
                format!("{id}: {}", own.join(" "))
            })
            .collect();
        assert_eq!(names, ["a: x-0 x-1", "b: x-2 x-3 y-0 y-1", "c: x-4"]);
        for own in assigned.values() {
            let mut found = decode_assignment(&encode_assignment(own).unwrap()).unwrap();
            found.sort();
            assert_eq!(&found, own);
        }
    }
}
