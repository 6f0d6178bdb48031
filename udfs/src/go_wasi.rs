//! WASI for modules of Go.
//!
//! The adapter that other modules get keeps its state in their memory, by their `cabi_realloc` or
//! by growing it. Go's can do neither: it asks for WASI before its `cabi_realloc` can be called,
//! and takes all memory for its own, what others added to it included. So Go has an adapter without
//! state (`go_wasi.wat`): standard output and error go to the log; clocks, random numbers and the
//! environment are those that the pipeline file grants, of 255 variables at most, whose names and
//! values have no more than 4,080 bytes each. The clocks go for modules that have Millstream's
//! package, which says when they may be asked. There are no files, also where it grants
//! directories.

use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::module::WIT;

const ADAPTER: &str = include_str!("go_wasi.wat");
/// What the adapter is to the encoder of components.
const WORLD: &str = r"
    package millstream:go;
    world go {
        import millstream:udf/host@0.1.0;
        import wasi:clocks/wall-clock@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:cli/environment@0.2.0;
    }
    package wasi:clocks@0.2.0 {
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }
        interface monotonic-clock {
            now: func() -> u64;
        }
    }
    package wasi:random@0.2.0 {
        interface random {
            get-random-u64: func() -> u64;
        }
    }
    package wasi:cli@0.2.0 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
        }
    }";
/// The linker of Go names each build.
const SECTION: &str = "go:buildid";

pub fn is_go(wasm: &[u8]) -> bool {
    let mut payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    payloads.any(
        |payload| matches!(payload, Payload::CustomSection(section) if section.name() == SECTION),
    )
}

/// # Errors
///
/// None that a user's module could cause.
pub fn adapter() -> Result<Vec<u8>, String> {
    let mut adapter = wat::parse_str(ADAPTER).map_err(|error| error.to_string())?;
    let mut resolve = Resolve::default();
    let embedded = resolve.push_str("udf.wit", WIT).and_then(|_| {
        let package = resolve.push_str("go.wit", WORLD)?;
        let world = resolve.select_world(&[package], None)?;
        embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)
    });
    embedded.map(|()| adapter).map_err(|error| format!("{error:#}"))
}
