//! `millstream run --explain-empty`: why nothing comes out, by the real binary.

mod fixture;

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use fixture::{Running, succeed, succeed_with};
use tempfile::{TempDir, tempdir};

const ORDERS: &str = r#"
[connectors.orders]
connector.class = "FileStreamSource"
file = "orders.jsonl"
topic = "orders"

[sources.orders]
format = "json"
columns = { id = "bigint", customer = "text", amount = "double", at = "timestamptz" }
event_time = "at"
watermark = "10s"
on_error = "skip"
"#;

fn place(rest: &str, lines: &[&str]) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("orders.toml"), format!("{ORDERS}{rest}")).unwrap();
    fs::write(dir.path().join("orders.jsonl"), lines.join("\n") + "\n").unwrap();
    dir
}

const ROWS: [&str; 3] = [
    r#"{"id": 1, "customer": "a", "amount": 10, "at": "2024-01-01T00:00:00Z"}"#,
    r#"{"id": 2, "customer": "b", "amount": 200, "at": "2024-01-01T00:00:05Z"}"#,
    r#"{"id": 3, "amount": 30, "at": "2024-01-01T00:00:10Z"}"#,
];

/// What stderr says of empty queries.
fn why(stderr: &str) -> String {
    let lines = stderr.lines().skip_while(|line| !line.starts_with("query "));
    let lines = lines.take_while(|line| !line.starts_with("read "));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn explained(dir: &Path, expected: &Expect) {
    let args = ["run", "orders.toml", "--until-end", "--explain-empty", "--listen", "127.0.0.1:0"];
    let output = succeed(dir, &args);
    expected.assert_eq(&why(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
fn a_filter_drops_all_rows() {
    let dir = place(
        r#"
[[queries]]
name = "large"
from = "orders"
steps = [
  { filter = "customer <> 'b' AND amount > 100" },
]
[[queries]]
name = "of-nobody"
sql = """
SELECT id FROM orders
WHERE upper(customer) = 'NOBODY'"""
[[queries]]
name = "some"
from = "orders"
steps = [{ filter = "id = 2" }]
"#,
        &[&ROWS[..], &["what is this"]].concat(),
    );
    explained(
        dir.path(),
        &expect![[r#"
            query 'large' has written nothing: the filter at line 18 has dropped all 3 rows
                read orders: 4 records, 3 rows; 1 could not be read as rows
              ✗ where customer <> 'b' AND amount > 100.0: none of 3 rows passed
                    customer <> 'b' dropped 2, 1 as NULL  orders.toml:18
                    amount > 100.0 dropped 1  orders.toml:18
            query 'of-nobody' has written nothing: the filter at line 24 has dropped all 3 rows
                read orders: 4 records, 3 rows; 1 could not be read as rows
              ✗ where upper(customer) = 'NOBODY': none of 3 rows passed  orders.toml:24
                    upper(customer) = 'NOBODY' dropped 3, 1 as NULL
        "#]],
    );
}

#[test]
fn a_field_has_another_name() {
    let dir = place(
        r#"
[[queries]]
name = "large"
from = "orders"
steps = [{ filter = "amount > 1" }]
"#,
        &[r#"{"id": 1, "amuont": 10}"#, r#"{"id": 2, "amuont": 10}"#],
    );
    explained(
        dir.path(),
        &expect![[r#"
            query 'large' has written nothing: the filter at line 17 has dropped all 2 rows
                read orders: 2 records, 2 rows; 2 without an event time
              ✗ where amount > 1.0: none of 2 rows passed  orders.toml:17
                    amount > 1.0 dropped 2, since it is NULL: are these fields there, under these names?
        "#]],
    );
}

#[test]
fn a_table_has_other_keys_and_streams_never_meet() {
    let dir = place(
        r#"
[connectors.payments]
connector.class = "FileStreamSource"
file = "payments.jsonl"
topic = "payments"
[sources.payments]
format = "json"
columns = { order_id = "bigint", at = "timestamptz" }
event_time = "at"
[tables.customers]
format = "json"
columns = { id = "text", name = "text" }
key = "id"
[connectors.customers]
connector.class = "FileStreamSource"
file = "customers.jsonl"
topic = "customers"

[[queries]]
name = "named"
from = "orders"
steps = [{ join = "customers", on = "customer = customers.id", columns = { name = "customers.name" } }]
[[queries]]
name = "paid"
from = "orders"
steps = [{ join = "payments", on = "id = payments.order_id AND payments.at BETWEEN at AND at + INTERVAL '1 hour'", columns = { paid = "payments.at" } }]
"#,
        &ROWS,
    );
    fs::write(dir.path().join("customers.jsonl"), "{\"id\": \"z\", \"name\": \"Z\"}\n").unwrap();
    let payments = "{\"order_id\": 9, \"at\": \"2024-01-01T00:00:30Z\"}\n";
    fs::write(dir.path().join("payments.jsonl"), payments).unwrap();
    explained(
        dir.path(),
        &expect![[r#"
            query 'named' has written nothing: of 3 rows, none passed the join with table customers
                read orders: 3 records, 3 rows
              ✗ join table customers on customer = customers.id: none of 3 rows passed; the table has 1 row
            query 'paid' has written nothing: no rows of orders and payments have met
                read orders: 3 records, 3 rows
                read payments: 1 record, 1 row
              ✗ interval join: 3 rows of orders, 1 row of payments
        "#]],
    );
}

#[test]
fn nothing_is_there() {
    let dir = place(
        r#"
[[queries]]
name = "all"
from = "orders"
"#,
        &[],
    );
    fs::write(dir.path().join("orders.jsonl"), "").unwrap();
    explained(
        dir.path(),
        &expect![[r#"
        query 'all' has written nothing: topic orders is empty
          ✗ read orders: 0 records
    "#]],
    );
}

#[test]
fn a_window_waits_for_a_partition() {
    let dir = tempdir().unwrap();
    fs::write(
        dir.path().join("minutes.sql"),
        "CREATE TABLE orders (id BIGINT, at TIMESTAMPTZ, WATERMARK FOR at AS at - INTERVAL '10' SECOND)
         WITH (format = 'json', 'watermark.idle_timeout' = '1 hour');
         CREATE TABLE minutes WITH (format = 'json');
         INSERT INTO minutes SELECT window_start, window_end, count(*) AS orders
         FROM TUMBLE(orders, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end;\n",
    )
    .unwrap();
    let (broker, address) = Running::broker(dir.path());
    let at = ["--bootstrap-server", &address];
    let create = ["topics", "create", "orders", "--partitions", "2", at[0], at[1]];
    succeed(dir.path(), &create);
    let line = "{\"id\": 1, \"at\": \"2024-01-01T00:00:07Z\"}\n";
    succeed_with(dir.path(), &["produce", "orders", "--partition", "1", at[0], at[1]], line);
    broker.interrupt();
    let data = ["--data-dir", "data", "--listen", "127.0.0.1:0"];
    let args = [&["run", "minutes.sql", "--explain-empty"][..], &data].concat();
    let mut running = Running::start(dir.path(), &args);
    running.wait_stderr("query 'minutes' has written nothing");
    running.wait_stderr("partition 1 of 'orders': watermark");
    let (status, _, stderr) = running.interrupt();
    assert_eq!(status, Some(0));
    expect![[r#"
        query 'minutes' has written nothing: its rows wait for the watermark, which partition 0 of 'orders' holds back
            read orders: 1 record, 1 row
          ✗ aggregate by window: 1 row
                1 window kept, the earliest of 2024-01-01T00:00:00, until the watermark passes the end of their window
            the watermark is nowhere yet
                partition 0 of 'orders': no row with a time has come; it is idle 1 hour after the last one
                partition 1 of 'orders': watermark 2023-12-31T23:59:57, 10 seconds before its latest row
    "#]].assert_eq(&why(&stderr.join("\n")));
}

#[test]
fn rows_lie_between_windows() {
    let dir = place(
        r#"
[[queries]]
name = "spots"
from = "orders"
steps = [
  { window = { hop = "2 seconds", slide = "1 minute", offset = "20 seconds" }, aggregate = { n = "count(*)" } },
]
"#,
        &[&ROWS[..], &[r#"{"id": 4, "customer": "c"}"#]].concat(),
    );
    explained(
        dir.path(),
        &expect![[r#"
        query 'spots' has written nothing: none of 1 row has an event time
            read orders: 4 records, 4 rows; 1 without an event time
            3 of 4 rows lie between windows, whose slide is longer than they are
          ✗ aggregate by window: 1 row; 1 without an event time
    "#]],
    );
}
