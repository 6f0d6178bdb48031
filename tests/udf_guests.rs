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

/// Calls it in a pipeline that grants what there is to be granted.
fn granted(folder: &Path, call: &str, expected: &str) {
    fs::create_dir(folder.join("data")).unwrap();
    fs::write(folder.join("data/words.txt"), "some words").unwrap();
    let name = call.split('(').next().unwrap();
    let text = format!(
        "[udfs.{name}]
file = 'f.wasm'
time = '60s'
grants.clock = true
grants.random = true
grants.environment.WHO = 'me'
grants.directories.'/data' = 'data'
config.greeting = 'hello'

[sources.texts]
topic = 'texts'
format = 'raw'

[[queries]]
name = 'answers'
sql = \"SELECT {call} AS answer FROM texts\"
sink = {{ topic = 'answers' }}

[[tests]]
name = 'it has what is granted'
input.texts = [{{ value = 'first' }}]
expect.answers = [{{ answer = '{expected}' }}]
"
    );
    fs::write(folder.join("granted.toml"), text).unwrap();
    succeed(folder, &["test", "granted.toml"]);
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

const GO: &str = r#"
package main

import (
	"fmt"
	"os"
	"time"

	"udf/millstream"
)

type given struct{ N int64 }

func bad(in given) (int64, error) {
	if in.N == 2 {
		panic(fmt.Sprintf("bad value %d", in.N))
	}
	return []int64{0, 10}[in.N], nil
}

func money(in given) (*millstream.Decimal, error) {
	return &millstream.Decimal{Low: uint64(in.N)}, nil
}

// Waits, and gives what it has of time and the environment.
func outside(in given) (string, error) {
	// Its texts are allocated by the host, which must not be asked for the time meanwhile.
	greeting := millstream.Config("greeting")
	begun := time.Now()
	time.Sleep(time.Hour)
	for range in.N {
		_ = make([]byte, 1<<20)
	}
	waited := time.Since(begun) >= time.Hour
	return fmt.Sprint(begun.Year() > 2000, " ", waited, " ", os.Getenv("WHO"), " ", greeting == nil), nil
}

func init() {
	millstream.Scalar("bad", bad)
	millstream.Scalar("money", money, millstream.Returns("decimal(20, 2)"))
	millstream.Scalar("outside", outside, millstream.Volatile)
}

func main() {}
"#;

/// A panic's text was lost, and 247 lines of goroutines were told instead; and Go was granted nothing.
#[test]
fn go_fails_rows_and_has_what_is_granted() {
    let dir = tempdir().unwrap();
    let Some(folder) = built(dir.path(), "go", "udf.go", GO) else { return };
    assert_eq!(call(&folder, &["bad", "1"]), "10\n");
    assert_eq!(refused(&folder, &["bad", "2"]), "error: bad: bad value 2\n");
    let told = refused(&folder, &["bad", "3"]);
    assert_eq!(told, "error: bad: runtime error: index out of range [3] with length 2\n");
    assert_eq!(call(&folder, &["money", "1234"]), "12.34\n");
    assert_eq!(call(&folder, &["outside", "100"]), "false true  true\n");
    granted(&folder, "outside(100)", "true true me false");
}

#[test]
fn go_names_what_is_declared_wrongly() {
    let source = GO.replace("millstream.Returns(\"decimal(20, 2)\")", "millstream.Volatile");
    let dir = tempdir().unwrap();
    let Some(folder) = built(dir.path(), "go", "udf.go", &source) else { return };
    // It is no module that could be called, so that is a mistake of who calls it.
    let told = fail(&folder, &[&["udf", "call", "f.wasm"], &TIME[..], &["bad", "1"]].concat(), 2);
    assert!(told.contains("money: a Decimal has no digits"), "{told}");
    assert!(!told.contains("goroutine"), "{told}");
}

const PYTHON: &str = r#"
import os
import random
import time as clock
from datetime import timezone

from millstream import *

@scalar(deterministic=False)
def outside() -> str:
    print("a line for the log")
    try:
        with open("/data/words.txt") as file:
            text = file.read()
    except OSError:
        text = "no file"
    numbers = {random.SystemRandom().random() for _ in range(4)}
    time_is_there = clock.time() > 1e9
    return f"{time_is_there} {len(numbers)} {os.environ.get('WHO')} {text}"

@scalar
def taxed(
    n: decimal(10, 2),
    rate: decimal(5, 2) = Decimal("19.00"),
    day: date = date(2026, 1, 2),
    at: time = time(3, 4, 5),
    since: datetime = datetime(2026, 1, 2, 3, 4, 5, 678),
    utc: TimestampTz = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
) -> str:
    return f"{n * rate} {day} {at} {since} {utc}"
"#;

/// It was built without WASI: grants did nothing, and print() failed its row.
#[test]
fn python_has_what_is_granted_and_defaults_of_each_type() {
    let dir = tempdir().unwrap();
    let Some(folder) = built(dir.path(), "python", "udf.py", PYTHON) else { return };
    assert_eq!(call(&folder, &["outside"]), "False 1 None no file\n");
    granted(&folder, "outside()", "True 4 me some words");
    let taxed =
        "38.0000 2026-01-02 03:04:05 2026-01-02 03:04:05.000678 2026-01-02 03:04:05+00:00\n";
    assert_eq!(call(&folder, &["taxed", "2"]), taxed);
}

const JAVASCRIPT: &str = r#"
import { scalar } from "./millstream.js";
export { functions } from "./millstream.js";

scalar("outside() -> varchar", () => {
  console.log("a line for the log");
  const numbers = new Set([1, 2, 3, 4].map(() => Math.random()));
  return `${Date.now() > 1e12} ${numbers.size > 1}`;
}, { deterministic: false });
"#;

/// The time was when the module was built, and random numbers were the same in each instance.
#[test]
fn javascript_has_what_is_granted() {
    let dir = tempdir().unwrap();
    let Some(folder) = built(dir.path(), "javascript", "udf.js", JAVASCRIPT) else { return };
    assert_eq!(call(&folder, &["outside"]), "false false\n");
    granted(&folder, "outside()", "true true");
}
