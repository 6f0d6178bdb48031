//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use broker::client::NewTopic;
use broker::protocol::ErrorCode;
use broker::protocol::messages::k23_offset_for_leader_epoch as k23;
use broker::protocol::messages::{k02_list_offsets::*, k21_delete_records::*};
use broker::record::{BatchBuilder, Compression, ProducerStamp};

use crate::harness::*;

fn list(topic: &str, partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.to_owned(),
            partitions: vec![ListOffsetsPartition {
                partition_index,
                timestamp,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

async fn listed(client: &mut Connection, version: i16, timestamp: i64) -> (ErrorCode, i64, i64) {
    let response = ask!(client, ListOffsets v version, list("t", 0, timestamp));
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.offset, found.timestamp)
}

async fn append_at(client: &mut Connection, times_ms: &[i64]) {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for time_ms in times_ms {
        builder.append(*time_ms, None, Some(b"x"));
    }
    let records = builder.build(ProducerStamp::NONE).into_bytes();
    let done = produced(ask!(client, Produce v 9, produce("t", 0, -1, records)));
    assert_eq!(done.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn offsets_are_found_by_end_and_by_time() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let ok = |offset, timestamp| (ErrorCode::NONE, offset, timestamp);
    assert_eq!(listed(&mut client, 9, -1).await, ok(0, -1));
    assert_eq!(listed(&mut client, 9, -3).await, ok(-1, -1));
    append_at(&mut client, &[1000, 5000, 2000]).await;
    append_at(&mut client, &[3000, 4000]).await;
    for version in 1..=10 {
        assert_eq!(listed(&mut client, version, -2).await, ok(0, -1), "v{version}");
        assert_eq!(listed(&mut client, version, -1).await, ok(5, -1));
        assert_eq!(listed(&mut client, version, 0).await, ok(0, 1000));
        assert_eq!(listed(&mut client, version, 1001).await, ok(1, 5000));
        assert_eq!(listed(&mut client, version, 5001).await, ok(-1, -1));
        let unsupported = (ErrorCode::UNSUPPORTED_VERSION, -1, -1);
        let from = |first, found| if version >= first { found } else { unsupported };
        assert_eq!(listed(&mut client, version, -3).await, from(7, ok(1, 5000)));
        assert_eq!(listed(&mut client, version, -4).await, from(8, ok(0, -1)));
        assert_eq!(listed(&mut client, version, -5).await, from(9, ok(-1, -1)));
        assert_eq!(listed(&mut client, version, -6).await, unsupported);
    }
    let response = ask!(client, ListOffsets v 5, list("none", 0, -1));
    let code = response.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let mut twice = list("t", 0, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let response = ask!(client, ListOffsets v 5, twice);
    let codes: Vec<_> =
        response.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST]);
}

#[tokio::test]
async fn deleted_records_are_gone_for_all_readers() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    for value in ["a", "b", "c"] {
        put(&mut client, "t", &[value]).await;
    }
    for (version, topic, offset, expected) in [
        (2, "t", 2, (ErrorCode::NONE, 2)),
        (1, "t", 1, (ErrorCode::NONE, 2)),
        (0, "t", 4, (ErrorCode::OFFSET_OUT_OF_RANGE, -1)),
        (2, "none", 0, (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1)),
    ] {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.to_owned(),
                partitions: vec![DeleteRecordsPartition { partition_index: 0, offset }],
            }],
            timeout_ms: 1000,
        };
        let response = ask!(client, DeleteRecords v version, request);
        let result = &response.topics[0].partitions[0];
        assert_eq!((result.error_code, result.low_watermark), expected);
    }
    let ok = |offset| (ErrorCode::NONE, offset, -1);
    assert_eq!(listed(&mut client, 9, -2).await, ok(2));
    let data = fetched(ask!(client, Fetch v 12, fetch("t", 0, 1)));
    assert_eq!(data.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    let data = fetched(ask!(client, Fetch v 12, fetch("t", 0, 2)));
    assert_eq!((values(&data), data.log_start_offset), (vec!["c".to_owned()], 2));
    let all = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".to_owned(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }],
        }],
        timeout_ms: 1000,
    };
    let response = ask!(client, DeleteRecords v 2, all);
    assert_eq!(response.topics[0].partitions[0].low_watermark, 3);
}

/// A compacted topic promises the last record of each key: only its retention may break that.
#[tokio::test]
async fn records_of_compacted_topics_are_not_deleted() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (policy, expected) in [
        ("compact", ErrorCode::POLICY_VIOLATION),
        ("compact,delete", ErrorCode::NONE),
        ("delete", ErrorCode::NONE),
    ] {
        let mut topic = NewTopic::new(policy.replace(',', "-"), 1);
        topic.configs.insert("cleanup.policy".to_owned(), policy.to_owned());
        broker.broker.create_topic(topic.clone()).await.unwrap();
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }];
        let topics = vec![DeleteRecordsTopic { name: topic.name, partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
        let response = ask!(client, DeleteRecords v 2, request);
        assert_eq!(response.topics[0].partitions[0].error_code, expected, "{policy}");
    }
}

#[tokio::test]
async fn leader_epochs_end_where_the_log_does() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["a", "b"]).await;
    for version in 2..=4 {
        for (current, epoch, expected) in [
            (-1, 0, (ErrorCode::NONE, 0, 2)),
            (0, 0, (ErrorCode::NONE, 0, 2)),
            (-1, 3, (ErrorCode::NONE, -1, -1)),
            (3, 0, (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1)),
        ] {
            let request = k23::OffsetForLeaderEpochRequest {
                topics: vec![k23::OffsetForLeaderTopic {
                    topic: "t".to_owned(),
                    partitions: vec![k23::OffsetForLeaderPartition {
                        partition: 0,
                        current_leader_epoch: current,
                        leader_epoch: epoch,
                    }],
                }],
                ..Default::default()
            };
            let response = ask!(client, OffsetForLeaderEpoch v version, request);
            let end = &response.topics[0].partitions[0];
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), expected);
        }
    }
}
