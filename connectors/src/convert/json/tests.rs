use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::data::{Decimal, SchemaBuilder, Struct, Text, Type};

fn plain() -> JsonConverter {
    JsonConverter::new(JsonOptions { schemas: false, ..JsonOptions::default() })
}

fn with_schemas() -> JsonConverter {
    JsonConverter::new(JsonOptions::default())
}

fn written(converter: &mut JsonConverter, data: &SchemaAndValue) -> String {
    let mut out = Vec::new();
    assert!(converter.write(data, &mut out).unwrap());
    String::from_utf8(out).unwrap()
}

fn read(converter: &mut JsonConverter, text: &str) -> Result<SchemaAndValue, DataError> {
    converter.read(Some(&Bytes::copy_from_slice(text.as_bytes())))
}

fn check(data: &SchemaAndValue, expected: Expect) {
    let text = written(&mut with_schemas(), data);
    expected.assert_eq(&text);
    assert_eq!(read(&mut with_schemas(), &text).as_ref(), Ok(data), "there and back");
}

fn order() -> SchemaAndValue {
    let tags = SchemaBuilder::array(Schema::string()).optional().build();
    let counts = SchemaBuilder::map(Schema::int32(), Schema::optional_boolean()).build();
    let price = SchemaBuilder::decimal(2).doc("in \"euros\"").build();
    let note = SchemaBuilder::of(Type::String).default(Value::string("none")).build();
    let schema = SchemaBuilder::structure()
        .name("order")
        .version(3)
        .field("id", Schema::int64())
        .field("price", price)
        .field("tags", tags)
        .field("counts", counts)
        .field("day", SchemaBuilder::date().optional().build())
        .field("at", SchemaBuilder::timestamp().build())
        .field("raw", Schema::bytes())
        .field("ratio", Schema::float64())
        .field("note", note)
        .build();
    let counts = [(Value::Int32(1), Value::Boolean(true)), (Value::Int32(2), Value::Null)];
    let value = Struct::with_values(
        &schema,
        vec![
            Value::Int64(-7),
            Value::Decimal(Arc::new(Decimal::new(1999, 2))),
            Value::array(vec![Value::string("a\u{1f}\"/\\é")]),
            Value::map(counts.into_iter().collect()),
            Value::Null,
            Value::Timestamp(1_700_000_000_123),
            Value::Bytes(Bytes::from_static(&[0, 255, 1])),
            Value::Float64(1e10),
            Value::string("none"),
        ],
    );
    SchemaAndValue::new(&schema, Value::structure(value))
}

#[test]
fn a_struct_has_connects_form() {
    check(
        &order(),
        expect![[
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"bytes","optional":false,"name":"org.apache.kafka.connect.data.Decimal","version":1,"doc":"in \"euros\"","parameters":{"scale":"2"},"field":"price"},{"type":"array","items":{"type":"string","optional":false},"optional":true,"field":"tags"},{"type":"map","keys":{"type":"int32","optional":false},"values":{"type":"boolean","optional":true},"optional":false,"field":"counts"},{"type":"int32","optional":true,"name":"org.apache.kafka.connect.data.Date","version":1,"field":"day"},{"type":"int64","optional":false,"name":"org.apache.kafka.connect.data.Timestamp","version":1,"field":"at"},{"type":"bytes","optional":false,"field":"raw"},{"type":"double","optional":false,"field":"ratio"},{"type":"string","optional":false,"default":"none","field":"note"}],"optional":false,"name":"order","version":3},"payload":{"id":-7,"price":"B88=","tags":["a\u001F\"/\\é"],"counts":[[1,true],[2,null]],"day":null,"at":1700000000123,"raw":"AP8B","ratio":1.0E10,"note":"none"}}"#
        ]],
    );
}

#[test]
fn decimals_can_be_numbers() {
    let options = JsonOptions { decimals: DecimalFormat::Numeric, ..JsonOptions::default() };
    let schema = SchemaBuilder::decimal(2).build();
    let data = SchemaAndValue::new(&schema, Value::Decimal(Arc::new(Decimal::new(1999, 2))));
    let text = written(&mut JsonConverter::new(options), &data);
    assert!(text.ends_with(r#""payload":19.99}"#), "{text}");
    assert_eq!(read(&mut with_schemas(), &text), Ok(data));
    let other = SchemaAndValue::new(&schema, Value::Decimal(Arc::new(Decimal::new(1, 0))));
    let error = with_schemas().write(&other, &mut Vec::new()).unwrap_err();
    expect!["the decimal 1 has scale 0, but its schema says 2"].assert_eq(&error.0);
}

#[test]
fn nulls_give_way_to_defaults_if_wanted() {
    let schema = SchemaBuilder::of(Type::Int32).optional().default(Value::Int32(5)).build();
    let null = SchemaAndValue::new(&schema, Value::Null);
    assert!(written(&mut with_schemas(), &null).ends_with(r#""default":5},"payload":5}"#));
    let options = JsonOptions { replace_null_with_default: false, ..JsonOptions::default() };
    let text = written(&mut JsonConverter::new(options), &null);
    assert!(text.ends_with(r#""payload":null}"#), "{text}");
    assert_eq!(read(&mut JsonConverter::new(options), &text), Ok(null));
    assert_eq!(read(&mut with_schemas(), &text).unwrap().value, Value::Int32(5));
}

#[test]
fn without_schemas_json_speaks_for_itself() {
    let value = |text: &str| read(&mut plain(), text).unwrap().value;
    assert_eq!(value("1"), Value::Int64(1));
    assert_eq!(value("1.0"), Value::Float64(1.0));
    assert_eq!(value("1e400"), Value::Float64(f64::INFINITY));
    assert_eq!(value(" "), Value::Null);
    assert_eq!(value("null"), Value::Null);
    let long = "123456789012345678901234567890";
    assert_eq!(written(&mut plain(), &SchemaAndValue::schemaless(value(long))), long);
    let text = r#"{"b":[1,{"c":null}],"a":"x"}"#;
    assert_eq!(written(&mut plain(), &SchemaAndValue::schemaless(value(text))), text);
    let keys = [(Value::Int64(1), Value::Null)].into_iter().collect();
    let pairs = SchemaAndValue::schemaless(Value::map(keys));
    assert_eq!(written(&mut plain(), &pairs), "[[1,null]]");
    assert_eq!(written(&mut with_schemas(), &pairs), r#"{"schema":null,"payload":[[1,null]]}"#);
}

#[test]
fn tombstones_stay_tombstones() {
    assert_eq!(plain().write(&SchemaAndValue::NULL, &mut Vec::new()), Ok(false));
    assert_eq!(with_schemas().read(None), Ok(SchemaAndValue::NULL));
    let null = SchemaAndValue::new(&Schema::optional_string(), Value::Null);
    assert_eq!(written(&mut plain(), &null), "null");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let schema = r#"{"type":"struct","fields":[{"field":"n","type":"int8"},
        {"field":"list","type":"array","items":{"type":"string"},"optional":true}]}"#;
    let error = |payload: &str| {
        let text = format!("{{\"schema\":{schema},\"payload\":{payload}}}");
        read(&mut with_schemas(), &text).unwrap_err().0
    };
    expect!["payload: field 'n': 300 is out of its range where int8 is expected"]
        .assert_eq(&error(r#"{"n":300}"#));
    expect!["payload: field 'n': a string where int8 is expected"]
        .assert_eq(&error(r#"{"n":"1"}"#));
    expect!["payload: field 'n': null where int8 is required"].assert_eq(&error("{}"));
    expect!["payload: field 'list': item 1: a number where string is expected"]
        .assert_eq(&error(r#"{"n":1,"list":["a",1]}"#));
    let schema = |schema: &str| {
        read(&mut with_schemas(), &format!("{{\"schema\":{schema},\"payload\":1}}")).unwrap_err().0
    };
    expect!["schema: there is no type 'int'"].assert_eq(&schema(r#"{"type":"int"}"#));
    expect!["schema: the field \"items\" is missing beside \"type\""]
        .assert_eq(&schema(r#"{"type":"array"}"#));
    expect!["schema: default: a string where int32 is expected"]
        .assert_eq(&schema(r#"{"type":"int32","default":"x"}"#));
    assert!(
        read(&mut with_schemas(), r#"{"a":1}"#).unwrap_err().0.contains("schemas.enable=false")
    );
    let wrong = SchemaAndValue::new(&Schema::int32(), Value::Int64(1));
    let error = with_schemas().write(&wrong, &mut Vec::new()).unwrap_err();
    expect!["an int64 where int32 is expected"].assert_eq(&error.0);
}

#[test]
fn any_json_is_read_as_what_it_is_and_other_text_as_text() {
    let any = JsonOptions { schemas: false, any: true, ..JsonOptions::default() };
    let mut any = JsonConverter::new(any);
    let with = r#"{"schema":{"type":"int32","optional":false},"payload":5}"#;
    assert_eq!(read(&mut any, with), read(&mut with_schemas(), with));
    for json in [r#"{"a":1}"#, r#"{"schema":1,"payload":2,"c":3}"#, r#"{"payload":2}"#, "5", "[]"] {
        assert_eq!(read(&mut any, json), read(&mut plain(), json), "{json}");
    }
    for text in ["abc", "12-b", "{\"a\":", "{\"schema\":null,\"payload\""] {
        assert_eq!(read(&mut any, text), Ok(SchemaAndValue::text(text)));
    }
    // A schema that is none is no text.
    let wrong = r#"{"schema":{"type":"no"},"payload":5}"#;
    assert_eq!(read(&mut any, wrong), read(&mut with_schemas(), wrong));
    assert!(any.read(Some(&Bytes::from_static(b"\xff"))).is_err());
}

#[test]
fn few_schemas_are_kept_however_many_there_are() {
    let options = JsonOptions { schemas_cache_size: 3, ..JsonOptions::default() };
    let mut converter = JsonConverter::new(options);
    for number in 0..20 {
        let schema = SchemaBuilder::of(Type::Int32).name(format!("n{number}")).build();
        let data = SchemaAndValue::new(&schema, Value::Int32(number));
        let text = written(&mut converter, &data);
        assert_eq!(read(&mut converter, &text), Ok(data));
        assert!(converter.written.len() <= 3 && converter.read.len() <= 3);
    }
}

/// A schema with a value that fits it.
fn any_data() -> impl Strategy<Value = SchemaAndValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|v| (Schema::boolean(), Value::Boolean(v))),
        any::<i8>().prop_map(|v| (Schema::int8(), Value::Int8(v))),
        any::<i16>().prop_map(|v| (Schema::int16(), Value::Int16(v))),
        any::<i32>().prop_map(|v| (Schema::int32(), Value::Int32(v))),
        any::<i64>().prop_map(|v| (Schema::int64(), Value::Int64(v))),
        any::<f32>().prop_map(|v| (Schema::float32(), Value::Float32(v))),
        any::<f64>().prop_map(|v| (Schema::float64(), Value::Float64(v))),
        any::<String>().prop_map(|v| (Schema::string(), Value::string(v))),
        any::<Vec<u8>>().prop_map(|v| (Schema::bytes(), Value::Bytes(v.into()))),
        any::<i32>().prop_map(|v| (SchemaBuilder::date().build(), Value::Date(v))),
        (any::<i64>(), -5..40i32).prop_map(|(v, scale)| {
            let decimal = Value::Decimal(Arc::new(Decimal::new(v, scale)));
            (SchemaBuilder::decimal(scale).build(), decimal)
        }),
        Just((Schema::optional_string(), Value::Null)),
    ];
    let nested = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            inner.clone().prop_map(|(schema, value)| {
                (SchemaBuilder::array(schema).build(), Value::array(vec![value.clone(), value]))
            }),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| {
                let schema = SchemaBuilder::map(key.0, value.0).build();
                let null_key = key.1.is_null();
                let entries = (!null_key).then_some((key.1, value.1));
                (schema, Value::map(entries.into_iter().collect()))
            }),
            prop::collection::vec(inner, 0..5).prop_map(|fields| {
                let mut builder = SchemaBuilder::structure().optional();
                let mut values = Vec::new();
                for (index, (schema, value)) in fields.into_iter().enumerate() {
                    builder = builder.field(Text::from(format!("f{index}")), schema);
                    values.push(value);
                }
                let schema = builder.build();
                let value = Struct::with_values(&schema, values);
                (schema, Value::structure(value))
            }),
        ]
    });
    nested.prop_map(|(schema, value)| SchemaAndValue::new(&schema, value))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(data in any_data()) {
        prop_assert_eq!(data.value.check(data.schema.as_ref().unwrap()), Ok(()));
        let mut converter = with_schemas();
        let text = written(&mut converter, &data);
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert!(parsed.is_ok(), "{}: {:?}", text, parsed);
        prop_assert_eq!(read(&mut converter, &text), Ok(data));
    }
}
