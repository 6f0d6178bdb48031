//! The records of `__consumer_offsets` and `__transaction_state`, which outlive this process and
//! are read by Kafka's tools: their bytes are fixed here.

use bytes::Bytes;
use uuid::Uuid;

use super::arbitrary::{Arbitrary, Random};
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_offsets::*;
use crate::protocol::messages::transaction_state::*;

fn survives<T: Message + Arbitrary + PartialEq + std::fmt::Debug>() {
    for version in T::VERSIONS {
        for seed in 0..100 {
            let message = T::arbitrary(&mut Random::new(seed), T::form(version));
            let bytes = message.encode_versioned(version).unwrap();
            assert_eq!(T::decode_versioned(&bytes).unwrap(), (version, message));
            for length in 0..bytes.len().min(300) {
                assert!(T::decode_versioned(&bytes.slice(..length)).is_err());
            }
        }
    }
}

#[test]
fn every_version_survives() {
    survives::<OffsetCommitKey>();
    survives::<OffsetCommitValue>();
    survives::<GroupMetadataKey>();
    survives::<GroupMetadataValue>();
    survives::<ConsumerGroupMetadataKey>();
    survives::<ConsumerGroupMetadataValue>();
    survives::<ConsumerGroupPartitionMetadataKey>();
    survives::<ConsumerGroupPartitionMetadataValue>();
    survives::<ConsumerGroupMemberMetadataKey>();
    survives::<ConsumerGroupMemberMetadataValue>();
    survives::<ConsumerGroupTargetAssignmentMetadataKey>();
    survives::<ConsumerGroupTargetAssignmentMetadataValue>();
    survives::<ConsumerGroupTargetAssignmentMemberKey>();
    survives::<ConsumerGroupTargetAssignmentMemberValue>();
    survives::<ConsumerGroupCurrentMemberAssignmentKey>();
    survives::<ConsumerGroupCurrentMemberAssignmentValue>();
    survives::<TransactionLogKey>();
    survives::<TransactionLogValue>();
}

fn holds<T: Message>(message: &T, version: i16, parts: &[&[u8]]) {
    let bytes = message.encode_versioned(version).unwrap();
    assert_eq!(bytes, parts.concat(), "{} v{version}", T::NAME);
}

#[test]
fn offsets() {
    let key = OffsetCommitKey { group: "g".into(), topic: "flights".into(), partition: 3 };
    holds(&key, 1, &[&[0, 1], &[0, 1, b'g'], &[0, 7], b"flights", &[0, 0, 0, 3]]);

    let value = OffsetCommitValue {
        offset: 0x1234,
        leader_epoch: 5,
        metadata: "m".into(),
        commit_timestamp: 1_700_000_000_000,
        ..Default::default()
    };
    let offset: &[u8] = &[0, 0, 0, 0, 0, 0, 0x12, 0x34];
    let timestamp: &[u8] = &[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00];
    holds(&value, 0, &[&[0, 0], offset, &[0, 1, b'm'], timestamp]);
    holds(&value, 1, &[&[0, 1], offset, &[0, 1, b'm'], timestamp, &[0xff; 8]]);
    holds(&value, 3, &[&[0, 3], offset, &[0, 0, 0, 5], &[0, 1, b'm'], timestamp]);
    holds(&value, 4, &[&[0, 4], offset, &[0, 0, 0, 5], &[2, b'm'], timestamp, &[0]]);
    let value = OffsetCommitValue { topic_id: Uuid::from_u128(1), ..value };
    let tagged: &[u8] = &[1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    holds(&value, 4, &[&[0, 4], offset, &[0, 0, 0, 5], &[2, b'm'], timestamp, tagged]);
}

#[test]
fn groups() {
    holds(&GroupMetadataKey { group: "g".into() }, 2, &[&[0, 2], &[0, 1, b'g']]);

    let member = MemberMetadata {
        member_id: "m-1".into(),
        client_id: "c".into(),
        client_host: "/h".into(),
        rebalance_timeout: 300,
        session_timeout: 45,
        subscription: Bytes::from_static(&[1, 2]),
        assignment: Bytes::from_static(&[3]),
        ..Default::default()
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer".into(),
        generation: 9,
        protocol: Some("range".into()),
        leader: Some("m-1".into()),
        current_state_timestamp: 7,
        members: vec![member],
    };
    let parts: &[&[u8]] = &[
        &[0, 3],
        &[0, 8],
        b"consumer",
        &[0, 0, 0, 9],
        &[0, 5],
        b"range",
        &[0, 3],
        b"m-1",
        &[0, 0, 0, 0, 0, 0, 0, 7],
        &[0, 0, 0, 1],
        &[0, 3],
        b"m-1",
        &[0xff, 0xff],
        &[0, 1, b'c', 0, 2, b'/', b'h'],
        &[0, 0, 1, 44, 0, 0, 0, 45],
        &[0, 0, 0, 2, 1, 2],
        &[0, 0, 0, 1, 3],
    ];
    holds(&value, 3, parts);
}

/// Of KIP-848's protocol.
#[test]
fn consumer_groups() {
    holds(&ConsumerGroupMetadataKey { group: "g".into() }, 3, &[&[0, 3], &[0, 1, b'g']]);
    holds(&ConsumerGroupMetadataValue { epoch: 7 }, 0, &[&[0, 0], &[0, 0, 0, 7], &[0]]);
    let key = ConsumerGroupMemberMetadataKey { group: "g".into(), member_id: "m".into() };
    holds(&key, 5, &[&[0, 5], &[0, 1, b'g'], &[0, 1, b'm']]);
    let member = ConsumerGroupMemberMetadataValue {
        client_id: "c".into(),
        client_host: "/h".into(),
        subscribed_topic_names: vec!["t".into()],
        rebalance_timeout_ms: 300,
        ..Default::default()
    };
    let head: &[u8] = &[0, 0, 0, 0, 2, b'c', 3, b'/', b'h', 2, 2, b't', 0, 0, 0, 1, 44, 0];
    holds(&member, 0, &[head, &[0]]);
    let metadata = Bytes::from_static(&[9]);
    let protocol = ClassicProtocol { name: "range".into(), metadata };
    let classic =
        ClassicMemberMetadata { session_timeout_ms: 45, supported_protocols: vec![protocol] };
    let member =
        ConsumerGroupMemberMetadataValue { classic_member_metadata: Some(classic), ..member };
    let tagged: &[u8] = &[1, 0, 16, 1, 0, 0, 0, 45, 2, 6, b'r', b'a', b'n', b'g', b'e', 2, 9, 0, 0];
    holds(&member, 0, &[head, tagged]);
    let topic = TopicPartitions { topic_id: Uuid::from_u128(1), partitions: vec![2] };
    let one: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2, 0];
    let target = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: vec![topic.clone()] };
    holds(&target, 0, &[&[0, 0], one, &[0]]);
    let current = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 5,
        previous_member_epoch: 4,
        state: 2,
        assigned_partitions: vec![topic],
        partitions_pending_revocation: Vec::new(),
    };
    holds(&current, 0, &[&[0, 0], &[0, 0, 0, 5, 0, 0, 0, 4, 2], one, &[1, 0]]);
}

#[test]
fn transactions() {
    holds(&TransactionLogKey { transactional_id: "t".into() }, 0, &[&[0, 0], &[0, 1, b't']]);

    let value = TransactionLogValue {
        producer_id: 4000,
        producer_epoch: 2,
        transaction_timeout_ms: 60_000,
        transaction_status: 1,
        transaction_partitions: Some(vec![PartitionsSchema {
            topic: "a".into(),
            partition_ids: vec![0, 1],
        }]),
        transaction_last_update_timestamp_ms: 20,
        transaction_start_timestamp_ms: 10,
        ..Default::default()
    };
    let head: &[u8] = &[0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 2, 0, 0, 0xea, 0x60, 1];
    let partitions: &[u8] = &[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1];
    let compact: &[u8] = &[2, 2, b'a', 3, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let times: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 10];
    holds(&value, 0, &[&[0, 0], head, partitions, times]);
    holds(&value, 1, &[&[0, 1], head, compact, times, &[0]]);
    let value = TransactionLogValue { client_transaction_version: 2, ..value };
    holds(&value, 1, &[&[0, 1], head, compact, times, &[1, 2, 2, 0, 2]]);
}
