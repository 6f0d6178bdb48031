//! Any bytes as a response to a client of ours.
#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code)]
mod entries;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    entries::response(data);
});
