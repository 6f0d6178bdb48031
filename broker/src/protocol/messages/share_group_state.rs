//! The records of the topic `__share_group_state` (KIP-932), keys and values with the version
//! first. The version of a key tells its kind: 0 a snapshot, which says all of a partition's
//! state, 1 an update, which says what has changed since. This broker writes snapshots alone.

use uuid::Uuid;

use crate::protocol::message::messages;

messages! {
    ShareSnapshotKey: 0..=0 {
        group_id: String;
        topic_id: Uuid;
        partition: i32;
    }

    ShareSnapshotValue: 0..=0, flexible 0.. {
        snapshot_epoch: i32;
        state_epoch: i32;
        leader_epoch: i32;
        start_offset: i64;
        create_timestamp: i64;
        write_timestamp: i64;
        state_batches: Vec<StateBatch>;
    }

    StateBatch {
        first_offset: i64;
        last_offset: i64;
        /// 0 available, 2 accepted, 4 archived.
        delivery_state: i8;
        delivery_count: i16;
    }
}
