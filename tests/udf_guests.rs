//! What functions do that go wrong, or that use what the pipeline file grants, in each language:
//! in folders of `millstream udf new`, built as these say where the language's tools are found.
//!
//! `MILLSTREAM_UDF_TOOLCHAINS=1` says that they have to be, or those of the languages that it names.

mod fixture;
#[path = "../udfs/tests/toolchains/mod.rs"]
mod toolchains;

use std::fs;
use std::path::{Path, PathBuf};

use fixture::{fail, stdout, succeed};
use tempfile::tempdir;

/// The folder of the module `f.wasm` with these functions, if there are the tools.
fn built(dir: &Path, language: &str, file: &str, source: &str) -> Option<PathBuf> {
    succeed(dir, &["udf", "new", "--lang", language, "f"]);
    let folder = dir.join("f");
    if !toolchains::is_to_be_built(language, &folder) {
        return None;
    }
    fs::write(folder.join(file), source).unwrap();
    toolchains::succeed(&mut toolchains::bash(&folder, "./build.sh")).unwrap();
    Some(folder)
}

const TIME: [&str; 2] = ["--time", "60s"];

fn call(folder: &Path, of: &[&str]) -> String {
    stdout(&succeed(folder, &[&["udf", "call", "f.wasm"], &TIME[..], of].concat()))
}

fn refused(folder: &Path, of: &[&str]) -> String {
    fail(folder, &[&["udf", "call", "f.wasm"], &TIME[..], of].concat(), 1)
}

/// Built to be fast, it gave what stands behind the items.
#[test]
fn zig_fails_a_row_that_reaches_too_far() {
    let source = r#"
const std = @import("std");
const millstream = @import("millstream.zig");
fn at(items: []const i64, place: i64) i64 {
    return items[@intCast(place)];
}
comptime {
    millstream.functions(.{.{ "at", at, .{ "items", "place" } }});
}
pub const panic = std.debug.FullPanic(millstream.panicked);
"#;
    let dir = tempdir().unwrap();
    let Some(folder) = built(dir.path(), "zig", "udf.zig", source) else { return };
    assert_eq!(call(&folder, &["at", "[1, 2, 3]", "2"]), "3\n");
    let told = refused(&folder, &["at", "[1, 2, 3]", "3"]);
    assert!(told.contains("index out of bounds: index 3, len 3"), "{told}");
}
