//! What a pipeline keeps, read by the real binary while it runs and when it is stopped.

mod fixture;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fixture::{PATIENCE, Running, fail, stdout, succeed, succeed_with};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const PIPELINE: &str = r#"
SET 'pipeline.name' = 'shop';
CREATE TABLE orders (
  id bigint, customer text, amount bigint, at timestamptz,
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (format = 'json', 'watermark.idle_timeout' = '1 hour');
CREATE TABLE by_customer WITH (format = 'json');
CREATE TABLE per_minute WITH (format = 'json');
CREATE TABLE plain WITH (format = 'json');
INSERT INTO by_customer SELECT customer, count(*) AS n, max(amount) AS most FROM orders
  GROUP BY customer;
INSERT INTO per_minute SELECT window_start, customer, sum(amount) AS total
  FROM TUMBLE(orders, at, INTERVAL '1' MINUTE) GROUP BY window_start, window_end, customer;
INSERT INTO plain SELECT id FROM orders WHERE amount > 1000;
"#;

fn json(output: &std::process::Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn get(dir: &Path, args: &[&str]) -> Vec<Value> {
    let all = ["state", "get", "--data-dir", "data", "shop.sql"];
    json(&succeed(dir, &[&all, args].concat()))
}

/// A pipeline that has read three orders, and where it listens.
fn shop() -> (TempDir, Running, String) {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("shop.sql"), PIPELINE).unwrap();
    let run = ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let mut running = Running::start(dir.path(), &run);
    let address = running.address();
    running.wait_stderr("look");
    let orders = "{\"id\":1,\"customer\":\"ada\",\"amount\":10,\"at\":\"2024-05-01T12:00:10Z\"}\n\
                  {\"id\":2,\"customer\":\"bob\",\"amount\":20,\"at\":\"2024-05-01T12:00:20Z\"}\n\
                  {\"id\":3,\"customer\":\"ada\",\"amount\":30,\"at\":\"2024-05-01T12:00:30Z\"}\n";
    succeed_with(dir.path(), &["produce", "orders", "--bootstrap-server", &address], orders);
    let deadline = Instant::now() + PATIENCE;
    let sum = |query: &str, of: &str| -> u64 {
        get(dir.path(), &[query]).iter().filter_map(|row| row[of].as_u64()).sum()
    };
    while sum("by_customer", "n") < 3 || sum("per_minute", "total") < 60 {
        assert!(Instant::now() < deadline, "the orders were not read");
        thread::sleep(Duration::from_millis(50));
    }
    (dir, running, address)
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_is_kept_is_shown_while_it_runs_and_after() {
    let (dir, running, _) = shop();
    let groups = [
        value(r#"{"customer":"ada","n":2,"most":30}"#),
        value(r#"{"customer":"bob","n":1,"most":20}"#),
    ];
    let window = r#"{"window_start":"2024-05-01T12:00:00Z","window_end":"2024-05-01T12:01:00Z""#;
    let windows = [
        value(&format!(r#"{window},"customer":"ada","total":40}}"#)),
        value(&format!(r#"{window},"customer":"bob","total":20}}"#)),
    ];
    assert_eq!(get(dir.path(), &["by_customer"]), groups);
    assert_eq!(get(dir.path(), &["per_minute"]), windows);
    let (status, _, _) = running.interrupt();
    assert_eq!(status, Some(0));
    assert_eq!(get(dir.path(), &["by_customer"]), groups);
    assert_eq!(get(dir.path(), &["by_customer", "--key", "bob"]), groups[1..]);
    assert_eq!(get(dir.path(), &["per_minute", "--key", "customer=ada"]), windows[..1]);
    let start = "window_start=2024-05-01T12:00:00Z";
    assert_eq!(get(dir.path(), &["per_minute", "--key", start, "--key", "bob"]), windows[1..]);
    let sql = "SELECT sum(n) AS n, max(most) AS most FROM groups";
    let asked = get(dir.path(), &["by_customer", "--sql", sql]);
    assert_eq!(asked, [value(r#"{"n":3,"most":30}"#)]);
    let list = get(dir.path(), &["by_customer", "--list"]);
    assert_eq!(list[0]["tables"], value(r#"["groups"]"#), "{list:?}");
    assert_eq!(list[0]["entries"], 2);
    assert_eq!(list[0]["changelog"], "shop-by_customer-changelog");
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let (dir, running, _) = shop();
    running.interrupt();
    let topics = ["topics", "list", "--data-dir", "data"];
    let before = stdout(&succeed(dir.path(), &topics));
    let all = ["state", "get", "--data-dir", "data", "shop.sql"];
    let listed = stdout(&succeed(dir.path(), &[&all[..], &["--list", "--json"]].concat()));
    let of = |query: &str| listed.lines().filter(|line| line.contains(query)).count();
    assert_eq!((of("by_customer"), of("per_minute"), of("plain")), (1, 1, 0), "{listed}");
    let wrong = |args: &[&str]| fail(dir.path(), &[&all, args].concat(), 2);
    assert!(wrong(&[]).contains("name one of them: there is by_customer, per_minute, plain"));
    assert!(wrong(&["by_custmer"]).contains("has no query 'by_custmer'"));
    assert!(wrong(&["plain"]).contains("keeps nothing"));
    let said = wrong(&["by_customer", "--sql", "SELECT mst FROM groups"]);
    assert!(said.contains("did you mean 'most'?") && said.contains("[--sql:1:8]"), "{said}");
    assert!(wrong(&["by_customer", "--table", "rows"]).contains("there is groups"));
    // State of another query is not taken for this one's.
    let changed = PIPELINE.replace("FROM orders\n", "FROM orders WHERE amount > 5\n");
    fs::write(dir.path().join("shop.sql"), changed).unwrap();
    let said = fail(dir.path(), &[&all[..], &["by_customer"]].concat(), 1);
    assert!(said.contains("kept for another query"), "{said}");
    assert_eq!(stdout(&succeed(dir.path(), &topics)), before);
}

/// Tasks that share a query keep it together.
#[test]
fn several_tasks_keep_one_table() {
    let dir = tempdir().unwrap();
    let text = format!("SET 'tasks' = '3';\n{PIPELINE}");
    fs::write(dir.path().join("shop.sql"), text).unwrap();
    let (broker, address) = Running::broker(dir.path());
    succeed(
        dir.path(),
        &["topics", "create", "orders", "--partitions", "3", "--bootstrap-server", &address],
    );
    let lines: String = (0..60)
        .map(|id| {
            let at = format!("2024-05-01T12:00:{:02}Z", id % 60);
            format!(
                "{{\"id\":{id},\"customer\":\"c{}\",\"amount\":{id},\"at\":\"{at}\"}}\n",
                id % 7
            )
        })
        .collect();
    succeed_with(dir.path(), &["produce", "orders", "--bootstrap-server", &address], &lines);
    broker.interrupt();
    let run = ["run", "shop.sql", "--until-end", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    succeed(dir.path(), &run);
    let rows =
        get(dir.path(), &["by_customer", "--sql", "SELECT count(*) AS k, sum(n) AS n FROM groups"]);
    assert_eq!(rows, [value(r#"{"k":7,"n":60}"#)]);
    let list = get(dir.path(), &["by_customer", "--list"]);
    assert_eq!(list[0]["partitions"], 3, "{list:?}");
}
