//! Files and topics that are changed while what queries keep is kept: the real binary, stopped and
//! started.

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fixture::{Running, fail, stdout, succeed, succeed_with};
use serde_json::Value;
use tempfile::tempdir;

const SOURCE: &str = r#"
CREATE TABLE orders (
  id bigint, customer text, amount bigint, at timestamptz,
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (format = 'json', 'watermark.idle_timeout' = '1 hour');
"#;

/// A file with these queries, each known by its name.
fn file(settings: &str, queries: &[(&str, &str)]) -> String {
    let sink = |(name, sql): &(&str, &str)| {
        format!("CREATE TABLE {name} WITH (format = 'json');\nINSERT INTO {name} {sql};\n")
    };
    let sinks: String = queries.iter().map(sink).collect();
    format!("SET 'pipeline.name' = 'shop';\n{settings}{SOURCE}{sinks}")
}

/// Orders of these customers and amounts, at the seconds of one minute.
fn produce(dir: &Path, address: &str, orders: &[(&str, i64, u32)]) {
    if orders.is_empty() {
        return;
    }
    let line = |(customer, amount, second): &(&str, i64, u32)| {
        format!(
            "{{\"id\":{amount},\"customer\":\"{customer}\",\"amount\":{amount},\
             \"at\":\"2024-05-01T12:{:02}:{:02}Z\"}}\n",
            second / 60,
            second % 60
        )
    };
    let lines: String = orders.iter().map(line).collect();
    succeed_with(dir, &["produce", "orders", "--bootstrap-server", address], &lines);
}

/// The file at work, and where it listens.
fn start(dir: &Path, text: &str, flags: &[&str]) -> (Running, String) {
    fs::write(dir.join("shop.sql"), text).unwrap();
    let run = ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let mut running = Running::start(dir, &[&run, flags].concat());
    let address = running.address();
    running.wait_stderr("look");
    (running, address)
}

/// Stops it; what it said.
fn stop(running: Running) -> String {
    let (status, _, said) = running.interrupt();
    assert_eq!(status, Some(0), "{said:#?}");
    said.join("\n")
}

/// Runs the file until it has told as many rows as that, all runs together, and stops it. Orders
/// come together, so they are answered together. What it said.
fn run(
    dir: &Path,
    text: &str,
    flags: &[&str],
    topic: &str,
    orders: &[(&str, i64, u32)],
    rows: usize,
) -> String {
    let (running, address) = start(dir, text, flags);
    let consume = ["consume", topic, "--bootstrap-server", &address];
    let mut reader = Running::start(dir, &consume);
    produce(dir, &address, orders);
    for _ in 0..rows {
        reader.wait_stdout("{");
    }
    drop(reader);
    stop(running)
}

/// The last row of each key.
fn latest(dir: &Path, topic: &str, key: &str) -> BTreeMap<String, Value> {
    let consume = ["consume", topic, "--data-dir", "data", "--until-end"];
    let rows = stdout(&succeed(dir, &consume));
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row[key].as_str().unwrap().to_owned(), row)).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn aggregates_come_and_go_and_the_others_go_on() {
    aggregates_come_and_go("");
}

#[test]
fn aggregates_come_and_go_in_several_tasks() {
    aggregates_come_and_go("SET 'tasks' = '3';");
}

fn aggregates_come_and_go(settings: &str) {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let by = |calls: &str| {
        file(
            settings,
            &[("by_customer", &format!("SELECT customer, {calls} FROM orders GROUP BY customer"))],
        )
    };
    let said = run(
        dir,
        &by("count(*) AS n, sum(amount) AS total"),
        &[],
        "by_customer",
        &[("ada", 10, 1), ("bob", 20, 2), ("ada", 30, 3)],
        2,
    );
    assert!(!said.contains("state"), "{said}");
    // One more, in another order, and one less.
    let second = by("max(amount) AS most, count(*) AS n");
    fs::write(dir.join("shop.sql"), &second).unwrap();
    let check = ["check", "--state", "--data-dir", "data", "shop.sql"];
    let told = "query 'by_customer': max(orders.amount) begins with the rows from now on; \
                sum(orders.amount) is dropped; all else is kept";
    let checked = String::from_utf8(succeed(dir, &check).stderr).unwrap();
    assert!(checked.contains(told), "{checked}");
    let said = run(dir, &second, &[], "by_customer", &[("ada", 5, 4), ("cid", 7, 5)], 4);
    assert!(said.contains(told), "{said}");
    let rows = latest(dir, "by_customer", "customer");
    assert_eq!(rows["ada"], json(r#"{"customer":"ada","most":5,"n":3}"#));
    assert_eq!(rows["bob"], json(r#"{"customer":"bob","n":1,"total":20}"#), "as it was told");
    assert_eq!(rows["cid"], json(r#"{"customer":"cid","most":7,"n":1}"#));
    let get = ["state", "get", "--data-dir", "data", "shop.sql", "--json"];
    let kept = stdout(&succeed(dir, &get));
    assert!(kept.contains(r#"{"customer":"bob","most":null,"n":1}"#), "{kept}");
    let checked = String::from_utf8(succeed(dir, &check).stderr).unwrap();
    assert!(checked.contains("all state that is kept goes on"), "{checked}");
    // What was dropped begins anew.
    let third = by("count(*) AS n, sum(amount) AS total, max(amount) AS most");
    let said = run(dir, &third, &[], "by_customer", &[("ada", 1, 6)], 5);
    assert!(
        said.contains("sum(orders.amount) begins with the rows from now on; all else"),
        "{said}"
    );
    let rows = latest(dir, "by_customer", "customer");
    assert_eq!(rows["ada"], json(r#"{"customer":"ada","n":4,"total":1,"most":5}"#));
}

/// A query whose windows have all closed was not let go on as another one: "0 entries would be
/// lost".
#[test]
fn a_query_that_has_nothing_left_may_become_another() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let by = |call: &str, size: &str| {
        let sql = format!(
            "SELECT customer, window_start, {call} AS n FROM TABLE(TUMBLE(TABLE orders, \
             DESCRIPTOR(at), INTERVAL '{size}' MINUTE)) GROUP BY window_start, window_end, customer"
        );
        file("", &[("windowed", &sql)])
    };
    let run_to_end = |text: &str, orders: &[(&str, i64, u32)]| {
        let (running, address) = start(dir, &file("", &[("plain", "SELECT id FROM orders")]), &[]);
        produce(dir, &address, orders);
        stop(running);
        fs::write(dir.join("shop.sql"), text).unwrap();
        let run =
            ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0", "--until-end"];
        String::from_utf8(succeed(dir, &run).stderr).unwrap()
    };
    run_to_end(&by("count(*)", "1"), &[("ada", 10, 1), ("ada", 20, 2), ("bob", 20, 61)]);
    let said = run_to_end(&by("sum(amount)", "5"), &[("ada", 30, 601), ("ada", 40, 602)]);
    let told = "query 'windowed' is another one than before, which has nothing left: it begins \
                with the rows from now on";
    assert!(said.contains(told), "{said}");
    let rows = latest(dir, "windowed", "customer");
    assert_eq!(rows["ada"]["n"], 70);
    assert_eq!(rows["bob"]["n"], 1);
}

#[test]
fn what_would_be_lost_is_told_before_anything_starts() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let by = |rest: &str| file("", &[("plain", "SELECT id FROM orders"), ("by_customer", rest)]);
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    run(dir, &by(sql), &[], "by_customer", &[("ada", 10, 1), ("bob", 20, 2)], 2);
    for other in [
        "SELECT customer, sum(amount) AS total FROM orders GROUP BY customer",
        "SELECT customer, count(*) AS n FROM orders WHERE amount > 5 GROUP BY customer",
        "SELECT customer, id, count(*) AS n FROM orders GROUP BY customer, id",
        "SELECT customer, id FROM orders",
    ] {
        fs::write(dir.join("shop.sql"), by(other)).unwrap();
        let run =
            ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0", "--until-end"];
        let said = fail(dir, &run, 1);
        assert!(
            said.contains("2 entries would be lost") && said.contains("--reset-state"),
            "{said}"
        );
        assert!(!said.contains("finished"), "{said}");
        let said = fail(dir, &["check", "--state", "--data-dir", "data", "shop.sql"], 1);
        assert!(said.contains("2 entries would be lost"), "{said}");
    }
    // The one that reads the same is where it was: nothing was read by it twice.
    let said = run(dir, &by(sql), &[], "by_customer", &[("ada", 30, 3)], 3);
    assert!(!said.contains("state"), "{said}");
    let rows = latest(dir, "by_customer", "customer");
    assert_eq!(rows["ada"]["n"], 2);
    let consume = ["consume", "plain", "--data-dir", "data", "--until-end"];
    assert_eq!(stdout(&succeed(dir, &consume)).lines().count(), 3);
    // Without the state, it starts from the first order.
    let other = by("SELECT customer, sum(amount) AS total FROM orders GROUP BY customer");
    run(dir, &other, &["--reset-state"], "by_customer", &[], 5);
    assert_eq!(latest(dir, "by_customer", "customer")["ada"]["total"], 40);
}

#[test]
fn every_query_that_cannot_go_on_is_told_of() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let counted = |by: &str| format!("SELECT {by}, count(*) AS n FROM orders GROUP BY {by}");
    let both = |first: &str, second: &str| {
        file("", &[("one", &*counted(first)), ("two", &*counted(second))])
    };
    run(dir, &both("customer", "id"), &[], "one", &[("ada", 10, 1)], 1);
    fs::write(dir.join("shop.sql"), both("amount", "customer")).unwrap();
    let said = fail(dir, &["check", "--state", "--data-dir", "data", "shop.sql"], 1);
    assert!(said.contains("query 'one'") && said.contains("query 'two'"), "{said}");
    assert!(said.contains("2 things have to be changed"), "{said}");
}

/// The topic of an answer that is updated takes no rows without a key.
#[test]
fn rows_without_a_key_are_refused_where_the_topic_needs_one() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    run(dir, &file("", &[("totals", sql)]), &[], "totals", &[("ada", 10, 1)], 1);
    fs::write(dir.join("shop.sql"), file("", &[("totals", "SELECT id FROM orders")])).unwrap();
    let run = ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0", "--until-end"];
    let said = fail(dir, &[&run[..], &["--reset-state"]].concat(), 1);
    assert!(said.contains("topic 'totals' is compacted, which needs a key"), "{said}");
}

/// A further sink, and another filter of what comes out.
#[test]
fn what_follows_the_state_may_change() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    run(
        dir,
        &file("", &[("by_customer", sql)]),
        &[],
        "by_customer",
        &[("ada", 10, 1), ("bob", 20, 2)],
        2,
    );
    let filtered = format!("{sql} HAVING count(*) > 2");
    let text = file(
        "",
        &[("totals", "SELECT sum(amount) AS total FROM orders"), ("by_customer", &filtered)],
    );
    let orders = [("ada", 30, 3), ("bob", 40, 4), ("ada", 50, 5)];
    let said = run(dir, &text, &[], "by_customer", &orders, 3);
    assert!(!said.contains("state"), "{said}");
    assert_eq!(latest(dir, "by_customer", "customer")["ada"]["n"], 3);
    let consume = ["consume", "totals", "--data-dir", "data", "--until-end"];
    let totals = stdout(&succeed(dir, &consume));
    assert_eq!(totals.lines().last().unwrap(), r#"{"total":150}"#, "from the first order");
}

/// What was told by other keys is not replaced, and compaction never takes it: that is said.
#[test]
fn another_key_of_corrected_rows_is_told() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, amount, count(*) AS n FROM orders GROUP BY customer, amount";
    let text = file("", &[("sold", sql)]);
    let said = run(dir, &text, &[], "sold", &[("ada", 10, 1)], 1);
    assert!(!said.contains("state"), "{said}");
    let said = run(dir, &text, &[], "sold", &[("ada", 10, 2)], 2);
    assert!(!said.contains("state"), "{said}");
    let keyed = text.replace("sold WITH (", "sold WITH (key = 'amount,customer', ");
    let told = "query 'sold': the key of its rows is (amount, customer) and was (customer, \
                amount): those that were written before stay in 'sold' as they are";
    let said = run(dir, &keyed, &[], "sold", &[("ada", 10, 3)], 3);
    assert!(said.contains(told), "{said}");
    let said = run(dir, &keyed, &[], "sold", &[("ada", 10, 4)], 4);
    assert!(!said.contains("state"), "{said}");
}

/// Brokers forget where a group without members has come to in a week.
#[test]
fn a_place_that_was_forgotten_is_not_begun_anew_beside_state() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let text = file("SET 'tasks' = '2';", &[("by_customer", sql)]);
    run(dir, &text, &[], "by_customer", &[("ada", 10, 1)], 1);
    let (broker, address) = Running::broker(dir);
    succeed(dir, &["groups", "delete", "shop-by_customer", "--bootstrap-server", &address]);
    stop(broker);
    let run = ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let said = fail(dir, &run, 1);
    assert!(said.contains("the broker has forgotten up to where its inputs were read"), "{said}");
    let check = ["check", "--state", "--data-dir", "data", "shop.sql"];
    assert!(fail(dir, &check, 1).contains("--reset-state"));
    stop(start(dir, &text, &["--reset-state"]).0);
}

/// Tasks without a partition say that they are idle, perhaps before anything has been read: that
/// was taken for rows of which nobody knew any more up to where they had been read.
#[test]
fn who_has_only_said_that_it_is_idle_is_not_forgotten() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let text = file("SET 'tasks' = '3';", &[("by_customer", sql)]);
    fs::write(dir.join("shop.sql"), &text).unwrap();
    let until_end =
        ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0", "--until-end"];
    succeed(dir, &until_end);
    let (broker, address) = Running::broker(dir);
    let forget = ["groups", "forget", "shop-by_customer", "--topic", "orders"];
    succeed(dir, &[&forget[..], &["--bootstrap-server", &address]].concat());
    stop(broker);
    run(dir, &text, &[], "by_customer", &[("ada", 10, 1)], 1);
    assert_eq!(latest(dir, "by_customer", "customer")["ada"]["n"], 1);
}

/// What was added was never read, and every figure said that all was.
#[test]
fn partitions_that_a_topic_gets_while_it_is_read_are_read_too() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let (mut running, address) = start(dir, &file("", &[("by_customer", sql)]), &[]);
    let there = ["--bootstrap-server", address.as_str()];
    let mut reader = Running::start(dir, &[&["consume", "by_customer"][..], &there].concat());
    produce(dir, &address, &[("ada", 10, 1)]);
    reader.wait_stdout(r#""ada""#);
    succeed(dir, &[&["topics", "alter", "orders", "--partitions", "3"][..], &there].concat());
    let row = r#"{"id":2,"customer":"bob","amount":2,"at":"2024-05-01T12:00:02Z"}"#;
    let to_third = ["produce", "orders", "--partition", "2"];
    succeed_with(dir, &[&to_third[..], &there].concat(), &format!("{row}\n"));
    running.wait_stderr("it has more partitions now");
    reader.wait_stdout(r#""bob""#);
    produce(dir, &address, &[("ada", 20, 3)]);
    reader.wait_stdout(r#""n":2"#);
    drop(reader);
    stop(running);
}

/// Offsets alone do not tell: the first records of the new topic were taken for read.
#[test]
fn a_topic_that_was_deleted_and_made_again_is_another_one() {
    let dir = tempdir().unwrap();
    let dir = dir.path();
    let sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer";
    let text = file("", &[("by_customer", sql)]);
    run(dir, &text, &[], "by_customer", &[("ada", 10, 1)], 1);
    let (broker, address) = Running::broker(dir);
    succeed(dir, &["topics", "delete", "orders", "--bootstrap-server", &address]);
    succeed(dir, &["topics", "create", "orders", "--bootstrap-server", &address]);
    produce(dir, &address, &[("ada", 20, 2), ("bob", 30, 3)]);
    stop(broker);
    let run = ["run", "shop.sql", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let said = fail(dir, &run, 1);
    assert!(said.contains("topic 'orders' is not the one that was read"), "{said}");
    assert!(said.contains("--reset-state"), "{said}");
}
