//! A worker with much state dies: how long it takes another to answer in its place, which has a copy
//! of the state or has not. Both answer as if nothing had happened.
//!
//!   MILLSTREAM_KEYS=2000000 cargo test … --test crashes takeover -- --nocapture

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;

use crate::fixture::{PATIENCE, Running, stdout, succeed, succeed_with};
use crate::setting;

const KEYS: u64 = 50_000;

const PIPELINE: &str = r#"
SET 'pipeline.name' = 'keys';
CREATE TABLE numbers (k bigint, n bigint) WITH (format = 'json');
CREATE TABLE sums WITH (format = 'json');
INSERT INTO sums SELECT k, count(*) AS c, sum(n) AS total, min(n) AS least, max(n) AS most
  FROM numbers GROUP BY k;
"#;

fn worker(dir: &Path, address: &str, data: &str, copies: usize) -> Running {
    let copies = copies.to_string();
    let run = ["run", "keys.sql", "--bootstrap-server", address, "--data-dir", data];
    Running::start(dir, &[&run[..], &["--standby-replicas", &copies]].concat())
}

fn produce(dir: &Path, address: &str, lines: &str) {
    succeed_with(dir, &["produce", "numbers", "--bootstrap-server", address], lines);
}

/// What a worker says of its query once `is_so` holds of it.
fn wait_top(dir: &Path, data: &str, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        let top = ["top", "--once", "--interval", "0.1", "--json", "--data-dir", data];
        let look = crate::fixture::run_with(dir, &top, "");
        let look: Value = serde_json::from_slice(&look.stdout).unwrap_or_default();
        if is_so(&look["queries"][0]) {
            return;
        }
        assert!(Instant::now() < deadline, "{look}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// How long nobody answers.
fn takeover(copies: usize) -> Duration {
    let place = tempdir().unwrap();
    let (dir, keys) = (place.path(), setting("MILLSTREAM_KEYS").unwrap_or(KEYS));
    fs::write(dir.join("keys.sql"), PIPELINE).unwrap();
    let (_broker, address) = Running::broker(dir);
    for topic in ["numbers", "sums"] {
        let create = ["topics", "create", topic, "--partitions", "1"];
        succeed(dir, &[&create[..], &["--bootstrap-server", &address]].concat());
    }
    let first = worker(dir, &address, "first", copies);
    let line = |k: u64| format!("{{\"k\":{k},\"n\":{}}}\n", k % 1000);
    for from in (0..keys).step_by(100_000) {
        let lines: String = (from..keys.min(from + 100_000)).map(line).collect();
        produce(dir, &address, &lines);
    }
    wait_top(dir, "first", |query| query["rows_out"].as_u64() >= Some(keys));
    let _second = worker(dir, &address, "second", copies);
    wait_top(dir, "second", |query| match copies {
        0 => query["phase"] == "elsewhere",
        _ => query["standby"]["tasks"] == 1 && query["standby"]["behind"] == 0,
    });
    let consume = ["consume", "sums", "--offset", "latest", "--bootstrap-server", &address];
    let mut reader = Running::start(dir, &consume);
    first.kill();
    let began = Instant::now();
    produce(dir, &address, &format!("{{\"k\":7,\"n\":1}}\n{}", line(keys)));
    let answer = reader.wait_stdout(&format!("\"k\":{keys},"));
    let took = began.elapsed();
    assert!(answer.contains("\"c\":1"), "{answer}");
    drop(reader);
    let all = ["consume", "sums", "--until-end", "--bootstrap-server", &address];
    let all = stdout(&succeed(dir, &all));
    let seven = all.lines().rfind(|line| line.contains("\"k\":7,")).unwrap();
    assert_eq!(seven, r#"{"k":7,"c":2,"total":8,"least":1,"most":7}"#);
    took
}

#[test]
fn a_copy_takes_over_at_once() {
    let [without, with] = [0, 1].map(takeover);
    println!("nobody answered for {without:.1?} without a copy, and for {with:.1?} with one");
}
