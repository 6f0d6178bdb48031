//! Transactions over the wire: what committed readers see, and who is fenced.

use broker::ids::{ProducerEpoch, ProducerId};
use broker::protocol::ErrorCode;
use broker::protocol::messages::k01_fetch::FetchRequest;
use broker::protocol::messages::k02_list_offsets as k02;
use broker::protocol::messages::{
    k09_offset_fetch::*,
    k22_init_producer_id::*,
    k24_add_partitions_to_txn::*,
    k25_add_offsets_to_txn::*,
    k26_end_txn::*,
    k27_write_txn_markers::*,
    k28_txn_offset_commit::*,
    k61_describe_producers::{DescribeProducersRequest, TopicRequest},
    k65_describe_transactions::*,
    k66_list_transactions::*,
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
    write_by(client, 9, producer, base_sequence, value).await
}

async fn write_by(
    client: &mut Connection,
    version: i16,
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
    produced(ask!(client, Produce v version, request)).error_code
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

/// Its record has the largest timestamp, which only a reader of everything may know.
#[tokio::test]
async fn an_open_transaction_keeps_its_timestamps_to_itself() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    added(&mut client, 3, &producer, "t").await;
    write(&mut client, &producer, 0, "value").await;
    const MAX_TIMESTAMP: i64 = -3;
    for (isolation_level, offset) in [(0, 0), (1, -1)] {
        let partition =
            k02::ListOffsetsPartition { timestamp: MAX_TIMESTAMP, ..Default::default() };
        let topic = k02::ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
        let request = k02::ListOffsetsRequest {
            replica_id: -1,
            isolation_level,
            topics: vec![topic],
            ..Default::default()
        };
        let response = ask!(client, ListOffsets v 7, request);
        assert_eq!(response.topics[0].partitions[0].offset, offset);
    }
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

fn offsets_of(group: &str) -> OffsetFetchRequest {
    OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".to_owned(),
                partition_indexes: vec![0],
            }]),
            ..Default::default()
        }],
        require_stable: true,
        ..Default::default()
    }
}

async fn commit_offset(
    client: &mut Connection,
    version: i16,
    producer: &InitProducerIdResponse,
    offset: i64,
) -> ErrorCode {
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
    response.topics[0].partitions[0].error_code
}

#[tokio::test]
async fn offsets_of_a_transaction_count_once_it_commits() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    for (version, keep, offset) in [(0, true, 5), (2, false, 6), (3, true, 7), (4, false, 8)] {
        let request = AddOffsetsToTxnRequest {
            transactional_id: "tx".to_owned(),
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            group_id: "g".to_owned(),
        };
        let response = ask!(client, AddOffsetsToTxn v version, request);
        assert_eq!(response.error_code, ErrorCode::NONE);
        let code = commit_offset(&mut client, version, &producer, offset).await;
        assert_eq!(code, ErrorCode::NONE);
        let response = ask!(client, OffsetFetch v 9, offsets_of("g"));
        let found = &response.groups[0].topics[0].partitions[0];
        assert_eq!(found.error_code, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        assert_eq!(end(&mut client, version, &producer, keep).await, ErrorCode::NONE);
        let response = ask!(client, OffsetFetch v 9, offsets_of("g"));
        let found = &response.groups[0].topics[0].partitions[0];
        let expected = if offset >= 7 { 7 } else { 5 };
        assert_eq!((found.error_code, found.committed_offset), (ErrorCode::NONE, expected));
    }
}

/// A client that skipped AddPartitionsToTxn pinned the last stable offset for ever: no coordinator
/// knew of the partition, and so none wrote a marker to it.
#[tokio::test]
async fn what_is_not_part_of_a_transaction_is_not_written() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    let (invalid, abortable) = (ErrorCode::INVALID_TXN_STATE, ErrorCode::TRANSACTION_ABORTABLE);
    for (version, code) in [(3, invalid), (10, invalid), (11, abortable)] {
        assert_eq!(write_by(&mut client, version, &producer, 0, "x").await, code);
    }
    for (version, code) in [(0, invalid), (3, invalid), (4, abortable)] {
        assert_eq!(commit_offset(&mut client, version, &producer, 5).await, code);
    }
    assert_eq!(added(&mut client, 3, &producer, "t").await, ErrorCode::NONE);
    assert_eq!(write_by(&mut client, 10, &producer, 0, "x").await, ErrorCode::NONE);
    assert_eq!(end(&mut client, 3, &producer, true).await, ErrorCode::NONE);
    // Too late, although the epoch is still the same.
    assert_eq!(write_by(&mut client, 10, &producer, 1, "late").await, invalid);
    let data = fetched(ask!(client, Fetch v 12, committed(0)));
    assert_eq!((data.high_watermark, data.last_stable_offset), (2, 2));

    let other = InitProducerIdResponse { producer_id: 1, ..producer.clone() };
    let mapping = ErrorCode::INVALID_PRODUCER_ID_MAPPING;
    assert_eq!(write_by(&mut client, 12, &other, 0, "x").await, mapping);
    let stamp = ProducerStamp {
        producer_id: ProducerId(producer.producer_id),
        epoch: ProducerEpoch(producer.producer_epoch),
        base_sequence: 1,
        transactional: true,
    };
    let nameless = produce("t", 0, -1, stamped_batch(&["x"], stamp));
    let refused = produced(ask!(client, Produce v 12, nameless)).error_code;
    assert_eq!(refused, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
}

/// Offsets that came when their transaction had ended stayed unstable for ever.
#[tokio::test]
async fn offsets_that_come_too_late_are_refused() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    let request = AddOffsetsToTxnRequest {
        transactional_id: "tx".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        group_id: "g".to_owned(),
    };
    let response = ask!(client, AddOffsetsToTxn v 3, request);
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(end(&mut client, 4, &producer, true).await, ErrorCode::NONE);
    let refused = commit_offset(&mut client, 3, &producer, 5).await;
    assert_eq!(refused, ErrorCode::INVALID_TXN_STATE);
    let response = ask!(client, OffsetFetch v 9, offsets_of("g"));
    let found = &response.groups[0].topics[0].partitions[0];
    assert_eq!((found.error_code, found.committed_offset), (ErrorCode::NONE, -1));
}

/// Large and compressed batches are appended on another thread, and the admission goes with them.
#[tokio::test]
async fn heavy_batches_are_part_of_their_transaction_too() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut producer = init(&mut client, 5, Some("tx")).await;
    let value = "x".repeat(200_000);
    for keep in [true, false] {
        assert_eq!(write_by(&mut client, 12, &producer, 0, &value).await, ErrorCode::NONE);
        let ended = end_v2(&mut client, &producer, keep).await;
        let late = write_by(&mut client, 12, &producer, 1, &value).await;
        assert_eq!(late, ErrorCode::INVALID_PRODUCER_EPOCH);
        producer.producer_epoch = ended.producer_epoch;
    }
    let data = fetched(ask!(client, Fetch v 12, committed(0)));
    assert_eq!((data.high_watermark, data.last_stable_offset), (4, 4));
}

/// Whatever a producer has on its way when its transaction ends: nothing stays open behind it.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_race_with_the_end_leave_nothing_hanging() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut racer = broker.connect().await;
    let producer = init(&mut client, 4, Some("tx")).await;
    let (mut sequence, mut in_time) = (0, 0);
    for _ in 0..60 {
        assert_eq!(added(&mut client, 3, &producer, "t").await, ErrorCode::NONE);
        assert_eq!(write(&mut client, &producer, sequence, "x").await, ErrorCode::NONE);
        sequence += 1;
        let (ended, raced) = tokio::join!(
            end(&mut client, 3, &producer, true),
            write_by(&mut racer, 11, &producer, sequence, "late"),
        );
        assert_eq!(ended, ErrorCode::NONE);
        match raced {
            ErrorCode::NONE => (sequence, in_time) = (sequence + 1, in_time + 1),
            refused => assert_eq!(refused, ErrorCode::TRANSACTION_ABORTABLE),
        }
        let data = fetched(ask!(client, Fetch v 12, committed(0)));
        assert_eq!(data.high_watermark, data.last_stable_offset);
    }
    assert!(sequence >= 60, "{in_time} were in time");
}

async fn end_v2(
    client: &mut Connection,
    producer: &InitProducerIdResponse,
    committed: bool,
) -> EndTxnResponse {
    let request = EndTxnRequest {
        transactional_id: "tx".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        committed,
    };
    ask!(client, EndTxn v 5, request)
}

#[tokio::test]
async fn transactions_of_version_2_add_what_is_written_to_and_raise_the_epoch() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut producer = init(&mut client, 5, Some("tx")).await;
    let gap = write_by(&mut client, 12, &producer, 1, "after what is missing").await;
    assert_eq!(gap, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (round, keep) in [(0, true), (1, false), (2, true)] {
        assert_eq!(write_by(&mut client, 12, &producer, 0, "x").await, ErrorCode::NONE);
        assert_eq!(write_by(&mut client, 12, &producer, 1, "y").await, ErrorCode::NONE);
        assert_eq!(commit_offset(&mut client, 5, &producer, round).await, ErrorCode::NONE);
        let ended = end_v2(&mut client, &producer, keep).await;
        assert_eq!(ended.error_code, ErrorCode::NONE);
        assert_eq!(ended.producer_id, producer.producer_id);
        assert_eq!(ended.producer_epoch, producer.producer_epoch + 1);
        // A retry is told the same.
        assert_eq!(end_v2(&mut client, &producer, keep).await, ended);
        // And what was on its way is fenced.
        let late = write_by(&mut client, 12, &producer, 2, "late").await;
        assert_eq!(late, ErrorCode::INVALID_PRODUCER_EPOCH);
        let late = commit_offset(&mut client, 5, &producer, 99).await;
        assert_eq!(late, ErrorCode::INVALID_PRODUCER_EPOCH);
        producer.producer_epoch = ended.producer_epoch;
    }
    let data = fetched(ask!(client, Fetch v 12, committed(0)));
    assert_eq!((data.high_watermark, data.last_stable_offset), (9, 9));
    let aborted = data.aborted_transactions.unwrap();
    assert_eq!(aborted.iter().map(|one| one.first_offset).collect::<Vec<_>>(), [3]);
    let response = ask!(client, OffsetFetch v 9, offsets_of("g"));
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 2);
}

#[tokio::test]
async fn brokers_ask_for_several_transactions_at_once() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 5, Some("tx")).await;
    let transaction = |id: &str, verify_only, partitions: &[i32]| AddPartitionsToTxnTransaction {
        transactional_id: id.to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        verify_only,
        topics: vec![AddPartitionsToTxnTopic {
            name: "t".to_owned(),
            partitions: partitions.to_vec(),
        }],
    };
    let abortable = ErrorCode::TRANSACTION_ABORTABLE;
    for version in [4, 5] {
        let transactions = vec![transaction("nobody", false, &[0]), transaction("tx", false, &[0])];
        let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
        let mut found = ask!(client, AddPartitionsToTxn v version, request).results_by_transaction;
        let transactions = vec![transaction("tx", true, &[0, 1])];
        let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
        found.extend(ask!(client, AddPartitionsToTxn v version, request).results_by_transaction);
        let codes = |at: usize| -> Vec<ErrorCode> {
            let partitions = &found[at].topic_results[0].results_by_partition;
            partitions.iter().map(|one| one.partition_error_code).collect()
        };
        assert_eq!(codes(0), [ErrorCode::INVALID_PRODUCER_ID_MAPPING]);
        assert_eq!(codes(1), [ErrorCode::NONE]);
        assert_eq!(codes(2), [ErrorCode::NONE, abortable]);
    }
}

#[tokio::test]
async fn an_operator_sees_transactions_and_ends_one_that_hangs() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let producer = init(&mut client, 5, Some("tx")).await;
    init(&mut client, 5, Some("idle")).await;
    assert_eq!(write_by(&mut client, 12, &producer, 0, "x").await, ErrorCode::NONE);

    let ids = ["tx", "", "nobody"].map(str::to_owned).to_vec();
    let request = DescribeTransactionsRequest { transactional_ids: ids };
    let states = ask!(client, DescribeTransactions v 0, request).transaction_states;
    let codes: Vec<_> = states.iter().map(|state| state.error_code).collect();
    let not_found = ErrorCode::TRANSACTIONAL_ID_NOT_FOUND;
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::INVALID_REQUEST, not_found]);
    assert_eq!(states[0].transaction_state, "Ongoing");
    let topics = [TopicData { topic: "t".to_owned(), partitions: vec![0] }];
    assert_eq!(
        (states[0].topics.as_slice(), states[0].producer_id),
        (&topics[..], producer.producer_id)
    );

    let list = |states: &[&str], pattern: Option<&str>, duration| ListTransactionsRequest {
        state_filters: states.iter().map(|state| (*state).to_owned()).collect(),
        duration_filter: duration,
        transactional_id_pattern: pattern.map(str::to_owned),
        ..Default::default()
    };
    for (request, expected) in [
        (list(&[], None, -1), &["idle", "tx"][..]),
        (list(&["Ongoing"], None, -1), &["tx"]),
        (list(&["Dead"], None, -1), &[]),
        (list(&["Sleepy"], None, -1), &[]),
        (list(&[], Some("t."), -1), &["tx"]),
        (list(&[], Some("t"), -1), &[]),
        (list(&[], None, 3_600_000), &["idle"]),
    ] {
        let response = ask!(client, ListTransactions v 2, request.clone());
        let ids = response.transaction_states.iter().map(|one| one.transactional_id.as_str());
        assert_eq!(ids.collect::<Vec<_>>(), expected, "{request:?}");
        let unknown = request.state_filters.contains(&"Sleepy".to_owned());
        assert_eq!(response.unknown_state_filters.len(), usize::from(unknown));
    }
    let response = ask!(client, ListTransactions v 2, list(&[], Some("("), -1));
    assert_eq!(response.error_code, ErrorCode::INVALID_REGULAR_EXPRESSION);

    let topics = vec![TopicRequest { name: "t".to_owned(), partition_indexes: vec![0] }];
    let response = ask!(client, DescribeProducers v 0, DescribeProducersRequest { topics });
    let active = &response.topics[0].partitions[0].active_producers;
    assert_eq!((active.len(), active[0].current_txn_start_offset), (1, 0));

    let marker = |index| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: "t".to_owned(),
                partition_indexes: vec![index],
            }],
            coordinator_epoch: 0,
        }],
    };
    for (index, code) in [(0, ErrorCode::NONE), (7, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)] {
        let response = ask!(client, WriteTxnMarkers v 1, marker(index));
        assert_eq!(response.markers[0].topics[0].partitions[0].error_code, code);
    }
    let data = fetched(ask!(client, Fetch v 12, committed(0)));
    assert_eq!((data.high_watermark, data.last_stable_offset), (2, 2));
}
