//! Requests and responses as frames, and what is copied on the way.

use bytes::{Buf, Bytes};
use expect_test::expect;

use crate::protocol::messages::k00_produce::*;
use crate::protocol::messages::k01_fetch::*;
use crate::protocol::messages::k18_api_versions::*;
use crate::protocol::*;

fn whole(mut frame: Frame) -> Bytes {
    frame.copy_to_bytes(frame.remaining())
}

/// A frame as a server sees it once it has read the length.
fn body(frame: Frame) -> Bytes {
    let mut bytes = whole(frame);
    let length = bytes.get_i32();
    assert_eq!(length as usize, bytes.len());
    bytes
}

fn is_within(part: &[u8], bytes: &[u8]) -> bool {
    bytes.as_ptr_range().start <= part.as_ptr()
        && part.as_ptr_range().end <= bytes.as_ptr_range().end
}

fn produce(records: Bytes) -> (RequestHeader, Request) {
    let header = RequestHeader {
        api: ApiKey::Produce,
        version: 12,
        correlation_id: 5,
        client_id: Some("test".into()),
    };
    let partition = PartitionProduceData { index: 3, records: Some(records) };
    let topic = TopicProduceData {
        name: "flights".into(),
        partition_data: vec![partition],
        ..Default::default()
    };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![topic],
        ..Default::default()
    };
    (header, request.into())
}

fn fetched(records: Bytes) -> Response {
    let partition = PartitionData { records: Some(records), ..Default::default() };
    let topic = FetchableTopicResponse {
        topic: "flights".into(),
        partitions: vec![partition.clone(), partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }.into()
}

#[test]
fn a_request_survives_the_wire_and_its_records_are_slices_of_the_frame() {
    let (header, request) = produce(Bytes::from(vec![7; 5000]));
    let frame = body(encode_request(&header, &request).unwrap());
    let decoded = decode_request(frame.clone()).unwrap();
    assert_eq!(decoded, (header, request));
    let Request::Produce(produce) = decoded.1 else { unreachable!() };
    let records = produce.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert!(is_within(records, &frame));
}

#[test]
fn a_response_survives_the_wire_and_shares_large_records() {
    let records = Bytes::from(vec![7; 100_000]);
    let response = fetched(records.clone());
    let frame = encode_response(9, 12, &response).unwrap();
    let shared = frame.segments().filter(|segment| is_within(segment, &records)).count();
    assert_eq!((shared, frame.segments().count()), (2, 5));
    assert_eq!(decode_response(ApiKey::Fetch, 12, body(frame)).unwrap(), (9, response));
}

#[test]
fn small_records_are_copied_into_one_segment() {
    let frame = encode_response(9, 12, &fetched(Bytes::from_static(b"few"))).unwrap();
    assert_eq!(frame.segments().count(), 1);
}

#[test]
fn a_frame_advances_by_any_steps() {
    let response = fetched(Bytes::from((0..9000u32).map(|n| n as u8).collect::<Vec<u8>>()));
    let frame = encode_response(9, 12, &response).unwrap();
    let expected = whole(frame.clone());
    for step in [1, 7, 4096, 1 << 20] {
        let mut frame = frame.clone();
        frame.append(frame.clone());
        let mut read = Vec::new();
        while frame.has_remaining() {
            let count = step.min(frame.chunk().len());
            read.extend_from_slice(&frame.chunk()[..count]);
            frame.advance(count);
        }
        assert_eq!(read, [&expected[..], &expected[..]].concat());
    }
}

#[test]
fn a_version_that_is_not_served_says_whom_to_answer() {
    let ask = |key: i16, version: i16| {
        let mut bytes = [key.to_be_bytes(), version.to_be_bytes()].concat();
        bytes.extend(42i32.to_be_bytes());
        decode_request(bytes.into()).unwrap_err().to_string()
    };
    expect!["request 42 asks for ApiVersions v9, served are v0..v4"].assert_eq(&ask(18, 9));
    expect!["request 42 asks for Produce v2, served are v3..v13"].assert_eq(&ask(0, 2));
    expect!["request 42 asks for api key 40, which is not served here"].assert_eq(&ask(40, 0));
    expect!["RequestHeader v1: client_id at byte 8: 2 bytes are needed and 0 remain"]
        .assert_eq(&ask(3, 4));
}

#[test]
fn api_versions_has_the_whole_table_and_produce_from_0() {
    let response = ApiVersionsResponse::served(ErrorCode::UNSUPPORTED_VERSION);
    let produce = ApiVersion { api_key: 0, min_version: 0, max_version: 13 };
    assert_eq!(response.api_keys[0], produce);
    assert_eq!(response.api_keys.len(), ApiKey::ALL.len());
    let bytes = body(encode_response(1, 0, &response.clone().into()).unwrap());
    assert_eq!(bytes[..6], [0, 0, 0, 1, 0, 35], "the header is never flexible");
    let decoded = decode_response(ApiKey::ApiVersions, 0, bytes).unwrap();
    assert_eq!(decoded, (1, response.into()));
}
