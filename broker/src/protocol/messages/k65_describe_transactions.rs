//! DescribeTransactions: state and partitions of transactional ids (KIP-664).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    DescribeTransactionsRequest: 0..=0, flexible 0.. {
        transactional_ids: Vec<String>;
    }

    DescribeTransactionsResponse: 0..=0, flexible 0.. {
        throttle_time_ms: i32;
        transaction_states: Vec<TransactionState>;
    }

    TransactionState {
        error_code: ErrorCode;
        transactional_id: String;
        transaction_state: String;
        transaction_timeout_ms: i32;
        transaction_start_time_ms: i64;
        producer_id: i64;
        producer_epoch: i16;
        topics: Vec<TopicData>;
    }

    TopicData {
        topic: String;
        partitions: Vec<i32>;
    }
}
