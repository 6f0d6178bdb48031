//! Fetch.

use std::time::{Duration, Instant};

use broker::client::NewTopic;
use broker::ids::{ProducerEpoch, ProducerId};
use broker::protocol::messages::k01_fetch::*;
use broker::protocol::messages::k22_init_producer_id::InitProducerIdRequest;
use broker::protocol::{ApiKey, ErrorCode, Response};
use broker::record::ProducerStamp;
use uuid::Uuid;

use crate::harness::*;

/// A wait that no test sits out.
const LONG_WAIT_MS: i32 = 60_000;

fn waiting(mut request: FetchRequest) -> FetchRequest {
    request.max_wait_ms = LONG_WAIT_MS;
    request
}

async fn received(client: &mut Connection, version: i16) -> PartitionData {
    let (_, response) = client.receive(ApiKey::Fetch, version).await;
    let Response::Fetch(response) = response else { panic!("{response:?}") };
    fetched(response)
}

#[tokio::test]
async fn every_version_reads_what_was_produced() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["a", "b"]).await;
    put(&mut client, "t", &["c"]).await;
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0);
        if version >= 13 {
            request.topics[0].topic = String::new();
            request.topics[0].topic_id = broker.broker.topic("t").unwrap().id;
        }
        let data = fetched(ask!(client, Fetch v version, request));
        assert_eq!(values(&data), ["a", "b", "c"], "v{version}");
        assert_eq!((data.high_watermark, data.last_stable_offset), (3, 3));
        assert_eq!(data.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(data.aborted_transactions, None);
    }
    // At the end there is nothing, which is no null.
    let data = fetched(ask!(client, Fetch v 12, fetch("t", 0, 3)));
    assert_eq!(data.records.as_deref(), Some(&[][..]));
    assert_eq!(data.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn errors_are_kafkas() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["a", "b"]).await;
    for (topic, partition, offset, epoch, expected) in [
        ("t", 0, 3, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        ("t", 0, -1, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        ("t", 1, 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("none", 0, 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 0, 0, 5, ErrorCode::UNKNOWN_LEADER_EPOCH),
        ("t", 0, 0, 0, ErrorCode::NONE),
    ] {
        // Errors are told at once.
        let mut request = waiting(fetch(topic, partition, offset));
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let data = fetched(ask!(client, Fetch v 12, request));
        assert_eq!(data.error_code, expected, "{topic}-{partition} at {offset}");
        if expected != ErrorCode::NONE {
            assert_eq!((data.high_watermark, data.last_stable_offset), (-1, -1));
        }
        assert!(data.records.is_some());
    }
    let mut unknown = fetch("", 0, 0);
    unknown.topics[0].topic_id = Uuid::from_u128(9);
    let data = fetched(ask!(client, Fetch v 16, unknown));
    assert_eq!(data.error_code, ErrorCode::UNKNOWN_TOPIC_ID);

    let mut in_session = fetch("t", 0, 0);
    (in_session.session_id, in_session.session_epoch) = (77, 1);
    let response = ask!(client, Fetch v 12, in_session);
    assert_eq!(response.error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    assert!(response.responses.is_empty());
}

#[tokio::test]
async fn a_session_is_told_of_what_is_new() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    broker.topic("u", 1).await;
    let mut client = broker.connect().await;
    let mut writer = broker.connect().await;
    put(&mut writer, "t", &["a", "b"]).await;
    let told = |response: &FetchResponse| -> Vec<String> {
        response.responses.iter().map(|topic| topic.topic.clone()).collect()
    };
    let mut first = fetch("t", 0, 0);
    first.topics.extend(fetch("u", 0, 0).topics);
    first.session_epoch = 0;
    let response = ask!(client, Fetch v 12, first);
    let session_id = response.session_id;
    assert!(session_id > 0);
    assert_eq!(told(&response), ["t", "u"]);
    let next = |epoch: i32, topics: Vec<FetchTopic>| FetchRequest {
        session_id,
        session_epoch: epoch,
        max_wait_ms: 0,
        min_bytes: 1,
        topics,
        ..Default::default()
    };
    // It has read what there is.
    let response = ask!(client, Fetch v 12, next(1, fetch("t", 0, 2).topics));
    assert_eq!((response.session_id, told(&response)), (session_id, vec![]));
    put(&mut writer, "u", &["c"]).await;
    let mut waiting_for_more = waiting(next(2, vec![]));
    waiting_for_more.min_bytes = 1;
    let response = ask!(client, Fetch v 12, waiting_for_more);
    assert_eq!(told(&response), ["u"]);
    assert_eq!(values(&response.responses[0].partitions[0]), ["c"]);

    let mut forget = next(3, fetch("u", 0, 1).topics);
    let partitions = vec![0];
    forget.forgotten_topics_data =
        vec![ForgottenTopic { topic: "t".to_owned(), partitions, ..Default::default() }];
    put(&mut writer, "t", &["d"]).await;
    let response = ask!(client, Fetch v 12, forget);
    assert_eq!(told(&response), [""; 0]);
    // A topic that goes is told of in each answer, and at once if there is no other.
    broker.broker.delete_topic("u").await.unwrap();
    for epoch in [4, 5] {
        let response = ask!(client, Fetch v 12, waiting(next(epoch, vec![])));
        let error = response.responses[0].partitions[0].error_code;
        assert_eq!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    for (version, epoch, code) in [
        (12, 5, ErrorCode::INVALID_FETCH_SESSION_EPOCH),
        (13, 6, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR),
    ] {
        let response = ask!(client, Fetch v version, next(epoch, vec![]));
        assert_eq!((response.error_code, response.session_id), (code, 0));
    }
}

/// Unknown topics were told of at once, beside topics that a reader could have waited for, so that
/// a reader of a deleted topic asked again and again without a pause.
#[tokio::test]
async fn what_does_not_exist_does_not_hasten_an_answer() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut reader = broker.connect().await;
    let mut writer = broker.connect().await;
    let mut request = waiting(fetch("t", 0, 0));
    request.topics.extend(fetch("gone", 0, 0).topics);
    reader.send(12, request.into()).await;
    put(&mut writer, "t", &["a"]).await;
    let (_, response) = reader.receive(ApiKey::Fetch, 12).await;
    let Response::Fetch(response) = response else { panic!("{response:?}") };
    assert_eq!(values(&response.responses[0].partitions[0]), ["a"]);
    let error = response.responses[1].partitions[0].error_code;
    assert_eq!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn a_long_poll_is_woken_by_an_append_and_by_a_deletion() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut reader = broker.connect().await;
    let mut writer = broker.connect().await;
    let begun = Instant::now();
    for round in 0..20 {
        reader.send(12, waiting(fetch("t", 0, round)).into()).await;
        let value = round.to_string();
        put(&mut writer, "t", &[&value]).await;
        assert_eq!(values(&received(&mut reader, 12).await), [value]);
    }
    reader.send(12, waiting(fetch("t", 0, 20)).into()).await;
    broker.broker.delete_topic("t").await.unwrap();
    let data = received(&mut reader, 12).await;
    assert_eq!(data.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_long_poll_ends_in_time() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut request = fetch("t", 0, 0);
    request.max_wait_ms = 100;
    let begun = Instant::now();
    let data = fetched(ask!(client, Fetch v 12, request));
    assert!(values(&data).is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn min_bytes_gathers_what_several_appends_bring() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut reader = broker.connect().await;
    let mut writer = broker.connect().await;
    let size = batch(&["0"]).len();
    let mut request = waiting(fetch("t", 0, 0));
    request.min_bytes = 5 * size as i32;
    reader.send(12, request.into()).await;
    let expected: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    for value in &expected {
        put(&mut writer, "t", &[value]).await;
    }
    assert_eq!(values(&received(&mut reader, 12).await), expected);
}

#[tokio::test]
async fn sizes_are_bounded_and_yet_a_reader_gets_on() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    let value = "x".repeat(1000);
    for partition in 0..2 {
        for _ in 0..10 {
            let request = produce("t", partition, 1, batch(&[&value]));
            assert_eq!(produced(ask!(client, Produce v 9, request)).error_code, ErrorCode::NONE);
        }
    }
    let sizes = |response: FetchResponse| -> Vec<usize> {
        let partitions = response.responses[0].partitions.iter();
        partitions.map(|data| values(data).len()).collect()
    };
    let two = |bytes_max: i32, partition_bytes_max: i32| {
        let mut request = fetch("t", 0, 0);
        request.max_bytes = bytes_max;
        request.topics[0].partitions[0].partition_max_bytes = partition_bytes_max;
        let mut second = request.topics[0].partitions[0].clone();
        second.partition = 1;
        request.topics[0].partitions.push(second);
        request
    };
    // A batch is 1,070 bytes or so. The first comes whole though nothing fits.
    assert_eq!(sizes(ask!(client, Fetch v 12, two(1, 1))), [1, 0]);
    assert_eq!(sizes(ask!(client, Fetch v 12, two(1 << 20, 1))), [1, 0]);
    assert_eq!(sizes(ask!(client, Fetch v 12, two(1 << 20, 2500))), [2, 2]);
    assert_eq!(sizes(ask!(client, Fetch v 12, two(2500, 1 << 20))), [2, 0]);
    assert_eq!(sizes(ask!(client, Fetch v 12, two(1 << 20, 1 << 20))), [10, 10]);
    let mut behind = two(1, 1);
    behind.topics[0].partitions[0].fetch_offset = 10;
    assert_eq!(sizes(ask!(client, Fetch v 12, behind)), [0, 1]);
}

#[tokio::test]
async fn an_open_transaction_hides_what_follows_from_committed_readers() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["before"]).await;
    let init = InitProducerIdRequest {
        transactional_id: Some("tx".to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let producer = ask!(client, InitProducerId v 4, init);
    let stamp = ProducerStamp {
        producer_id: ProducerId(producer.producer_id),
        epoch: ProducerEpoch(producer.producer_epoch),
        base_sequence: 0,
        transactional: true,
    };
    let mut open = produce("t", 0, -1, stamped_batch(&["open"], stamp));
    open.transactional_id = Some("tx".to_owned());
    assert_eq!(produced(ask!(client, Produce v 12, open)).error_code, ErrorCode::NONE);
    put(&mut client, "t", &["after"]).await;
    let mut committed = fetch("t", 0, 0);
    committed.isolation_level = 1;
    let data = fetched(ask!(client, Fetch v 12, committed));
    assert_eq!(values(&data), ["before"]);
    assert_eq!((data.high_watermark, data.last_stable_offset), (3, 1));
    assert_eq!(data.aborted_transactions, Some(vec![]));
    let data = fetched(ask!(client, Fetch v 12, fetch("t", 0, 0)));
    assert_eq!(values(&data), ["before", "open", "after"]);
    assert_eq!(data.aborted_transactions, None);
}

#[tokio::test]
async fn a_reader_goes_through_many_segments() {
    let broker = TestBroker::start().await;
    let topic = NewTopic::new("t", 1).with_config("segment.bytes", 1 << 20);
    broker.broker.create_topic(topic).await.unwrap();
    let mut client = broker.connect().await;
    let expected: Vec<String> = (0..200).map(|number| format!("{number:020000}")).collect();
    for value in &expected {
        put(&mut client, "t", &[value]).await;
    }
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let data = fetched(ask!(client, Fetch v 12, waiting(fetch("t", 0, read.len() as i64))));
        read.extend(values(&data));
    }
    assert_eq!(read, expected);
}
