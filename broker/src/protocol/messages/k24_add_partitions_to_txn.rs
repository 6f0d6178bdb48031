//! AddPartitionsToTxn: partitions become part of a transaction before anything is written to them.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v4 batches transactions and is for brokers alone, v5 TRANSACTION_ABORTABLE (KIP-890).
    AddPartitionsToTxnRequest: 0..=5, flexible 3.. {
        transactions: Vec<AddPartitionsToTxnTransaction>, in 4..;
        v3_and_below_transactional_id: String, in 0..=3;
        v3_and_below_producer_id: i64, in 0..=3;
        v3_and_below_producer_epoch: i16, in 0..=3;
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>, in 0..=3;
    }

    AddPartitionsToTxnTransaction {
        transactional_id: String;
        producer_id: i64;
        producer_epoch: i16;
        verify_only: bool;
        topics: Vec<AddPartitionsToTxnTopic>;
    }

    AddPartitionsToTxnTopic {
        name: String;
        partitions: Vec<i32>;
    }

    AddPartitionsToTxnResponse: 0..=5, flexible 3.. {
        throttle_time_ms: i32;
        error_code: ErrorCode, in 4.., ignorable;
        results_by_transaction: Vec<AddPartitionsToTxnResult>, in 4..;
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>, in 0..=3;
    }

    AddPartitionsToTxnResult {
        transactional_id: String;
        topic_results: Vec<AddPartitionsToTxnTopicResult>;
    }

    AddPartitionsToTxnTopicResult {
        name: String;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>;
    }

    AddPartitionsToTxnPartitionResult {
        partition_index: i32;
        partition_error_code: ErrorCode;
    }
}
