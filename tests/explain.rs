//! `millstream explain` and `millstream graph`, by the real binary.

mod fixture;

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use fixture::{ROOT, fail, stdout, succeed};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const TABLES: &str = "
SET 'pipeline.name' = 'shop';
CREATE TABLE orders (id BIGINT, customer TEXT, amount DOUBLE, items TEXT[], at TIMESTAMPTZ,
  WATERMARK FOR at AS at - INTERVAL '10' SECOND) WITH (format = 'json');
CREATE TABLE payments (order_id BIGINT, paid DOUBLE, at TIMESTAMPTZ,
  WATERMARK FOR at AS at - INTERVAL '1' MINUTE) WITH (format = 'json', on_error = 'skip');
CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT, city TEXT) WITH (format = 'json');
CREATE TABLE cities (city TEXT PRIMARY KEY, country TEXT) WITH (format = 'json');
";

fn place(query: &str) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("shop.sql"), format!("{TABLES}{query};\n")).unwrap();
    dir
}

fn explained(query: &str, expected: &Expect) {
    let dir = place(query);
    let output = succeed(dir.path(), &["explain", "shop.sql"]);
    expected.assert_eq(&stdout(&output));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was written");
}

#[test]
fn rows_by_themselves() {
    explained(
        "CREATE TABLE large WITH (format = 'json', key = 'id');
         INSERT INTO large SELECT id, upper(customer) AS who, amount * 1.2 AS gross, unnest(items) i
         FROM orders WHERE amount > 100 AND customer IS NOT NULL",
        &expect![[r#"
            query large

            Plan
              SELECT id, who, gross, unnest(items) AS i
              UNNEST items
              SELECT id, upper(customer) AS who, amount * 1.2 AS gross
              WHERE amount > 100.0 AND customer IS NOT NULL
              FROM orders (id, customer, amount, items)

            Sources
              orders: topic orders, json; event time at; watermark 10 seconds behind it;
                a partition is idle after 5 seconds; late rows are dropped; records that fail stop the query

            Steps  1 task
              1  read orders
                   where amount > 100.0 AND customer IS NOT NULL
                   who = upper(customer)
                   gross = amount * 1.2
                   a row for each element of items
              2  write large  ← 1
                   key id

            Answer
              topic large, json; each row is written once and stays; key id
              id bigint, who text, gross double, i text
        "#]],
    );
}

#[test]
fn a_window_with_a_table() {
    explained(
        "CREATE TABLE minutes WITH (format = 'json');
         INSERT INTO minutes SELECT window_start, window_end, city, count(*) AS orders,
           sum(amount) FILTER (WHERE amount > 3) AS large
         FROM TUMBLE(orders, at, INTERVAL '1' MINUTE) AS o LEFT JOIN customers c ON o.customer = c.id
         GROUP BY window_start, window_end, city HAVING count(*) > 1 EMIT CHANGES",
        &expect![[r#"
            query minutes

            Plan
              SELECT window_start, window_end, city, count(*) AS orders,
                  sum(amount) FILTER (WHERE (amount > 3.0)) AS large
              HAVING count(*) > 1
              GROUP BY window_start, window_end, city
              LEFT JOIN ON customer = id
              ├ SELECT customer, amount, tumble_start(at, INTERVAL '1 minute') AS window_start,
              │     tumble_end(at, INTERVAL '1 minute') AS window_end
              │ FROM orders (customer, amount, at)
              └ FROM customers (id, city)

            Sources
              orders: topic orders, json; event time at; watermark 10 seconds behind it;
                a partition is idle after 5 seconds; late rows are dropped; records that fail stop the query
              table customers: topic customers, json, key id; records that fail stop the query

            Steps  1 task
              1  read table customers
                   whole, by every task, before all else
              2  read orders  ← 1
                   window_start = tumble_start(at, INTERVAL '1 minute')
                   window_end = tumble_end(at, INTERVAL '1 minute')
                   left join table customers on customer = customers.id
              3  aggregate by window  ← 2
                   windows of 1 minute
                   by city
                   orders = count(*)
                   large = sum(amount) FILTER (WHERE (amount > 3.0))
                   told whenever they change
                   where count(*) > 1
                 ▤ keeps the aggregates by window, city, until the watermark passes the end of their window
                   shop-minutes-changelog
              4  write minutes  ← 3
                   upserts by window_start, window_end, city

            Answer
              topic minutes, json; upserts by window_start, window_end, city: a record replaces the one before,
                one without a value deletes
              window_start timestamptz, window_end timestamptz, city text, orders bigint, large double
        "#]],
    );
}

#[test]
fn two_streams_in_four_tasks() {
    explained(
        "SET 'tasks' = '4';
         CREATE TABLE paid WITH (format = 'json');
         INSERT INTO paid SELECT orders.id, amount, paid FROM orders LEFT JOIN payments
         ON orders.id = payments.order_id AND paid > 0
         AND payments.at BETWEEN orders.at AND orders.at + INTERVAL '1' HOUR",
        &expect![[r#"
            query paid

            Plan
              LEFT JOIN ON id = order_id AND payments.at >= orders.at AND payments.at <= orders.at + INTERVAL
                  '1 hour'
              ├ FROM orders (id, amount, at)
              └ WHERE paid > 0.0
                FROM payments (order_id, paid, at)

            Sources
              orders: topic orders, json; event time at; watermark 10 seconds behind it;
                a partition is idle after 5 seconds; late rows are dropped; records that fail stop the query
              payments: topic payments, json; event time at; watermark 1 minute behind it;
                a partition is idle after 5 seconds; late rows are dropped; records that fail are skipped

            Steps  4 tasks
              1  read orders
              2  read payments
                   where paid > 0.0
              3  left interval join  ← 1 through shop-paid-0of4-repartition (by id), 2 through shop-paid-1of4-repartition (by order_id)
                   by id = order_id
                   where right.at >= left.at AND right.at <= left.at + INTERVAL '1 hour'
                 ▤ keeps the rows of both sides by id, until the watermark is 1 hour past those on the left,
                   and past those on the right
                   shop-paid-2of4-changelog
              4  write paid  ← 3

            Answer
              topic paid, json; each row is written once and stays
              id bigint, amount double, paid double
        "#]],
    );
}

/// What the steps of a query are.
fn steps(dir: &Path) -> String {
    let text = stdout(&succeed(dir, &["explain", "shop.sql"]));
    let (_, steps) = text.split_once("Steps  ").unwrap();
    steps.split_once("\n\nAnswer").unwrap().0.to_owned()
}

#[test]
fn rows_of_a_group_are_combined_where_tasks_share_them() {
    let totals = "SET 'tasks' = '2';
        CREATE TABLE totals WITH (format = 'json');
        INSERT INTO totals SELECT window_start, max(total) AS most FROM (
          SELECT customer, window_start, window_end, sum(amount) AS total
          FROM TUMBLE(TABLE orders, DESCRIPTOR(at), INTERVAL '1' HOUR)
          GROUP BY customer, window_start, window_end
        ) GROUP BY window_start, window_end";
    let dir = place(totals);
    expect![[r#"
        2 tasks
          1  read orders
               window_start = tumble_start(at, INTERVAL '1 hour')
               window_end = tumble_end(at, INTERVAL '1 hour')
          2  aggregate by window  ← 1 through shop-totals-0of2-repartition (by customer)
               rows of a group are combined before they meet
               windows of 1 hour
               by customer
               total = sum(amount)
             ▤ keeps the aggregates by window, customer, until the watermark passes the end of their window
               shop-totals-1of2-changelog
          3  aggregate by window  ← 2 through shop-totals-1of2-repartition (by window_start)
               rows of a group are combined before they meet
               windows of 1 hour
               most = max(total)
             ▤ keeps the aggregates by window, until the watermark passes the end of their window
               shop-totals-2of2-changelog
          4  write totals  ← 3"#]].assert_eq(&steps(dir.path()));
    let graph = stdout(&succeed(dir.path(), &["graph", "shop.sql", "--format", "mermaid"]));
    assert_eq!(graph.matches("combined by group before").count(), 2, "{graph}");
    let json = stdout(&succeed(dir.path(), &["explain", "shop.sql", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains(r#""combined":true"#), "{json}");

    let dir = place(&totals.replace("max(total)", "count(DISTINCT total)"));
    expect![[r#"
        2 tasks
          1  read orders
               window_start = tumble_start(at, INTERVAL '1 hour')
               window_end = tumble_end(at, INTERVAL '1 hour')
          2  aggregate by window  ← 1 through shop-totals-0of2-repartition (by customer)
               rows of a group are combined before they meet
               windows of 1 hour
               by customer
               total = sum(amount)
             ▤ keeps the aggregates by window, customer, until the watermark passes the end of their window
               shop-totals-1of2-changelog
          3  aggregate by window  ← 2 through shop-totals-1of2-repartition (by window_start)
               rows meet one by one: what count(DISTINCT total) keeps grows with them
               windows of 1 hour
               most = count(DISTINCT total)
             ▤ keeps the aggregates by window, until the watermark passes the end of their window
               shop-totals-2of2-changelog
          4  write totals  ← 3"#]].assert_eq(&steps(dir.path()));
}

#[test]
fn what_grows_is_warned_of() {
    explained(
        "CREATE TABLE totals WITH (format = 'json');
         INSERT INTO totals SELECT customer, sum(amount) AS total FROM orders GROUP BY customer",
        &expect![[r#"
            query totals

            Plan
              SELECT customer, sum(amount) AS total
              GROUP BY customer
              FROM orders (customer, amount)

            Sources
              orders: topic orders, json; event time at; watermark 10 seconds behind it;
                a partition is idle after 5 seconds; late rows are dropped; records that fail stop the query

            Steps  1 task
              1  read orders
              2  aggregate  ← 1
                   by customer
                   total = sum(amount)
                 ▤ keeps the aggregates by customer, for ever
                   shop-totals-changelog
              3  write totals  ← 2
                   upserts by customer

            Answer
              topic totals, json;
                upserts by customer: a record replaces the one before, one without a value deletes
              customer text, total double

            ⚠ aggregate: keeps the aggregates for every customer that ever comes, and forgets none
              fine if these are few; else group, deduplicate or rank within a window
        "#]],
    );
    explained(
        "SET 'tasks' = '2';
         CREATE TABLE places WITH (format = 'json');
         INSERT INTO places SELECT customers.id, name, country
         FROM customers JOIN cities ON customers.city = cities.city",
        &expect![[r#"
            query places

            Plan
              JOIN ON customers.city = cities.city
              ├ FROM customers (id, name, city)
              └ FROM cities (city, country)

            Sources
              table customers: topic customers, json, key id; records that fail stop the query
              table cities: topic cities, json, key city; records that fail stop the query

            Steps  2 tasks
              1  read customers, by key
              2  take records as changes  ← 1 through shop-places-0of2-repartition (all in one task)
                   a record replaces the one of its key, one without a value deletes it
                 ▤ keeps the last row by id, until they are deleted or taken back
                   shop-places-1of2-changelog
              3  read cities, by key
              4  take records as changes  ← 3 through shop-places-1of2-repartition (all in one task)
                   a record replaces the one of its key, one without a value deletes it
                 ▤ keeps the last row by city, until they are deleted or taken back
                   shop-places-3of2-changelog
              5  updating join  ← 2 through shop-places-2of2-repartition (by city), 4 through shop-places-3of2-repartition (by city)
                   by city
                 ▤ keeps the rows of both sides by city, until they are deleted or taken back
                   shop-places-4of2-changelog
              6  bring rows of each key together  ← 5 through shop-places-4of2-repartition (by id)
                   by id, which several tasks bring
                 ▤ keeps the last row by id, until they are deleted or taken back
                   shop-places-5of2-changelog
              7  write places  ← 6
                   upserts by id

            Answer
              topic places, json; upserts by id: a record replaces the one before, one without a value deletes
              id text, name text, country text

            ⚠ take records as changes: all rows go through one of the 2 tasks
              only what has a key to meet by can be shared out
        "#]],
    );
}

#[test]
fn ranks_rows_beside_rows_and_sessions() {
    let dir = place(
        "CREATE TABLE top WITH (format = 'json', key = 'customer,amount');
         INSERT INTO top SELECT customer, amount FROM orders
         QUALIFY row_number() OVER (PARTITION BY customer ORDER BY amount DESC) <= 3;
         CREATE TABLE lags WITH (format = 'json');
         INSERT INTO lags SELECT customer, amount - lag(amount)
           OVER (PARTITION BY customer ORDER BY at) AS more FROM orders;
         CREATE TABLE visits WITH (format = 'json');
         INSERT INTO visits SELECT window_start, window_end, customer, count(*) AS orders
         FROM SESSION(orders PARTITION BY customer, at, INTERVAL '30' MINUTE)
         GROUP BY window_start, window_end, customer;
         CREATE TABLE seen WITH (format = 'json');
         INSERT INTO seen SELECT DISTINCT customer FROM orders UNION ALL SELECT unnest(items) FROM orders",
    );
    let output = succeed(dir.path(), &["explain", "shop.sql"]);
    let text = stdout(&output);
    let steps = text.lines().filter(|line| {
        !line.trim().is_empty() && !line.contains("idle after") && !line.contains("that fail")
    });
    let steps: Vec<&str> = steps.collect();
    expect![[r#"
        query top
        Plan
          QUALIFY row_number() OVER (PARTITION BY customer ORDER BY amount DESC) <= 3
          COMPUTE row_number() OVER (PARTITION BY customer ORDER BY amount DESC)
          FROM orders (customer, amount)
        Sources
          orders: topic orders, json; event time at; watermark 10 seconds behind it;
        Steps  1 task
          1  read orders
          2  first 3 by row_number  ← 1
               of each customer
               ordered by amount DESC
             ▤ keeps the first 3 rows by customer, for ever
               shop-top-changelog
          3  write top  ← 2
               upserts by customer, amount
        Answer
          topic top, json;
            upserts by customer, amount: a record replaces the one before, one without a value deletes
          customer text, amount double
        ⚠ first 3 by row_number: keeps the first 3 rows for every customer that ever comes, and forgets
          none
          fine if these are few; else group, deduplicate or rank within a window
        query lags
        Plan
          SELECT customer, amount - lag(amount) OVER (PARTITION BY customer ORDER BY at) AS more
          COMPUTE lag(amount) OVER (PARTITION BY customer ORDER BY at)
          FROM orders (customer, amount, at)
        Sources
          orders: topic orders, json; event time at; watermark 10 seconds behind it;
        Steps  1 task
          1  read orders
          2  compute over rows in their order  ← 1
               lag(amount) OVER (PARTITION BY customer ORDER BY at)
               more = amount - lag(amount) OVER (PARTITION BY customer ORDER BY at)
             ▤ keeps rows by customer, until the watermark has passed all rows that look back at them
               shop-lags-changelog
          3  write lags  ← 2
        Answer
          topic lags, json; each row is written once and stays
          customer text, more double
        query visits
        Plan
          SELECT window_start, window_end, customer, count(*) AS orders
          GROUP BY window_start, window_end, customer
          SELECT customer, session_start(at, INTERVAL '30 minutes', customer) AS window_start,
              session_end(at, INTERVAL '30 minutes', customer) AS window_end
          FROM orders (customer, at)
        Sources
          orders: topic orders, json; event time at; watermark 10 seconds behind it;
        Steps  1 task
          1  read orders
               window_start = session_start(at, INTERVAL '30 minutes', customer)
               window_end = session_end(at, INTERVAL '30 minutes', customer)
          2  aggregate by session  ← 1
               sessions that end 30 minutes after their last row
               by customer
               orders = count(*)
             ▤ keeps sessions and their aggregates by customer, until the watermark passes their end
               shop-visits-changelog
          3  write visits  ← 2
        Answer
          topic visits, json; each row is written once and stays
          window_start timestamptz, window_end timestamptz, customer text, orders bigint
        query seen
        Plan
          UNION ALL
          ├ DISTINCT
          │ FROM orders (customer)
          └ SELECT unnest(items) AS customer
            UNNEST items
            FROM orders (items)
        Sources
          orders: topic orders, json; event time at; watermark 10 seconds behind it;
        Steps  1 task
          1  read orders
               a row for each element of items
          2  read orders
          3  distinct  ← 2
               by customer
             ▤ keeps a note by customer, for ever
               shop-seen-changelog
          4  write seen  ← 1, 3
        Answer
          topic seen, json; each row is written once and stays
          customer text
        ⚠ distinct: keeps a note for every customer that ever comes, and forgets none
          fine if these are few; else group, deduplicate or rank within a window"#]].assert_eq(&steps.join("\n"));
}

#[test]
fn programs_get_json() {
    let path = Path::new(ROOT).join("pipelines/aircraft-days.sql");
    let dir = tempdir().unwrap();
    let args = ["explain", path.to_str().unwrap(), "--query", "six-hours", "--json"];
    let query: Value = serde_json::from_slice(&succeed(dir.path(), &args).stdout).unwrap();
    assert_eq!(query["query"], "six-hours");
    assert_eq!(query["output"]["mode"], "append");
    let state = &query["steps"][1]["state"];
    assert_eq!(state["changelog"], "aircraft-days-six-hours-changelog");
    assert_eq!(state["grows_for_ever"], false);
    assert_eq!(query["steps"][1]["from"][0]["step"], 0);
    let said = fail(dir.path(), &["explain", path.to_str().unwrap(), "--query", "six"], 2);
    assert!(said.contains("there is 'aircraft-days', 'six-hours'"), "{said}");
}

#[test]
fn mistakes_are_those_that_check_finds() {
    let dir = place("CREATE TABLE t WITH (format = 'json'); INSERT INTO t SELECT idd FROM orders");
    let found = fail(dir.path(), &["check", "shop.sql"], 2);
    assert!(found.contains("idd"), "{found}");
    for command in ["explain", "graph", "test"] {
        assert_eq!(fail(dir.path(), &[command, "shop.sql"], 2), found);
    }
}

#[test]
fn a_pipeline_as_a_flowchart() {
    let args = ["graph", "pipelines/carrier-delays.toml", "--format", "mermaid"];
    expect![[r#"
        flowchart TD
          n0[/"<b>flights-file</b><br/>examples/data/flights-2013-01.csv"/]:::connector
          n1[("<b>flights</b>")]:::topic
          n2[/"<b>airlines-file</b><br/>examples/data/airlines.csv"/]:::connector
          n3[("<b>airlines</b>")]:::topic
          n4[/"<b>airports-file</b><br/>examples/data/airports.csv"/]:::connector
          n5[("<b>airports</b>")]:::topic
          n8[("<b>carrier-delays</b>")]:::topic
          subgraph q0["query carrier-delays"]
            n6["<b>each row</b><br/>join table airlines on carrier = airlines.carrier<br/>left join table airports on dest = airports.faa<br/>window_start = tumble_start(time_hour, INTERVAL '1 day')<br/>window_end = tumble_end(time_hour, INTERVAL '1 day')"]
            n7["<b>aggregate by window</b><br/>windows of 1 day<br/>by airline, zone<br/>flights = count(*)<br/>mean_delay = avg(dep_delay)<br/>keeps the aggregates by window, airline, zone<br/>until the watermark passes the end of their window"]:::state
          end
          n0 --> n1
          n2 --> n3
          n4 --> n5
          n1 --> n6
          n3 -.->|"table"| n6
          n5 -.->|"table"| n6
          n6 --> n7
          n7 -->|"key airline"| n8
          classDef connector fill:#dafbe1,stroke:#4ac26b,color:#1f2328
          classDef topic fill:#ddf4ff,stroke:#54aeff,color:#1f2328
          classDef exchange fill:#fbefff,stroke:#c297ff,color:#1f2328,stroke-dasharray:4 3
          classDef state fill:#fff8c5,stroke:#d4a72c,color:#1f2328
    "#]].assert_eq(&stdout(&succeed(Path::new(ROOT), &args)));
}

#[test]
fn every_pipeline_here_can_be_drawn() {
    let dir = tempdir().unwrap();
    let files = fs::read_dir(Path::new(ROOT).join("pipelines")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    for path in files {
        let out = dir.path().join("out.svg");
        let (file, to) = (path.to_str().unwrap(), out.to_str().unwrap());
        succeed(dir.path(), &["graph", file, "--out", to]);
        let drawn = fs::read_to_string(&out).unwrap();
        assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{file}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{file}");
        for tag in ["text", "style", "marker", "defs", "svg"] {
            let opened = drawn.matches(&format!("<{tag}")).count();
            assert_eq!(opened, drawn.matches(&format!("</{tag}>")).count(), "{tag} in {file}");
        }
        assert!(drawn.contains(">flights<"), "{file}");
    }
}
