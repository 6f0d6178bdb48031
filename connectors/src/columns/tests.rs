//! Values of all types, there and back through a file.

pub mod read_back;

use std::fs::File;
use std::path::Path;

use expect_test::expect;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use proptest::prelude::*;
use read_back::{columns, rows};

use super::*;
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{Decimal, Schema, SchemaBuilder, Struct, Type};
use crate::file::parquet::ParquetFile;

fn of_json(text: &str) -> Value {
    let options = JsonOptions { schemas: false, ..JsonOptions::default() };
    JsonConverter::new(options).read(Some(&text.to_owned().into())).unwrap().value
}

fn inferred(lines: &[&str]) -> Columns {
    lines.iter().fold(Columns::default(), |known, line| known.widened(&of_json(line)))
}

/// Writes records into a file, as many at a time.
fn write(path: &Path, columns: &Columns, values: &[Value], at_a_time: usize, packed: Compression) {
    let file = File::create(path).unwrap();
    let mut file = ParquetFile::new(file, packed, at_a_time, None);
    for value in values {
        columns.fit(value, &[]).unwrap();
        file.hold(value.clone());
        if file.is_full() {
            file.write(columns).unwrap();
        }
    }
    file.end(columns).unwrap();
}

fn columns_of(lines: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<Value> = lines.iter().map(|line| of_json(line)).collect();
    let path = dir.path().join("a.parquet");
    write(&path, &inferred(lines), &values, 100, Compression::SNAPPY);
    assert_eq!(rows(&path).len(), lines.len());
    columns(&path)
}

#[test]
fn columns_of_json_are_as_wide_as_its_values() {
    let lines = [
        r#"{"i":1,"f":1,"wide":1,"mixed":1,"big":1,"b":true,"s":"x","null":null,"e":{},"l":[]}"#,
        r#"{"f":1.5,"wide":9007199254740993,"mixed":"x","big":18446744073709551615,"b":false}"#,
        r#"{"wide":0.5,"o":{"a":1},"l":[[1],[]],"lo":[{"x":1},{"y":"z"},null],"none":[]}"#,
        r#"{"o":{"b":[true],"n":null},"any":[1,"x",{"a":[]}],"either":{"a":1}}"#,
        r#"{"either":[1]}"#,
    ];
    expect![[r#"
        i: Int64
        f: Float64
        wide: Utf8
        mixed: Utf8
        big: Utf8
        b: Boolean
        s: Utf8
        e: Utf8
        l: List(List(Int64, field: 'element'), field: 'element')
        o: Struct("a": Int64, "b": List(Boolean, field: 'element'))
        lo: List(Struct("x": Int64, "y": Utf8), field: 'element')
        none: List(Utf8, field: 'element')
        any: List(Utf8, field: 'element')
        either: Utf8
    "#]]
    .assert_eq(&columns_of(&lines));
    // Where there is nothing but null, it has to be something.
    expect![[r#"
        b: List(Utf8, field: 'element')
    "#]]
    .assert_eq(&columns_of(&[r#"{"a":null,"b":[null]}"#]));
}

#[test]
fn memory_is_given_back_and_the_file_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let columns = inferred(&[r#"{"n":1,"text":"x"}"#]);
    let (file, packed) = (File::create(&path).unwrap(), Compression::UNCOMPRESSED);
    let mut file = ParquetFile::new(file, packed, 1_000, None);
    let records = (0..5_000).map(|n| of_json(&format!("{{\"n\":{n},\"text\":\"{n} times\"}}")));
    let records: Vec<Value> = records.collect();
    for (number, record) in records.iter().enumerate() {
        file.hold(record.clone());
        if file.is_full() {
            file.write(&columns).unwrap();
        }
        if number == 2_500 {
            let (memory, size) = (file.memory(), file.size());
            assert!(memory > 50_000 && size > 20_000, "{memory}, {size}");
            file.relieve(&columns).unwrap();
            assert_eq!(file.memory(), 0);
        }
    }
    let size = file.size();
    file.end(&columns).unwrap();
    assert_eq!(rows(&path), records);
    let length = std::fs::metadata(&path).unwrap().len();
    assert!((length / 2..length * 2).contains(&size), "{size} for {length}");
}

#[test]
fn what_has_become_text_is_its_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let values = ["x", "\u{1F600}", "1"].map(|text| format!("\"{text}\""));
    let others = ["1", "-2.5", "true", "null", "18446744073709551615", "{\"a\":[1,null]}", "[]"];
    let lines = values.iter().map(String::as_str).chain(others);
    let values: Vec<Value> = lines.map(|json| of_json(&format!("{{\"v\":{json}}}"))).collect();
    let columns = values.iter().fold(Columns::default(), |known, value| known.widened(value));
    write(&path, &columns, &values, 3, Compression::LZ4_RAW);
    let texts = rows(&path);
    let texts: Vec<_> = texts
        .iter()
        .map(|row| match field(row, 0, &"v".into()) {
            Some(Value::String(text)) => text.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    expect![[r#"x 😀 1 1 -2.5 true Some(Null) 18446744073709551615 {"a":[1,null]} []"#]]
        .assert_eq(&texts.join(" "));
}

#[test]
fn what_is_nested_too_deeply_is_text() {
    let nested = |depth: usize| format!("{{\"v\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(columns_of(&[&nested(3)]).starts_with("v: List("));
    let deep = columns_of(&[&nested(200)]);
    assert_eq!(deep.matches("List(").count(), 31, "{deep}");
    assert!(deep.contains("Utf8"), "{deep}");
}

#[test]
fn the_schema_of_a_file_is_parquets_own_for_each_of_connects_types() {
    let named = |type_, name: &str| SchemaBuilder::of(type_).name(name).build();
    let time = |type_, name: &str| named(type_, &format!("io.debezium.time.{name}"));
    let digits = |scale: i32, precision: &str| {
        let builder = SchemaBuilder::decimal(scale);
        builder.parameter("connect.decimal.precision", precision).build()
    };
    let inner = SchemaBuilder::structure().field("x", Schema::optional_int32()).build();
    let schema = SchemaBuilder::structure()
        .field("int8", Schema::int8())
        .field("int16", Schema::int16())
        .field("int32", Schema::int32())
        .field("int64", Schema::optional_int64())
        .field("float32", Schema::float32())
        .field("float64", Schema::float64())
        .field("boolean", Schema::boolean())
        .field("string", Schema::string())
        .field("bytes", Schema::bytes())
        .field("decimal", SchemaBuilder::decimal(2).build())
        .field("digits", digits(2, "7"))
        .field("zeros", digits(-3, "7"))
        .field("fraction", digits(5, "2"))
        .field("many", digits(2, "50"))
        .field("date", SchemaBuilder::date().build())
        .field("time", SchemaBuilder::time().build())
        .field("timestamp", SchemaBuilder::timestamp().optional().build())
        .field("d_date", time(Type::Int32, "Date"))
        .field("d_time", time(Type::Int32, "Time"))
        .field("micro_time", time(Type::Int64, "MicroTime"))
        .field("nano_time", time(Type::Int64, "NanoTime"))
        .field("d_timestamp", time(Type::Int64, "Timestamp"))
        .field("micro_timestamp", time(Type::Int64, "MicroTimestamp"))
        .field("nano_timestamp", time(Type::Int64, "NanoTimestamp"))
        .field("zoned_timestamp", time(Type::String, "ZonedTimestamp"))
        .field("zoned_time", time(Type::String, "ZonedTime"))
        .field("duration", time(Type::Int64, "MicroDuration"))
        .field("uuid", named(Type::String, "io.debezium.data.Uuid"))
        .field("list", SchemaBuilder::array(Schema::int32()).build())
        .field("map", SchemaBuilder::map(Schema::string(), Schema::optional_int64()).build())
        .field("struct", inner.to_builder().optional().build())
        .field("structs", SchemaBuilder::array(inner).optional().build())
        .field("empty", SchemaBuilder::structure().build())
        .build();
    let columns = Columns::of_schema(&schema).unwrap();
    let message = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let schema = Arc::new(arrow::datatypes::Schema::new(columns.fields()));
        let writer =
            parquet::arrow::ArrowWriter::try_new(File::create(&path).unwrap(), schema, None);
        let metadata = writer.unwrap().close().unwrap();
        let mut text = Vec::new();
        let root = metadata.file_metadata().schema();
        parquet::schema::printer::print_schema(&mut text, root);
        String::from_utf8(text).unwrap()
    };
    expect![[r#"
        message arrow_schema {
          REQUIRED INT32 int8 (INTEGER(8,true));
          REQUIRED INT32 int16 (INTEGER(16,true));
          REQUIRED INT32 int32;
          OPTIONAL INT64 int64;
          REQUIRED FLOAT float32;
          REQUIRED DOUBLE float64;
          REQUIRED BOOLEAN boolean;
          REQUIRED BYTE_ARRAY string (STRING);
          REQUIRED BYTE_ARRAY bytes;
          REQUIRED FIXED_LEN_BYTE_ARRAY (16) decimal (DECIMAL(38,2));
          REQUIRED INT32 digits (DECIMAL(7,2));
          REQUIRED INT64 zeros (DECIMAL(10,0));
          REQUIRED FIXED_LEN_BYTE_ARRAY (16) fraction (DECIMAL(38,5));
          REQUIRED BYTE_ARRAY many (STRING);
          REQUIRED INT32 date (DATE);
          REQUIRED INT32 time (TIME(MILLIS,false));
          OPTIONAL INT64 timestamp (TIMESTAMP(MILLIS,true));
          REQUIRED INT32 d_date (DATE);
          REQUIRED INT32 d_time (TIME(MILLIS,false));
          REQUIRED INT64 micro_time (TIME(MICROS,false));
          REQUIRED INT64 nano_time (TIME(NANOS,false));
          REQUIRED INT64 d_timestamp (TIMESTAMP(MILLIS,false));
          REQUIRED INT64 micro_timestamp (TIMESTAMP(MICROS,false));
          REQUIRED INT64 nano_timestamp (TIMESTAMP(NANOS,false));
          REQUIRED INT64 zoned_timestamp (TIMESTAMP(MICROS,true));
          REQUIRED BYTE_ARRAY zoned_time (STRING);
          REQUIRED INT64 duration;
          REQUIRED BYTE_ARRAY uuid (STRING);
          REQUIRED group list (LIST) {
            REPEATED group list {
              REQUIRED INT32 element;
            }
          }
          REQUIRED group map (MAP) {
            REPEATED group key_value {
              REQUIRED BYTE_ARRAY key (STRING);
              OPTIONAL INT64 value;
            }
          }
          OPTIONAL group struct {
            OPTIONAL INT32 x;
          }
          OPTIONAL group structs (LIST) {
            REPEATED group list {
              REQUIRED group element {
                OPTIONAL INT32 x;
              }
            }
          }
          REQUIRED BYTE_ARRAY empty (STRING);
        }
    "#]]
    .assert_eq(&message);
}

#[test]
fn what_does_not_fit_is_said_with_its_place() {
    let zoned = SchemaBuilder::of(Type::String).name("io.debezium.time.ZonedTimestamp").build();
    let digits = SchemaBuilder::decimal(2).parameter("connect.decimal.precision", "5").build();
    let inner = SchemaBuilder::structure().field("at", zoned).build();
    let schema = SchemaBuilder::structure()
        .field("price", digits)
        .field("all", SchemaBuilder::array(inner.clone()).build())
        .build();
    let columns = Columns::of_schema(&schema).unwrap();
    let said = |price: Decimal, at: &str| {
        let at = Value::structure(Struct::with_values(&inner, vec![Value::string(at)]));
        let values = vec![Value::Decimal(Arc::new(price)), Value::array(vec![at])];
        columns.fit(&Value::structure(Struct::with_values(&schema, values)), &[])
    };
    assert_eq!(said(Decimal::new(99_999, 2), "2024-01-01T00:00:00Z"), Ok(()));
    assert_eq!(said(Decimal::new(-9_999_900, 4), "infinity"), Ok(()));
    let texts = [
        said(Decimal::new(100_000, 2), "2024-01-01T00:00:00Z"),
        said(Decimal::new(1, 3), "2024-01-01T00:00:00Z"),
        said(Decimal::new(1, 2), "2024-01-01T00:00:00.123456789Z"),
        columns.fit(&of_json("{}"), &[]),
        columns.fit(&of_json(r#"{"price":1}"#), &[]),
        columns.fit(&of_json(r#"{"more":1}"#), &[]),
    ];
    let texts: Vec<String> = texts.into_iter().map(|said| said.unwrap_err() + "\n").collect();
    expect![[r#"
        field 'price': 1000.00 does not fit a decimal of 5 digits, 2 after the point
        field 'price': 0.001 does not fit a decimal of 5 digits, 2 after the point
        field 'all': item 0: field 'at': '2024-01-01T00:00:00.123456789Z' is no point in time in whole microseconds
        field 'price' is missing, and is required
        field 'price': an int64 where a decimal of 5 digits, 2 after the point is expected
        field 'more' is none of the columns
    "#]].assert_eq(&texts.concat());
    assert!(Columns::of_schema(&SchemaBuilder::structure().build()).is_err());
    assert!(Columns::of_schema(&Schema::string()).is_err());
}

/// A schema, with values that it allows, and what is read back of each.
fn typed() -> impl Strategy<Value = (Schema, Vec<(Value, Value)>)> {
    let leaf = (0..LEAVES, any::<bool>()).prop_map(|(which, optional)| leaf(which, optional));
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        let optional = |builder: SchemaBuilder, optional| match optional {
            true => builder.optional().build(),
            false => builder.build(),
        };
        prop_oneof![
            (inner.clone(), any::<bool>())
                .prop_map(move |(item, null)| optional(SchemaBuilder::array(item), null)),
            (inner.clone(), any::<bool>()).prop_map(move |(value, null)| {
                optional(SchemaBuilder::map(Schema::string(), value), null)
            }),
            (prop::collection::vec(inner, 1..4), any::<bool>())
                .prop_map(move |(fields, null)| optional(structure(&fields), null)),
        ]
    });
    prop::collection::vec(nested, 1..6).prop_flat_map(|fields| {
        let schema = structure(&fields).build();
        let rows = prop::collection::vec(value_of(schema.clone(), true), 1..30);
        (Just(schema), rows)
    })
}

fn structure(fields: &[Schema]) -> SchemaBuilder {
    let fields = fields.iter().enumerate();
    fields.fold(SchemaBuilder::structure(), |builder, (index, schema)| {
        builder.field(format!("f{index}"), schema.clone())
    })
}

const LEAVES: usize = 21;

fn leaf(which: usize, optional: bool) -> Schema {
    let time =
        |type_, name: &str| SchemaBuilder::of(type_).name(format!("io.debezium.time.{name}"));
    let builder = match which {
        0 => SchemaBuilder::of(Type::Int8),
        1 => SchemaBuilder::of(Type::Int16),
        2 => SchemaBuilder::of(Type::Int32),
        3 => SchemaBuilder::of(Type::Int64),
        4 => SchemaBuilder::of(Type::Float32),
        5 => SchemaBuilder::of(Type::Float64),
        6 => SchemaBuilder::of(Type::Boolean),
        7 => SchemaBuilder::of(Type::String),
        8 => SchemaBuilder::of(Type::Bytes),
        9 => SchemaBuilder::decimal(3),
        10 => SchemaBuilder::decimal(-2).parameter("connect.decimal.precision", "15"),
        11 => SchemaBuilder::date(),
        12 => SchemaBuilder::time(),
        13 => SchemaBuilder::timestamp(),
        14 => time(Type::Int32, "Date"),
        15 => time(Type::Int32, "Time"),
        16 => time(Type::Int64, "MicroTime"),
        17 => time(Type::Int64, "NanoTimestamp"),
        18 => time(Type::Int64, "Timestamp"),
        19 => time(Type::String, "ZonedTimestamp"),
        _ => SchemaBuilder::of(Type::Int32).default(Value::Int32(7)),
    };
    if optional { builder.optional().build() } else { builder.build() }
}

type Pair = (Value, Value);

/// A value that a schema allows, and what is read back of it.
fn value_of(schema: Schema, is_field: bool) -> BoxedStrategy<Pair> {
    let some = match schema.type_() {
        Type::Array => {
            let items = value_of(schema.value_schema().unwrap().clone(), false);
            let both = |pairs: Vec<Pair>| {
                let (values, read) = pairs.into_iter().unzip();
                (Value::array(values), Value::array(read))
            };
            prop::collection::vec(items, 0..4).prop_map(both).boxed()
        }
        Type::Map => {
            let values = value_of(schema.value_schema().unwrap().clone(), false);
            let both = |map: std::collections::BTreeMap<String, Pair>| {
                let entries = |read: bool| {
                    let pick = move |(key, pair): (&String, &Pair)| {
                        let value = if read { pair.1.clone() } else { pair.0.clone() };
                        (Value::string(key.as_str()), value)
                    };
                    Value::map(map.iter().map(pick).collect())
                };
                (entries(false), entries(true))
            };
            prop::collection::btree_map("[a-c]{0,2}", values, 0..4).prop_map(both).boxed()
        }
        Type::Struct => {
            let fields: Vec<_> =
                schema.fields().iter().map(|field| value_of(field.schema.clone(), true)).collect();
            let of = schema.clone();
            let both = move |pairs: Vec<Pair>| {
                let names = of.fields().iter().map(|field| Value::String(field.name.clone()));
                let (values, read): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                let value = Value::structure(Struct::with_values(&of, values));
                (value, Value::map(names.zip(read).collect()))
            };
            fields.prop_map(both).boxed()
        }
        _ => plain(&schema),
    };
    // Only in fields does a default stand in for null.
    let default = schema.default().filter(|_| is_field);
    let null = (Value::Null, default.cloned().unwrap_or(Value::Null));
    match schema.is_optional() || default.is_some() {
        true => prop_oneof![4 => some, 1 => Just(null)].boxed(),
        false => some,
    }
}

fn plain(schema: &Schema) -> BoxedStrategy<Pair> {
    let same = |value: Value| (value.clone(), value);
    let name = schema.name().map_or("", |name| name.rsplit('.').next().unwrap());
    let debezium = schema.name().is_some_and(|name| name.starts_with("io.debezium"));
    match (name, schema.type_()) {
        ("Decimal", _) => {
            let scale = schema.scale().unwrap();
            let written = move |number: i64| {
                let value = Decimal::new(number, scale);
                let read = value.rescaled(scale.max(0)).unwrap();
                (Value::Decimal(Arc::new(value)), Value::Decimal(Arc::new(read)))
            };
            (-999_999_999_999_999..=999_999_999_999_999_i64).prop_map(written).boxed()
        }
        ("Date", _) if debezium => {
            any::<i32>().prop_map(|days| (Value::Int32(days), Value::Date(days))).boxed()
        }
        ("Time", _) if debezium => {
            any::<i32>().prop_map(|ms| (Value::Int32(ms), Value::Time(ms))).boxed()
        }
        ("Timestamp", _) if debezium => {
            any::<i64>().prop_map(|ms| (Value::Int64(ms), Value::Timestamp(ms))).boxed()
        }
        ("ZonedTimestamp", _) => {
            let written = |ms: i64| {
                let text = crate::data::text_form::iso(&Value::Timestamp(ms));
                (Value::string(text), Value::Int64(ms * 1000))
            };
            // Not at midnight, which has another form.
            (1..100_000_000_i64)
                .prop_map(|days| days * 86_400_000 / 7_000 + 1)
                .prop_map(written)
                .boxed()
        }
        ("Date", _) => any::<i32>().prop_map(Value::Date).prop_map(same).boxed(),
        ("Time", _) => any::<i32>().prop_map(Value::Time).prop_map(same).boxed(),
        ("Timestamp", _) => any::<i64>().prop_map(Value::Timestamp).prop_map(same).boxed(),
        (_, Type::Int8) => any::<i8>().prop_map(Value::Int8).prop_map(same).boxed(),
        (_, Type::Int16) => any::<i16>().prop_map(Value::Int16).prop_map(same).boxed(),
        (_, Type::Int32) => any::<i32>().prop_map(Value::Int32).prop_map(same).boxed(),
        (_, Type::Int64) => any::<i64>().prop_map(Value::Int64).prop_map(same).boxed(),
        (_, Type::Float32) => any::<f32>().prop_map(Value::Float32).prop_map(same).boxed(),
        (_, Type::Float64) => any::<f64>().prop_map(Value::Float64).prop_map(same).boxed(),
        (_, Type::Boolean) => any::<bool>().prop_map(Value::Boolean).prop_map(same).boxed(),
        (_, Type::Bytes) => {
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())).prop_map(same).boxed()
        }
        _ => ".{0,6}".prop_map(move |text: String| same(Value::string(text))).boxed(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What a schema allows is read back as it was, however the file is compressed and cut.
    #[test]
    fn typed_records_are_read_back((schema, pairs) in typed(), at_a_time in 1..10usize, packed in 0..5) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let columns = Columns::of_schema(&schema).unwrap();
        let (values, expected): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let packed = match packed {
            0 => Compression::UNCOMPRESSED,
            1 => Compression::SNAPPY,
            2 => Compression::GZIP(GzipLevel::default()),
            3 => Compression::ZSTD(ZstdLevel::default()),
            _ => Compression::LZ4_RAW,
        };
        write(&path, &columns, &values, at_a_time, packed);
        prop_assert_eq!(rows(&path), expected);
    }
}
