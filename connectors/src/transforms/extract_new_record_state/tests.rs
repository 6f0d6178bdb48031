use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::SchemaBuilder;
use crate::transforms::settings::{LIST_KEYS, Step, steps};

fn made(settings: &str) -> Result<Vec<Step>, String> {
    of_class("io.debezium.transforms.ExtractNewRecordState", settings)
}

/// The transform of that class with such settings, or what is wrong with them.
pub(in crate::transforms) fn of_class(class: &str, settings: &str) -> Result<Vec<Step>, String> {
    let mut properties =
        BTreeMap::from([("transforms", "t"), ("transforms.t.type", class)].map(owned));
    for line in settings.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        let (key, value) = (format!("transforms.t.{}", key.trim()), value.trim().to_owned());
        properties.insert(key, value);
    }
    let mut problems = Vec::new();
    let lists = Settings::check("", LIST_KEYS, &properties, &mut problems);
    let made = steps(&lists, &properties, &mut problems);
    match problems.first() {
        None => Ok(made),
        Some(problem) => Err(problem.in_words()),
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn row_schema() -> Schema {
    let count = Schema::optional_int32().to_builder().default(Value::Int32(7)).build();
    SchemaBuilder::structure()
        .name("p.public.t.Value")
        .field("id", Schema::int32())
        .field("name", Schema::optional_string())
        .field("count", count)
        .optional()
        .build()
}

fn row(id: i32, name: &str) -> Value {
    let values = vec![Value::Int32(id), Value::string(name), Value::Null];
    Value::structure(Struct::with_values(&row_schema(), values))
}

fn event(op: &str, before: Value, after: Value) -> ConnectRecord {
    change(&row_schema(), op, before, after)
}

/// A change of rows of that schema.
pub(in crate::transforms) fn change(
    rows: &Schema,
    op: &str,
    before: Value,
    after: Value,
) -> ConnectRecord {
    let source = SchemaBuilder::structure()
        .name("Source")
        .field("table", Schema::string())
        .field("ts_ms", Schema::int64().to_builder().default(Value::Int64(1)).build())
        .build();
    let transaction = SchemaBuilder::structure().field("id", Schema::string()).optional().build();
    let schema = SchemaBuilder::structure()
        .name("p.public.t.Envelope")
        .field("before", rows.clone())
        .field("after", rows.clone())
        .field("source", source.clone())
        .field("transaction", transaction)
        .field("op", Schema::string())
        .field("ts_ms", Schema::optional_int64())
        .build();
    let source = Struct::with_values(&source, vec![Value::string("t"), Value::Int64(5)]);
    let source = Value::structure(source);
    let values = vec![before, after, source, Value::Null, Value::string(op), Value::Int64(9)];
    let value = Value::structure(Struct::with_values(&schema, values));
    let key = SchemaBuilder::structure()
        .name("p.public.t.Key")
        .field("id", Schema::int32())
        .field("name", Schema::optional_string())
        .build();
    let values = vec![Value::Int32(1), Value::string("n")];
    let key = SchemaAndValue::new(&key, Value::structure(Struct::with_values(&key, values)));
    ConnectRecord::new(&Text::from("topic"), key, SchemaAndValue::new(&schema, value))
}

pub(in crate::transforms) fn create() -> ConnectRecord {
    event("c", Value::Null, row(1, "new"))
}

pub(in crate::transforms) fn delete() -> ConnectRecord {
    event("d", row(1, "old"), Value::Null)
}

fn tombstone() -> ConnectRecord {
    ConnectRecord { value: SchemaAndValue::NULL, ..delete() }
}

/// Topic, value and headers as text.
pub(in crate::transforms) fn through(steps: &mut [Step], mut record: ConnectRecord) -> String {
    match steps[0].apply(&mut record) {
        Ok(Outcome::Keep) => {}
        Ok(Outcome::Drop) => return "dropped".to_owned(),
        Err(error) => return format!("error: {error}"),
    }
    if let Value::Struct(value) = &record.value.value {
        value.check().unwrap();
        assert_eq!(record.value.schema.as_ref(), Some(value.schema()));
    }
    let options =
        JsonOptions { schemas: false, replace_null_with_default: false, ..JsonOptions::default() };
    let mut json = JsonConverter::new(options);
    let mut text = |data: &SchemaAndValue| {
        let mut out = Vec::new();
        match json.write(data, &mut out).unwrap() {
            true => String::from_utf8(out).unwrap(),
            false => "nothing".to_owned(),
        }
    };
    let mut out = format!("{} {}", record.topic, text(&record.value));
    for header in &record.headers {
        out.push_str(&format!(" {}: {}", header.name, text(&header.value)));
    }
    out
}

fn all(settings: &str, expected: &Expect) {
    let mut steps = made(settings).unwrap();
    let truncate = event("t", Value::Null, Value::Null);
    let named = [
        ("create", create()),
        ("update", event("u", row(1, "old"), row(1, "new"))),
        ("delete", delete()),
        ("tombstone", tombstone()),
        ("truncate", truncate),
    ];
    let lines = named.map(|(name, record)| format!("{name}: {}\n", through(&mut steps, record)));
    expected.assert_eq(&lines.concat());
}

#[test]
fn deletions_become_what_is_asked_for() {
    let nothing_said = expect![[r#"
        create: topic {"id":1,"name":"new","count":null}
        update: topic {"id":1,"name":"new","count":null}
        delete: topic nothing
        tombstone: dropped
        truncate: dropped
    "#]];
    all("", &nothing_said);
    all("delete.tombstone.handling.mode=tombstone", &nothing_said);
    all("delete.tombstone.handling.mode=delete-to-tombstone", &nothing_said);
    all("delete.handling.mode=none\ndrop.tombstones=true", &nothing_said);
    let rewritten = expect![[r#"
        create: topic {"id":1,"name":"new","count":7,"__deleted":"false"}
        update: topic {"id":1,"name":"new","count":7,"__deleted":"false"}
        delete: topic {"id":1,"name":"old","count":7,"__deleted":"true"}
        tombstone: dropped
        truncate: dropped
    "#]];
    all("delete.tombstone.handling.mode=rewrite", &rewritten);
    all("delete.handling.mode=rewrite", &rewritten);
    let with_tombstone = expect![[r#"
        create: topic {"id":1,"name":"new","count":null,"__deleted":"false"}
        update: topic {"id":1,"name":"new","count":null,"__deleted":"false"}
        delete: topic {"id":1,"name":"old","count":null,"__deleted":"true"}
        tombstone: topic nothing
        truncate: dropped
    "#]];
    let kept = "replace.null.with.default=false";
    all(&format!("delete.tombstone.handling.mode=rewrite-with-tombstone\n{kept}"), &with_tombstone);
    all(&format!("delete.handling.mode=rewrite\ndrop.tombstones=false\n{kept}"), &with_tombstone);
    let dropped = expect![[r#"
        create: topic {"id":1,"name":"new","count":null}
        update: topic {"id":1,"name":"new","count":null}
        delete: dropped
        tombstone: dropped
        truncate: dropped
    "#]];
    all("delete.tombstone.handling.mode=drop", &dropped);
    all("drop.tombstones=true", &dropped);
}

#[test]
fn fields_of_the_event_are_added_to_rows_and_headers() {
    let mut steps = made(
        "add.fields=op,table,source.ts_ms,ts_ms:at,transaction.id,nowhere
        add.headers=op,source.table:from\nadd.headers.prefix=h_",
    )
    .unwrap();
    let told = through(&mut steps, create());
    expect![[r#"topic {"id":1,"name":"new","count":null,"__op":"c","__table":"t","__source_ts_ms":5,"__at":9,"__transaction_id":null} h_op: "c" h_from: "t""#]].assert_eq(&told);
    assert_eq!(through(&mut steps, delete()), r#"topic nothing h_op: "d" h_from: "t""#);
    let mut keeping =
        made("add.headers=op,table\ndelete.tombstone.handling.mode=rewrite-with-tombstone")
            .unwrap();
    assert_eq!(through(&mut keeping, tombstone()), r#"topic nothing __op: "d""#);
    // What is added may be missing, and has no default to take its place.
    let mut record = create();
    steps[0].apply(&mut record).unwrap();
    let schema = record.value.schema.unwrap();
    let added = &schema.field("__source_ts_ms").unwrap().schema;
    assert_eq!((added.is_optional(), added.default()), (true, None));
    let mut doubled = made("add.fields=table:id\nadd.fields.prefix=").unwrap();
    let told = through(&mut doubled, create());
    assert!(told.contains("the row has a field 'id'; choose another"), "{told}");
}

#[test]
fn rows_name_their_topic_and_headers_name_what_goes() {
    let mut steps = made("route.by.field=name").unwrap();
    assert!(through(&mut steps, create()).starts_with("new {"));
    assert_eq!(through(&mut steps, delete()), "old nothing");
    let mut steps = made("route.by.field=nam").unwrap();
    assert!(through(&mut steps, create()).contains("did you mean 'name'?"));
    let mut steps = made("route.by.field=id").unwrap();
    assert!(through(&mut steps, create()).contains("topics are named by strings"));

    let listed = |record: ConnectRecord| {
        let mut record = record;
        let names = ["id", "name", "none"].map(Value::string);
        record.add_header("drop", SchemaAndValue::schemaless(Value::array(names.into())));
        record
    };
    let value = |steps: &mut [Step], record| {
        through(steps, record).split(" drop:").next().unwrap().to_owned()
    };
    let mut steps = made("drop.fields.header.name=drop\ndrop.fields.from.key=true").unwrap();
    assert_eq!(value(&mut steps, listed(create())), r#"topic {"id":1,"count":7}"#);
    assert!(value(&mut steps, create()).contains(r#""name":"new""#));
    let mut record = listed(create());
    steps[0].apply(&mut record).unwrap();
    assert_eq!(record.key.schema.unwrap().fields().len(), 1);
    let mut steps =
        made("drop.fields.header.name=drop\ndrop.fields.keep.schema.compatible=false").unwrap();
    assert_eq!(value(&mut steps, listed(create())), r#"topic {"count":7}"#);
}

#[test]
fn what_is_no_change_event_stays_as_it_is() {
    let mut steps = made("add.fields=op").unwrap();
    let text = SchemaAndValue::text("hello");
    let record = ConnectRecord::new(&Text::from("topic"), SchemaAndValue::NULL, text);
    assert_eq!(through(&mut steps, record), r#"topic "hello""#);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let wrong = |settings: &str| made(settings).unwrap_err();
    let both = wrong("delete.tombstone.handling.mode=drop\ndrop.tombstones=true");
    assert!(both.contains("leave those out"), "{both}");
    for fields in ["a.b.c", "a:b:c", ".a", "a:"] {
        let refused = wrong(&format!("add.fields={fields}"));
        assert!(refused.contains("a field is written"), "{refused}");
    }
    let refused = wrong("delete.handling.mode=keep");
    assert!(refused.contains("`drop` or `none` or `rewrite`"), "{refused}");
}
