//! Any bytes as record batches, decompression bombs included.
#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code)]
mod entries;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    entries::record_batch(data);
});
