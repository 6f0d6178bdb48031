//! OffsetDelete: forgets the offsets of topics that a group no longer reads (KIP-496).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    OffsetDeleteRequest: 0..=0 {
        group_id: String;
        topics: Vec<OffsetDeleteRequestTopic>;
    }

    OffsetDeleteRequestTopic {
        name: String;
        partitions: Vec<OffsetDeleteRequestPartition>;
    }

    OffsetDeleteRequestPartition {
        partition_index: i32;
    }

    OffsetDeleteResponse: 0..=0 {
        error_code: ErrorCode;
        throttle_time_ms: i32;
        topics: Vec<OffsetDeleteResponseTopic>;
    }

    OffsetDeleteResponseTopic {
        name: String;
        partitions: Vec<OffsetDeleteResponsePartition>;
    }

    OffsetDeleteResponsePartition {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
