use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Builder, MapBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use expect_test::expect;
use proptest::prelude::*;

use super::encode::json_objects;
use super::*;
use crate::formats::testing::{self as arbitrary, Random, Types};

fn decoder(fields: Vec<Field>) -> JsonDecoder {
    JsonDecoder::new(fields.into()).unwrap()
}

fn numbers() -> JsonDecoder {
    decoder(vec![Field::new("n", DataType::Int64, true)])
}

fn decode(decoder: &mut JsonDecoder, values: &[&str]) -> (RecordBatch, Vec<(usize, String)>) {
    let indexed: Vec<Indexed> = values.iter().map(|value| value.as_bytes()).enumerate().collect();
    let mut failed = Vec::new();
    let fields = match decoder.rows().data_type() {
        DataType::Struct(fields) => fields.clone(),
        other => panic!("rows are {other}"),
    };
    let columns = decoder.decode(&indexed, &mut failed);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    (batch, failed.into_iter().map(|(at, error)| (at, error.to_string())).collect())
}

#[test]
fn a_bad_record_is_named_and_its_neighbours_kept() {
    let values = [
        r#"{"n":1}"#,
        r#"{"n":2"#,
        r#"{"n":3} {"n":4}"#,
        "",
        r#"{"n":"five"}"#,
        "null",
        "[1]",
        r#"{"n":6}{"#,
        r#" {"n": 7, "other": [1, {"a": 2}]} "#,
        "12",
        r#"{}"#,
    ];
    let (batch, failed) = decode(&mut numbers(), &values);
    let kept: Vec<_> = batch.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(kept, [Some(1), Some(7), None]);
    let places: Vec<_> = failed.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 9]);
    assert!(failed[0].1.contains("ends in the middle"), "{failed:?}");
    assert!(failed[1].1.starts_with("2 JSON values in one record"), "{failed:?}");
    assert!(failed[3].1.contains("\"five\""), "{failed:?}");
}

#[test]
fn nested_and_typed_fields() {
    let mut decoder = decoder(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("name", DataType::Utf8, true),
        Field::new_list("tags", Field::new_list_field(DataType::Utf8, true), true),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ]);
    let (batch, failed) = decode(
        &mut decoder,
        &[
            r#"{"at":"2013-01-01T10:00:00Z","name":7,"tags":["a",null],"price":1.25}"#,
            r#"{"at":1357034400000,"name":"x","tags":null,"price":"3.50"}"#,
        ],
    );
    assert_eq!(failed, []);
    let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
    assert!(shown.contains("| 2013-01-01T10:00:00 | 7    | [a, ] | 1.25  |"), "{shown}");
    assert!(shown.contains("| 2013-01-01T10:00:00 | x    |       | 3.50  |"), "{shown}");
}

proptest! {
    /// Whatever stands between them, good records come through in order.
    #[test]
    fn good_records_survive(kinds in prop::collection::vec(0..6usize, 0..200)) {
        let values: Vec<String> = kinds.iter().enumerate().map(|(at, kind)| match kind {
            0 => "{\"n\":".to_owned(),
            1 => "{\"n\":\"x\"}".to_owned(),
            2 => "\u{1}".to_owned(),
            _ => format!("{{\"n\":{at}}}"),
        }).collect();
        let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
        let (batch, failed) = decode(&mut numbers(), &borrowed);
        let good: Vec<i64> = (0..kinds.len())
            .filter(|&at| kinds[at] > 2).map(|at| at as i64).collect();
        prop_assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &good[..]);
        let bad: Vec<usize> = (0..kinds.len()).filter(|&at| kinds[at] <= 2).collect();
        prop_assert_eq!(failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), bad);
    }

    #[test]
    fn nothing_panics(values in prop::collection::vec(".{0,20}", 0..20)) {
        let borrowed: Vec<&str> = values.iter().map(String::as_str).collect();
        let (batch, failed) = decode(&mut numbers(), &borrowed);
        prop_assert_eq!(batch.num_rows() + failed.len(), values.len());
    }
}

/// A struct, a list of structs, a map, a list of lists.
fn nested() -> Vec<Field> {
    let of = |name: &str, data_type| Field::new(name, data_type, true);
    let item = |data_type| Arc::new(Field::new("item", data_type, true));
    let address = DataType::Struct(
        vec![of("city", DataType::Utf8), Field::new("zip", DataType::Int32, false)].into(),
    );
    let entries = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, false), of("value", DataType::Float64)].into(),
    );
    vec![
        of("address", address.clone()),
        of("others", DataType::List(item(address))),
        of("prices", DataType::Map(Arc::new(Field::new("entries", entries, false)), false)),
        of("grid", DataType::List(item(DataType::List(item(DataType::Int8))))),
        of("raw", DataType::Utf8),
        of("blob", DataType::Binary),
    ]
}

#[test]
fn nested_values_and_text_as_it_stands() {
    let (batch, failed) = decode(
        &mut decoder(nested()),
        &[
            r#"{"address":{"zip":"1","x":{}, "city":"B\u00e4\ud83d\ude00"},"grid":[[1,2],[],null],
                "raw":{"a": [1, 2]},"others":[{"zip":2},null],"prices":{"a":1,"b":null},"blob":"AP8="}"#,
            r#"{"raw":[true],"prices":{},"blob":"AP8","raw":"last"}"#,
        ],
    );
    assert_eq!(failed, []);
    let parts = json_objects(&batch).unwrap();
    let shown: Vec<&str> =
        (0..2).map(|row| str::from_utf8(parts.get(row).unwrap()).unwrap()).collect();
    expect![[r#"
        {"address":{"city":"Bä😀","zip":1},"others":[{"city":null,"zip":2},null],"prices":{"a":1.0,"b":null},"grid":[[1,2],[],null],"raw":"{\"a\": [1, 2]}","blob":"AP8="}
        {"address":null,"others":null,"prices":{},"grid":null,"raw":"last","blob":"AP8="}"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn errors_name_the_path_and_what_is_there() {
    let (_, failed) = decode(
        &mut decoder(nested()),
        &[
            r#"{"address":{"zip":1.5}}"#,
            r#"{"others":[{"zip":1},{"city":"a"}]}"#,
            r#"{"prices":{"a b":true}}"#,
            r#"{"grid":[[1],[2,300]]}"#,
            r#"{"address":[1]}"#,
            r#"{"blob":"*"}"#,
            r#"{"raw":"\ud800"}"#,
            r#"{"raw" "x"}"#,
            r#"{"other":[1,}"#,
            r#"{"other":01}"#,
            "{\"other\":\"a\u{1}\"}",
            r#"{} x"#,
            r#"{"address":{"zip":null}}"#,
            "\"text\"",
        ],
    );
    let lines: Vec<String> =
        failed.into_iter().map(|(at, error)| format!("{at}: {error}")).collect();
    expect![[r#"
        0: JSON field 'address.zip' is 1.5, not a whole number of 32 bits; the record begins "{\"address\":{\"zip\":1.5}}"
        1: JSON field 'others[1].zip' is missing, not a whole number of 32 bits, never null; the record begins "{\"others\":[{\"zip\":1},{\"city\":\"a\"}]}"
        2: JSON field 'prices["a b"]' is true, not a number; the record begins "{\"prices\":{\"a b\":true}}"
        3: JSON field 'grid[1][1]' is 300, not a whole number of 8 bits; the record begins "{\"grid\":[[1],[2,300]]}"
        4: JSON field 'address' is an array, not an object; the record begins "{\"address\":[1]}"
        5: JSON field 'blob' is the text "*", not bytes (in text: as base64); the record begins "{\"blob\":\"*\"}"
        6: JSON field 'raw' is the text "\ud800", not text; the record begins "{\"raw\":\"\\ud800\"}"
        7: not valid JSON: ':' is expected at byte 7; the record begins "{\"raw\" \"x\"}"
        8: not valid JSON: a value is expected at byte 12; the record begins "{\"other\":[1,}"
        9: not valid JSON: a number begins with 0 at byte 9; the record begins "{\"other\":01}"
        10: not valid JSON: a control character stands unescaped in a string at byte 11; the record begins "{\"other\":\"a\u{1}\"}"
        11: not valid JSON: something follows the value; the record begins "{} x"
        12: JSON field 'address.zip' is null, not a whole number of 32 bits, never null; the record begins "{\"address\":{\"zip\":null}}"
        13: JSON: the record is the text "text", not an object; it begins "\"text\"""#]].assert_eq(&lines.join("\n"));
}

#[test]
fn numbers_that_are_written_otherwise() {
    let fields = [
        ("i", DataType::Int64),
        ("u", DataType::UInt64),
        ("d", DataType::Decimal128(20, 2)),
        ("t", DataType::Utf8),
        ("f", DataType::Float32),
    ];
    let fields = fields.map(|(name, of)| Field::new(name, of, true)).to_vec();
    let (batch, failed) = decode(
        &mut decoder(fields),
        &[
            r#"{"i":1e3,"u":18446744073709551615,"d":12345678901234567.89,"t":1.50,"f":1e30}"#,
            r#"{"i":"-9223372036854775808","u":"7","d":"1","t":false,"f":"-0.5"}"#,
            r#"{"i":9223372036854775808}"#,
            r#"{"i":0.5}"#,
            r#"{"u":-1}"#,
            r#"{"f":1e40}"#,
        ],
    );
    let places: Vec<_> = failed.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [2, 3, 4, 5], "{failed:?}");
    let parts = json_objects(&batch).unwrap();
    let shown: Vec<&str> =
        (0..2).map(|row| str::from_utf8(parts.get(row).unwrap()).unwrap()).collect();
    expect![[r#"
        {"i":1000,"u":18446744073709551615,"d":12345678901234567.89,"t":"1.50","f":1.0e30}
        {"i":-9223372036854775808,"u":7,"d":1.00,"t":"false","f":-0.5}"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn keys_of_maps_that_are_no_text_are_written_as_their_text() {
    let mut maps = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    maps.keys().append_slice(&[7, -1]);
    maps.values().append_value("x");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    let maps: ArrayRef = Arc::new(maps.finish());
    let fields = vec![Field::new("m", maps.data_type().clone(), true)];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![maps]).unwrap();
    let parts = json_objects(&batch).unwrap();
    let shown = (0..3).map(|row| str::from_utf8(parts.get(row).unwrap()).unwrap());
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [r#"{"m":{"7":"x","-1":null}}"#, r#"{"m":null}"#, r#"{"m":{}}"#]
    );
}

/// A hostile record is deep, or full of what nobody asked for.
#[test]
fn depth_is_bounded() {
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let (_, failed) = decode(&mut numbers(), &[&deep]);
    assert!(failed[0].1.contains("nested too deeply"), "{failed:?}");
}

proptest! {
    /// What is written is read again as it was, whatever its types.
    #[test]
    fn rows_come_back(seed in any::<u64>(), rows in 0..20usize) {
        let random = &mut Random(seed);
        let types =
            Types { scalars: arbitrary::all_scalars(), null_items: true, null_lists: true };
        let fields = arbitrary::fields(random, &types, 0);
        let batch = arbitrary::batch(random, &fields, rows);
        let parts = json_objects(&batch).unwrap();
        let values: Vec<Indexed> = (0..rows).map(|row| (row, parts.get(row).unwrap())).collect();
        let mut failed = Vec::new();
        let mut decoder = JsonDecoder::new(fields.clone()).unwrap();
        let columns = decoder.decode(&values, &mut failed);
        prop_assert_eq!(failed, vec![]);
        let back = RecordBatch::try_new(batch.schema(), columns).unwrap();
        prop_assert_eq!(back, batch);
    }

    /// serde_json and we agree on what JSON is.
    #[test]
    fn syntax_is_that_of_serde_json(text in "[\\[\\]{}:,\"a\\\\nul tre01-9.eE+-]{0,12}") {
        let mut reader = Reader::new(&text);
        let ours = reader.skip().is_ok() && { reader.skip_blanks(); reader.is_at_end() };
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let escapes = text.contains('\\');
        prop_assert!(ours == theirs || escapes, "{text:?}: {ours} {theirs}");
    }

    /// Whatever the bytes are, good rows before and after them come through whole.
    #[test]
    fn anything_leaves_the_columns_whole(values in prop::collection::vec(hostile(), 0..20)) {
        let mut decoder = decoder(nested());
        let indexed: Vec<Indexed> =
            values.iter().map(Vec::as_slice).enumerate().collect();
        let mut failed = Vec::new();
        let columns = decoder.decode(&indexed, &mut failed);
        prop_assert!(columns.iter().all(|column| column.len() + failed.len() == values.len()));
    }
}

/// A good record with some bytes changed.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let record =
        br#"{"address":{"zip":1,"city":"a"},"others":[{"zip":2}],"prices":{"a":1.5},"grid":[[1]]}"#;
    let change = (0..record.len(), prop::sample::select(b"{}[]\",:0a\\\xff n".to_vec()));
    prop::collection::vec(change, 0..3).prop_map(|changes| {
        let mut changed = record.to_vec();
        changes.into_iter().for_each(|(at, byte)| changed[at] = byte);
        changed
    })
}

/// How fast rows are read, beside arrow-json's decoder: `--ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
fn speed_beside_arrow_json() {
    let fields = [
        ("id", DataType::Int64),
        ("carrier", DataType::Utf8),
        ("delay", DataType::Float64),
        ("origin", DataType::Utf8),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ];
    let fields: Vec<Field> =
        fields.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
    let rows: Vec<String> = (0..8192)
        .map(|row| {
            format!(
                r#"{{"id":{row},"carrier":"UA","delay":{}.5,"origin":"EWR","at":{},"dest":"IAH","n":[1,2]}}"#,
                row % 60,
                1_357_034_400_000i64 + row
            )
        })
        .collect();
    let values: Vec<Indexed> = rows.iter().map(|row| row.as_bytes()).enumerate().collect();
    let mut ours = JsonDecoder::new(fields.clone().into()).unwrap();
    let schema = Arc::new(Schema::new(fields));
    let reader = arrow_json::ReaderBuilder::new(schema).with_coerce_primitive(true);
    let mut theirs = reader.with_batch_size(8192).build_decoder().unwrap();
    let rounds = 100;
    let mut least = [f64::MAX; 2];
    for _ in 0..rounds {
        let start = std::time::Instant::now();
        assert_eq!(ours.decode(&values, &mut Vec::new())[0].len(), 8192);
        least[0] = least[0].min(start.elapsed().as_secs_f64());
        let start = std::time::Instant::now();
        for (_, value) in &values {
            theirs.decode(value).unwrap();
        }
        assert_eq!(theirs.flush().unwrap().unwrap().num_rows(), 8192);
        least[1] = least[1].min(start.elapsed().as_secs_f64());
    }
    let rate = least.map(|seconds| 8192.0 / seconds / 1e6);
    println!("ours {:.2} M rows/s, arrow-json {:.2}: {:.2}", rate[0], rate[1], rate[0] / rate[1]);
}
