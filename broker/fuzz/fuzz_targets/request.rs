//! Any bytes as a request frame, within the memory that libFuzzer allows.
#![no_main]

#[path = "../entries.rs"]
#[allow(dead_code)]
mod entries;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    entries::request(data);
});
