//! Produce.

use broker::protocol::ErrorCode;
use broker::protocol::messages::k00_produce::*;
use bytes::Bytes;
use uuid::Uuid;

use crate::harness::*;

#[tokio::test]
async fn every_version_appends_and_says_where() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    for version in 3..=12 {
        for acks in [1, -1] {
            let request = produce("t", 1, acks, batch(&["a", "b"]));
            let response = ask!(client, Produce v version, request);
            assert_eq!(response.responses[0].name, "t");
            let done = produced(response);
            let round = i64::from(version - 3) * 2 + i64::from(acks == -1);
            assert_eq!((done.index, done.error_code), (1, ErrorCode::NONE));
            assert_eq!(done.base_offset, round * 2);
            assert_eq!(done.log_append_time_ms, -1);
            assert_eq!(done.log_start_offset, if version >= 5 { 0 } else { -1 });
        }
    }
    let mut request = produce("", 1, -1, batch(&["c"]));
    request.topic_data[0].topic_id = broker.broker.topic("t").unwrap().id;
    let done = produced(ask!(client, Produce v 13, request));
    assert_eq!((done.error_code, done.base_offset), (ErrorCode::NONE, 40));
}

#[tokio::test]
async fn each_partition_has_its_own_error() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut broken = batch(&["x"]).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let mut old = batch(&["x"]).to_vec();
    old[16] = 1;
    let large = "x".repeat(2 << 20);
    let cases: Vec<(&str, i32, Bytes, ErrorCode)> = vec![
        ("t", 0, batch(&["good"]), ErrorCode::NONE),
        ("t", 1, batch(&["x"]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", -1, batch(&["x"]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("none", 0, batch(&["x"]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 0, broken.into(), ErrorCode::CORRUPT_MESSAGE),
        ("t", 0, old.into(), ErrorCode::INVALID_RECORD),
        ("t", 0, Bytes::from_static(b"short"), ErrorCode::INVALID_RECORD),
        ("t", 0, Bytes::new(), ErrorCode::INVALID_RECORD),
        ("t", 0, batch(&[&large]), ErrorCode::MESSAGE_TOO_LARGE),
        ("t", 0, batch(&["good too"]), ErrorCode::NONE),
    ];
    let topic_data = cases.iter().map(|(name, index, records, _)| TopicProduceData {
        name: (*name).to_owned(),
        topic_id: Uuid::nil(),
        partition_data: vec![PartitionProduceData {
            index: *index,
            records: Some(records.clone()),
        }],
    });
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: topic_data.collect(),
        ..Default::default()
    };
    let response = ask!(client, Produce v 9, request);
    for ((.., expected), topic) in cases.iter().zip(&response.responses) {
        let partition = &topic.partition_responses[0];
        assert_eq!(partition.error_code, *expected, "{partition:?}");
        let refused = *expected != ErrorCode::NONE;
        assert_eq!(partition.base_offset == -1, refused);
    }
    assert_eq!(response.responses[9].partition_responses[0].base_offset, 1);
    let message = response.responses[4].partition_responses[0].error_message.clone();
    assert!(message.unwrap().contains("checksum"));

    let null = ProduceRequest {
        topic_data: vec![TopicProduceData {
            name: "t".to_owned(),
            partition_data: vec![PartitionProduceData { index: 0, records: None }],
            ..Default::default()
        }],
        acks: 1,
        ..Default::default()
    };
    let done = produced(ask!(client, Produce v 9, null));
    assert_eq!(done.error_code, ErrorCode::INVALID_RECORD);
    let wrong_acks = produced(ask!(client, Produce v 9, produce("t", 0, 2, batch(&["x"]))));
    assert_eq!(wrong_acks.error_code, ErrorCode::INVALID_REQUIRED_ACKS);
    let mut unknown_id = produce("", 0, 1, batch(&["x"]));
    unknown_id.topic_data[0].topic_id = Uuid::from_u128(7);
    let done = produced(ask!(client, Produce v 13, unknown_id));
    assert_eq!(done.error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

#[tokio::test]
async fn without_acks_nothing_is_sent_and_an_error_closes() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    client.send(9, produce("t", 0, 0, batch(&["silent"])).into()).await;
    // The next response is the next request's.
    assert_eq!(put(&mut client, "t", &["loud"]).await, 1);
    client.send(9, produce("none", 0, 0, batch(&["x"])).into()).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn pipelined_requests_take_effect_and_are_answered_in_order() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    // More than are in flight at once, with other requests between them, in one write.
    let mut bytes = Vec::new();
    for number in 0..200 {
        let text = number.to_string();
        let request = match number % 10 {
            7 => fetch("t", 0, i64::from(number / 10 * 9 + 6)).into(),
            _ => produce("t", 0, [-1, 1][number as usize % 2], batch(&[&text])).into(),
        };
        bytes.extend_from_slice(&encoded(11, number, request));
    }
    client.send_bytes(&bytes).await;
    let mut produced_before = 0;
    for number in 0..200 {
        if number % 10 == 7 {
            let (correlation_id, response) =
                client.receive(broker::protocol::ApiKey::Fetch, 11).await;
            let broker::protocol::Response::Fetch(response) = response else { panic!() };
            // All that came before it is on disk by then, and nothing that came after it.
            assert_eq!(correlation_id, number);
            assert_eq!(values(&fetched(response)), [(number - 1).to_string()]);
            continue;
        }
        let (correlation_id, response) =
            client.receive(broker::protocol::ApiKey::Produce, 11).await;
        let broker::protocol::Response::Produce(response) = response else { panic!() };
        assert_eq!(correlation_id, number);
        assert_eq!(produced(response).base_offset, produced_before);
        produced_before += 1;
    }
}

#[tokio::test]
async fn large_and_compressed_batches_keep_their_place() {
    use broker::record::{BatchBuilder, Compression, ProducerStamp};
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut expected = Vec::new();
    let mut bytes = Vec::new();
    let codecs = [Compression::None, Compression::Gzip, Compression::Zstd, Compression::Lz4];
    for number in 0..40 {
        let value = format!("{number}-").repeat(if number % 3 == 0 { 30_000 } else { 1 });
        let mut builder = BatchBuilder::new(codecs[number % codecs.len()]);
        builder.append(now_ms(), None, Some(value.as_bytes()));
        let records = builder.build(ProducerStamp::NONE).into_bytes();
        let request = produce("t", 0, -1, records).into();
        bytes.extend_from_slice(&encoded(9, number as i32, request));
        expected.push(value);
    }
    client.send_bytes(&bytes).await;
    for number in 0..40 {
        let (_, response) = client.receive(broker::protocol::ApiKey::Produce, 9).await;
        let broker::protocol::Response::Produce(response) = response else { panic!() };
        assert_eq!(produced(response).base_offset, number);
    }
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let request = fetch("t", 0, read.len() as i64);
        read.extend(values(&fetched(ask!(client, Fetch v 12, request))));
    }
    assert_eq!(read, expected);
}

/// Nothing comes back, and nothing is waited for: the next request is answered first. What fails
/// closes the connection, which is the one way to say so.
#[tokio::test]
async fn without_acknowledgement_there_is_no_response() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    for _ in 0..3 {
        client.send(9, produce("t", 0, 0, batch(&["a"])).into()).await;
    }
    assert_eq!(put(&mut client, "t", &["b"]).await, 3, "the three were appended before it");
    let mut other = broker.connect().await;
    for wrong in [
        produce("none", 0, 0, batch(&["a"])),
        produce("t", 9, 0, batch(&["a"])),
        produce("__consumer_offsets", 0, 0, batch(&["a"])),
        produce("t", 0, 0, Bytes::from_static(b"no batch at all")),
    ] {
        let mut client = broker.connect().await;
        client.send(9, produce("t", 0, 0, batch(&["a"])).into()).await;
        client.send(9, wrong.into()).await;
        assert!(client.is_closed().await);
    }
    assert_eq!(put(&mut other, "t", &["c"]).await, 8, "what was good before it counts");
}
