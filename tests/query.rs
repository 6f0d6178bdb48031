//! SQL over topics, and taps of pipelines, by the real binary.

mod fixture;
#[path = "kafka/fixture.rs"]
mod kafka;

use std::fs;
use std::path::Path;

use fixture::{ROOT, Running, fail, millstream, stdout, succeed, succeed_with};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const ORDERS: &str = r#"
name = "orders"

[sources.orders]
format = "json"
event_time = "at"
watermark = "1 second"

[sources.orders.columns]
id = "bigint"
customer = "text"
amount = "double"
at = "timestamptz"

[tables.customers]
format = "json"
key = ["name"]

[tables.customers.columns]
name = "text"
city = "text"

[[queries]]
name = "large-orders"
from = "orders"
steps = [
  { filter = "amount > 20" },
  { add = { taxed = "amount * 2" } },
]

[[queries]]
name = "by-customer"
sql = "SELECT customer, count(*) AS n FROM orders GROUP BY customer"
sink = { topic = "by-customer", key = ["customer"] }
"#;

/// A data directory with orders and customers in it.
fn place() -> TempDir {
    let dir = tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("orders.toml"), ORDERS).unwrap();
    // Somebody has to be the first broker here.
    let (broker, address) = Running::broker(path);
    let to = ["--bootstrap-server", address.as_str()];
    succeed(path, &["topics", "create", "orders", "--partitions", "3", to[0], to[1]]);
    let mut lines = String::new();
    for id in 0..100 {
        let customer = ["ada", "bob", "eve"][id % 3];
        let second = id % 60;
        lines.push_str(&format!(
            "{{\"id\":{id},\"customer\":\"{customer}\",\"amount\":{},\
             \"at\":\"2024-05-01T12:00:{second:02}Z\"}}\n",
            id as f64 / 2.0
        ));
    }
    succeed_with(path, &["produce", "orders", to[0], to[1]], &lines);
    let customers = "ada|{\"name\":\"ada\",\"city\":\"London\"}\n\
                     bob|{\"name\":\"bob\",\"city\":\"Rome\"}\n\
                     ada|{\"name\":\"ada\",\"city\":\"Paris\"}\n";
    let produce = ["produce", "customers", "--key-separator", "|", to[0], to[1]];
    succeed_with(path, &produce, customers);
    let (status, _, _) = broker.interrupt();
    assert_eq!(status, Some(0));
    dir
}

fn query(dir: &Path, args: &[&str]) -> Vec<Value> {
    let all: Vec<&str> = ["query", "--data-dir", "data"].iter().chain(args).copied().collect();
    let output = succeed(dir, &all);
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn topics_are_asked_by_name_and_by_what_files_declare() {
    let dir = place();
    let counted = query(
        dir.path(),
        &["SELECT customer, count(*) AS n, sum(amount) AS total FROM orders \
           GROUP BY customer ORDER BY customer LIMIT 2"],
    );
    let expected = "{\"customer\":\"ada\",\"n\":34,\"total\":841.5}\n\
                    {\"customer\":\"bob\",\"n\":33,\"total\":808.5}";
    assert_eq!(counted, json(expected));
    // Of a table, the rows that are there; a join of everything; a window; a window function.
    let joined = query(
        dir.path(),
        &[
            "SELECT c.city, count(*) AS n FROM orders o JOIN customers c ON o.customer = c.name \
             GROUP BY c.city ORDER BY 1; \
             SELECT window_start, count(*) AS n FROM TUMBLE(orders, at, INTERVAL '30' SECOND) \
             GROUP BY window_start ORDER BY window_start; \
             SELECT id, rank() OVER (ORDER BY amount DESC) AS r FROM orders ORDER BY r LIMIT 1",
            "orders.toml",
        ],
    );
    let expected = "{\"city\":\"Paris\",\"n\":34}\n{\"city\":\"Rome\",\"n\":33}\n\
                    {\"window_start\":\"2024-05-01T12:00:00Z\",\"n\":60}\n\
                    {\"window_start\":\"2024-05-01T12:00:30Z\",\"n\":40}\n\
                    {\"id\":99,\"r\":1}";
    assert_eq!(joined, json(expected));
    // The records of the same topic, where nobody says that it is a table.
    let records = query(dir.path(), &["SELECT count(*) AS n FROM customers"]);
    assert_eq!(records, json("{\"n\":3}"));
}

#[test]
fn sessions_are_answered_up_to_the_end() {
    let dir = place();
    let rows = query(
        dir.path(),
        &[
            "SELECT customer, window_start, window_end, count(*) AS n FROM \
             SESSION(orders PARTITION BY customer, at, INTERVAL '5' SECOND) \
             GROUP BY customer, window_start, window_end",
            "orders.toml",
        ],
    );
    let ordered = query(
        dir.path(),
        &[
            "WITH s AS (SELECT customer, window_start, count(*) AS n FROM \
             SESSION(orders PARTITION BY customer, at, INTERVAL '5' SECOND) \
             GROUP BY customer, window_start, window_end) \
             SELECT s.customer, c.city, s.n FROM s LEFT JOIN customers c ON s.customer = c.name \
             ORDER BY s.n DESC, s.customer LIMIT 2",
            "orders.toml",
        ],
    );
    let expected = "{\"customer\":\"ada\",\"city\":\"Paris\",\"n\":34}\n\
                    {\"customer\":\"bob\",\"city\":\"Rome\",\"n\":33}";
    assert_eq!(ordered, json(expected));
    let counts: Vec<u64> = rows.iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 100, "{rows:?}");
    assert_eq!(counts.len(), 3, "{rows:?}");
}

#[test]
fn statements_come_from_files_and_stdin_and_declare_tables() {
    let dir = place();
    let sql = "CREATE TABLE o (id bigint, amount double) WITH (topic = 'orders', format = 'json');
               CREATE VIEW large AS SELECT id FROM o WHERE amount >= 49;
               SELECT * FROM large ORDER BY id;
               WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 4)
               SELECT sum(n) AS s FROM t;";
    fs::write(dir.path().join("ask.sql"), sql).unwrap();
    let expected = json("{\"id\":98}\n{\"id\":99}\n{\"s\":10}");
    assert_eq!(query(dir.path(), &["-f", "ask.sql"]), expected);
    let args = ["query", "--data-dir", "data", "-"];
    let output = succeed_with(dir.path(), &args, sql);
    assert_eq!(json(&stdout(&output)), expected);
    let csv = succeed(
        dir.path(),
        &["query", "--data-dir", "data", "-o", "csv", "SELECT 1 AS a, 'x,y' AS b, NULL AS c"],
    );
    assert_eq!(stdout(&csv), "a,b,c\n1,\"x,y\",\n");
    let table = succeed(
        dir.path(),
        &["query", "--data-dir", "data", "-o", "table", "SELECT id FROM orders WHERE id < 2"],
    );
    assert_eq!(stdout(&table), "id\n 0\n 1\n");
}

#[test]
fn time_bounds_are_of_the_records() {
    let dir = place();
    let all = query(dir.path(), &["--from", "2h", "SELECT count(*) AS n FROM orders"]);
    assert_eq!(all, json("{\"n\":100}"));
    for bounds in [["--to", "2020-01-01"], ["--from", "2100-01-01T00:00"]] {
        let none = query(dir.path(), &[bounds[0], bounds[1], "SELECT count(*) AS n FROM orders"]);
        assert_eq!(none, json("{\"n\":0}"), "{bounds:?}");
    }
}

#[test]
fn mistakes_have_their_place_and_nothing_is_created() {
    let dir = place();
    let ask = |sql: &str| fail(dir.path(), &["query", "--data-dir", "data", sql], 2);
    let said = ask("SELECT idd FROM orders WHERE nothing > 1");
    assert!(said.contains("no column 'idd'") && said.contains("did you mean 'id'?"), "{said}");
    assert!(said.contains("no column 'nothing'") && said.contains("[query:1:8]"), "{said}");
    let said = ask("SELECT * FROM ordesr");
    assert!(said.contains("did you mean 'orders'?"), "{said}");
    let said = ask("SELECT * FROM large-orders");
    assert!(said.contains("double quotes: \"large-orders\""), "{said}");
    let said = ask("INSERT INTO orders SELECT 1");
    assert!(said.contains("nothing is written here"), "{said}");
    let said = fail(
        dir.path(),
        &["query", "--data-dir", "data", "--follow", "SELECT id FROM orders ORDER BY id"],
        2,
    );
    assert!(said.contains("ORDER BY cannot run as a stream"), "{said}");
    fail(dir.path(), &["query", "SELECT 1"], 2);
    assert!(!dir.path().join(".millstream").exists());
    let topics = stdout(&succeed(dir.path(), &["topics", "list", "--data-dir", "data"]));
    assert!(!topics.contains("ordesr"), "{topics}");
    let groups = stdout(&succeed(dir.path(), &["groups", "list", "--data-dir", "data", "--json"]));
    assert_eq!(groups.trim(), "", "a query is in no group");
}

/// A record that does not fit the columns stops the answer, unless it is to be left out.
#[test]
fn records_that_cannot_be_decoded_are_told() {
    let dir = place();
    let produce = ["produce", "orders", "--data-dir", "data"];
    succeed_with(dir.path(), &produce, "{\"id\":\"not a number\"}\n");
    let sql = "SELECT count(*) AS n, max(id) AS id FROM orders";
    let args = ["query", "--data-dir", "data", sql, "orders.toml"];
    let said = fail(dir.path(), &args, 1);
    assert!(said.contains("topic 'orders', partition") && said.contains("offset"), "{said}");
    let args = ["query", "--data-dir", "data", "--skip-bad-records", sql, "orders.toml"];
    let output = succeed(dir.path(), &args);
    assert_eq!(json(&stdout(&output)), json("{\"n\":100,\"id\":99}"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 record left out"), "{said}");
}

#[test]
fn followed_answers_change_as_rows_come_until_ctrl_c() {
    let dir = place();
    let (_broker, address) = Running::broker(dir.path());
    let sql = "SELECT customer, count(*) AS n FROM orders WHERE id >= 97 GROUP BY customer";
    let follow = ["query", "--data-dir", "data", "--follow", sql, "orders.toml"];
    let mut following = Running::start(dir.path(), &follow);
    // In the order of the rows of one commit: three customers, each with one order.
    following.wait_stdout("{\"op\":\"+\",\"customer\":\"ada\",\"n\":1}");
    let produce = ["produce", "orders", "--bootstrap-server", address.as_str()];
    let line = "{\"id\":100,\"customer\":\"ada\",\"amount\":1,\"at\":\"2024-05-01T12:01:00Z\"}\n";
    succeed_with(dir.path(), &produce, line);
    following.wait_stdout("{\"op\":\"-\",\"customer\":\"ada\",\"n\":1}");
    following.wait_stdout("{\"op\":\"+\",\"customer\":\"ada\",\"n\":2}");
    let (status, _, said) = following.interrupt();
    assert_eq!(status, Some(130), "{said:?}");
    // A limit is an end.
    let limited = ["query", "--follow", "--limit", "2", "SELECT id FROM orders"];
    let remote = ["--bootstrap-server", address.as_str()];
    let output = succeed(dir.path(), &[limited.as_slice(), &remote].concat());
    assert_eq!(stdout(&output).lines().count(), 2);
    let topics = succeed(dir.path(), &["topics", "list", remote[0], remote[1]]);
    assert!(!stdout(&topics).contains("changelog"), "{}", stdout(&topics));
}

#[test]
fn steps_of_a_pipeline_are_tapped() {
    let dir = place();
    let list = stdout(&succeed(dir.path(), &["tap", "orders.toml"]));
    for part in ["orders", "customers", "large-orders.filter", "large-orders.add", "by-customer"] {
        assert!(list.contains(part), "{list}");
    }
    let tap = |step: &str, args: &[&str]| {
        let all = ["tap", "--data-dir", "data", "orders.toml", step, "--from-beginning"];
        json(&stdout(&succeed(dir.path(), &[&all, args].concat())))
    };
    let alone = ["tap", "--data-dir", "data", "orders.toml", "orders", "--from-beginning"];
    let output = succeed(dir.path(), &[&alone[..], &["--limit", "1"]].concat());
    assert!(String::from_utf8(output.stderr).unwrap().contains("no broker serves"));
    let rows = tap("large-orders.filter", &["--limit", "1", "--where", "id = 60"]);
    let expected =
        "{\"id\":60,\"customer\":\"ada\",\"amount\":30.0,\"at\":\"2024-05-01T12:00:00Z\"}";
    assert_eq!(rows, json(expected));
    let rows = tap("large-orders.2", &["--limit", "1", "--where", "id = 60"]);
    assert_eq!(rows[0]["taxed"], 60.0);
    let rows = tap("by-customer", &["--limit", "3"]);
    assert!(rows.iter().all(|row| row["op"] == "+" && row["n"].is_u64()), "{rows:?}");
    let args = ["tap", "--data-dir", "data", "orders.toml"];
    let said = fail(dir.path(), &[&args[..], &["large-order.filter"]].concat(), 2);
    assert!(said.contains("did you mean 'large-orders.filter'?"), "{said}");
    let wrong = ["large-orders", "--where", "taxxed > 1"];
    let said = fail(dir.path(), &[&args[..], &wrong].concat(), 2);
    assert!(said.contains("[--where:1:1]") && said.contains("'taxed'"), "{said}");
}

#[test]
fn what_is_there_is_tapped_and_followed_to_its_end() {
    let dir = place();
    let ask = |args: &[&str]| {
        let output = succeed(dir.path(), &[args, &["--data-dir", "data", "--json"]].concat());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("no broker serves"));
        json(&stdout(&output))
    };
    let tapped = ask(&["tap", "orders.toml", "large-orders.filter", "--until-end"]);
    assert_eq!(tapped.len(), 59, "{tapped:?}");
    let points = ask(&["tap", "orders.toml"]);
    assert_eq!(points[0]["step"], "orders");
    assert_eq!(points[0]["kind"], "source");
    // Windows close at the end, and the answer is that of a batch.
    let windows = "SELECT window_start, customer, count(*) AS n FROM \
                   TUMBLE(orders, at, INTERVAL '10' SECOND) GROUP BY window_start, window_end, customer";
    let mut streamed = ask(&["query", "--follow", "--until-end", windows, "orders.toml"]);
    let batch = format!("{windows} ORDER BY 1, 2");
    let answered = ask(&["query", &batch, "orders.toml"]);
    assert_eq!(answered, ask(&["query", "--until-end", &batch, "orders.toml"]));
    streamed.sort_by_key(|row| (row["window_start"].to_string(), row["customer"].to_string()));
    assert_eq!(streamed, answered);
    let both = ["query", "--data-dir", "data", "--json", "-o", "csv", "SELECT 1"];
    let said = fail(dir.path(), &both, 2);
    assert!(said.contains("cannot be used with"), "{said}");
}

#[test]
fn clauses_of_a_query_in_sql_are_tapped() {
    let dir = place();
    let sql = "
        CREATE TABLE orders (id BIGINT, customer TEXT, amount DOUBLE, at TIMESTAMP_LTZ(3),
          WATERMARK FOR at AS at - INTERVAL '1' SECOND) WITH (format = 'json');
        CREATE TABLE sums WITH (format = 'json');
        INSERT INTO sums SELECT customer, sum(amount) AS total
          FROM TUMBLE(orders, at, INTERVAL '1' HOUR) WHERE amount > 25
          GROUP BY window_start, window_end, customer HAVING sum(amount) > 100;";
    fs::write(dir.path().join("sums.sql"), sql).unwrap();
    let tap = |args: &[&str]| {
        let all = ["tap", "sums.sql", "--data-dir", "data", "--json"];
        json(&stdout(&succeed(dir.path(), &[&all, args].concat())))
    };
    let names: Vec<Value> = tap(&[]).iter().map(|point| point["step"].clone()).collect();
    assert_eq!(names, ["orders", "sums.where", "sums.group", "sums.having", "sums"]);
    let passed = tap(&["sums.where", "--until-end"]);
    let all = tap(&["orders", "--until-end"]);
    let large = all.iter().filter(|row| row["amount"].as_f64().unwrap() > 25.0).count();
    assert!(large < all.len() && passed.len() == large, "{large} of {}: {passed:?}", all.len());
    let groups = tap(&["sums.group", "--until-end"]);
    let answers = tap(&["sums", "--until-end"]);
    assert!(!answers.is_empty() && groups.len() >= answers.len(), "{groups:?}");
}

const ITEMS: &str = "
CREATE CONNECTOR baskets WITH (
  'connector.class' = 'FileStreamSource', file = 'baskets.jsonl', topic = 'baskets');
CREATE TABLE baskets (
  id BIGINT, seconds BIGINT, factor DOUBLE,
  items ARRAY<ROW<name STRING, price DOUBLE>>,
  worth AS factor * 10,
  at AS TO_TIMESTAMP_LTZ(seconds, 0),
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (format = 'json', on_error = 'dead-letter', 'dead_letter.topic' = 'bad-baskets');
CREATE TABLE items WITH (format = 'json');
CREATE TABLE minutes WITH (format = 'json');
EXECUTE STATEMENT SET BEGIN
  INSERT INTO items
    SELECT b.id, worth, i.name, i.price, place
    FROM baskets AS b LEFT JOIN UNNEST(items) WITH ORDINALITY AS i(name, price, place) ON TRUE;
  INSERT INTO minutes
    SELECT window_start, name, count(*) AS n, sum(price) AS total
    FROM TUMBLE(baskets, at, INTERVAL '1' MINUTE) CROSS JOIN UNNEST(items) AS i
    GROUP BY window_start, window_end, name;
END;
";

/// Computed columns, the event time among them, and lists in FROM: what the pipeline writes is what
/// batch SQL answers over the same records.
#[test]
fn a_statement_set_over_computed_columns_and_lists_is_what_batch_answers() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("items.sql"), ITEMS).unwrap();
    let mut lines = String::new();
    for id in 0..200u32 {
        let items: Vec<String> = (0..id % 4)
            .map(|n| format!("{{\"name\":\"n{}\",\"price\":{}.5}}", (id + n) % 5, n))
            .collect();
        let items = if id % 7 == 0 { "null".to_owned() } else { format!("[{}]", items.join(",")) };
        let seconds = 1_700_000_000 + id * 3;
        lines.push_str(&format!(
            "{{\"id\":{id},\"seconds\":{seconds},\"factor\":0.{},\"items\":{items}}}\n",
            id % 10
        ));
    }
    // A time beyond all that can be counted is none.
    lines.push_str("{\"id\":1000,\"seconds\":9223372036854775807,\"items\":[]}\n");
    fs::write(dir.path().join("baskets.jsonl"), lines).unwrap();
    let run = ["run", "items.sql", "--until-end", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    succeed(dir.path(), &run);
    let ask = |sql: &str| query(dir.path(), &[sql, "items.sql"]);
    let columns = "id, worth, name, price, place";
    let items = ask(&format!("SELECT {columns} FROM items ORDER BY id, place"));
    let computed = "SELECT id, factor * 10 AS worth, i['name'] AS name, i['price'] AS price, place
         FROM (SELECT id, factor, unnest(items) AS i,
                 unnest(generate_series(1, array_length(items))) AS place
               FROM baskets WHERE array_length(items) > 0)
         UNION ALL SELECT id, factor * 10, NULL, NULL, NULL FROM baskets
         WHERE items IS NULL OR array_length(items) = 0 OR array_length(items) IS NULL";
    assert_eq!(items, ask(&format!("SELECT {columns} FROM ({computed}) ORDER BY id, place")));
    assert!(items.len() > 250 && items.last().unwrap()["id"] == 1000, "{}", items.len());
    let minutes = ask("SELECT window_start, name, n, total FROM minutes ORDER BY 1, 2");
    let computed = "SELECT date_trunc('minute', to_timestamp_seconds(seconds)) AS m,
           i['name'] AS name, count(*) AS n, sum(i['price']) AS total
         FROM (SELECT seconds, unnest(items) AS i FROM baskets) GROUP BY 1, 2 ORDER BY 1, 2";
    let computed = ask(computed);
    assert_eq!(minutes.len(), computed.len());
    for (ours, batch) in minutes.iter().zip(&computed) {
        let of = |row: &Value| (row["name"].clone(), row["n"].clone(), row["total"].clone());
        assert_eq!(of(ours), of(batch), "{ours} {batch}");
    }
}

/// From now on: what was there before does not come.
#[test]
fn a_tap_begins_with_what_comes() {
    let dir = place();
    let (_broker, address) = Running::broker(dir.path());
    let tap = ["tap", "--data-dir", "data", "orders.toml", "orders"];
    let mut tapping = Running::start(dir.path(), &tap);
    tapping.wait_stderr("from now on");
    let produce = ["produce", "orders", "--bootstrap-server", address.as_str()];
    succeed_with(dir.path(), &produce, "{\"id\":1000}\n");
    let row = tapping.wait_stdout("\"id\"");
    assert!(row.contains("1000"), "{row}");
    let (status, lines, _) = tapping.interrupt();
    assert_eq!((status, lines.len()), (Some(130), 1), "{lines:?}");
}

/// What a reader of a pipe no longer wants is not computed.
#[test]
fn a_reader_that_goes_ends_the_answer() {
    let dir = place();
    let sql =
        "SELECT a.id FROM orders a CROSS JOIN orders b CROSS JOIN orders c CROSS JOIN orders d";
    let mut command = millstream(dir.path(), &["query", "--data-dir", "data", sql]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn outputs_of_a_pipeline_are_tables_too() {
    let dir = tempdir().unwrap();
    fs::create_dir_all(dir.path().join("pipelines")).unwrap();
    fs::create_dir_all(dir.path().join("examples/data")).unwrap();
    for file in ["pipelines/flight-delays.toml", "examples/data/flights-2013-01.csv"] {
        fs::copy(Path::new(ROOT).join(file), dir.path().join(file)).unwrap();
    }
    let file = "pipelines/flight-delays.toml";
    let run = ["run", file, "--until-end", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    succeed(dir.path(), &run);
    // What the pipeline wrote is what batch SQL answers over what it read.
    let written = "SELECT window_start, origin, flights, cancelled, max_delay \
                   FROM \"delays-by-hour\" ORDER BY 1, 2";
    let computed = "SELECT window_start, origin, count(*) AS flights, \
                    count(*) FILTER (WHERE dep_time IS NULL) AS cancelled, \
                    max(dep_delay) AS max_delay \
                    FROM TUMBLE(flights, time_hour, INTERVAL '1' HOUR) \
                    GROUP BY window_start, window_end, origin ORDER BY 1, 2";
    let written = query(dir.path(), &[written, file]);
    assert_eq!(written.len(), 1642);
    assert_eq!(written, query(dir.path(), &[computed, file]));
}

/// What sorts goes to disk, what joins cannot: both within bounds.
#[test]
fn memory_is_bounded() {
    let dir = place();
    let ask = |sql: &str| {
        let args = ["query", "--data-dir", "data", "--memory-mb", "32", sql];
        millstream(dir.path(), &args).output().unwrap()
    };
    let many = "(SELECT a.id * 10000 + b.id * 100 + c.id AS id, \
                repeat('x', 100 + c.id % 2) AS text FROM orders a, orders b, orders c \
                WHERE c.id < 50)";
    let sorted = ask(&format!("SELECT id FROM {many} ORDER BY text, id"));
    let said = String::from_utf8_lossy(&sorted.stderr);
    assert_eq!(stdout(&sorted).lines().count(), 500_000, "{said}");
    let condition = "x.id = y.id AND x.text = y.text";
    let joined = ask(&format!("SELECT count(*) FROM {many} x JOIN {many} y ON {condition}"));
    let said = String::from_utf8(joined.stderr).unwrap();
    assert_eq!(joined.status.code(), Some(1), "{said}");
    assert!(said.contains("not enough memory") && said.contains("--memory-mb"), "{said}");
}

#[test]
fn apache_kafka_is_asked_the_same() {
    let Some(kafka) = kafka::kafka() else { return };
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("orders.toml"), ORDERS).unwrap();
    let to = ["--bootstrap-server", kafka.address.as_str()];
    succeed(dir.path(), &["topics", "create", "orders", "--partitions", "2", to[0], to[1]]);
    let lines: String = (0..10).map(|id| format!("{{\"id\":{id},\"amount\":{id}.5}}\n")).collect();
    succeed_with(dir.path(), &["produce", "orders", to[0], to[1]], &lines);
    let ask = |args: &[&str]| json(&stdout(&succeed(dir.path(), &[args, &to].concat())));
    let sql = "SELECT count(*) AS n, sum(amount) AS s FROM orders";
    assert_eq!(ask(&["query", sql]), json("{\"n\":10,\"s\":50.0}"));
    let follow = "SELECT id FROM orders WHERE id > 7";
    let rows = ask(&["query", "--follow", "--limit", "2", follow, "orders.toml"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let tap = ["tap", "orders.toml", "orders", "--from-beginning", "--limit", "10"];
    assert_eq!(ask(&tap).len(), 10);
    assert!(!dir.path().join(".millstream").exists());
}
