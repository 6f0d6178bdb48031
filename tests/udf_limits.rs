//! Functions that never end, whose groups have no value, that ask for what is not granted, and that
//! say who called them: by the real binary.

mod fixture;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use expect_test::expect;
use fixture::{ROOT, both, fail, finish, millstream, stdout, succeed};
use tempfile::{TempDir, tempdir};

/// Numbers that are odd are never halved.
const HALF: &str = r#"(module
    (func (export "half") (param i64) (result i64)
        (loop $again
            (br_if $again (i32.wrap_i64 (i64.and (local.get 0) (i64.const 1)))))
        (i64.div_s (local.get 0) (i64.const 2))))"#;

const HALVES: &str = r#"
sources.numbers.columns = { n = "bigint" }
udfs.half = { file = "half.wat", time = "20ms", search = "400ms" }

[[queries]]
name = "halves"
sql = "SELECT n, half(n) AS half FROM numbers"
sink = { topic = "halves", format = "json" }
"#;

fn place(files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir().unwrap();
    let modules = Path::new(ROOT).join("udfs/tests/modules");
    for file in ["strict.wasm", "kinds.wasm"] {
        fs::copy(modules.join(file), dir.path().join(file)).unwrap();
    }
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// A pipeline that reads the numbers of a file.
fn with_numbers(pipeline: &str, on_error: &str) -> String {
    format!(
        "sources.numbers.topic = 'numbers'
         sources.numbers.format = 'json'
         sources.numbers.on_error = {on_error}
         connectors.numbers.connector.class = 'FileStreamSource'
         connectors.numbers.file = 'numbers.jsonl'
         connectors.numbers.topic = 'numbers'
         {pipeline}"
    )
}

/// On a port that nobody else has.
fn run(pipeline: &str) -> [&str; 5] {
    ["run", pipeline, "--until-end", "--listen", "127.0.0.1:0"]
}

/// The reasons of dead letters, each with how many have it.
fn reasons(dir: &Path, topic: &str) -> Vec<(String, usize)> {
    let letters = stdout(&succeed(dir, &["consume", topic, "--until-end", "--json"]));
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for line in letters.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let headers = record["headers"].as_array().unwrap().iter();
        let mut named = headers.filter(|of| of["key"] == "__connect.errors.exception.message");
        let reason = named.next().unwrap()["value"].as_str().unwrap().to_owned();
        match reasons.iter_mut().find(|(of, _)| *of == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons
}

/// A batch of thousands of rows that never end took hours.
#[test]
fn a_batch_of_endless_rows_is_given_up_in_time() {
    let numbers: String = (0..8000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let files = [("half.wat", HALF), ("numbers.jsonl", &numbers)];
    let dir = place(&files);
    let dir = dir.path();
    let write = |on_error: &str| {
        fs::write(dir.join("p.toml"), with_numbers(HALVES, on_error)).unwrap();
    };
    write("{ dead_letter = 'bad' }");
    let began = Instant::now();
    succeed(dir, &run("p.toml"));
    // 4,000 of them by 20 ms are 80 s, and twice that to find them.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let reasons = reasons(dir, "bad");
    let of = |part: &str| {
        reasons.iter().filter(|(of, _)| of.contains(part)).map(|(_, count)| count).sum::<usize>()
    };
    let told = |part: &str| reasons.iter().find(|(of, _)| of.contains(part)).unwrap().0.clone();
    let halves = stdout(&succeed(dir, &["consume", "halves", "--until-end"]));
    let passed = halves.lines().count();
    assert_eq!(of("") + passed, 8000, "each row is somewhere");
    assert!(of("which is cut") > 0 && of("was not called") > 0, "{reasons:?}");
    assert!(of("(its `time` limit)") > of("which is cut") && passed > 20, "{passed} {reasons:?}");
    expect![[r#"
        function half: it was not called: other rows of its batch ran out of time and took 400ms together (its `search` limit)"#]]
    .assert_eq(&told("was not called"));

    // Where one row is to stop it all, no other is looked for.
    write("'fail'");
    let began = Instant::now();
    let failed = fail(dir, &[&run("p.toml")[..], &["--reset-state"]].concat(), 1);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let expected = "topic 'numbers', partition 0, offset 1: function half: it takes longer than \
                    20ms (its `time` limit)";
    assert!(failed.replace("\n  ", " ").contains(expected), "{failed}");
}

const SUMS: &str = r#"
sources.numbers.columns = { t = "timestamp", k = "text", n = "bigint" }
sources.numbers.event_time = "t"
udfs.lucky_sum.file = "strict.wasm"

[[queries]]
name = "windowed"
sql = """
SELECT k, window_start, lucky_sum(n) AS sum
FROM TUMBLE(numbers, t, INTERVAL '1' MINUTE) GROUP BY k, window_start"""
sink = { topic = "windowed", format = "json" }

[[queries]]
name = "sessions"
sql = """
SELECT k, session_start(t, INTERVAL '10' SECOND) AS s, lucky_sum(n) AS sum
FROM numbers GROUP BY k, session(t, INTERVAL '10' SECOND)"""
sink = { topic = "sessions", format = "json" }

[[queries]]
name = "updating"
sql = "SELECT k, lucky_sum(n) AS sum FROM numbers GROUP BY k"
sink = { topic = "updating", format = "json" }

[[queries]]
name = "changes"
sql = """
SELECT even, lucky_sum(sum) AS sum FROM (
    SELECT k, k IN ('b', 'd') AS even, sum(n) AS sum FROM numbers GROUP BY k) GROUP BY even"""
sink = { topic = "changes", format = "json" }

[[queries]]
name = "over"
sql = "SELECT k, n, lucky_sum(n) OVER (PARTITION BY k ORDER BY t) AS sum FROM numbers"
sink = { topic = "over", format = "json" }
"#;

const NUMBERS: &str = r#"{"t":"2026-01-01T00:00:00Z","k":"a","n":6}
{"t":"2026-01-01T00:00:01Z","k":"b","n":6}
{"t":"2026-01-01T00:00:02Z","k":"b","n":7}
{"t":"2026-01-01T00:00:03Z","k":"c","n":3}
{"t":"2026-01-01T00:00:04Z","k":"b","n":0}
"#;

/// An aggregate that gives up at what a group comes to stopped its query, whatever `on_error` says.
#[test]
fn a_group_without_a_value_costs_no_other() {
    let letters = "{ dead_letter = 'bad' }";
    for (on_error, tasks) in [("'skip'", 1), (letters, 1), (letters, 2)] {
        let pipeline = with_numbers(SUMS, on_error);
        let pipeline = format!("settings.tasks = {tasks}\n{pipeline}");
        let dir = place(&[("p.toml", &pipeline), ("numbers.jsonl", NUMBERS)]);
        let dir = dir.path();
        succeed(dir, &run("p.toml"));
        let read = |topic: &str| {
            let read = stdout(&succeed(dir, &["consume", topic, "--until-end"]));
            let mut lines: Vec<&str> = read.lines().collect();
            lines.sort_unstable();
            format!("{topic}\n  {}\n", lines.join("\n  "))
        };
        let told: String =
            ["windowed", "sessions", "updating", "changes", "over"].map(read).concat();
        expect![[r#"
            windowed
              {"k":"a","window_start":"2026-01-01T00:00:00","sum":6}
              {"k":"c","window_start":"2026-01-01T00:00:00","sum":3}
            sessions
              {"k":"a","s":"2026-01-01T00:00:00","sum":6}
              {"k":"c","s":"2026-01-01T00:00:03","sum":3}
            updating
              {"k":"a","sum":6}
              {"k":"c","sum":3}
            changes
              {"even":false,"sum":9}
            over
              {"k":"a","n":6,"sum":6}
              {"k":"b","n":6,"sum":6}
              {"k":"c","n":3,"sum":3}
        "#]]
        .assert_eq(&told);
        if on_error.contains("bad") {
            let letters = read("bad");
            expect![[r#"
                bad
                  {"even":true,"lucky_sum(sum)":null}
                  {"k":"b","lucky_sum(numbers.n)":null}
                  {"k":"b","window_start":"2026-01-01T00:00:00","lucky_sum(numbers.n)":null}
                  {"k":"b","window_start":"2026-01-01T00:00:01","window_end":"2026-01-01T00:00:14","lucky_sum(numbers.n)":null}
                  {"t":"2026-01-01T00:00:02","k":"b","n":7,"lucky_sum(numbers.n) PARTITION BY [numbers.k] ORDER BY [numbers.t ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW":null}
                  {"t":"2026-01-01T00:00:04","k":"b","n":0,"lucky_sum(numbers.n) PARTITION BY [numbers.k] ORDER BY [numbers.t ASC NULLS LAST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW":null}
            "#]]
            .assert_eq(&letters);
            let reasons = reasons(dir, "bad");
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            expect!["function lucky_sum: it gave up (unreachable): panicked at examples/strict.rs:67:9:; 13 brings bad luck"].assert_eq(&reasons[0].0);
        }
    }
}

#[test]
fn a_group_without_a_value_stops_a_query_that_says_so() {
    let pipeline = with_numbers(SUMS, "'fail'");
    let pipeline = pipeline.split("[[queries]]").take(2).collect::<Vec<_>>().join("[[queries]]");
    let dir = place(&[("p.toml", &pipeline), ("numbers.jsonl", NUMBERS)]);
    let failed = fail(dir.path(), &run("p.toml"), 1);
    let at = failed.find("error").unwrap();
    expect![[r#"
        error: pipeline 'p', query 'windowed': topic 'numbers': a row of several records, {"k":"b","window_start":"2026-01-01T00:00:00","lucky_sum(numbers.n)":null}: function lucky_sum: it gave up (unreachable): panicked at examples/strict.rs:67:9:; 13 brings bad luck; on_error = "skip" or a dead-letter topic would go on without it
    "#]].assert_eq(&failed[at..]);
}

/// Asks for the time, and for random numbers.
const ASKS: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $clock (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "dice") (param i64) (result i64)
        (drop (call $random (i32.const 0) (i32.const 8)))
        (i64.add (local.get 0) (i64.load (i32.const 0))))
    (func (export "now_ns") (param i64) (result i64)
        (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 0)))
        (i64.load (i32.const 0))))"#;

/// Zeros in the place of random numbers, and a clock that stands still, were told to nobody.
#[test]
fn what_is_asked_for_and_not_granted_is_told() {
    let dir = place(&[("asks.wat", ASKS)]);
    let dir = dir.path();
    let call = |words: &[&str]| both(&finish(&mut millstream(dir, &[&["udf"], words].concat())));
    let dated = |told: &str| -> String {
        let undated = |line: &str| match line.find(" WARN ") {
            Some(at) => format!("{}\n", &line[at..]),
            None => format!("{line}\n"),
        };
        told.lines().map(undated).collect()
    };
    let told = dated(
        &[
            call(&["inspect", "asks.wat"]),
            call(&["call", "asks.wat", "dice", "5"]),
            call(&["call", "asks.wat", "now_ns", "0"]),
        ]
        .concat(),
    );
    expect![[r#"
        exit status: 0
        --- stdout ---
        asks.wat: core module, functions of numbers, 571 bytes
        sha256   b95354a8f4be31766a6c5bc1fc1574212ab991ca1f8293d4097c692492c7e492
        imports  wasi_snapshot_preview1.clock_time_get
                 wasi_snapshot_preview1.random_get
        can ask for the time, and its clock stands still: grants.clock = true lets it go
        can ask for random numbers, and gets zeros: grants.random = true grants them

        dice(a0 bigint) → bigint
        now_ns(a0 bigint) → bigint

        --- stderr ---
        exit status: 0
        --- stdout ---
        5

        --- stderr ---
         WARN udf: asks for random numbers, and gets zeros: grants.random = true grants them function=asks.wat
        exit status: 0
        --- stdout ---
        1

        --- stderr ---
         WARN udf: asks for the time, and its clock stands still: grants.clock = true lets it go function=asks.wat
    "#]].assert_eq(&told);
    let granted = ["--with", "grants.random=true", "--with", "grants.clock=true"];
    let told = call(&[&["call", "asks.wat", "now_ns", "0"], &granted[..]].concat());
    assert!(!told.contains("asks for"), "{told}");
    let dice = || {
        stdout(&succeed(dir, &[&["udf", "call", "asks.wat", "dice", "5"], &granted[..]].concat()))
    };
    assert_ne!(dice(), dice(), "two of 2^64");
    let pipeline = "
[udfs.dice]
file = 'asks.wat'
GRANT

[sources.numbers]
topic = 'numbers'
format = 'json'
columns = { n = 'bigint' }

[[queries]]
name = 'thrown'
sql = 'SELECT dice(n) AS n FROM numbers'
sink = { topic = 'thrown' }
";
    let check = |grants: &str| {
        fs::write(dir.join("p.toml"), pipeline.replace("GRANT", grants)).unwrap();
        both(&finish(&mut millstream(dir, &["check", "--offline", "p.toml"])))
    };
    expect![[r#"
        exit status: 0
        --- stdout ---

        --- stderr ---
          ⚠ asks.wat can ask for the time, and its clock stands still: grants.clock = true lets it go
           ╭─[p.toml:3:8]
         2 │ [udfs.dice]
         3 │ file = 'asks.wat'
           ·        ─────┬────
           ·             ╰── here
         4 │ 
           ╰────

          ⚠ asks.wat can ask for random numbers, and gets zeros: grants.random = true grants them
           ╭─[p.toml:3:8]
         2 │ [udfs.dice]
         3 │ file = 'asks.wat'
           ·        ─────┬────
           ·             ╰── here
         4 │ 
           ╰────

        p.toml: no mistakes; 0 connectors, 1 query
    "#]].assert_eq(&check(""));
    let quiet = check("grants.random = true\ngrants.clock = true");
    assert!(!quiet.contains("asks.wat"), "{quiet}");
}

/// Lines of functions named the function alone: whose they were in a run of many was not to be seen.
#[test]
fn lines_of_functions_name_who_calls_them() {
    let pipeline = "
[udfs.panics]
file = 'kinds.wasm'

[connectors.numbers]
connector.class = 'FileStreamSource'
file = 'numbers.jsonl'
topic = 'numbers'

[sources.numbers]
topic = 'numbers'
format = 'json'
on_error = 'skip'
columns = { n = 'bigint' }

[[queries]]
name = 'risks'
sql = 'SELECT panics(n) AS n FROM numbers'
sink = { topic = 'risks' }
";
    let dir = place(&[("daring.toml", pipeline), ("numbers.jsonl", "{\"n\":1}\n{\"n\":0}\n")]);
    let mut run = millstream(dir.path(), &run("daring.toml"));
    let said = both(&finish(run.env("MILLSTREAM_LOG", "info")));
    let names = "pipeline=daring query=risks function=panics";
    for line in ["it is about to go wrong", "it is above zero"] {
        let found = said.lines().find(|of| of.contains(line) && of.contains(" udf: "));
        assert!(found.is_some_and(|of| of.contains(names)), "{said}");
    }
}

/// Names in quotes were looked up as they are written, and declared in small letters.
#[test]
fn names_in_quotes_are_found() {
    let half = HALF.replace("\"half\"", "\"MyHalf\"");
    let sql = r#"
CREATE TABLE numbers (n BIGINT) WITH (topic = 'numbers', format = 'json');
CREATE TABLE halves (a BIGINT, b BIGINT, c BIGINT) WITH (topic = 'halves', format = 'json');
CREATE TABLE sums (n BIGINT, sum BIGINT) WITH (topic = 'sums', format = 'json');
CREATE TABLE words (n BIGINT, word VARCHAR) WITH (topic = 'words', format = 'json');
CREATE FUNCTION "MyHalf" LANGUAGE wasm AS 'half.wat';
CREATE FUNCTION "Lucky" LANGUAGE wasm AS 'strict.wasm' WITH ('function' = 'lucky_sum');
CREATE FUNCTION "Words" LANGUAGE wasm AS 'kinds.wasm';
INSERT INTO halves SELECT "MyHalf"(n) AS a, MyHalf(n) AS b, myhalf(n) AS c FROM numbers;
INSERT INTO sums SELECT n, "Lucky"(n) AS sum FROM numbers GROUP BY n;
INSERT INTO words SELECT n, w.word FROM numbers, LATERAL TABLE("Words"('a b')) AS w;
"#;
    let dir = place(&[("half.wat", &half), ("p.sql", sql)]);
    succeed(dir.path(), &["check", "--offline", "p.sql"]);
    let twice = sql.replace("\"Lucky\" LANGUAGE", "myhalf LANGUAGE");
    fs::write(dir.path().join("p.sql"), twice).unwrap();
    let told = fail(dir.path(), &["check", "--offline", "p.sql"], 2);
    assert!(told.contains("function 'myhalf' is declared twice"), "{told}");
}

#[test]
fn a_function_is_tried_by_names_and_answers_in_json() {
    let dir = place(&[]);
    let dir = dir.path();
    let call = |words: &[&str]| {
        let words = [&["udf", "call", "kinds.wasm"], words].concat();
        both(&finish(&mut millstream(dir, &words)))
    };
    let told = [
        call(&["round_to", "digits => 1", "x=>1.26", "--json"]),
        call(&["round_to", "1.26", "digits => 0"]),
        call(&["words", "a bc", "--json"]),
        call(&["email_domain", "NULL", "--json"]),
        call(&["email_domain", "a => b@c", "--json"]),
        call(&["round_to", "1.26", "x => 1"]),
        call(&["round_to", "digits => 1"]),
    ];
    expect![[r#"
        exit status: 0
        --- stdout ---
        {"round_to":1.3}

        --- stderr ---
        exit status: 0
        --- stdout ---
        1.0

        --- stderr ---
        exit status: 0
        --- stdout ---
        {"word":"a","position":1}
        {"word":"bc","position":2}

        --- stderr ---
        exit status: 0
        --- stdout ---
        {"email_domain":null}

        --- stderr ---
        exit status: 0
        --- stdout ---
        {"email_domain":"c"}

        --- stderr ---
        exit status: 2
        --- stdout ---

        --- stderr ---
        error: round_to does not take 2 arguments
          help: it is round_to(x double, digits int = 2) → double
        exit status: 2
        --- stdout ---

        --- stderr ---
        error: round_to does not take 1 argument
          help: it is round_to(x double, digits int = 2) → double
    "#]]
    .assert_eq(&told.concat());
}

/// Nobody writes to a pipe: whoever reads it waits for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_module() {
    let dir = place(&[]);
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe.wasm")).status();
    assert!(made.unwrap().success());
    let told = fail(dir.path(), &["udf", "inspect", "kinds.wasm", "--wit", "pipe.wasm"], 2);
    assert!(told.contains("pipe.wasm is no regular file"), "{told}");
    let sql = "CREATE FUNCTION half LANGUAGE wasm AS 'kinds.wasm' WITH ('wit' = 'pipe.wasm');";
    fs::write(dir.path().join("p.sql"), sql).unwrap();
    let told = fail(dir.path(), &["check", "--offline", "p.sql"], 2);
    assert!(told.contains("pipe.wasm is no regular file"), "{told}");
    let told = fail(dir.path(), &["udf", "inspect", "pipe.wasm"], 2);
    expect![[r#"
        error: pipe.wasm is no regular file, but such as a pipe or a directory
    "#]]
    .assert_eq(&told);
}
