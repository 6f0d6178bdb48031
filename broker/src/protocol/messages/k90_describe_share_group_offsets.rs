//! DescribeShareGroupOffsets: from where share groups have records left (KIP-932).

use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeShareGroupOffsetsRequest: 0..=0, flexible 0.. {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup>;
    }

    DescribeShareGroupOffsetsRequestGroup {
        group_id: String;
        /// Null for all that the group has.
        topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>>;
    }

    DescribeShareGroupOffsetsRequestTopic {
        topic_name: String;
        partitions: Vec<i32>;
    }

    DescribeShareGroupOffsetsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        groups: Vec<DescribeShareGroupOffsetsResponseGroup>;
    }

    DescribeShareGroupOffsetsResponseGroup {
        group_id: String;
        topics: Vec<DescribeShareGroupOffsetsResponseTopic>;
        error_code: ErrorCode;
        error_message: Option<String>;
    }

    DescribeShareGroupOffsetsResponseTopic {
        topic_name: String;
        topic_id: Uuid;
        partitions: Vec<DescribeShareGroupOffsetsResponsePartition>;
    }

    DescribeShareGroupOffsetsResponsePartition {
        partition_index: i32;
        /// All before is done; -1 where the group has not begun.
        start_offset: i64;
        leader_epoch: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
    }
}
