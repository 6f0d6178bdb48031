//! Transactions over the wire: what committed readers see, and who is fenced.

use broker::ids::{ProducerEpoch, ProducerId};
use broker::protocol::ErrorCode;
use broker::protocol::messages::k01_fetch::FetchRequest;
use broker::protocol::messages::{
    k09_offset_fetch::*, k22_init_producer_id::*, k24_add_partitions_to_txn::*,
    k25_add_offsets_to_txn::*, k26_end_txn::*, k28_txn_offset_commit::*,
};
use broker::record::ProducerStamp;

use crate::harness::*;

async fn init(client: &mut Connection, version: i16, id: Option<&str>) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: id.map(str::to_owned),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    ask!(client, InitProducerId v version, request)
}

fn add(version: i16, producer: &InitProducerIdResponse, topic: &str) -> AddPartitionsToTxnRequest {
    assert!(version <= 3);
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "tx".to_owned(),
        v3_and_below_producer_id: producer.producer_id,
        v3_and_below_producer_epoch: producer.producer_epoch,
        v3_and_below_topics: vec![AddPartitionsToTxnTopic {
            name: topic.to_owned(),
            partitions: vec![0],
        }],
        ..Default::default()
    }
}

async fn added(
    client: &mut Connection,
    version: i16,
    producer: &InitProducerIdResponse,
    topic: &str,
) -> ErrorCode {
    let response = ask!(client, AddPartitionsToTxn v version, add(version, producer, topic));
    let topic = &response.results_by_topic_v3_and_below[0];
    topic.results_by_partition[0].partition_error_code
}

async fn write(
    client: &mut Connection,
    producer: &InitProducerIdResponse,
    base_sequence: i32,
    value: &str,
) -> ErrorCode {
    let stamp = ProducerStamp {
        producer_id: ProducerId(producer.producer_id),
        epoch: ProducerEpoch(producer.producer_epoch),
        base_sequence,
        transactional: true,
    };
    let mut request = produce("t", 0, -1, stamped_batch(&[value], stamp));
    request.transactional_id = Some("tx".to_owned());
    produced(ask!(client, Produce v 9, request)).error_code
}

async fn end(
    client: &mut Connection,
    version: i16,
    producer: &InitProducerIdResponse,
    committed: bool,
) -> ErrorCode {
    let request = EndTxnRequest {
        transactional_id: "tx".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        committed,
    };
    ask!(client, EndTxn v version, request).error_code
}

fn committed(offset: i64) -> FetchRequest {
    let mut request = fetch("t", 0, offset);
    request.isolation_level = 1;
    request
}

#[tokio::test]
async fn committed_readers_are_told_what_was_aborted() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    assert_eq!(producer.error_code, ErrorCode::NONE);
    for (sequence, version, keep) in [(0, 0, true), (1, 1, false), (2, 3, true)] {
        assert_eq!(added(&mut client, version, &producer, "t").await, ErrorCode::NONE);
        let value = format!("{version}");
        assert_eq!(write(&mut client, &producer, sequence, &value).await, ErrorCode::NONE);
        assert_eq!(end(&mut client, version, &producer, keep).await, ErrorCode::NONE);
    }
    // Record, marker, record, marker, record, marker.
    let data = fetched(ask!(client, Fetch v 12, committed(0)));
    let aborted = data.aborted_transactions.clone().unwrap();
    let told: Vec<_> = aborted.iter().map(|one| (one.producer_id, one.first_offset)).collect();
    assert_eq!(told, [(producer.producer_id, 2)]);
    assert_eq!((data.high_watermark, data.last_stable_offset), (6, 6));
    // Beyond it there is nothing to tell.
    let data = fetched(ask!(client, Fetch v 12, committed(4)));
    assert_eq!(data.aborted_transactions, Some(vec![]));
}

/// A marker makes records visible without any being written, and that must wake readers too.
#[tokio::test]
async fn a_commit_wakes_a_committed_reader() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut reader = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    added(&mut client, 3, &producer, "t").await;
    write(&mut client, &producer, 0, "value").await;
    let mut request = committed(0);
    request.max_wait_ms = 60_000;
    request.min_bytes = 60;
    reader.send(12, request.into()).await;
    assert_eq!(end(&mut client, 3, &producer, true).await, ErrorCode::NONE);
    let (_, response) = reader.receive(broker::protocol::ApiKey::Fetch, 12).await;
    let broker::protocol::Response::Fetch(response) = response else { panic!() };
    let data = fetched(response);
    assert!(!data.records.unwrap().is_empty());
}

#[tokio::test]
async fn a_successor_fences_in_the_words_of_each_version() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let zombie = init(&mut client, 4, Some("tx")).await;
    assert_eq!(added(&mut client, 3, &zombie, "t").await, ErrorCode::NONE);
    let heir = init(&mut client, 5, Some("tx")).await;
    assert_eq!(heir.producer_id, zombie.producer_id);
    assert!(heir.producer_epoch > zombie.producer_epoch);
    let (old, new) = (ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::PRODUCER_FENCED);
    assert_eq!(added(&mut client, 1, &zombie, "t").await, old);
    assert_eq!(added(&mut client, 2, &zombie, "t").await, new);
    assert_eq!(end(&mut client, 1, &zombie, true).await, old);
    assert_eq!(end(&mut client, 4, &zombie, true).await, new);
    assert_eq!(write(&mut client, &zombie, 0, "late").await, old);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let one = init(&mut client, 5, None).await;
    let other = init(&mut client, 0, None).await;
    assert_eq!((one.error_code, one.producer_epoch), (ErrorCode::NONE, 0));
    assert_ne!(one.producer_id, other.producer_id);
    let invalid = ErrorCode::INVALID_REQUEST;
    assert_eq!(init(&mut client, 4, Some("")).await.error_code, invalid);
    let half = InitProducerIdRequest { producer_id: 5, ..Default::default() };
    assert_eq!(ask!(client, InitProducerId v 4, half).error_code, invalid);
    let endless = InitProducerIdRequest {
        transactional_id: Some("tx".to_owned()),
        transaction_timeout_ms: i32::MAX,
        ..Default::default()
    };
    let refused = ask!(client, InitProducerId v 4, endless).error_code;
    assert_eq!(refused, ErrorCode::INVALID_TRANSACTION_TIMEOUT);

    let producer = init(&mut client, 4, Some("tx")).await;
    let mut request = add(3, &producer, "t");
    request.v3_and_below_topics[0].partitions.push(9);
    let response = ask!(client, AddPartitionsToTxn v 3, request);
    let results = &response.results_by_topic_v3_and_below[0].results_by_partition;
    let codes: Vec<_> = results.iter().map(|result| result.partition_error_code).collect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(codes, [ErrorCode::OPERATION_NOT_ATTEMPTED, unknown]);
    assert_eq!(end(&mut client, 3, &producer, true).await, ErrorCode::INVALID_TXN_STATE);
}

#[tokio::test]
async fn offsets_of_a_transaction_count_once_it_commits() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    let fetch = |stable: bool| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".to_owned(),
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        }],
        require_stable: stable,
        ..Default::default()
    };
    for (version, keep, offset) in [(0, true, 5), (2, false, 6), (3, true, 7), (4, false, 8)] {
        let request = AddOffsetsToTxnRequest {
            transactional_id: "tx".to_owned(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            group_id: "g".to_owned(),
        };
        let response = ask!(client, AddOffsetsToTxn v version, request);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let request = TxnOffsetCommitRequest {
            transactional_id: "tx".to_owned(),
            group_id: "g".to_owned(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: vec![TxnOffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: offset,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let response = ask!(client, TxnOffsetCommit v version, request);
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::NONE);
        let response = ask!(client, OffsetFetch v 9, fetch(true));
        let found = &response.groups[0].topics[0].partitions[0];
        assert_eq!(found.error_code, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        assert_eq!(end(&mut client, version, &producer, keep).await, ErrorCode::NONE);
        let response = ask!(client, OffsetFetch v 9, fetch(true));
        let found = &response.groups[0].topics[0].partitions[0];
        let expected = if offset >= 7 { 7 } else { 5 };
        assert_eq!((found.error_code, found.committed_offset), (ErrorCode::NONE, expected));
    }
}
