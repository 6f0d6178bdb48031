//! `millstream test`: the tests that pipeline files carry, by the real binary.

mod fixture;

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use fixture::{ROOT, fail, millstream, stdout, succeed};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const ORDERS: &str = r#"
[sources.orders]
format = "csv"
columns = { id = "bigint", amount = "double", at = "timestamptz" }
event_time = "at"
watermark = "0s"
on_error = { dead_letter = "bad-orders" }

[[queries]]
name = "by-minute"
from = "orders"
steps = [
  { filter = "amount > 100" },
  { window = { tumble = "1 minute" }, aggregate = { orders = "count(*)", total = "sum(amount)" } },
]

[[queries]]
name = "totals"
sql = "SELECT id, sum(amount) AS total FROM orders GROUP BY id"
sink = { topic = "totals", key = "id" }
"#;

fn place(tests: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("orders.toml"), format!("{ORDERS}{tests}")).unwrap();
    dir
}

/// What a failing run prints on stdout.
fn failing(tests: &str, expected: &Expect) {
    let dir = place(tests);
    let output = millstream(dir.path(), &["test", "orders.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    expected.assert_eq(&stdout(&output));
}

/// What runs into mistakes of the file prints on stderr.
fn mistaken(tests: &str, expected: &Expect) {
    let dir = place(tests);
    expected.assert_eq(&fail(dir.path(), &["test", "orders.toml"], 2));
}

#[test]
fn the_pipelines_here_pass_their_own() {
    let files = fs::read_dir(Path::new(ROOT).join("pipelines")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    for path in files.filter(|path| !path.to_str().unwrap().ends_with(".test.toml")) {
        let (dir, file) = (tempdir().unwrap(), path.display());
        let output = succeed(dir.path(), &["test", "--json", path.to_str().unwrap()]);
        let lines = stdout(&output);
        assert!(lines.lines().count() > 0, "{file} has no tests");
        for line in lines.lines() {
            let test: Value = serde_json::from_str(line).unwrap();
            assert_eq!(test["passed"], true, "{line}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was written");
    }
}

#[test]
fn windows_close_rows_are_late_and_answers_are_updated() {
    let dir = place(
        r#"
[[tests]]
name = "minutes"
late = 1
dead_lettered = 2
expect.totals = [{ id = 1, total = 700 }, { id = 2, total = 10 }]
expect.by-minute = { match = "in order", rows = [
  { window_start = 2024-01-01T00:00:00Z, orders = 1, total = 200 },
  { window_start = 2024-01-01T00:01:00Z, orders = 1, total = 300 },
] }
# By each of the two queries that read it.
expect.bad-orders = ["what is this", "what is this"]

[[tests.steps]]
input.orders = [
  { id = 1, amount = 200, at = 2024-01-01T00:00:10Z },
  "2,10,2024-01-01T00:00:20Z",
]
expect.by-minute = []
expect.totals = { match = "by key", rows = [
  { key = "1", value = '{"id": 1, "total": 200.0}' },
  { key = "2", value = '{"id": 2, "total": 10.0}' },
] }

[[tests.steps]]
input.orders = [
  { id = 1, amount = 300, at = 2024-01-01T00:01:10Z },
  { id = 1, amount = 200, at = 2024-01-01T00:00:30Z },
  "what is this",
]
expect.by-minute = [{ orders = 1, total = 200 }]
"#,
    );
    let output = millstream(dir.path(), &["test", "orders.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    assert!(String::from_utf8(output.stderr).unwrap().contains("1 test passed"));
}

#[test]
fn rows_that_come_too_late_are_in_the_topic_for_them() {
    let late = r#"
[sources.orders.watermark]
delay = "0s"
late = { topic = "late-orders" }
"#;
    let test = r#"
[[tests]]
name = "late"
late = 1
input.orders = [
  { id = 1, amount = 200, at = 2024-01-01T00:00:10Z },
  { id = 1, amount = 300, at = 2024-01-01T00:01:10Z },
  { id = 1, amount = 400, at = 2024-01-01T00:00:30Z },
]
expect.by-minute = [{ orders = 1, total = 200 }, { orders = 1, total = 300 }]
expect.late-orders = [{ value = { amount = 400 }, headers = { "millstream.late.query" = "by-minute" } }]
"#;
    let dir = tempdir().unwrap();
    let file = ORDERS.replace("watermark = \"0s\"\n", "");
    let file = file.replacen("\n[[queries]]", &format!("{late}\n[[queries]]"), 1);
    fs::write(dir.path().join("orders.toml"), format!("{file}{test}")).unwrap();
    succeed(dir.path(), &["test", "orders.toml"]);
}

#[test]
fn what_did_not_come_stands_beside_what_came() {
    failing(
        r#"
[[tests]]
name = "wrong"
input.orders = ["1,200,2024-01-01T00:00:10Z", "2,300,2024-01-01T00:01:10Z"]
late = 2
[tests.expect]
by-minute = [{ orders = 1, total = 200 }, { orders = 1, total = 301 }, { orders = 7 }]
totals = [{ id = 2 }]
"#,
        &expect![[r#"
            orders.toml
              ✗ wrong  orders.toml:23:8
                'by-minute': 3 rows expected, 2 came  line 27
                  expected    {"orders":1,"total":301}  line 27
                  got         {"window_start":"2024-01-01T00:01:00Z","window_end":"2024-01-01T00:02:00Z","orders":1,"total":300.0}
                              total: 301 expected, 300.0 came
                  missing     {"orders":7}  line 27
                'totals': 1 row expected, 2 came  line 28
                  unexpected  {"id":1,"total":200.0}
                late: 2 expected, 0 counted  line 25
        "#]],
    );
}

#[test]
fn mistakes_have_places() {
    mistaken(
        r#"
[[tests]]
name = "mistaken"
input.order = ["1,200,2024-01-01T00:00:10Z"]
expect.by-minutes = [{ orders = 1 }]
expect.totals = [{ totals = 1 }]
expects.totals = []
"#,
        &expect![[r#"
              × no source reads topic 'order', or is called so
                ╭─[orders.toml:24:7]
             23 │ name = "mistaken"
             24 │ input.order = ["1,200,2024-01-01T00:00:10Z"]
                ·       ──┬──
                ·         ╰── not read
             25 │ expect.by-minutes = [{ orders = 1 }]
                ╰────
              help: did you mean 'orders'?

              × no query writes 'by-minutes'
                ╭─[orders.toml:25:8]
             24 │ input.order = ["1,200,2024-01-01T00:00:10Z"]
             25 │ expect.by-minutes = [{ orders = 1 }]
                ·        ─────┬────
                ·             ╰── not written
             26 │ expect.totals = [{ totals = 1 }]
                ╰────
              help: did you mean 'by-minute'?

              × query 'totals' has no column 'totals'
                ╭─[orders.toml:26:18]
             25 │ expect.by-minutes = [{ orders = 1 }]
             26 │ expect.totals = [{ totals = 1 }]
                ·                  ───────┬──────
                ·                         ╰── here
             27 │ expects.totals = []
                ╰────
              help: did you mean 'total'?

              × unknown key 'expects' in test 'mistaken'
                ╭─[orders.toml:27:1]
             26 │ expect.totals = [{ totals = 1 }]
             27 │ expects.totals = []
                · ───┬───
                ·    ╰── not a key here
                ╰────
              help: did you mean 'expect'?

            4 errors; nothing was started
        "#]],
    );
}

#[test]
fn one_is_picked_by_its_name() {
    let dir = place(
        r#"
[[tests]]
name = "first"
expect.totals = []
[[tests]]
name = "second"
expect.totals = [{ id = 1 }]
"#,
    );
    let first = stdout(&succeed(dir.path(), &["test", "orders.toml", "--only", "first"]));
    assert!(first.contains("✓ first") && !first.contains("second"), "{first}");
    let said = fail(dir.path(), &["test", "orders.toml", "--only", "third"], 2);
    assert!(said.contains("no test has 'third' in its name"), "{said}");
}
