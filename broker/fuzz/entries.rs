//! What is fuzzed. The fuzz targets call these with bytes that libFuzzer has found; the broker's
//! ordinary tests (`tests/fuzzing.rs`) call them with a bounded number of seeded ones.

use broker::protocol::{ApiKey, decode_request, decode_response, encode_request, encode_response};
use broker::record::RecordBatch;
use bytes::{Buf, Bytes};

/// Where a batch's header has the length of what follows it, and the magic.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;

/// Any bytes as a request frame: no panic, and what decodes has the same meaning after another
/// round over the wire. The first two bytes choose an API and a version that exist, to get past
/// the header. Says whether it decoded.
pub fn request(data: &[u8]) -> bool {
    let [key, version, rest @ ..] = data else { return false };
    let (api, version) = chosen(*key, *version);
    let frame = [&(api as i16).to_be_bytes(), &version.to_be_bytes(), rest].concat();
    let Ok((header, request)) = decode_request(Bytes::from(frame)) else { return false };
    let mut frame = encode_request(&header, &request).expect("what decoded encodes");
    frame.advance(4);
    let again = decode_request(frame.copy_to_bytes(frame.remaining()));
    assert_eq!(again.expect("what was encoded decodes"), (header, request));
    true
}

/// Any bytes as a response to a client of ours, as for requests.
pub fn response(data: &[u8]) -> bool {
    let [key, version, rest @ ..] = data else { return false };
    let (api, version) = chosen(*key, *version);
    let frame = Bytes::copy_from_slice(rest);
    let Ok((correlation_id, response)) = decode_response(api, version, frame) else {
        return false;
    };
    let frame = encode_response(correlation_id, version, &response);
    let mut frame = frame.expect("what decoded encodes");
    frame.advance(4);
    let again = decode_response(api, version, frame.copy_to_bytes(frame.remaining()));
    assert_eq!(again.expect("what was encoded decodes"), (correlation_id, response));
    true
}

fn chosen(key: u8, version: u8) -> (ApiKey, i16) {
    let api = ApiKey::ALL[usize::from(key) % ApiKey::ALL.len()];
    (api, i16::from(version) % (api.versions().end() + 1))
}

/// Any bytes as record batches, compressed ones included: no panic, no decompression bomb. Says
/// how many records were read.
pub fn record_batch(data: &[u8]) -> usize {
    let plain = walk(Bytes::copy_from_slice(data));
    // The same bytes with a header that is believed, to get to the records.
    let mut batch = data.to_vec();
    if batch.len() <= MAGIC_AT {
        return plain;
    }
    let length = (batch.len() - LENGTH_AT - 4) as i32;
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    batch[MAGIC_AT] = 2;
    plain + walk(batch.into())
}

fn walk(bytes: Bytes) -> usize {
    let Ok(batches) = RecordBatch::split_all(bytes) else { return 0 };
    let mut count = 0;
    for batch in batches {
        let _ = batch.verify_checksum();
        let Ok(records) = batch.records() else { continue };
        for record in records.iter() {
            let Ok(record) = record else { break };
            let _ = (record.headers().count(), record.control_type());
            count += 1;
        }
    }
    count
}
