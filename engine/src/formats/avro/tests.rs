use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, TimeUnit};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::formats::json::Indexed;
use crate::formats::json::encode::json_objects;
use crate::formats::testing::{self as arbitrary, Random, Types};

const ORDER: &str = include_str!("fixture/order.avsc");

/// Written by Python's fastavro 1.13 with that schema.
const ORDERS: [&str; 3] = [
    "020d020ac39c6ec3af00000000000029400000003f010400ff6162636402060203d804000402780202027900000202530202025400024300040a04fb2e00000012d6874830303030303030302d303030302d303030302d303030302d303030303030303030303035f0f501f6e8ce2080e1e3e7fe01f6a5edd8fe4e80a9f095e68de90480a9f095e68de904",
    "ffffffffffffffffff01feffffff0f000000000000000080000000000000000000000000000000000200ffffffffffff4866666666666666662d666666662d666666662d666666662d6666666666666666666666660100feffbadd8305010000",
    "060002009c7500883ce4377e0000c0bf0102787a7a7a7a00020000000200000251000208746578740400800000000000004830303030303030302d303030302d303030302d303030302d303030303030303030303030000000000000",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn declared(schema: &str) -> AvroDeclaration {
    AvroDeclaration {
        schema: Some(schema.to_owned()),
        registered: BTreeMap::new(),
        framing: Framing::None,
        schema_id: None,
    }
}

fn format(declaration: &AvroDeclaration) -> Arc<AvroFormat> {
    Arc::new(AvroFormat::new(declaration).unwrap())
}

fn decode(
    format: &Arc<AvroFormat>,
    fields: Fields,
    values: &[Vec<u8>],
) -> (RecordBatch, Vec<(usize, String)>) {
    let indexed: Vec<Indexed> = values.iter().map(Vec::as_slice).enumerate().collect();
    let mut failed = Vec::new();
    let mut decoder = AvroDecoder::new(Arc::clone(format), fields.clone()).unwrap();
    let columns = decoder.decode(&indexed, &mut failed);
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    (batch, failed.into_iter().map(|(at, error)| (at, error.to_string())).collect())
}

fn shown(batch: &RecordBatch) -> String {
    let parts = json_objects(batch).unwrap();
    let rows = (0..batch.num_rows()).map(|row| str::from_utf8(parts.get(row).unwrap()).unwrap());
    rows.collect::<Vec<_>>().join("\n")
}

fn check(actual: &str, expected: Expect) {
    expected.assert_eq(actual);
}

#[test]
fn what_others_wrote_is_read_and_written_again() {
    let format = format(&declared(ORDER));
    let values: Vec<Vec<u8>> = ORDERS.iter().map(|hex| bytes(hex)).collect();
    let fields: Fields = format.columns().unwrap().into();
    let (batch, failed) = decode(&format, fields.clone(), &values);
    assert_eq!(failed, []);
    check(
        &shown(&batch),
        expect![[r#"
        {"id":1,"small":-7,"customer":"Ünï","total":12.5,"ratio":0.5,"open":true,"blob":"AP8=","four":"YWJjZA==","status":"PAID","amounts":[1,-2,300],"counts":{"x":1,"y":null},"address":{"street":"S","city":null},"others":[{"street":"T","city":"C"}],"either":{"string":null,"long":5,"Address":null},"price":-12.34,"fixed_price":1234.567,"uid":"00000000-0000-0000-0000-000000000005","day":"2013-01-31","t_ms":"09:30:00.123","t_us":"09:30:00.123456","at_ms":"2013-01-01T10:00:00.123Z","at_us":"2013-01-01T10:00:00.123456Z","local_us":"2013-01-01T10:00:00.123456"}
        {"id":-9223372036854775808,"small":2147483647,"customer":null,"total":-0.0,"ratio":0.0,"open":false,"blob":"","four":"AAAAAA==","status":"NEW","amounts":[],"counts":{},"address":null,"others":[],"either":null,"price":0.00,"fixed_price":-0.001,"uid":"ffffffff-ffff-ffff-ffff-ffffffffffff","day":"1969-12-31","t_ms":"00:00:00","t_us":"23:59:59.999999","at_ms":"1969-12-31T23:59:59.999Z","at_us":"1970-01-01T00:00:00Z","local_us":"1970-01-01T00:00:00"}
        {"id":3,"small":0,"customer":"","total":1.0e300,"ratio":-1.5,"open":true,"blob":"eA==","four":"enp6eg==","status":"NEW","amounts":[0],"counts":{},"address":{"street":"","city":"Q"},"others":[],"either":{"string":"text","long":null,"Address":null},"price":1.28,"fixed_price":0.000,"uid":"00000000-0000-0000-0000-000000000000","day":"1970-01-01","t_ms":"00:00:00","t_us":"00:00:00","at_ms":"1970-01-01T00:00:00Z","at_us":"1970-01-01T00:00:00Z","local_us":"1970-01-01T00:00:00"}"#]],
    );
    let written = AvroEncoder::new(&format, &fields).unwrap().encode(&batch).unwrap();
    for (row, value) in values.iter().enumerate() {
        assert_eq!(written.get(row), Some(&value[..]), "row {row}");
    }
}

#[test]
fn columns_may_be_few_and_of_other_types() {
    let format = format(&declared(ORDER));
    let values: Vec<Vec<u8>> = ORDERS.iter().map(|hex| bytes(hex)).collect();
    let field = |name: &str, of: DataType| Field::new(name, of, true);
    let fields: Fields = vec![
        field("local_us", DataType::Timestamp(TimeUnit::Millisecond, None)),
        field("id", DataType::Utf8),
        field("price", DataType::Float64),
        field("status", DataType::LargeUtf8),
        field("day", DataType::Timestamp(TimeUnit::Second, None)),
        field("small", DataType::Decimal128(20, 1)),
        field("either", DataType::Utf8),
    ]
    .into();
    let (batch, failed) = decode(&format, fields, &values);
    assert_eq!(failed, []);
    check(
        &shown(&batch),
        expect![[r#"
        {"local_us":"2013-01-01T10:00:00.123","id":"1","price":-12.34,"status":"PAID","day":"2013-01-31T00:00:00","small":-7.0,"either":"5"}
        {"local_us":"1970-01-01T00:00:00","id":"-9223372036854775808","price":0.0,"status":"NEW","day":"1969-12-31T00:00:00","small":2147483647.0,"either":null}
        {"local_us":"1970-01-01T00:00:00","id":"3","price":1.28,"status":"NEW","day":"1970-01-01T00:00:00","small":0.0,"either":"text"}"#]],
    );
}

fn user(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"User","namespace":"a.b","fields":[{fields}]}}"#)
}

#[test]
fn schemas_are_resolved_by_id() {
    let old = user(
        r#"{"name":"id","type":"int"},{"name":"nick","type":"string"},
           {"name":"kind","type":{"type":"enum","name":"K","symbols":["A","B","C"]}},
           {"name":"tree","type":["null","User"]}"#,
    );
    let new = user(
        r#"{"name":"since","type":{"type":"long","logicalType":"timestamp-millis"},"default":1000},
           {"name":"name","type":["null","string"],"aliases":["nick"]},
           {"name":"kind","type":{"type":"enum","name":"K","symbols":["A","B"],"default":"A"}},
           {"name":"blob","type":"bytes","default":"\u00ff\u0000"},
           {"name":"id","type":"double"}"#,
    );
    let declaration = AvroDeclaration {
        schema: Some(new.clone()),
        registered: BTreeMap::from([(7, old), (9, new)]),
        framing: Framing::Confluent,
        schema_id: None,
    };
    let format = format(&declaration);
    let fields: Fields = format.columns().unwrap().into();
    let old = |id: u8| {
        // id 5, "Al", C, and a tree of one more user.
        let mut value = vec![0, 0, 0, 0, id, 10, 4, b'A', b'l', 4, 2];
        value.extend([12, 2, b'x', 0, 0]);
        value
    };
    let new = vec![0, 0, 0, 0, 9, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0];
    let (batch, failed) = decode(&format, fields.clone(), &[old(7), old(8), new, vec![1, 2]]);
    check(
        &shown(&batch),
        expect![[r#"
        {"since":"1970-01-01T00:00:01Z","name":"Al","kind":"A","blob":"/wA=","id":5.0}
        {"since":"1970-01-01T00:00:00.001Z","name":null,"kind":"B","blob":"","id":-2.0}"#]],
    );
    check(
        &format!("{failed:#?}"),
        expect![[r#"
        [
            (
                1,
                "there is no schema 8; there is 7, 9; the record begins \"\\0\\0\\0\\0\\u{8}\\n\\u{4}Al\\u{4}\\u{2}\\u{c}\\u{2}x\\0\\0\"",
            ),
            (
                3,
                "Confluent's framing is missing: it begins with byte 1, not with 0; the record begins \"\\u{1}\\u{2}\"",
            ),
        ]"#]],
    );
    let encoder = AvroEncoder::new(&format, &fields).unwrap();
    assert_eq!(encoder.encode(&batch).unwrap().get(0).unwrap()[..5], [0, 0, 0, 0, 9]);
}

/// Each record was read by its own schema alone, where a registry stood without `schema_id`: what
/// a later schema gives a default for was NULL in records from before it.
#[test]
fn without_a_declared_schema_the_newest_of_the_registry_is_read_by() {
    let old = user(r#"{"name":"id","type":"int"},{"name":"dropped","type":"string"}"#);
    let new = user(
        r#"{"name":"id","type":"long"},{"name":"tier","type":"string","default":"free"},
           {"name":"score","type":["null","double"],"default":null}"#,
    );
    let format = format(&AvroDeclaration {
        schema: None,
        registered: BTreeMap::from([(7, old), (9, new)]),
        framing: Framing::Confluent,
        schema_id: None,
    });
    let mut fields = format.columns().unwrap();
    fields.push(Field::new("dropped", DataType::Utf8, true));
    let values = [vec![0, 0, 0, 0, 7, 10, 2, b'x'], vec![0, 0, 0, 0, 9, 12, 2, b'p', 0]];
    let (batch, failed) = decode(&format, fields.into(), &values);
    assert_eq!(failed, []);
    check(
        &shown(&batch),
        expect![[r#"
        {"id":5,"tier":"free","score":null,"dropped":"x"}
        {"id":6,"tier":"p","score":null,"dropped":null}"#]],
    );
}

#[test]
fn mistakes_in_schemas_are_named() {
    let errors: Vec<String> = [
        "{",
        r#"{"type":"record","fields":[]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"strng"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array"}}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
        r#"["null",["int"]]"#,
        "7",
        &format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100)),
    ]
    .iter()
    .map(|text| AvroFormat::new(&declared(text)).unwrap_err().to_string())
    .collect();
    check(
        &errors.join("\n"),
        expect![[r#"
        not an Avro schema: the schema: EOF while parsing an object at line 1 column 1
        not an Avro schema: the schema: it has no 'name'
        not an Avro schema: 'a': there is no type 'strng'
        not an Avro schema: 'a': it has no 'items'
        not an Avro schema: the schema: field 'a' is there twice
        not an Avro schema: the schema: a union directly within a union
        not an Avro schema: the schema: a type is expected, not 7
        not an Avro schema: 'items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items.items': it is nested too deeply"#]],
    );
    let tree = user(r#"{"name":"l","type":["null","User"]},{"name":"r","type":["null","User"]}"#);
    let error = format(&declared(&tree)).columns().unwrap_err();
    check(
        &error.to_string(),
        expect!["the Avro schema's 'a.b.User' holds itself, which no column can"],
    );
}

#[test]
fn what_is_broken_says_where() {
    let schema = user(
        r#"{"name":"id","type":"int"},{"name":"text","type":"string"},
           {"name":"nulls","type":{"type":"array","items":"null"}},
           {"name":"other","type":["null","boolean"]}"#,
    );
    let format = format(&declared(&schema));
    let fields: Fields = format.columns().unwrap().into();
    let many = [2, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0];
    let (batch, failed) = decode(
        &format,
        fields,
        &[
            vec![2, 2, b'a', 0, 2, 1],
            vec![],
            vec![0xff; 20],
            vec![2, 20, b'a'],
            vec![2, 1],
            vec![2, 2, 0xff, 0, 0],
            vec![2, 0, 0, 6],
            vec![2, 0, 0, 2, 9],
            vec![2, 0, 0, 0, 0],
            many.to_vec(),
            vec![0x80, 0x80, 0x80, 0x80, 0x20, 0, 0, 0],
        ],
    );
    assert_eq!(batch.num_rows(), 1);
    let lines: Vec<String> =
        failed.into_iter().map(|(at, error)| format!("{at}: {error}")).collect();
    check(
        &lines.join("\n"),
        expect![[r#"
        1: Avro: a number does not end at byte 0 of 0; the record begins ""
        2: Avro: a number does not end at byte 0 of 20; the record begins "��������������������"
        3: Avro: 10 bytes are expected, and 1 are left at byte 2 of 3; the record begins "\u{2}\u{14}a"
        4: Avro: a length of -1 at byte 2 of 2; the record begins "\u{2}\u{1}"
        5: Avro: a string is not UTF-8 at byte 3 of 5; the record begins "\u{2}\u{2}�\0\0"
        6: Avro: branch 3 of a union of 2 at byte 4 of 4; the record begins "\u{2}\0\0\u{6}"
        7: Avro: a boolean is neither 0 nor 1 at byte 5 of 5; the record begins "\u{2}\0\0\u{2}\t"
        8: Avro: bytes follow the record at byte 4 of 5; the record begins "\u{2}\0\0\0\0"
        9: Avro: more than 65536 items that take no bytes at byte 11 of 13; the record begins "\u{2}\0��������\u{7f}\0\0"
        10: Avro field 'id' is 4294967296, not a whole number of 32 bits; the record begins "���� \0\0\0""#]],
    );
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let format = format(&declared(&user(
        r#"{"name":"id","type":"int"},{"name":"kind","type":{"type":"enum","name":"K","symbols":["A"]}}"#,
    )));
    let fields = |names: &[(&str, DataType)]| -> Fields {
        names.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect()
    };
    let text = |error: FormatError| error.to_string();
    let errors = [
        text(AvroEncoder::new(&format, &fields(&[("id", DataType::Int64)])).unwrap_err()),
        text(AvroEncoder::new(&format, &fields(&[("ide", DataType::Int64)])).unwrap_err()),
        text(
            AvroEncoder::new(
                &format,
                &fields(&[
                    ("id", DataType::new_list(DataType::Int32, true)),
                    ("kind", DataType::Utf8),
                ]),
            )
            .unwrap_err(),
        ),
    ];
    check(
        &errors.join("\n"),
        expect![[r#"
        no column is for the Avro schema's field 'kind'
        the Avro schema has no field 'ide'
        field 'id': a value of type List(Int32) cannot be written as Avro's 'int': Cannot cast LIST to non-list data type Int32"#]],
    );
    let good = fields(&[("id", DataType::Int64), ("kind", DataType::Utf8)]);
    let encoder = AvroEncoder::new(&format, &good).unwrap();
    let mut lines = Vec::new();
    for (id, kind) in [(Some(1 << 40), Some("A")), (None, Some("A")), (Some(1), Some("B"))] {
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(arrow::array::Int64Array::from(vec![id])) as arrow::array::ArrayRef),
            ("kind", Arc::new(arrow::array::StringArray::from(vec![kind]))),
        ]);
        lines.push(encoder.encode(&batch.unwrap()).unwrap_err().to_string());
    }
    check(
        &lines.join("\n"),
        expect![[r#"
        Invalid argument error: field 'id': a value of type Int64 cannot be written as Avro's 'int': Can't cast value 1099511627776 to type Int32
        Invalid argument error: Avro: field 'id': NULL, where the schema has no null
        Invalid argument error: Avro: field 'kind': the enum has no symbol "B""#]],
    );
}

fn types() -> Types {
    let mut scalars = arbitrary::all_scalars();
    scalars.push(DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano));
    Types { scalars, null_items: true, null_lists: true }
}

proptest! {
    /// Rows of any types, by a schema made of them.
    #[test]
    fn rows_come_back(seed in any::<u64>(), rows in 0..20usize) {
        let random = &mut Random(seed);
        let fields = arbitrary::fields(random, &no_intervals(types()), 0);
        let batch = arbitrary::batch(random, &fields, rows);
        let (_, schema) = Schema::of_fields(&fields).unwrap();
        let format = format(&declared(&schema));
        let parts = AvroEncoder::new(&format, &fields).unwrap().encode(&batch).unwrap();
        let values: Vec<Vec<u8>> = (0..rows).map(|row| parts.get(row).unwrap().to_vec()).collect();
        let (back, failed) = decode(&format, fields, &values);
        prop_assert_eq!(failed, vec![]);
        prop_assert_eq!(back, batch);
    }

    /// Whatever the bytes are: no panic, no more memory than they are worth, whole columns.
    #[test]
    fn anything_leaves_the_columns_whole(
        changes in prop::collection::vec((0..100usize, any::<u8>()), 0..4),
        random in prop::collection::vec(any::<u8>(), 0..60),
        cut in 0..200usize,
    ) {
        let mut changed = bytes(ORDERS[0]);
        let len = changed.len();
        changes.into_iter().for_each(|(at, byte)| changed[at % len] = byte);
        changed.truncate(cut);
        let format = format(&declared(ORDER));
        let fields: Fields = format.columns().unwrap().into();
        let values = [changed, bytes(ORDERS[1]), random];
        let (batch, failed) = decode(&format, fields, &values);
        prop_assert_eq!(batch.num_rows() + failed.len(), 3);
        prop_assert!(failed.iter().all(|(at, _)| *at != 1));
    }

    #[test]
    fn no_schema_panics(text in r#"[\[\]{}",:a-f ]{0,40}"#, cut in 0..3000usize) {
        let _ = Schema::parse(&text);
        let _ = Schema::parse(&ORDER[..cut.min(ORDER.len())]);
    }
}

/// Avro has durations, but none that a schema made of columns would choose.
fn no_intervals(types: Types) -> Types {
    let is_interval = |of: &DataType| matches!(of, DataType::Interval(_));
    Types { scalars: types.scalars.into_iter().filter(|of| !is_interval(of)).collect(), ..types }
}
