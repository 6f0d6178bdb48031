//! WriteTxnMarkers: the coordinator has the end of a transaction written to its partitions.

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    WriteTxnMarkersRequest: 1..=1, flexible 1.. {
        markers: Vec<WritableTxnMarker>;
    }

    WritableTxnMarker {
        producer_id: i64;
        producer_epoch: i16;
        transaction_result: bool;
        topics: Vec<WritableTxnMarkerTopic>;
        coordinator_epoch: i32;
    }

    WritableTxnMarkerTopic {
        name: String;
        partition_indexes: Vec<i32>;
    }

    WriteTxnMarkersResponse: 1..=1, flexible 1.. {
        markers: Vec<WritableTxnMarkerResult>;
    }

    WritableTxnMarkerResult {
        producer_id: i64;
        topics: Vec<WritableTxnMarkerTopicResult>;
    }

    WritableTxnMarkerTopicResult {
        name: String;
        partitions: Vec<WritableTxnMarkerPartitionResult>;
    }

    WritableTxnMarkerPartitionResult {
        partition_index: i32;
        error_code: ErrorCode;
    }
}
