//! WASI for modules of Go.
//!
//! The adapter that other modules get keeps its state in their memory, by their `cabi_realloc` or
//! by growing it. Go's can do neither: it asks for WASI before its `cabi_realloc` can be called,
//! and takes all memory for its own, what others added to it included. So Go has an adapter without
//! state (`go_wasi.wat`): standard output and error go to the log, and there is nothing else, also
//! where a pipeline file grants it.

use wasmparser::{Parser, Payload};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::module::WIT;

const ADAPTER: &str = include_str!("go_wasi.wat");
/// What the adapter is to the encoder of components.
const WORLD: &str = "package millstream:go; world go { import millstream:udf/host@0.1.0; }";
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
