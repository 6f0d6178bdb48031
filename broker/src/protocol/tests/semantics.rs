//! What fields mean in versions that lack them, by declarations made for the purpose, and how
//! errors read.

use bytes::Bytes;
use expect_test::expect;

use super::arbitrary::{Arbitrary, Random};
use super::oracle::ours_to_bytes;
use crate::protocol::api::with_apis;
use crate::protocol::message::{Message, messages};
use crate::protocol::messages::*;
use crate::protocol::wire::{Reader, Writer};
use crate::protocol::{ApiKey, Response, encode_response};

messages! {
    Sample: 1..=4, flexible 3.. {
        always: i32;
        required: i32 = 7, in 2..;
        ignored: Option<String>, in 2.., ignorable;
        /// Has no null before v3.
        nullable: Option<String> = Some(String::new()), nullable in 3..;
        gone: bool = true, in 1..=2;
        tagged: Vec<Inner>, in 3.., tag 5;
        first: f64, in 4.., tag 1;
        inner: Option<Inner>, in 2..;
        /// All other types.
        numbers: Vec<u16>;
    }

    Inner {
        name: String;
        data: Bytes, in 3..;
    }
}

fn encode_error(sample: &Sample, version: i16) -> String {
    sample.encode(&mut Writer::default(), version).unwrap_err().to_string()
}

fn decode_error(bytes: &[u8], version: i16) -> String {
    let mut input = Reader::new(Bytes::copy_from_slice(bytes));
    Sample::decode(&mut input, version).unwrap_err().to_string()
}

#[test]
fn every_version_survives_the_wire() {
    for version in Sample::VERSIONS {
        for seed in 0..200 {
            let sample = Sample::arbitrary(&mut Random::new(seed), Sample::form(version));
            let mut input = Reader::new(ours_to_bytes(&sample, version).unwrap());
            assert_eq!(Sample::decode(&mut input, version).unwrap(), sample);
            assert_eq!(input.remaining(), 0);
        }
    }
}

#[test]
fn a_value_the_version_lacks_is_refused_unless_it_is_default_or_ignorable() {
    let sample = Sample { ignored: Some("x".into()), ..Default::default() };
    assert_eq!(ours_to_bytes(&sample, 1), ours_to_bytes(&Sample::default(), 1));

    let sample = Sample { required: 8, ..Default::default() };
    expect!["Sample v1: required: is set, but this version has no such field"]
        .assert_eq(&encode_error(&sample, 1));
    assert!(ours_to_bytes(&sample, 2).is_some());

    let sample = Sample { gone: false, ..Default::default() };
    expect!["Sample v3: gone: is set, but this version has no such field"]
        .assert_eq(&encode_error(&sample, 3));

    let inner = Inner { name: "n".into(), data: Bytes::from_static(b"d") };
    let sample = Sample { inner: Some(inner), ..Default::default() };
    expect!["Sample v2: inner.data: is set, but this version has no such field"]
        .assert_eq(&encode_error(&sample, 2));
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let sample = Sample { nullable: None, ..Default::default() };
    expect!["Sample v2: nullable: null, which this version does not permit"]
        .assert_eq(&encode_error(&sample, 2));
    assert!(ours_to_bytes(&sample, 3).is_some());
    expect!["Sample v1: nullable at byte 4: null, which this version does not permit"]
        .assert_eq(&decode_error(&[0, 0, 0, 1, 0xff, 0xff], 1));
}

#[test]
fn a_string_must_fit_its_length() {
    let sample = Sample { nullable: Some("x".repeat(40_000)), ..Default::default() };
    expect!["Sample v2: nullable: a length of 40000 does not fit"]
        .assert_eq(&encode_error(&sample, 2));
    assert!(ours_to_bytes(&sample, 3).is_some());
}

#[test]
fn tags_are_written_in_order_and_only_when_set() {
    let bytes = |sample: &Sample| ours_to_bytes(sample, 4).unwrap();
    // always 0, required 7, ignored null, nullable "", inner null, numbers [], no tags.
    let plain = [0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0xff, 1, 0];
    assert_eq!(bytes(&Sample::default())[..], plain);
    let inner = Inner { name: "n".into(), data: Bytes::new() };
    let sample = Sample { first: 1.0, tagged: vec![inner], ..Default::default() };
    let tags = [2, 1, 8, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 5, 5, 2, 2, b'n', 1, 0];
    assert_eq!(bytes(&sample)[..], [&plain[..12], &tags].concat());
}

#[test]
fn unknown_tags_are_skipped() {
    let mut bytes = ours_to_bytes(&Sample::default(), 4).unwrap().to_vec();
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend([2, 3, 2, 0xaa, 0xbb, 0x80, 1, 0]);
    let mut input = Reader::new(bytes.into());
    assert_eq!(Sample::decode(&mut input, 4).unwrap(), Sample::default());
    assert_eq!(input.remaining(), 0);
}

#[test]
fn errors_name_message_version_field_and_offset() {
    let numbered = |tail: &[u8]| [&[0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0xff], tail].concat();
    expect!["Sample v4: always at byte 0: 4 bytes are needed and 3 remain"]
        .assert_eq(&decode_error(&[0, 0, 0], 4));
    expect!["Sample v9 at byte 0: no such version, known are v1..v4"]
        .assert_eq(&decode_error(&[], 9));
    expect!["Sample v4: numbers at byte 12: 9 elements do not fit into the 2 bytes that remain"]
        .assert_eq(&decode_error(&numbered(&[10, 0, 0]), 4));
    expect!["Sample v4: numbers at byte 16: a varint of more than 32 bits"]
        .assert_eq(&decode_error(&numbered(&[0xff, 0xff, 0xff, 0xff, 0x1f]), 4));
    expect!["Sample v4: tagged[1].name at byte 21: 50 bytes are needed and 2 remain"]
        .assert_eq(&decode_error(&numbered(&[1, 1, 5, 8, 3, 2, b'n', 1, 0, 51, 1, 0, 0, 0, 0]), 4));
    expect!["Sample v4 at byte 23: tagged field 1 declares 9 bytes and its value takes 8"]
        .assert_eq(&decode_error(&numbered(&[1, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 4));
    expect!["Sample v4 at byte 16: 200 bytes are needed and 0 remain"]
        .assert_eq(&decode_error(&numbered(&[1, 1, 1, 0xc8, 1]), 4));
    expect![
        "Sample v4: inner at byte 10: 2 does not say whether a struct follows (1) or none (-1)"
    ]
    .assert_eq(&decode_error(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 2], 4));
    expect!["Sample v2: inner.name at byte 16: -3 is no length"]
        .assert_eq(&decode_error(&[0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 1, 1, 0xff, 0xfd], 2));
}

/// Clients are told to wait in whatever they have asked, in every version; those that have no room
/// for it in theirs are answered all the same.
#[test]
fn every_answer_tells_to_wait() {
    macro_rules! all_responses {
        ($($key:literal $api:ident $module:ident $request:ident $response:ident;)+) => {
            [$( Response::from($module::$response::default()), )+]
        };
    }
    for mut response in with_apis!(all_responses) {
        let api = response.api();
        response.set_throttle_time_ms(7);
        let told = format!("{response:?}").contains("throttle_time_ms: 7");
        // These come before anybody is known, or from brokers alone.
        let without = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate, ApiKey::WriteTxnMarkers];
        assert_eq!(told, !without.contains(&api), "{api}");
        for version in api.versions() {
            encode_response(1, version, &response).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
