//! Random bytes, truncations and flipped bits end in an error or in a message, never in a panic.

use bytes::{Buf, Bytes};
use proptest::prelude::*;

use super::arbitrary::{Arbitrary, Random};
use crate::protocol::api::with_apis;
use crate::protocol::message::Message;
use crate::protocol::messages::*;
use crate::protocol::*;

/// A random request frame and response frame of each API and version.
fn frames(seed: u64) -> Vec<(ApiKey, i16, Bytes, Bytes)> {
    let mut random = Random::new(seed);
    let mut frames = Vec::new();
    macro_rules! frames_of {
        ($($key:literal $api:ident $module:ident $request:ident $response:ident;)+) => { $(
            for version in ApiKey::$api.versions() {
                let form = $module::$request::form(version);
                let request = $module::$request::arbitrary(&mut random, form).into();
                let response = $module::$response::arbitrary(&mut random, form).into();
                let header = RequestHeader {
                    api: ApiKey::$api,
                    version,
                    correlation_id: 1,
                    client_id: Some("client".into()),
                };
                let mut request = encode_request(&header, &request).unwrap();
                let mut response = encode_response(1, version, &response).unwrap();
                let request = request.copy_to_bytes(request.remaining()).slice(4..);
                let response = response.copy_to_bytes(response.remaining()).slice(4..);
                frames.push((ApiKey::$api, version, request, response));
            }
        )+ };
    }
    with_apis!(frames_of);
    frames
}

#[test]
fn a_truncated_request_is_always_an_error() {
    for (api, version, request, response) in frames(1) {
        for length in 0..request.len().min(600) {
            let cut = decode_request(request.slice(..length));
            assert!(cut.is_err(), "{api} v{version} of {length} bytes");
        }
        for length in 0..response.len().min(600) {
            let cut = decode_response(api, version, response.slice(..length));
            assert!(cut.is_err(), "{api} v{version} of {length} bytes");
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    for (api, version, request, response) in frames(2) {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let flip = |bytes: &Bytes, random: &mut Random| {
                let mut bytes = bytes.to_vec();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
                Bytes::from(bytes)
            };
            let _ = decode_request(flip(&request, &mut random));
            let _ = decode_response(api, version, flip(&response, &mut random));
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = decode_request(bytes.clone());
        for api in ApiKey::ALL {
            for version in api.versions() {
                let mut request = vec![0, *api as u8, 0, version as u8];
                request.extend_from_slice(&bytes);
                let _ = decode_request(request.into());
                let _ = decode_response(*api, version, bytes.clone());
            }
        }
    }

    /// Small bytes are plausible lengths, so they lead deeper.
    #[test]
    fn plausible_bytes_never_panic(bytes in proptest::collection::vec(0u8..6, 0..400)) {
        let bytes = Bytes::from(bytes);
        for api in ApiKey::ALL {
            for version in api.versions() {
                let mut request = vec![0, *api as u8, 0, version as u8];
                request.extend_from_slice(&bytes);
                let _ = decode_request(request.into());
                let _ = decode_response(*api, version, bytes.clone());
            }
        }
    }

    /// A decoded request has the same meaning when it is encoded and decoded again.
    #[test]
    fn what_decodes_encodes_again(bytes in proptest::collection::vec(0u8..6, 0..200)) {
        for api in ApiKey::ALL {
            let version = *api.versions().end();
            let mut request = vec![0, *api as u8, 0, version as u8];
            request.extend_from_slice(&bytes);
            let Ok((header, request)) = decode_request(request.into()) else { continue };
            let mut frame = encode_request(&header, &request).unwrap();
            frame.advance(4);
            let again = decode_request(frame.copy_to_bytes(frame.remaining())).unwrap();
            prop_assert_eq!(again, (header, request));
        }
    }
}
