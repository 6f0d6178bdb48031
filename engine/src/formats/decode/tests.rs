use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use arrow::util::pretty::pretty_format_batches;
use broker::record::{BatchBuilder, ProducerStamp, Records};
use datafusion_expr::{Cast, Expr, col, lit};
use expect_test::{Expect, expect};

use super::*;
use crate::pipeline::{
    Column, CsvOptions, LateRows, OnError, SourceFile, SourceKind, Span, Start, Watermark,
};

fn source(format: Format, columns: &[(&str, DataType, ColumnFrom)], time: EventTime) -> Source {
    let fields: Vec<Field> =
        columns.iter().map(|(name, of, _)| Field::new(*name, of.clone(), true)).collect();
    let file = SourceFile { path: "flights.toml".into(), text: String::new() };
    Source {
        name: "flights".to_owned(),
        topic: "flights".to_owned(),
        kind: SourceKind::Stream,
        format,
        key_format: Format::Raw,
        columns: columns
            .iter()
            .map(|(name, _, from)| Column { name: (*name).to_owned(), from: from.clone() })
            .collect(),
        schema: Arc::new(Schema::new(fields)),
        event_time: time,
        watermark: Watermark {
            delay: Duration::ZERO,
            idle_timeout: Duration::from_secs(1),
            future_bound: Duration::from_secs(60),
            late: LateRows::Drop,
        },
        start: Start::default(),
        on_error: OnError::Fail,
        span: Span { file: Arc::new(file), start: 0, end: 0 },
    }
}

fn records(parts: &[(Option<&[u8]>, Option<&[u8]>)]) -> Records {
    let mut builder = BatchBuilder::default();
    for (index, (key, value)) in parts.iter().enumerate() {
        builder.append(1000 + index as i64, *key, *value);
    }
    builder.build(ProducerStamp::NONE).records().unwrap()
}

fn decode(
    source: &Source,
    projection: &[usize],
    parts: &[(Option<&[u8]>, Option<&[u8]>)],
) -> DecodedRows {
    let records = records(parts);
    let records: Vec<Record> = records.iter().map(Result::unwrap).collect();
    RowDecoder::new(source, projection).unwrap().decode(3, &records)
}

fn check(decoded: &DecodedRows, expected: Expect) {
    let table = pretty_format_batches(std::slice::from_ref(&decoded.rows.batch)).unwrap();
    let times: Vec<_> = decoded.rows.event_times_ms.iter().collect();
    let failures: Vec<_> = decoded
        .failures
        .iter()
        .map(|failure| format!("{}: {}\n", failure.index, failure.reason))
        .collect();
    expected.assert_eq(&format!(
        "{table}\ntimes {times:?}\nkept {:?} tombstones {:?}\n{}",
        decoded.kept,
        decoded.tombstones,
        failures.concat()
    ));
}

fn columns() -> [(&'static str, DataType, ColumnFrom); 6] {
    let at = DataType::Timestamp(TimeUnit::Microsecond, None);
    [
        ("id", DataType::Int64, ColumnFrom::Value),
        ("key", DataType::Utf8, ColumnFrom::Key),
        ("at", at.clone(), ColumnFrom::Value),
        ("written", at, ColumnFrom::Timestamp),
        ("part", DataType::Int32, ColumnFrom::Partition),
        ("place", DataType::Int64, ColumnFrom::Offset),
    ]
}

#[test]
fn columns_come_from_value_key_and_metadata() {
    let source = source(Format::Json, &columns(), EventTime::Column(2));
    let decoded = decode(
        &source,
        &[5, 1, 0, 3, 4],
        &[
            (Some(b"a"), Some(br#"{"id":1,"at":"1970-01-01T00:00:05.0009Z"}"#)),
            (Some(b"b"), None),
            (Some(b"\xff"), Some(br#"{"id":2}"#)),
            (None, Some(br#"{"id":"x"}"#)),
            (None, Some(br#"{"id":4,"at":null}"#)),
        ],
    );
    check(
        &decoded,
        expect![[r#"
            +-------+-----+----+-------------------------+------+
            | place | key | id | written                 | part |
            +-------+-----+----+-------------------------+------+
            | 0     | a   | 1  | 1970-01-01T00:00:01     | 3    |
            | 4     |     | 4  | 1970-01-01T00:00:01.004 | 3    |
            +-------+-----+----+-------------------------+------+
            times [Some(5000), None]
            kept Some([0, 4]) tombstones [1]
            2: the key: column 'key': invalid UTF-8 at byte 0 of the record, which begins "�"
            3: JSON field 'id' is the text "x", not a whole number of 64 bits; the record begins "{\"id\":\"x\"}"
        "#]],
    );
}

#[test]
fn csv_positions_count_value_columns_only() {
    let options = CsvOptions { header: true, ..CsvOptions::default() };
    let source = source(Format::Csv(options), &columns(), EventTime::Record);
    let decoded = decode(
        &source,
        &[2, 5],
        &[
            (None, Some(b"id,at")),
            (None, Some(b"7,2013-01-01")),
            (None, Some(b"8,late")),
            (None, Some(b"x,2013-01-02")),
        ],
    );
    check(
        &decoded,
        expect![[r#"
            +---------------------+-------+
            | at                  | place |
            +---------------------+-------+
            | 2013-01-01T00:00:00 | 1     |
            | 2013-01-02T00:00:00 | 3     |
            +---------------------+-------+
            times [Some(1001), Some(1003)]
            kept Some([1, 3]) tombstones []
            2: column 'at' (field 2): "late" is not a time such as 2013-01-31T09:30:00Z
        "#]],
    );
}

#[test]
fn raw_values_may_be_null_and_are_checked() {
    let raw = [("line", DataType::Utf8, ColumnFrom::Value)];
    let source = source(Format::Raw, &raw, EventTime::Record);
    let values: [(Option<&[u8]>, Option<&[u8]>); 3] =
        [(None, Some(b"one")), (None, None), (None, Some(b"\xc3"))];
    check(
        &decode(&source, &[0], &values),
        expect![[r#"
            +------+
            | line |
            +------+
            | one  |
            |      |
            +------+
            times [Some(1000), Some(1001)]
            kept Some([0, 1]) tombstones []
            2: column 'line': invalid UTF-8 at byte 0 of the record, which begins "�"
        "#]],
    );
}

#[test]
fn rows_without_columns_still_count() {
    let source = source(Format::Json, &columns(), EventTime::Record);
    let decoded = decode(&source, &[], &[(None, Some(b"{}")), (None, Some(b"{}"))]);
    assert_eq!(decoded.rows.batch.num_rows(), 2);
    assert_eq!(decoded.rows.batch.num_columns(), 0);
}

#[test]
fn keys_have_a_format_of_their_own() {
    let columns = [
        ("id", DataType::Int64, ColumnFrom::Key),
        ("name", DataType::Utf8, ColumnFrom::Value),
        ("tenant", DataType::Utf8, ColumnFrom::Key),
        ("from", DataType::Utf8, ColumnFrom::Topic),
    ];
    let source = source(Format::Json, &columns, EventTime::Record);
    let source = Source { key_format: Format::Json, ..source };
    let decoded = decode(
        &source,
        &[0, 1, 2, 3],
        &[
            (Some(br#"{"id":1,"tenant":"a"}"#), Some(br#"{"name":"x"}"#)),
            (Some(br#"{"id":[]}"#), Some(br#"{"name":"y"}"#)),
            (None, Some(br#"{"name":"z"}"#)),
            (Some(b"{"), Some(br#"{"name":"w"}"#)),
        ],
    );
    check(
        &decoded,
        expect![[r#"
        +----+------+--------+---------+
        | id | name | tenant | from    |
        +----+------+--------+---------+
        | 1  | x    | a      | flights |
        |    | z    |        | flights |
        +----+------+--------+---------+
        times [Some(1000), Some(1002)]
        kept Some([0, 2]) tombstones []
        1: the key: JSON field 'id' is an array, not a whole number of 64 bits; the record begins "{\"id\":[]}"
        3: the key: not valid JSON: it ends in the middle; the record begins "{"
    "#]],
    );
}

#[test]
fn a_plain_key_may_be_a_number() {
    let columns =
        [("id", DataType::Int64, ColumnFrom::Key), ("name", DataType::Utf8, ColumnFrom::Value)];
    let source = source(Format::Json, &columns, EventTime::Record);
    let values: [(Option<&[u8]>, Option<&[u8]>); 3] =
        [(Some(b"42"), Some(b"{}")), (Some(b"x"), Some(b"{}")), (None, Some(b"{}"))];
    check(
        &decode(&source, &[0, 1], &values),
        expect![[r#"
        +----+------+
        | id | name |
        +----+------+
        | 42 |      |
        |    |      |
        +----+------+
        times [Some(1000), Some(1002)]
        kept Some([0, 2]) tombstones []
        1: the key: column 'id' (field 1): "x" is not a whole number of 64 bits
    "#]],
    );
}

#[test]
fn headers_are_columns() {
    let names = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)]
            .into(),
    );
    let entries = Field::new("entries", names, false);
    let columns = [
        ("all", DataType::Map(Arc::new(entries), false), ColumnFrom::Headers),
        ("trace", DataType::Utf8, ColumnFrom::Header("trace".into())),
        ("bytes", DataType::Binary, ColumnFrom::Header("trace".into())),
    ];
    let source = source(Format::Json, &columns, EventTime::Record);
    let mut builder = BatchBuilder::default();
    let headers: [(&str, Option<&[u8]>); 3] =
        [("trace", Some(b"1")), ("other", None), ("trace", Some(b"2"))];
    builder.append_with_headers(0, None, Some(b"{}"), &headers);
    builder.append(1, None, Some(b"{}"));
    let records: Records = builder.build(ProducerStamp::NONE).records().unwrap();
    let records: Vec<Record> = records.iter().map(Result::unwrap).collect();
    let decoded = RowDecoder::new(&source, &[0, 1, 2]).unwrap().decode(0, &records);
    check(
        &decoded,
        expect![[r#"
        +-------------------------------+-------+-------+
        | all                           | trace | bytes |
        +-------------------------------+-------+-------+
        | {trace: 1, other: , trace: 2} | 2     | 32    |
        | {}                            |       |       |
        +-------------------------------+-------+-------+
        times [Some(0), Some(1)]
        kept None tombstones []
    "#]],
    );
}

#[test]
fn changes_are_rows_and_retractions() {
    let columns = [("id", DataType::Int64, ColumnFrom::Value)];
    let source = source(Format::DebeziumJson, &columns, EventTime::Record);
    let decoded = decode(
        &source,
        &[0],
        &[
            (None, Some(br#"{"before":null,"after":{"id":1},"op":"c"}"#)),
            (None, Some(br#"{"before":{"id":1},"after":{"id":2},"op":"u"}"#)),
            (None, Some(br#"{"before":{"id":1},"after":{"id":"x"},"op":"u"}"#)),
            (None, Some(br#"{"before":{"id":2},"after":null,"op":"d"}"#)),
            (None, None),
        ],
    );
    let retracts: Vec<bool> = (0..4).map(|row| decoded.rows.is_retraction(row)).collect();
    assert_eq!(retracts, [false, true, false, true]);
    check(
        &decoded,
        expect![[r#"
        +----+
        | id |
        +----+
        | 1  |
        | 1  |
        | 2  |
        | 2  |
        +----+
        times [Some(1000), Some(1001), Some(1001), Some(1003)]
        kept Some([0, 1, 1, 3]) tombstones [4]
        2: JSON field 'id' is the text "x", not a whole number of 64 bits; the record begins "{\"id\":\"x\"}"
    "#]],
    );
}

/// Columns `a` and `b` of the value, the partition, and columns computed of these.
fn computed_source(format: Format) -> Source {
    let at = DataType::Timestamp(TimeUnit::Millisecond, None);
    let by = |expr: Expr| ColumnFrom::Computed(Arc::new(expr));
    let parsed = Expr::Cast(Cast::new(Box::new(col("b")), DataType::Int64));
    let time = Expr::Cast(Cast::new(Box::new(parsed.clone()), at.clone()));
    let columns = [
        ("sum", DataType::Int64, by(col("a") + parsed)),
        ("a", DataType::Int64, ColumnFrom::Value),
        ("b", DataType::Utf8, ColumnFrom::Value),
        ("part", DataType::Int32, ColumnFrom::Partition),
        ("key", DataType::Utf8, ColumnFrom::Key),
        ("place", DataType::Int32, by(col("part") + lit(100_i32))),
        ("ts", at, by(time)),
    ];
    source(format, &columns, EventTime::Column(6))
}

#[test]
fn columns_are_computed_and_a_row_that_cannot_be_costs_itself_alone() {
    let source = computed_source(Format::Json);
    let parts: [(Option<&[u8]>, Option<&[u8]>); 6] = [
        (Some(b"k"), Some(br#"{"a":1,"b":"5"}"#)),
        (Some(b"k"), Some(br#"{"a":2,"b":"x"}"#)),
        (Some(b"\xff"), Some(br#"{"a":3,"b":"7"}"#)),
        (None, Some(br#"{"a":4}"#)),
        (None, None),
        (None, Some(br#"{"a":6,"b":"y"}"#)),
    ];
    check(
        &decode(&source, &[5, 0, 4], &parts),
        expect![[r#"
            +-------+-----+-----+
            | place | sum | key |
            +-------+-----+-----+
            | 103   | 6   | k   |
            | 103   |     |     |
            +-------+-----+-----+
            times [Some(5), None]
            kept Some([0, 3]) tombstones [4]
            1: column 'sum' cannot be computed: Cast error: Cannot cast string 'x' to value of bigint type
            2: the key: column 'key': invalid UTF-8 at byte 0 of the record, which begins "�"
            5: column 'sum' cannot be computed: Cast error: Cannot cast string 'y' to value of bigint type
        "#]],
    );
    // Of a column that nobody wants nothing fails, and its inputs are not decoded.
    check(
        &decode(&Source { event_time: EventTime::Record, ..source.clone() }, &[5], &parts),
        expect![[r#"
            +-------+
            | place |
            +-------+
            | 103   |
            | 103   |
            | 103   |
            | 103   |
            | 103   |
            +-------+
            times [Some(1000), Some(1001), Some(1002), Some(1003), Some(1005)]
            kept Some([0, 1, 2, 3, 5]) tombstones [4]
        "#]],
    );
}

#[test]
fn a_change_that_cannot_be_computed_leaves_the_rest_of_its_record() {
    let source = computed_source(Format::DebeziumJson);
    let parts: [(Option<&[u8]>, Option<&[u8]>); 2] = [
        (None, Some(br#"{"op":"u","before":{"a":1,"b":"1"},"after":{"a":1,"b":"z"}}"#)),
        (None, Some(br#"{"op":"c","before":null,"after":{"a":2,"b":"2"}}"#)),
    ];
    let decoded = decode(&source, &[0, 1], &parts);
    assert!(decoded.rows.is_retraction(0) && !decoded.rows.is_retraction(1));
    check(
        &decoded,
        expect![[r#"
            +-----+---+
            | sum | a |
            +-----+---+
            | 2   | 1 |
            | 4   | 2 |
            +-----+---+
            times [Some(1), Some(2)]
            kept Some([0, 1]) tombstones []
            0: column 'sum' cannot be computed: Cast error: Cannot cast string 'z' to value of bigint type
        "#]],
    );
}

#[test]
fn every_row_that_can_be_computed_is_whatever_stands_beside_it() {
    let source = computed_source(Format::Json);
    for bad in [vec![], vec![0], vec![99], vec![3, 4, 50], (0..100).collect::<Vec<usize>>()] {
        let values: Vec<String> = (0..100)
            .map(|n| match bad.contains(&n) {
                true => format!(r#"{{"a":{n},"b":"bad"}}"#),
                false => format!(r#"{{"a":{n},"b":"{n}"}}"#),
            })
            .collect();
        let parts: Vec<_> = values.iter().map(|value| (None, Some(value.as_bytes()))).collect();
        let decoded = decode(&source, &[0, 1], &parts);
        let failed: Vec<usize> = decoded.failures.iter().map(|failure| failure.index).collect();
        assert_eq!(failed, bad);
        let sums = decoded.rows.batch.column(0).as_primitive::<Int64Type>();
        let good: Vec<i64> = (0..100).filter(|n| !bad.contains(&(*n as usize))).collect();
        assert_eq!(sums.values(), good.iter().map(|n| n * 2).collect::<Vec<_>>().as_slice());
        let times: Vec<_> = decoded.rows.event_times_ms.iter().flatten().collect();
        assert_eq!(times, good);
    }
}

/// A row that was before an update was so until then.
#[test]
fn an_update_takes_back_when_it_happens() {
    let at = DataType::Timestamp(TimeUnit::Millisecond, None);
    let columns = [("id", DataType::Int64, ColumnFrom::Value), ("at", at, ColumnFrom::Value)];
    let source = source(Format::DebeziumJson, &columns, EventTime::Column(1));
    let event = |before: &str, after: &str, op: &str| {
        format!(r#"{{"before":{before},"after":{after},"op":"{op}"}}"#).into_bytes()
    };
    let row = |at: i64| format!(r#"{{"id":1,"at":{at}}}"#);
    let events = [
        event("null", &row(1), "c"),
        event(&row(1), &row(5), "u"),
        event(&row(5), "null", "d"),
        event("null", &row(9), "c"),
    ];
    let records: Vec<_> = events.iter().map(|event| (None, Some(&event[..]))).collect();
    let decoded = decode(&source, &[0, 1], &records);
    let times: Vec<_> = decoded.rows.event_times_ms.iter().flatten().collect();
    assert_eq!(times, [1, 5, 5, 5, 9]);
}
