//! The records of the topic `__transaction_state`, keys and values with the version first.

use crate::protocol::message::messages;

messages! {
    TransactionLogKey: 0..=0 {
        transactional_id: String;
    }

    /// v1 is flexible and remembers the ids before and after (KIP-890).
    TransactionLogValue: 0..=1, flexible 1.. {
        producer_id: i64;
        previous_producer_id: i64 = -1, in 1.., tag 0;
        next_producer_id: i64 = -1, in 1.., tag 1;
        producer_epoch: i16;
        transaction_timeout_ms: i32;
        /// 0 empty, 1 ongoing, 2 prepare commit, 3 prepare abort, 4 complete commit, 5 complete
        /// abort, 6 dead, 7 prepare epoch fence.
        transaction_status: i8;
        transaction_partitions: Option<Vec<PartitionsSchema>> = Some(Vec::new());
        transaction_last_update_timestamp_ms: i64;
        transaction_start_timestamp_ms: i64;
        client_transaction_version: i16, in 1.., tag 2;
    }

    PartitionsSchema {
        topic: String;
        partition_ids: Vec<i32>;
    }
}
