//! The records of the topic `__consumer_offsets`, keys and values with the version first. The
//! version of a key tells its kind: 0 and 1 an offset, 2 a group of the classic protocol, 3 to 8
//! what makes up one of KIP-848's, 10 to 14 what makes up a share group.

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::message::messages;

messages! {
    OffsetCommitKey: 0..=1 {
        group: String;
        topic: String;
        partition: i32;
    }

    /// v1 an expiry time, v3 the leader epoch, v4 flexible (KIP-915).
    OffsetCommitValue: 0..=4, flexible 4.. {
        offset: i64;
        leader_epoch: i32 = -1, in 3.., ignorable;
        metadata: String;
        commit_timestamp: i64;
        expire_timestamp: i64 = -1, in 1..=1, ignorable;
        /// Nil where the commit named no id.
        topic_id: Uuid, in 4.., tag 0, ignorable;
    }

    GroupMetadataKey: 2..=2 {
        group: String;
    }

    /// v1 rebalance timeouts, v2 the time of the last change, v3 static members, v4 flexible
    /// (KIP-915).
    GroupMetadataValue: 0..=4, flexible 4.. {
        protocol_type: String;
        generation: i32;
        protocol: Option<String> = Some(String::new());
        leader: Option<String> = Some(String::new());
        current_state_timestamp: i64 = -1, in 2.., ignorable;
        members: Vec<MemberMetadata>;
    }

    MemberMetadata {
        member_id: String;
        group_instance_id: Option<String>, in 3.., ignorable;
        client_id: String;
        client_host: String;
        rebalance_timeout: i32 = -1, in 1.., ignorable;
        session_timeout: i32;
        subscription: Bytes;
        assignment: Bytes;
    }

    ConsumerGroupMetadataKey: 3..=3 {
        group: String;
    }

    ConsumerGroupMetadataValue: 0..=0, flexible 0.. {
        epoch: i32;
    }

    ConsumerGroupPartitionMetadataKey: 4..=4 {
        group: String;
    }

    /// The topics that the members read, as they were when the group epoch was last raised.
    ConsumerGroupPartitionMetadataValue: 0..=0, flexible 0.. {
        topics: Vec<TopicMetadata>;
    }

    TopicMetadata {
        topic_id: Uuid;
        topic_name: String;
        num_partitions: i32;
        /// Kafka 4 writes none any more.
        partition_metadata: Vec<PartitionMetadata>;
    }

    PartitionMetadata {
        partition: i32;
        racks: Vec<String>;
    }

    ConsumerGroupMemberMetadataKey: 5..=5 {
        group: String;
        member_id: String;
    }

    ConsumerGroupMemberMetadataValue: 0..=0, flexible 0.. {
        instance_id: Option<String>;
        rack_id: Option<String>;
        client_id: String;
        client_host: String;
        subscribed_topic_names: Vec<String>;
        subscribed_topic_regex: Option<String>;
        rebalance_timeout_ms: i32 = -1;
        server_assignor: Option<String>;
        /// Null for a member that speaks the new protocol.
        classic_member_metadata: Option<ClassicMemberMetadata>, tag 0;
    }

    ClassicMemberMetadata {
        session_timeout_ms: i32;
        supported_protocols: Vec<ClassicProtocol>;
    }

    ClassicProtocol {
        name: String;
        metadata: Bytes;
    }

    ConsumerGroupTargetAssignmentMetadataKey: 6..=6 {
        group: String;
    }

    ConsumerGroupTargetAssignmentMetadataValue: 0..=0, flexible 0.. {
        assignment_epoch: i32;
    }

    ConsumerGroupTargetAssignmentMemberKey: 7..=7 {
        group: String;
        member_id: String;
    }

    ConsumerGroupTargetAssignmentMemberValue: 0..=0, flexible 0.. {
        topic_partitions: Vec<TopicPartitions>;
    }

    TopicPartitions {
        topic_id: Uuid;
        partitions: Vec<i32>;
    }

    ConsumerGroupCurrentMemberAssignmentKey: 8..=8 {
        group: String;
        member_id: String;
    }

    ConsumerGroupCurrentMemberAssignmentValue: 0..=0, flexible 0.. {
        member_epoch: i32;
        previous_member_epoch: i32;
        /// 0 stable, 1 unrevoked partitions, 2 unreleased partitions.
        state: i8;
        assigned_partitions: Vec<TopicPartitions>;
        partitions_pending_revocation: Vec<TopicPartitions>;
    }

    ShareGroupMemberMetadataKey: 10..=10 {
        group: String;
        member_id: String;
    }

    ShareGroupMemberMetadataValue: 0..=0, flexible 0.. {
        rack_id: Option<String>;
        client_id: String;
        client_host: String;
        subscribed_topic_names: Vec<String>;
    }

    ShareGroupMetadataKey: 11..=11 {
        group: String;
    }

    ShareGroupMetadataValue: 0..=0, flexible 0.. {
        epoch: i32;
        /// Of the topics that the members read: 0 where it is not known.
        metadata_hash: i64;
    }

    ShareGroupTargetAssignmentMetadataKey: 12..=12 {
        group: String;
    }

    ShareGroupTargetAssignmentMetadataValue: 0..=0, flexible 0.. {
        assignment_epoch: i32;
    }

    ShareGroupTargetAssignmentMemberKey: 13..=13 {
        group: String;
        member_id: String;
    }

    ShareGroupTargetAssignmentMemberValue: 0..=0, flexible 0.. {
        topic_partitions: Vec<TopicPartitions>;
    }

    ShareGroupCurrentMemberAssignmentKey: 14..=14 {
        group: String;
        member_id: String;
    }

    ShareGroupCurrentMemberAssignmentValue: 0..=0, flexible 0.. {
        member_epoch: i32;
        previous_member_epoch: i32;
        /// 0 stable; there is no other.
        state: i8;
        assigned_partitions: Vec<TopicPartitions>;
    }
}
