//! Any bytes as record batches, compressed ones included: no panic, no decompression bomb.
#![no_main]

use broker::record::RecordBatch;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Where the header has the length of what follows it, and the magic.
const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;

fuzz_target!(|data: &[u8]| {
    walk(Bytes::copy_from_slice(data));
    // The same bytes with a header that is believed, to get to the records.
    let mut batch = data.to_vec();
    if batch.len() > MAGIC_AT {
        let length = (batch.len() - LENGTH_AT - 4) as i32;
        batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        batch[MAGIC_AT] = 2;
        walk(batch.into());
    }
});

fn walk(bytes: Bytes) {
    let Ok(batches) = RecordBatch::split_all(bytes) else { return };
    for batch in batches {
        let _ = batch.verify_checksum();
        let Ok(records) = batch.records() else { continue };
        for record in records.iter() {
            let Ok(record) = record else { break };
            let _ = (record.headers().count(), record.control_type());
        }
    }
}
