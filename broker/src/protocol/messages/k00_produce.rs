//! Produce: appends record batches to partitions.

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// From v3 record batches v2 alone (KIP-98), v7 zstd (KIP-110), v13 topics by id (KIP-516).
    ProduceRequest: 3..=13, flexible 9.. {
        transactional_id: Option<String>;
        /// 0 no response, 1 when written, -1 when durable.
        acks: i16;
        timeout_ms: i32;
        topic_data: Vec<TopicProduceData>;
    }

    TopicProduceData {
        name: String, in 3..=12, ignorable;
        topic_id: Uuid, in 13.., ignorable;
        partition_data: Vec<PartitionProduceData>;
    }

    PartitionProduceData {
        index: i32;
        /// One record batch or more, a slice of the request frame.
        records: Option<Bytes> = Some(Bytes::new());
    }

    /// v8 says which records were refused (KIP-467), v10 names the leader (KIP-951).
    ProduceResponse: 3..=13, flexible 9.. {
        responses: Vec<TopicProduceResponse>;
        throttle_time_ms: i32;
        node_endpoints: Vec<NodeEndpoint>, in 10.., tag 0;
    }

    TopicProduceResponse {
        name: String, in 3..=12, ignorable;
        topic_id: Uuid, in 13.., ignorable;
        partition_responses: Vec<PartitionProduceResponse>;
    }

    PartitionProduceResponse {
        index: i32;
        error_code: ErrorCode;
        base_offset: i64;
        /// -1 unless the topic stamps records with the time of their append.
        log_append_time_ms: i64 = -1;
        log_start_offset: i64 = -1, in 5.., ignorable;
        record_errors: Vec<BatchIndexAndErrorMessage>, in 8.., ignorable;
        error_message: Option<String>, in 8.., ignorable;
        current_leader: LeaderIdAndEpoch, in 10.., tag 0;
    }

    BatchIndexAndErrorMessage {
        batch_index: i32;
        batch_index_error_message: Option<String>;
    }

    LeaderIdAndEpoch {
        leader_id: i32 = -1;
        leader_epoch: i32 = -1;
    }

    NodeEndpoint {
        node_id: i32;
        host: String;
        port: i32;
        rack: Option<String>;
    }
}
