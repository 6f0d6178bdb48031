use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use expect_test::{Expect, expect};

use super::*;
use crate::formats::RowEncoder;
use crate::formats::json::encode::json_objects;
use crate::pipeline::Format;

fn fields() -> Fields {
    vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ]
    .into()
}

fn check(values: &[&str], needs_before: bool, expected: Expect) {
    let indexed: Vec<Indexed> = values.iter().map(|value| value.as_bytes()).enumerate().collect();
    let mut failed = Vec::new();
    let mut decoder = DebeziumDecoder::new(fields(), Vec::new(), needs_before).unwrap();
    let changes = decoder.decode(&indexed, &mut failed);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields())), changes.columns).unwrap();
    let parts = json_objects(&batch).unwrap();
    let mut lines = Vec::new();
    for (row, (place, retracts)) in changes.places.iter().zip(&changes.retracts).enumerate() {
        let sign = if *retracts { '-' } else { '+' };
        lines.push(format!("{place}: {sign}{}", str::from_utf8(parts.get(row).unwrap()).unwrap()));
    }
    lines.push(format!("deletions {:?}", changes.deletions));
    lines.extend(failed.into_iter().map(|(at, error)| format!("{at}: {error}")));
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn events_without_a_schema() {
    check(
        &[
            r#"{"before":null,"after":{"id":1,"at":5,"price":"1.5"},"op":"r","ts_ms":1}"#,
            r#" {"op":"u","after":{"id":1,"at":"1970-01-01T00:00:01Z"},"before":{"id":1}} "#,
            r#"{"before":{"id":1},"after":null,"op":"d"}"#,
            r#"{"payload":{"before":{"id":2},"after":null,"op":"d"},"schema":null}"#,
            r#"{"op":"m"}"#,
            r#"{"before":null,"after":{"id":2},"op":"u"}"#,
            r#"{"before":{"id":3},"after":{"id":"x"},"op":"u"}"#,
            r#"{"op":"t"}"#,
            r#"{"after":{"id":3}}"#,
            r#"{"op":"c"}"#,
            r#"{"op":"x","after":{}}"#,
            "{",
            "[]",
        ],
        true,
        expect![[r#"
            0: +{"id":1,"at":"1970-01-01T00:00:00.005","price":1.50}
            1: -{"id":1,"at":null,"price":null}
            1: +{"id":1,"at":"1970-01-01T00:00:01","price":null}
            2: -{"id":1,"at":null,"price":null}
            3: -{"id":2,"at":null,"price":null}
            deletions []
            5: not a Debezium change event: op "u" without 'before', which a stream needs: in PostgreSQL, ALTER TABLE … REPLICA IDENTITY FULL; or declare a table with its key; the record begins "{\"before\":null,\"after\":{\"id\":2},\"op\":\"u\"}"
            6: JSON field 'id' is the text "x", not a whole number of 64 bits; the record begins "{\"id\":\"x\"}"
            7: not a Debezium change event: the table was truncated, which tells of no row; the record begins "{\"op\":\"t\"}"
            8: not a Debezium change event: it has no 'op'; the record begins "{\"after\":{\"id\":3}}"
            9: not a Debezium change event: op "c" without 'after'; the record begins "{\"op\":\"c\"}"
            10: not a Debezium change event: op "x" is none of c, r, u, d, t and m; the record begins "{\"op\":\"x\",\"after\":{}}"
            11: not valid JSON: it ends in the middle; the record begins "{"
            12: not valid JSON: an object is expected at byte 0; the record begins "[]""#]],
    );
}

#[test]
fn a_table_does_without_before() {
    check(
        &[
            r#"{"before":null,"after":{"id":2},"op":"u"}"#,
            r#"{"before":null,"after":null,"op":"d"}"#,
            r#"{"schema":{},"payload":null}"#,
        ],
        false,
        expect![[r#"
            0: +{"id":2,"at":null,"price":null}
            deletions [1, 2]"#]],
    );
}

#[test]
fn the_schema_says_what_numbers_mean() {
    let row = r#"{"type":"struct","field":"after","fields":[
        {"type":"int64","name":"io.debezium.time.MicroTimestamp","field":"at"},
        {"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"},"field":"price"}]}"#;
    let with = format!(
        r#"{{"schema":{{"type":"struct","fields":[{row}]}},"payload":{{"before":null,"after":{{"id":1,"at":5000000,"price":"ANI="}},"op":"c"}}}}"#
    );
    let without = r#"{"before":null,"after":{"id":2,"at":5,"price":3},"op":"c"}"#;
    check(
        &[&with, without, &with],
        true,
        expect![[r#"
        0: +{"id":1,"at":"1970-01-01T00:00:05","price":2.10}
        1: +{"id":2,"at":"1970-01-01T00:00:00.005","price":3.00}
        2: +{"id":1,"at":"1970-01-01T00:00:05","price":2.10}
        deletions []"#]],
    );
}

#[test]
fn changes_are_written_as_events() {
    let batch = RecordBatch::try_from_iter([
        ("k", Arc::new(StringArray::from(vec!["a", "a", "a", "b", "c"])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![1, 1, 2, 3, 4]))),
    ])
    .unwrap();
    let retracts = BooleanArray::from(vec![false, true, false, true, false]);
    let encoder = RowEncoder::new(&Format::DebeziumJson, &batch.schema(), &[0]).unwrap();
    let encoded = encoder.encode_changes(&batch, Some(&retracts)).unwrap();
    let lines: Vec<String> = (0..5)
        .filter(|row| !encoded.is_absent(*row))
        .map(|row| {
            let text = |part: Option<&[u8]>| String::from_utf8(part.unwrap().to_vec()).unwrap();
            format!("{} {}", text(encoded.key(row)), text(encoded.value(row)))
        })
        .collect();
    expect![[r#"
        a {"before":null,"after":{"k":"a","n":1},"op":"c"}
        a {"before":{"k":"a","n":1},"after":{"k":"a","n":2},"op":"u"}
        b {"before":{"k":"b","n":3},"after":null,"op":"d"}
        c {"before":null,"after":{"k":"c","n":4},"op":"c"}"#]]
    .assert_eq(&lines.join("\n"));
}
