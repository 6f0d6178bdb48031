//! Any bytes as a response to a client of ours, as for requests.
#![no_main]

use broker::protocol::{ApiKey, decode_response, encode_response};
use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [key, version, rest @ ..] = data else { return };
    let api = ApiKey::ALL[usize::from(*key) % ApiKey::ALL.len()];
    let version = i16::from(*version) % (api.versions().end() + 1);
    let frame = Bytes::copy_from_slice(rest);
    let Ok((correlation_id, response)) = decode_response(api, version, frame) else { return };
    let frame = encode_response(correlation_id, version, &response);
    let mut frame = frame.expect("what decoded encodes");
    frame.advance(4);
    let again = decode_response(api, version, frame.copy_to_bytes(frame.remaining()));
    assert_eq!(again.expect("what was encoded decodes"), (correlation_id, response));
});
