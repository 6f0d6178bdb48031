//! What operators keep, read from the changelog as people are shown it.

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use arrow::util::pretty::pretty_format_batches;
use expect_test::{Expect, expect};

use super::*;
use crate::operators::tables::{Entries, KeptTable};
use crate::pipeline::SourceKind;
use crate::testing::{source, timestamp};

/// The tables of all operators, by what the changelog has.
fn kept(world: &World) -> Vec<KeptTable> {
    let mut restored = Changelog::default();
    for change in &world.changelog {
        restored.apply(Some(&change.key), change.value.as_deref());
    }
    let mut tables = Vec::new();
    for node in &world.topology.nodes {
        let of = restored.entries_of(StateId::of(&node.fingerprint)).collect();
        let entries = Entries { of, ..Entries::default() };
        tables.extend(node.operator.tables(&entries).unwrap());
    }
    tables
}

/// The rows of the only table, its columns under these names.
fn rows_of(world: &World, names: &[&str]) -> Vec<Value> {
    let [KeptTable { rows, .. }] = kept(world).try_into().unwrap();
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(names);
    let fields: Vec<_> =
        fields.map(|(field, name)| field.as_ref().clone().with_name(*name)).collect();
    let columns: Vec<ArrayRef> = rows.columns()[..names.len()].to_vec();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let encoder = RowEncoder::new(&Format::Json, &rows.schema(), &[]).unwrap();
    let encoded = encoder.encode(&rows).unwrap();
    let parse = |row| serde_json::from_slice(encoded.value(row).unwrap()).unwrap();
    (0..encoded.len()).map(parse).collect()
}

fn logs() -> impl Strategy<Value = Vec<Vec<Vec<Event>>>> {
    prop::collection::vec(prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4)
}

/// Reads all there is, closing nothing.
fn read_all(world: &mut World) {
    let mut task = world.start();
    let partitions: Vec<_> = world.inputs.keys().cloned().collect();
    for partition in &partitions {
        while let Some(fetched) = world.fetch(&task, partition, 2) {
            task.process(&fetched, NOW).unwrap();
            world.write(task.commit(NOW).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Groups as they are kept answer as batch SQL does over the rows so far, sums in parts and
    /// all; windows that are open, too.
    #[test]
    fn kept_groups_are_what_batch_sql_answers(logs in logs()) {
        let source = patient(events("a"));
        let calls = "count(*) AS c, sum(n) AS total, median(n) AS middle, count(DISTINCT n) AS d";
        let plain = ["key", "c", "total", "middle", "d"];
        let windowed = ["w", "key", "c", "total", "middle", "d"];
        block_on(async {
            for (sql, names) in [
                (format!("SELECT key, {calls} FROM a GROUP BY key"), plain.as_slice()),
                (format!("SELECT {WINDOW} AS w, key, {calls} FROM a GROUP BY 1, 2"), &windowed),
            ] {
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&logs);
                read_all(&mut world);
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                let expected = batch_answer(&sql, &source, &all).await;
                assert_same(&rows_of(&world, names), &expected);
            }
        });
    }
}

async fn check(sql: &str, sources: &[&Source], inputs: &[(&str, &[&str])], expected: Expect) {
    let mut world = World::new(topology(sql, sources).await.unwrap());
    for (topic, values) in inputs {
        world.produce(topic, 0, values);
    }
    read_all(&mut world);
    let shown = kept(&world).into_iter().map(|KeptTable { name, rows, keys }| {
        let schema = rows.schema();
        let keys: Vec<&str> = keys.iter().map(|&key| schema.field(key).name().as_str()).collect();
        let rows = pretty_format_batches(&[rows.clone()]).unwrap();
        format!("{name} by {}\n{rows}\n", keys.join(", "))
    });
    expected.assert_eq(&shown.collect::<String>());
}

const EVENTS: [&str; 4] = [
    r#"{"ts": 1000, "key": "x", "n": 1}"#,
    r#"{"ts": 2000, "key": "x", "n": 3}"#,
    r#"{"ts": 9000, "key": "x", "n": 5}"#,
    r#"{"ts": 2000, "key": "y", "n": 2}"#,
];

#[tokio::test]
async fn sessions_that_are_open() {
    let a = patient(events("a"));
    let sql = "SELECT session_start(ts, INTERVAL '2 seconds', key) AS start,
                      session_end(ts, INTERVAL '2 seconds', key) AS finish, key, sum(n) AS total
               FROM a GROUP BY 1, 2, 3";
    let mut world = World::new(topology(sql, &[&a]).await.unwrap());
    world.produce("a", 0, &EVENTS);
    read_all(&mut world);
    let rows = rows_of(&world, &["start", "finish", "key", "total"]);
    let mut sums: Vec<(String, i64)> = rows
        .iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row["total"].as_i64().unwrap()))
        .collect();
    sums.sort();
    let expected = [("x", 4), ("x", 5), ("y", 2)].map(|(key, total)| (key.to_owned(), total));
    assert_eq!(sums, expected);
    assert!(rows.iter().all(|row| row["start"] != row["finish"]), "{rows:?}");
}

#[tokio::test]
async fn rows_of_joined_streams() {
    let (a, b) = (patient(events("a")), patient(events("b")));
    let sql = "SELECT a.n, b.n AS m FROM a LEFT JOIN b ON a.key = b.key
               AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5 seconds'";
    let b_rows = [r#"{"ts": 3000, "key": "x", "n": 7}"#];
    check(
        sql,
        &[&a, &b],
        &[("a", &EVENTS), ("b", &b_rows)],
        expect![[r#"
        left by key
        +---------------------+-----+---+----------------------+---------+
        | ts                  | key | n | kept_time            | matched |
        +---------------------+-----+---+----------------------+---------+
        | 1970-01-01T00:00:01 | x   | 1 | 1970-01-01T00:00:01Z | true    |
        | 1970-01-01T00:00:02 | x   | 3 | 1970-01-01T00:00:02Z | true    |
        | 1970-01-01T00:00:09 | x   | 5 | 1970-01-01T00:00:09Z | false   |
        | 1970-01-01T00:00:02 | y   | 2 | 1970-01-01T00:00:02Z | false   |
        +---------------------+-----+---+----------------------+---------+
        right by key
        +---------------------+-----+---+----------------------+---------+
        | ts                  | key | n | kept_time            | matched |
        +---------------------+-----+---+----------------------+---------+
        | 1970-01-01T00:00:03 | x   | 7 | 1970-01-01T00:00:03Z | true    |
        +---------------------+-----+---+----------------------+---------+
    "#]],
    )
    .await;
}

fn people(name: &str) -> Source {
    let columns = [("key", DataType::Utf8), ("n", DataType::Int64)];
    Source { kind: SourceKind::Table { key: vec![0] }, ..source(name, Format::Json, &columns) }
}

#[tokio::test]
async fn tables_and_what_is_made_of_them() {
    let (a, b) = (people("a"), people("b"));
    let sql = "SELECT a.n, count(*) AS c, max(b.n) AS most FROM a JOIN b ON a.key = b.key
               GROUP BY a.n";
    let (a_rows, b_rows) = (
        [r#"{"key": "x", "n": 1}"#, r#"{"key": "y", "n": 1}"#, r#"{"key": "x", "n": 2}"#],
        [r#"{"key": "x", "n": 10}"#, r#"{"key": "y", "n": 20}"#, r#"{"key": "z", "n": 30}"#],
    );
    check(
        sql,
        &[&a, &b],
        &[("a", &a_rows), ("b", &b_rows)],
        expect![[r#"
        rows by key
        +-----+---+
        | key | n |
        +-----+---+
        | x   | 2 |
        | y   | 1 |
        +-----+---+
        rows by key
        +-----+----+
        | key | n  |
        +-----+----+
        | x   | 10 |
        | y   | 20 |
        | z   | 30 |
        +-----+----+
        left by key
        +-----+---+-------------+---------+
        | key | n | times_there | matches |
        +-----+---+-------------+---------+
        | x   | 2 | 1           | 0       |
        | y   | 1 | 1           | 0       |
        +-----+---+-------------+---------+
        right by key
        +-----+----+-------------+---------+
        | key | n  | times_there | matches |
        +-----+----+-------------+---------+
        | x   | 10 | 1           | 1       |
        | y   | 20 | 1           | 1       |
        | z   | 30 | 1           | 0       |
        +-----+----+-------------+---------+
        groups by n
        +---+-----------------+----------+
        | n | count(Int64(1)) | max(b.n) |
        +---+-----------------+----------+
        | 1 | 1               | 20       |
        | 2 | 1               | 10       |
        +---+-----------------+----------+
    "#]],
    )
    .await;
}

#[tokio::test]
async fn rows_that_are_ranked_and_rows_that_wait() {
    let a = patient(events("a"));
    let ranked = "SELECT key, n FROM a
                  QUALIFY row_number() OVER (PARTITION BY key ORDER BY n DESC) <= 2";
    check(
        ranked,
        &[&a],
        &[("a", &EVENTS)],
        expect![[r#"
        rows by key
        +-----+---+-------------+----------+
        | key | n | times_there | came_out |
        +-----+---+-------------+----------+
        | x   | 5 | 1           | false    |
        | x   | 3 | 1           | false    |
        | y   | 2 | 1           | false    |
        +-----+---+-------------+----------+
    "#]],
    )
    .await;
    let over = "SELECT key, lag(n) OVER (PARTITION BY key ORDER BY ts) AS before FROM a";
    check(
        over,
        &[&a],
        &[("a", &EVENTS)],
        expect![[r#"
        rows by key
        +---------------------+-----+---+-------------+----------+
        | ts                  | key | n | times_there | came_out |
        +---------------------+-----+---+-------------+----------+
        | 1970-01-01T00:00:01 | x   | 1 | 1           | false    |
        | 1970-01-01T00:00:02 | x   | 3 | 1           | false    |
        | 1970-01-01T00:00:09 | x   | 5 | 1           | false    |
        | 1970-01-01T00:00:02 | y   | 2 | 1           | false    |
        +---------------------+-----+---+-------------+----------+
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_table_as_it_was() {
    let a = patient(events("a"));
    let columns = [("at", timestamp()), ("key", DataType::Utf8), ("rate", DataType::Int64)];
    let rates = source("rates", Format::Json, &columns);
    let rates = Source { kind: SourceKind::Table { key: vec![1] }, ..patient(rates) };
    let sql = "SELECT a.n, rates.rate FROM a JOIN rates
               ON a.key = rates.key AND system_time_as_of(a.ts, rates.at)";
    let versions =
        [r#"{"at": 0, "key": "x", "rate": 4}"#, r#"{"at": 1500, "key": "x", "rate": 6}"#];
    check(
        sql,
        &[&a, &rates],
        &[("a", &EVENTS), ("rates", &versions)],
        expect![[r#"
        waiting by key
        +---------------------+-----+---+----------------------+
        | ts                  | key | n | waits_for            |
        +---------------------+-----+---+----------------------+
        | 1970-01-01T00:00:01 | x   | 1 | 1970-01-01T00:00:01Z |
        | 1970-01-01T00:00:02 | x   | 3 | 1970-01-01T00:00:02Z |
        | 1970-01-01T00:00:02 | y   | 2 | 1970-01-01T00:00:02Z |
        | 1970-01-01T00:00:09 | x   | 5 | 1970-01-01T00:00:09Z |
        +---------------------+-----+---+----------------------+
        versions by key
        +-------------------------+-----+------+--------------------------+---------+
        | at                      | key | rate | since                    | deleted |
        +-------------------------+-----+------+--------------------------+---------+
        | 1970-01-01T00:00:00     | x   | 4    | 1970-01-01T00:00:00Z     | false   |
        | 1970-01-01T00:00:01.500 | x   | 6    | 1970-01-01T00:00:01.500Z | false   |
        +-------------------------+-----+------+--------------------------+---------+
    "#]],
    )
    .await;
}
