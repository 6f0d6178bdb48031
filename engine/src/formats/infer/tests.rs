use expect_test::{Expect, expect};

use super::declaration::{sql, toml};
use super::*;

fn check(keys: &[&str], values: &[&str], first: &[&str], expected: Expect) {
    let samples: Vec<Sample<'_>> = values
        .iter()
        .enumerate()
        .map(|(at, value)| Sample {
            key: keys.get(at).map(|key| key.as_bytes()),
            value: (!value.is_empty()).then_some(value.as_bytes()),
        })
        .collect();
    let first: Vec<&[u8]> = first.iter().map(|value| value.as_bytes()).collect();
    let text = match infer(&samples, &first, None) {
        Ok(inferred) => {
            let (toml, sql) = (toml("t-1", &inferred, &[]), sql("t-1", &inferred, &[]));
            loads("t.toml", &toml);
            loads("t.sql", &sql);
            format!("{toml}\n{sql}")
        }
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&text);
}

/// What is printed can be pasted.
fn loads(path: &str, declaration: &str) {
    let query = match path.ends_with("toml") {
        true => "[[queries]]\nname = \"q\"\nsql = 'SELECT count(*) AS n FROM \"t-1\"'\n",
        false => {
            "CREATE TABLE o WITH (format = 'json'); INSERT INTO o SELECT count(*) AS n FROM \"t-1\";"
        }
    };
    let text = match path.ends_with("toml") {
        true => format!("{declaration}\n{query}"),
        false => format!("{declaration}\n{query}"),
    };
    let loaded = crate::pipeline::load_text(path.into(), text.clone());
    assert!(loaded.is_ok(), "{text}\n{:?}", loaded.err());
}

#[test]
fn json_with_nested_fields() {
    check(
        &["{\"id\":1,\"tenant\":\"a\"}"],
        &[
            r#"{"id":1,"at":"2013-01-01T10:00:00Z","price":1,"Tags":["a"],"o":{"x":null,"y":1},"n":null}"#,
            r#"{"id":18446744073709551615,"at":"2013-01-01T10:00:00","price":1.5,"Tags":[],"o":{"y":"b"},"order":true}"#,
            "",
        ],
        &[],
        expect![[r#"
            [sources.t-1]
            format = "json"
            key_format = "json"
            event_time = "at"
            watermark = "5 seconds" # how far rows may be out of order

            [sources.t-1.columns]
            Tags = "array<text>"
            at = "timestamptz"
            id = "decimal(20, 0)"
            n = "text"
            o = "row<x text, y text>"
            price = "double"
            order = "boolean"
            tenant = { type = "text", from = "key" }

            CREATE TABLE "t-1" (
              "Tags" array<text>,
              at timestamptz,
              id decimal(20, 0),
              n text,
              o row<x text, y text>,
              price double,
              "order" boolean,
              tenant text METADATA FROM 'key',
              WATERMARK FOR at AS at - INTERVAL '5' SECOND
            ) WITH ('format' = 'json', 'key.format' = 'json');
        "#]],
    );
}

#[test]
fn csv_with_header_and_null_token() {
    check(
        &["k"],
        &["1,a,NA,2013-01-01", "2,\"b, c\",5,2013-01-02", "3,NA,1.5,"],
        &["id,name,delay,day"],
        expect![[r#"
            [sources.t-1]
            format = { type = "csv", header = true, null = "NA" }

            [sources.t-1.columns]
            id = "bigint"
            name = "text"
            delay = "double"
            day = "date"
            key = { type = "text", from = "key" }

            CREATE TABLE "t-1" (
              id bigint,
              name text,
              delay double,
              day date,
              "key" text METADATA FROM 'key'
            ) WITH ('format' = 'csv', 'csv.header' = 'true', 'csv.null' = 'NA');
        "#]],
    );
    check(
        &[],
        &["a;1", "b;2"],
        &[],
        expect![[r#"
        [sources.t-1]
        format = { type = "csv", delimiter = ";" }

        [sources.t-1.columns]
        c1 = "text"
        c2 = "bigint"

        CREATE TABLE "t-1" (
          c1 text,
          c2 bigint
        ) WITH ('format' = 'csv', 'csv.delimiter' = ';');
    "#]],
    );
}

#[test]
fn events_of_a_table_have_the_key_of_its_rows() {
    let schema = r#"{"schema":{"type":"struct"},"payload":{"id":1,"kind":"a"}}"#;
    check(
        &[r#"{"id":1,"kind":"a"}"#, schema],
        &[
            r#"{"before":null,"after":{"id":1,"kind":"a","n":null},"op":"c"}"#,
            r#"{"payload":{"before":{"id":1,"kind":"a","n":2},"after":null,"op":"d"}}"#,
        ],
        &[],
        expect![[r#"
            [tables.t-1]
            format = "debezium-json"
            key = ["id", "kind"]

            [tables.t-1.columns]
            id = "bigint"
            kind = "text"
            n = "bigint"

            CREATE TABLE "t-1" (
              id bigint,
              kind text,
              n bigint,
              PRIMARY KEY (id, kind) NOT ENFORCED
            ) WITH ('format' = 'debezium-json');
        "#]],
    );
}

#[test]
fn events_text_and_what_cannot_be_told() {
    check(
        &[],
        &[
            r#"{"before":null,"after":{"id":1},"op":"c"}"#,
            r#"{"payload":{"before":{"id":1,"at":"2013-01-01"},"after":null,"op":"d"}}"#,
        ],
        &[],
        expect![[r#"
            [sources.t-1]
            format = "debezium-json"

            [sources.t-1.columns]
            id = "bigint"
            at = "date"

            CREATE TABLE "t-1" (
              id bigint,
              at date
            ) WITH ('format' = 'debezium-json');
        "#]],
    );
    check(
        &["k"],
        &["one line", "{another"],
        &[],
        expect![[r#"
        [sources.t-1]
        format = "raw"

        [sources.t-1.columns]
        value = "text"
        key = { type = "text", from = "key" }

        CREATE TABLE "t-1" (
          "value" text,
          "key" text METADATA FROM 'key'
        ) WITH ('format' = 'raw');
    "#]],
    );
    check(
        &[],
        &["\0\0\0\0\u{7}abc"],
        &[],
        expect![
            "the values are in Confluent's framing, written with schema 7, which is not in the topic"
        ],
    );
    check(&[], &[""], &[], expect!["there is no record with a value to infer from"]);
}

/// The flights of New York, as the sample data of the repository has them.
#[test]
fn real_files_are_recognised() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights-2013-01.csv");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    check(
        &[],
        &lines[lines.len() - 1000..],
        &lines[..1],
        expect![[r#"
        [sources.t-1]
        format = { type = "csv", header = true, null = "NA" }
        event_time = "time_hour"
        watermark = "5 seconds" # how far rows may be out of order

        [sources.t-1.columns]
        year = "bigint"
        month = "bigint"
        day = "bigint"
        dep_time = "bigint"
        sched_dep_time = "bigint"
        dep_delay = "bigint"
        arr_time = "bigint"
        sched_arr_time = "bigint"
        arr_delay = "bigint"
        carrier = "text"
        flight = "bigint"
        tailnum = "text"
        origin = "text"
        dest = "text"
        air_time = "bigint"
        distance = "bigint"
        hour = "bigint"
        minute = "bigint"
        time_hour = "timestamptz"

        CREATE TABLE "t-1" (
          year bigint,
          month bigint,
          day bigint,
          dep_time bigint,
          sched_dep_time bigint,
          dep_delay bigint,
          arr_time bigint,
          sched_arr_time bigint,
          arr_delay bigint,
          carrier text,
          flight bigint,
          tailnum text,
          origin text,
          dest text,
          air_time bigint,
          distance bigint,
          hour bigint,
          minute bigint,
          time_hour timestamptz,
          WATERMARK FOR time_hour AS time_hour - INTERVAL '5' SECOND
        ) WITH ('format' = 'csv', 'csv.header' = 'true', 'csv.null' = 'NA');
    "#]],
    );
}
