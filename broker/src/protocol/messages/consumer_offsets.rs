//! The records of the topic `__consumer_offsets`, keys and values with the version first. The
//! version of a key tells its kind: 0 and 1 an offset, 2 a group.

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
}
