//! Every type arrives, from a snapshot and from the stream alike.

use std::collections::BTreeMap;

use connectors::Worker;
use expect_test::expect_file;
use serde_json::Value;

use crate::server::Postgres;
use crate::support::{connector, options, process};
use crate::{PLAIN, at_least};

const TABLES: &str = include_str!("types.sql");
const ROWS: &str = include_str!("rows.sql");
/// What the rows of a topic are, by their `id`, and the schema of `after`.
fn rows(records: &[(Option<String>, Option<String>)], operation: &str) -> BTreeMap<i64, Value> {
    let events = records.iter().filter_map(|(_, value)| value.as_deref());
    let events = events.map(|event| serde_json::from_str::<Value>(event).unwrap());
    let payload = |event: Value| event.get("payload").cloned().unwrap_or(event);
    let events = events.map(payload).filter(|event| event["op"] == operation);
    events.map(|event| (event["after"]["id"].as_i64().unwrap(), event["after"].clone())).collect()
}

/// One line for each column: its schema, and what it holds in each row.
fn table(schema: &Value, rows: &BTreeMap<i64, Value>) -> String {
    let mut text = String::new();
    for field in schema["fields"].as_array().unwrap() {
        let mut field = field.clone();
        let name = field["field"].as_str().unwrap().to_owned();
        field.as_object_mut().unwrap().remove("field");
        text.push_str(&format!("{name}: {field}\n"));
        for (id, row) in rows {
            match &row[&name] {
                Value::Null => {}
                value => text.push_str(&format!("    {id}: {value}\n")),
            }
        }
    }
    text
}

fn all_types(properties: &str, expected: expect_test::ExpectFile) {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql(TABLES).await;
        server.sql(ROWS).await;
        let properties =
            server.properties(&format!("{properties}\ntable.include.list=public.types"));
        let config = connector(directory.path(), "types", &properties);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let records = at_least(&*client, &worker, "pg.public.types", 5).await;
        let first: Value = serde_json::from_str(records[0].1.as_ref().unwrap()).unwrap();
        let after = first["schema"]["fields"].as_array().unwrap()[1].clone();
        let copied = rows(&records, "r");
        server.sql("delete from types").await;
        server.sql(ROWS).await;
        // Five rows, five deletions with their tombstones, five rows again.
        let records = at_least(&*client, &worker, "pg.public.types", 20).await;
        let streamed = rows(&records, "c");
        assert_eq!(copied.len(), 5);
        assert_eq!(table(&after, &copied), table(&after, &streamed));
        expected.assert_eq(&table(&after, &copied));
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn every_type_arrives_as_debezium_has_it() {
    let converters = "value.converter=org.apache.kafka.connect.json.JsonConverter
        value.converter.replace.null.with.default=false";
    all_types(converters, expect_file!["types.debezium.txt"]);
}

#[test]
fn every_type_arrives_as_text_where_that_is_chosen() {
    let properties = "value.converter=org.apache.kafka.connect.json.JsonConverter
        value.converter.replace.null.with.default=false
        profile=millstream
        interval.handling.mode=string
        hstore.handling.mode=map
        binary.handling.mode=hex
        time.precision.mode=connect";
    all_types(properties, expect_file!["types.millstream.txt"]);
}

#[test]
fn events_have_debeziums_shape() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table k (a int not null, b text, n numeric(5,2) not null, primary key (b, a))").await;
        server.sql("insert into k values (1, 'x', 1.5), (2, 'y', 2)").await;
        let properties =
            format!("{PLAIN}\nprovide.transaction.metadata=true\nskipped.operations=none");
        let config = connector(directory.path(), "k", &server.properties(&properties));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.k", 2).await;
        server
            .sql(
                "begin; insert into k values (3, 'z', 3); update k set n = 4 where a = 3; \
                 update k set a = 5 where a = 3; delete from k where a = 5; \
                 select pg_logical_emit_message(true, 'note', 'content'); commit; truncate k",
            )
            .await;
        server.sql("alter table k replica identity full; insert into k values (7, 'z', 7)").await;
        server.sql("update k set n = 8").await;
        let mut text = String::new();
        for (topic, count) in [("pg.public.k", 12), ("pg.message", 1), ("pg.transaction", 8)] {
            for (key, value) in at_least(&*client, &worker, topic, count).await {
                let value = value.map_or_else(|| "null".to_owned(), |value| steady(&value));
                let key = key.map_or_else(|| "null".to_owned(), |key| steady(&key));
                text.push_str(&format!("{topic} {key} {value}\n"));
            }
        }
        expect_file!["events.txt"].assert_eq(&text);
        worker.shutdown().await.unwrap();
    });
}

/// The event without what differs from run to run.
fn steady(event: &str) -> String {
    fn visit(value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    match (name.as_str(), &value) {
                        ("ts_ms" | "ts_us" | "ts_ns" | "lsn" | "txId", Value::Number(_)) => {
                            *value = "#".into();
                        }
                        ("sequence", Value::String(text)) if text.contains("null") => {
                            *value = "[null,#]".into();
                        }
                        ("sequence", Value::String(_)) => *value = "[#,#]".into(),
                        ("id", Value::String(_)) => *value = "#:#".into(),
                        _ => visit(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(visit),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(event).unwrap();
    visit(&mut value);
    value.to_string()
}

/// Types that nobody has foreseen: of extensions, made by SQL, and what is made of those.
#[test]
fn types_of_extensions_come_as_text_unless_they_are_wanted_as_bytes_or_not_at_all() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create extension cube; create extension seg; create extension isn; \
                 create extension ltree; create domain corner as cube; \
                 create type span as range (subtype = float8); \
                 create type pair as (a int, b text); \
                 create table t (id int primary key, c cube, s seg, e ean13, l ltree, d corner, \
                 r span, p pair, many cube[])",
            )
            .await;
        let row = "'(1,2),(3,4)', '1.5 .. 2.5', '978-0-11-000533-1', 'top.science', '(0)', \
                   '[1,2)', '(7,\"a b\")', '{\"(1)\",NULL,\"(2,3)\"}'";
        server.sql(&format!("insert into t values (1, {row})")).await;
        let text = server
            .sql("select c::text, s::text, e::text, l::text, d::text, r::text, p::text from t")
            .await;
        let text: Vec<String> = text.rows[0].iter().flatten().cloned().collect();
        let names = ["c", "s", "e", "l", "d", "r", "p"];
        for unknown in ["", "true", "false"] {
            let set = if unknown.is_empty() {
                "".into()
            } else {
                format!("include.unknown.datatypes={unknown}")
            };
            let name = format!("x{unknown}");
            let more = format!("{PLAIN}\nslot.name={name}\npublication.name={name}\n{set}");
            let properties = server.properties(&more);
            let properties = properties.replace("topic.prefix=pg", &format!("topic.prefix={name}"));
            let config = connector(directory.path(), &name, &properties);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let topic = format!("{name}.public.t");
            at_least(&*client, &worker, &topic, 1).await;
            server.sql(&format!("insert into t values ({}, {row})", 10 + name.len())).await;
            let records = at_least(&*client, &worker, &topic, 2).await;
            // From the snapshot and from the stream.
            for record in [&records[0], &records[records.len() - 1]] {
                let value: serde_json::Value =
                    serde_json::from_str(record.1.as_ref().unwrap()).unwrap();
                let after = value["after"].as_object().unwrap();
                for (name, text) in names.iter().zip(&text) {
                    let shown = after.get(*name).map(|shown| shown.as_str().unwrap().to_owned());
                    let wanted = match unknown {
                        _ if *name == "l" => Some(text.clone()),
                        "" => Some(text.clone()),
                        "true" => Some(base64(text)),
                        _ => None,
                    };
                    assert_eq!(shown, wanted, "{name}, {unknown}");
                }
                let many = match unknown {
                    "" => serde_json::json!(["(1)", null, "(2, 3)"]),
                    "true" => serde_json::json!([base64("(1)"), null, base64("(2, 3)")]),
                    _ => serde_json::Value::Null,
                };
                assert_eq!(after.get("many").cloned().unwrap_or_default(), many, "{unknown}");
            }
            worker.shutdown().await.unwrap();
        }
    });
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
