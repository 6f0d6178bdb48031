//! Functions that give up at some rows, in queries that are killed again and again, and that are
//! given another module meanwhile: each row is answered or put aside, and once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::tempdir;

use super::fixture::{Running, finish, millstream, stdout, succeed};
use super::{append, course};

const ROUNDS: u64 = 5;
/// In a round.
const PIECES: u64 = 8;

/// `strict_half` and `strict_sum` give up at odd and at negative numbers.
fn pipeline(modules: &str) -> String {
    format!(
        r#"
[settings]
tasks = 2
commit_interval = "20ms"

[connectors.numbers-file]
connector.class = "FileStreamSource"
file = "numbers.jsonl"
topic = "numbers"

[udfs.strict_half]
file = "{modules}/strict.wasm"
[udfs.strict_sum]
file = "{modules}/strict.wasm"

[sources.numbers]
format = "json"
columns = {{ n = "bigint", k = "int" }}
on_error = {{ dead_letter = "aside" }}

[[queries]]
name = "halves"
sql = "SELECT n, strict_half(n) AS half FROM numbers"
sink = {{ topic = "halves", format = "json" }}

[[queries]]
name = "sums"
sql = "SELECT k, strict_sum(n) AS ours, sum(n) AS theirs, count(*) AS rows FROM numbers GROUP BY k"
sink = {{ topic = "sums", format = "json", key = "k" }}
"#
    )
}

fn rows(dir: &Path, topic: &str) -> Vec<Value> {
    let read = stdout(&succeed(dir, &["consume", topic, "--until-end", "--data-dir", "data"]));
    read.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn functions_that_give_up_lose_no_row_and_double_none() {
    let (mut random, rounds) = course(ROUNDS);
    let place = tempdir().unwrap();
    let dir = place.path();
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("udfs/tests/modules");
    fs::copy(modules.join("strict.wasm"), dir.join("strict.wasm")).unwrap();
    fs::write(dir.join("numbers.toml"), pipeline(".")).unwrap();
    let numbers = dir.join("numbers.jsonl");
    let run = ["run", "numbers.toml", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    let mut written: Vec<i64> = Vec::new();
    for round in 1..=rounds {
        let mut running = Running::start(dir, &run);
        for _ in 0..PIECES {
            let mut lines = String::new();
            for _ in 0..random.below(300) {
                let n = written.len() as i64 * if random.below(20) == 0 { -1 } else { 1 };
                written.push(n);
                lines.push_str(&format!("{{\"n\":{n},\"k\":{}}}\n", n.rem_euclid(5)));
            }
            append(&numbers, &lines);
            std::thread::sleep(Duration::from_millis(random.below(60)));
        }
        if round % 2 == 0 {
            running.wait_stderr("look");
            // The same functions in another file.
            let mut module = fs::read(modules.join("strict.wasm")).unwrap();
            // A custom section with nothing in it but its name.
            module.extend([0, 2, 1, b'a' + (round % 26) as u8]);
            fs::write(dir.join("strict.wasm"), module).unwrap();
            let reload = || finish(&mut millstream(dir, &["udf", "reload", "--data-dir", "data"]));
            // It listens a moment after it has said that.
            let reloaded = (0..100).map(|_| reload()).find(|output| output.status.success());
            let said = stdout(&reloaded.expect("it takes up the other module"));
            assert_eq!(said.matches("is called from now on").count(), 2, "{said}");
        }
        running.kill();
    }
    succeed(dir, &[&run[..], &["--until-end"]].concat());
    let number = |row: &Value, of: &str| row[of].as_i64().unwrap();
    let mut halves: Vec<i64> = rows(dir, "halves").iter().map(|row| number(row, "n")).collect();
    halves.sort_unstable();
    let mut even: Vec<i64> = written.iter().copied().filter(|n| n % 2 == 0).collect();
    even.sort_unstable();
    assert_eq!(halves, even);
    let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for n in written.iter().filter(|n| **n >= 0) {
        let (sum, rows) = sums.entry(n.rem_euclid(5)).or_default();
        *sum += n;
        *rows += 1;
    }
    let mut told = BTreeMap::new();
    for row in rows(dir, "sums") {
        assert_eq!(row["ours"], row["theirs"], "{row}");
        told.insert(number(&row, "k"), (number(&row, "ours"), number(&row, "rows")));
    }
    assert_eq!(told, sums);
    let mut aside: Vec<i64> = rows(dir, "aside").iter().map(|row| number(row, "n")).collect();
    aside.sort_unstable();
    let odd = written.iter().filter(|n| *n % 2 != 0);
    let mut failed: Vec<i64> = odd.chain(written.iter().filter(|n| **n < 0)).copied().collect();
    failed.sort_unstable();
    assert_eq!(aside, failed);
}
