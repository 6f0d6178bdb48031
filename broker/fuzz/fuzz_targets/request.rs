//! Any bytes as a request frame: no panic, no outsized allocation (libFuzzer's own limits), and
//! what decodes has the same meaning after another round over the wire.
#![no_main]

use broker::protocol::{ApiKey, decode_request, encode_request};
use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first two bytes choose an API and a version that exist, to get past the header.
    let [key, version, rest @ ..] = data else { return };
    let api = ApiKey::ALL[usize::from(*key) % ApiKey::ALL.len()];
    let version = i16::from(*version) % (api.versions().end() + 1);
    let frame = [&(api as i16).to_be_bytes(), &version.to_be_bytes(), rest].concat();
    let Ok((header, request)) = decode_request(Bytes::from(frame)) else { return };
    let mut frame = encode_request(&header, &request).expect("what decoded encodes");
    frame.advance(4);
    let again = decode_request(frame.copy_to_bytes(frame.remaining()));
    assert_eq!(again.expect("what was encoded decodes"), (header, request));
});
