//! Files of columns: what comes back of JSON, through crashes and as its fields change.

use parquet::basic::Compression;
use serde_json::{Value as Json, json};

use super::*;
use crate::columns::tests::read_back;
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{SchemaBuilder, Struct};

fn value(json: &Json) -> Value {
    parsed(&json.to_string())
}

fn parsed(json: &str) -> Value {
    let options = JsonOptions { schemas: false, ..JsonOptions::default() };
    JsonConverter::new(options).read(Some(&json.to_owned().into())).unwrap().value
}

/// These values at these offsets of a partition, from an offset on.
fn with_values(index: i32, start: i64, values: Vec<SchemaAndValue>, from: i64) -> SinkRecords {
    let end = start + values.len() as i64;
    let mut records = records(index, start, end, from);
    let topic = Text::from("t");
    let values =
        values.into_iter().zip(start..).filter(|(_, at)| *at >= from).map(|(value, at)| {
            let mut record = ConnectRecord::new(&topic, SchemaAndValue::NULL, value);
            record.timestamp_ms = Some(at % 3 * DAY_MS);
            ConnectRecord { kafka_offset: Some(Offset(at)), ..record }
        });
    records.values = Some(values.collect());
    records
}

fn of_json(index: i32, start: i64, lines: &[Json], from: i64) -> SinkRecords {
    let values = lines.iter().map(|line| SchemaAndValue::schemaless(value(line))).collect();
    with_values(index, start, values, from)
}

impl Fixture {
    fn columns(&self) -> PartOptions {
        PartOptions {
            packing: Packing::Parquet(Compression::SNAPPY),
            layout: Layout::default(),
            ending: ".parquet",
            ..self.options()
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.names().into_iter().map(|name| self.dir.path().join("out").join(name)).collect()
    }

    fn columns_of(&self, name: &str) -> String {
        read_back::columns(&self.dir.path().join("out").join(name))
    }
}

#[test]
fn a_field_that_comes_late_is_in_the_file_or_begins_another() {
    let fixture = Fixture::new();
    let mut parts = fixture.parts(PartOptions { held_max: 3, ..fixture.columns() });
    parts.open(&[opened(0)]).unwrap();
    let lines = [
        json!({"a": 1}),
        json!({"a": 2, "b": "x"}),
        json!({"b": "y"}),
        // Settled by now. These fit:
        json!({"a": null}),
        json!({"a": 9_007_199_254_740_993_i64}),
        // These do not:
        json!({"a": 3, "c": true}),
        json!({"c": "text"}),
    ];
    parts.put(&of_json(0, 0, &lines, 0)).unwrap();
    parts.finish().unwrap();
    assert_eq!(fixture.names(), ["t+0+0000000000.parquet", "t+0+0000000005.parquet"]);
    assert_eq!(fixture.columns_of("t+0+0000000000.parquet"), "a: Int64\nb: Utf8\n");
    assert_eq!(fixture.columns_of("t+0+0000000005.parquet"), "a: Int64\nb: Utf8\nc: Utf8\n");
    // What is known is known from the first record of a later file on.
    parts.put(&of_json(0, 7, &[json!({"a": 1})], 0)).unwrap();
    parts.finish().unwrap();
    assert_eq!(fixture.columns_of("t+0+0000000007.parquet"), "a: Int64\nb: Utf8\nc: Utf8\n");
}

#[test]
fn fields_that_directories_are_named_by_are_no_columns_unless_asked() {
    let lines =
        [json!({"c": "DE", "n": 1}), json!({"c": null, "n": 2}), json!({"n": 3, "c": "DE"})];
    for left_out in [vec!["c".to_owned()], Vec::new()] {
        let fixture = Fixture::new();
        let layout = Layout { fields: vec!["c".to_owned()], time: None };
        let columns = if left_out.is_empty() { "c: Utf8\nn: Int64\n" } else { "n: Int64\n" };
        let options = PartOptions { layout, left_out, ..fixture.columns() };
        let mut parts = fixture.parts(options);
        parts.open(&[opened(0)]).unwrap();
        assert_eq!(parts.put(&of_json(0, 0, &lines, 0)).unwrap().refused, []);
        let schema = SchemaBuilder::structure().field("c", crate::data::Schema::string()).build();
        let value = Value::structure(Struct::with_values(&schema, vec![Value::string("DE")]));
        let put = parts.put(&with_values(0, 3, vec![SchemaAndValue::new(&schema, value)], 0));
        assert_eq!(put.unwrap().refused.len(), usize::from(columns.starts_with('n')));
        let long = json!({"c": "x".repeat(300), "n": 1});
        let put = parts.put(&of_json(0, 4, &[long], 0)).unwrap();
        assert_eq!(put.refused.len(), usize::from(columns.starts_with('n')));
        parts.finish().unwrap();
        assert_eq!(fixture.columns_of("c=DE/t+0+0000000000.parquet"), columns);
        let rows = read_back::rows(&fixture.dir.path().join("out/c=DE/t+0+0000000000.parquet"));
        assert_eq!(rows.len(), 2);
        let null = "c=__HIVE_DEFAULT_PARTITION__/t+0+0000000001.parquet".to_owned();
        assert!(fixture.names().contains(&null));
    }
}

#[test]
fn schemas_that_take_turns_have_a_file_each() {
    let fixture = Fixture::new();
    let mut parts = fixture.parts(PartOptions { held_max: 2, ..fixture.columns() });
    parts.open(&[opened(0)]).unwrap();
    let of = |name: &str| SchemaBuilder::structure().field(name, crate::data::Schema::int64());
    let (one, other) = (of("one").build(), of("other").build());
    let values = (0..20).map(|number| {
        let schema = if number % 2 == 0 { &one } else { &other };
        let value = Struct::with_values(schema, vec![Value::Int64(number)]);
        SchemaAndValue::new(schema, Value::structure(value))
    });
    parts.put(&with_values(0, 0, values.collect(), 0)).unwrap();
    parts.finish().unwrap();
    assert_eq!(parts.flush().unwrap(), [(partition(0), Offset(20))]);
    assert_eq!(fixture.names(), ["t+0+0000000000.parquet", "t+0+0000000001.parquet"]);
    assert_eq!(fixture.columns_of("t+0+0000000001.parquet"), "other: Int64, required\n");
    let rows: Vec<usize> = fixture.paths().iter().map(|path| read_back::rows(path).len()).collect();
    assert_eq!(rows, [10, 10]);
}

#[test]
fn what_has_no_fields_or_too_many_is_refused() {
    let fixture = Fixture::new();
    let mut parts = fixture.parts(fixture.columns());
    parts.open(&[opened(0)]).unwrap();
    let many: serde_json::Map<_, _> =
        (0..3_000).map(|number| (format!("f{number}"), json!(1))).collect();
    let lines =
        [json!({}), json!("text"), json!([1]), json!({"a": 1}), Json::Object(many), json!({})];
    let put = parts.put(&of_json(0, 0, &lines, 0)).unwrap();
    let reasons = put.refused.iter().map(|one| format!("{}: {}\n", one.offset, one.reason));
    expect_test::expect![[r#"
        0: it has no field to be a column (where partition.by names them all: set partition.keep = true)
        1: Parquet needs records with fields, and this is a string; name the converter that reads them (value.converter = org.apache.kafka.connect.json.JsonConverter), or make a field of it by the transform HoistField$Value
        2: Parquet needs records with fields, and this is an array; name the converter that reads them (value.converter = org.apache.kafka.connect.json.JsonConverter), or make a field of it by the transform HoistField$Value
        4: it would make 3001 columns, and 2000 is the most: if names of fields are data, give the records a schema with a map, or leave fields out by the transform ReplaceField$Value
    "#]].assert_eq(&reasons.collect::<String>());
    parts.finish().unwrap();
    let rows: Vec<_> = fixture.paths().iter().flat_map(|path| read_back::rows(path)).collect();
    assert_eq!(rows, [value(&json!({"a": 1})), value(&json!({"a": null}))]);
}

#[test]
fn files_of_columns_are_rolled_by_size_and_records() {
    let fixture = Fixture::new();
    let lines: Vec<Json> = (0..100).map(|number| json!({"a": number, "b": "text"})).collect();
    for (options, files) in [
        (PartOptions { roll_records: 30, ..fixture.columns() }, 4),
        (PartOptions { roll_bytes: 12 * 50, ..fixture.columns() }, 2),
    ] {
        let fixture = Fixture::new();
        let root = fixture.options().root;
        let mut parts = fixture.parts(PartOptions { root, ..options });
        parts.open(&[opened(0)]).unwrap();
        parts.put(&of_json(0, 0, &lines, 0)).unwrap();
        parts.finish().unwrap();
        let rows: Vec<_> = fixture.paths().iter().map(|path| read_back::rows(path).len()).collect();
        assert_eq!((rows.len(), rows.iter().sum::<usize>()), (files, 100), "{rows:?}");
    }
}

/// Whether what was read says the same as what was written.
fn says(read: Option<&Value>, written: &Json, is_text: bool) -> bool {
    let null = Value::Null;
    match (read.unwrap_or(&null), written) {
        (Value::Null, Json::Null) => true,
        (Value::String(read), Json::String(written)) => *read == written.as_str(),
        // In a column of text, what is no string is its JSON.
        (Value::String(read), written) if !is_text => says(Some(&parsed(read)), written, true),
        (Value::Boolean(read), Json::Bool(written)) => read == written,
        (Value::Int64(read), Json::Number(written)) => written.as_i64() == Some(*read),
        (Value::Decimal(read), written) => read.to_plain_string() == written.to_string(),
        (Value::Float64(read), Json::Number(written)) => match written.as_i64() {
            Some(written) => *read as i128 == i128::from(written) && read.fract() == 0.0,
            None => written.is_f64() && written.as_f64() == Some(*read),
        },
        (Value::Array(read), Json::Array(written)) => {
            let mut pairs = read.iter().zip(written);
            read.len() == written.len() && pairs.all(|(a, b)| says(Some(a), b, is_text))
        }
        (Value::Map(read), Json::Object(written)) => {
            let nothing_more = read.iter().all(|(name, value)| {
                value.is_null() || written.contains_key(name.as_str().unwrap())
            });
            let of = |name: &String| read.get(&Value::string(name.as_str()));
            nothing_more && written.iter().all(|(name, value)| says(of(name), value, is_text))
        }
        _ => false,
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        2 => Just(Json::Null),
        2 => any::<bool>().prop_map(Json::from),
        4 => (-5..5i64).prop_map(Json::from),
        1 => any::<i64>().prop_map(Json::from),
        1 => any::<u64>().prop_map(Json::from),
        3 => (-9..9i32).prop_map(|halves| Json::from(f64::from(halves) / 2.0)),
        1 => any::<f64>().prop_filter("JSON has no other", |f| f.is_finite()).prop_map(Json::from),
        3 => "[ab1.]{0,3}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
            prop::collection::btree_map("[xyz]", inner, 0..3)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn any_records() -> impl Strategy<Value = Vec<Json>> {
    let record = prop::collection::btree_map("[abcd]", any_json(), 0..4);
    prop::collection::vec(record, 1..8).prop_map(|records| {
        records.into_iter().map(|map| Json::Object(map.into_iter().collect())).collect()
    })
}

#[derive(Clone, Debug)]
enum Turn {
    Put { partition: i32, lines: Vec<Json> },
    Flush,
    Finish,
    Die { steps: usize },
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        8 => (0..2i32, any_records()).prop_map(|(partition, lines)| Turn::Put { partition, lines }),
        1 => Just(Turn::Flush),
        2 => Just(Turn::Finish),
        3 => (0..4usize).prop_map(|steps| Turn::Die { steps }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever fields come when, and whatever crashes: each record is in one complete file once,
    /// in order, and says there what it said before.
    #[test]
    fn every_record_of_any_fields_is_written_once(
        turns in prop::collection::vec(turn(), 1..25),
        held_max in 1..6usize,
        roll_bytes in 100..2_000u64,
    ) {
        let fixture = Fixture::new();
        let options =
            PartOptions { roll_bytes, open_max: 5, held_max, ..fixture.columns() };
        let mut topics: [Vec<Json>; 2] = Default::default();
        let open = || {
            let mut parts = fixture.parts(options.clone());
            let from = parts.open(&[opened(0), opened(1)]).unwrap();
            (parts, [from[0].1.0, from[1].1.0])
        };
        // After a crash, all that a topic has is read again.
        let again = |parts: &mut Parts, topics: &[Vec<Json>; 2], from: [i64; 2]| {
            for (index, lines) in topics.iter().enumerate() {
                if lines.len() as i64 > from[index] {
                    parts.put(&of_json(index as i32, 0, lines, from[index])).unwrap();
                }
            }
        };
        let (mut parts, mut from) = open();
        for turn in turns {
            let done = match turn {
                Turn::Put { partition, mut lines } => {
                    let topic = &mut topics[partition as usize];
                    let start = topic.len() as i64;
                    for (line, offset) in lines.iter_mut().zip(start..) {
                        line["offset"] = json!([partition, offset]);
                    }
                    topic.extend(lines.iter().cloned());
                    let put = parts.put(&of_json(partition, start, &lines, from[partition as usize]));
                    put.map(|put| assert_eq!(put.refused, []))
                }
                Turn::Flush => parts.flush().map(drop),
                Turn::Finish => parts.finish(),
                Turn::Die { steps } => {
                    parts.steps_left = Some(steps);
                    Ok(())
                }
            };
            if done.is_err() {
                drop(parts);
                (parts, from) = open();
                again(&mut parts, &topics, from);
            }
        }
        parts.steps_left = None;
        parts.finish().unwrap();
        let complete: Vec<i64> = parts.flush().unwrap().iter().map(|(_, at)| at.0).collect();
        prop_assert_eq!(&complete, &[topics[0].len() as i64, topics[1].len() as i64]);
        let mut read = 0;
        for path in fixture.paths() {
            let mut last = None;
            for row in read_back::rows(&path) {
                let Some(Value::Array(at)) = crate::file::rows::field(&row, "offset") else {
                    panic!("{row:?}")
                };
                let [Value::Int64(partition), Value::Int64(offset)] = at[..] else {
                    panic!("{row:?}")
                };
                let topic = &mut topics[partition as usize];
                let written = std::mem::take(&mut topic[offset as usize]);
                prop_assert!(!written.is_null(), "{offset} comes twice");
                prop_assert!(says(Some(&row), &written, false), "{row:?} was {written}");
                prop_assert!(last.replace((partition, offset)) < Some((partition, offset)));
                read += 1;
            }
        }
        prop_assert_eq!(read, complete.iter().sum::<i64>());
    }
}
