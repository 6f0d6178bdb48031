use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::config::{ConfigProblem, Settings};
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{SchemaAndValue, Text, Value, text_form};

fn properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

fn steps(text: &str) -> Result<Vec<Step>, Vec<ConfigProblem>> {
    let properties = properties(text);
    let mut problems = Vec::new();
    let settings = Settings::check("", settings::LIST_KEYS, &properties, &mut problems);
    let steps = settings::steps(&settings, &properties, &mut problems);
    if problems.is_empty() { Ok(steps) } else { Err(problems) }
}

/// One transform by its class and settings.
fn one(class: &str, settings: &str) -> Vec<Step> {
    let lines = settings.lines().map(|line| format!("transforms.t.{}\n", line.trim()));
    let lines: String = lines.collect();
    steps(&format!("transforms=t\ntransforms.t.type={class}\n{lines}")).unwrap()
}

fn json(schemas: bool) -> JsonConverter {
    JsonConverter::new(JsonOptions { schemas, ..JsonOptions::default() })
}

/// Plain JSON, or JSON with its schema.
fn value(text: &str) -> SchemaAndValue {
    let schemas = text.starts_with("{\"schema\"");
    json(schemas).read(Some(&text.to_owned().into())).unwrap()
}

fn record(text: &str) -> ConnectRecord {
    let mut record = ConnectRecord::new(&Text::from("topic"), SchemaAndValue::NULL, value(text));
    record.timestamp_ms = Some(1_709_215_445_678);
    record.partition = Some(3);
    record
}

/// The record as text, or why there is none.
fn through(steps: &mut [Step], mut record: ConnectRecord) -> String {
    for step in steps {
        match step.apply(&mut record) {
            Ok(Outcome::Keep) => {}
            Ok(Outcome::Drop) => return "dropped".to_owned(),
            Err(error) => return format!("error: {error}"),
        }
    }
    let part = |data: &SchemaAndValue| {
        let mut out = Vec::new();
        match json(data.schema.is_some()).write(data, &mut out) {
            Ok(true) => String::from_utf8(out).unwrap(),
            Ok(false) => "nothing".to_owned(),
            Err(error) => format!("unwritable: {error}"),
        }
    };
    let mut shown = String::new();
    if record.topic != "topic" {
        shown += &format!("to {}: ", record.topic);
    }
    if record.key != SchemaAndValue::NULL {
        shown += &format!("{} => ", part(&record.key));
    }
    shown += &part(&record.value);
    for header in &record.headers {
        let text = text_form::to_text(&header.value.value).unwrap_or("null".to_owned());
        shown += &format!(" #{}={text}", header.name);
    }
    shown
}

fn check(class: &str, settings: &str, input: &str, expected: Expect) {
    expected.assert_eq(&through(&mut one(class, settings), record(input)));
}

const ROW: &str = r#"{"schema":{"type":"struct","name":"row","fields":[{"field":"id","type":"int64"},{"field":"in","type":"struct","optional":true,"fields":[{"field":"a","type":"int32","default":7},{"field":"b","type":"string","optional":true}]},{"field":"at","type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1,"optional":true}]},"payload":{"id":300,"in":{"a":null,"b":"x"},"at":1709215445678}}"#;
const PLAIN: &str = r#"{"id":300,"in":{"a":1,"b":"x"},"at":1709215445678,"n":null}"#;

#[test]
fn fields_are_extracted_hoisted_and_made_keys() {
    let extract = "ExtractField$Value";
    check(extract, "field=in", PLAIN, expect![[r#"{"a":1,"b":"x"}"#]]);
    check(
        extract,
        "field=in.b\nfield.syntax.version=v2",
        ROW,
        expect![[r#"{"schema":{"type":"string","optional":true},"payload":"x"}"#]],
    );
    check(
        extract,
        "field=inn",
        ROW,
        expect!["error: transform 't': there is no field 'inn': did you mean 'in'?"],
    );
    check(
        extract,
        "field=x",
        "\"text\"",
        expect![
            "error: transform 't': cannot take field 'x': a map is expected, but this is a string"
        ],
    );
    check("HoistField$Value", "field=all", "[1]", expect![[r#"{"all":[1]}"#]]);
    check(
        "ValueToKey",
        "fields=id,n",
        PLAIN,
        expect![[
            r#"{"id":300,"n":null} => {"id":300,"in":{"a":1,"b":"x"},"at":1709215445678,"n":null}"#
        ]],
    );
}

#[test]
fn fields_are_flattened_replaced_and_masked() {
    check(
        "Flatten$Value",
        "delimiter=_",
        PLAIN,
        expect![[r#"{"id":300,"in_a":1,"in_b":"x","at":1709215445678,"n":null}"#]],
    );
    check(
        "Flatten$Value",
        "",
        ROW,
        expect![[
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"int32","optional":true,"default":7,"field":"in.a"},{"type":"string","optional":true,"field":"in.b"},{"type":"int64","optional":true,"name":"org.apache.kafka.connect.data.Timestamp","version":1,"field":"at"}],"optional":false,"name":"row"},"payload":{"id":300,"in.a":7,"in.b":"x","at":1709215445678}}"#
        ]],
    );
    check(
        "ReplaceField$Value",
        "exclude=at,n\nrenames=id:key",
        PLAIN,
        expect![[r#"{"key":300,"in":{"a":1,"b":"x"}}"#]],
    );
    check(
        "ReplaceField$Value",
        "include=id",
        ROW,
        expect![[
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],"optional":false,"name":"row"},"payload":{"id":300}}"#
        ]],
    );
    check(
        "MaskField$Value",
        "fields=id,n,in",
        PLAIN,
        expect![[r#"{"id":0,"in":{},"at":1709215445678,"n":null}"#]],
    );
    check(
        "MaskField$Value",
        "fields=id\nreplacement=42",
        PLAIN,
        expect![[r#"{"id":42,"in":{"a":1,"b":"x"},"at":1709215445678,"n":null}"#]],
    );
    check(
        "MaskField$Value",
        "fields=in\nreplacement=42",
        PLAIN,
        expect![
            "error: transform 't': field 'in': cannot mask a map by a replacement; leave it out"
        ],
    );
}

#[test]
fn fields_and_headers_are_inserted() {
    check(
        "InsertField$Value",
        "topic.field=t!\npartition.field=p\ntimestamp.field=ts\nstatic.field=s\nstatic.value=v",
        "{}",
        expect![[r#"{"t":"topic","p":3,"ts":1709215445678,"s":"v"}"#]],
    );
    check(
        "InsertField$Value",
        "offset.field=o",
        "{}",
        expect!["error: transform 't': cannot insert the offset: only records for a sink have one"],
    );
    check(
        "InsertField$Value",
        "static.field=id\nstatic.value=v",
        PLAIN,
        expect![[r#"{"id":"v","in":{"a":1,"b":"x"},"at":1709215445678,"n":null}"#]],
    );
    check("InsertHeader", "header=h\nvalue.literal=[1,2]", "1", expect!["1 #h=[1,2]"]);
    check(
        "HeaderFrom$Value",
        "fields=id,n\nheaders=x,y\noperation=move",
        PLAIN,
        expect![[r#"{"in":{"a":1,"b":"x"},"at":1709215445678} #x=300 #y=null"#]],
    );
    let mut steps = one("DropHeaders", "headers=h");
    let mut with = record("1");
    with.add_header("h", SchemaAndValue::text("1"));
    with.add_header("i", SchemaAndValue::text("2"));
    expect!["1 #i=2"].assert_eq(&through(&mut steps, with));
}

#[test]
fn types_are_cast_as_in_java() {
    check(
        "Cast$Value",
        "spec=id:int8,at:string",
        PLAIN,
        expect![[r#"{"id":44,"in":{"a":1,"b":"x"},"at":"1709215445678","n":null}"#]],
    );
    check(
        "Cast$Value",
        "spec=at:string",
        ROW,
        expect![[
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"struct","fields":[{"type":"int32","optional":false,"default":7,"field":"a"},{"type":"string","optional":true,"field":"b"}],"optional":true,"field":"in"},{"type":"string","optional":true,"field":"at"}],"optional":false,"name":"row"},"payload":{"id":300,"in":{"a":7,"b":"x"},"at":"2024-02-29T14:04:05.678Z"}}"#
        ]],
    );
    check("Cast$Value", "spec=int64", "\"12\"", expect!["12"]);
    check("Cast$Value", "spec=float32", "\"1.5f\"", expect!["1.5"]);
    check("Cast$Value", "spec=boolean", "\"TRUE\"", expect!["true"]);
    check("Cast$Value", "spec=int32", "1e99", expect!["2147483647"]);
    check("Cast$Value", "spec=string", "1e10", expect![[r#""1.0E10""#]]);
    check(
        "Cast$Value",
        "spec=int32",
        "\"abc\"",
        expect!["error: transform 't': 'abc' is no int32"],
    );
    check(
        "Cast$Value",
        "spec=id:int32",
        "{\"id\":[]}",
        expect!["error: transform 't': field 'id': cannot cast an array to int32"],
    );
}

#[test]
fn times_change_their_form() {
    let class = "TimestampConverter$Value";
    check(
        class,
        "field=at\ntarget.type=string\nformat=yyyy-MM-dd",
        PLAIN,
        expect![[r#"{"id":300,"in":{"a":1,"b":"x"},"at":"2024-02-29","n":null}"#]],
    );
    check(
        class,
        "target.type=unix\nformat=yyyy-MM-dd\nunix.precision=seconds",
        "\"2024-02-29\"",
        expect!["1709164800"],
    );
    check(
        class,
        "field=at\ntarget.type=Date",
        ROW,
        expect![[
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"},{"type":"struct","fields":[{"type":"int32","optional":false,"default":7,"field":"a"},{"type":"string","optional":true,"field":"b"}],"optional":true,"field":"in"},{"type":"int32","optional":true,"name":"org.apache.kafka.connect.data.Date","version":1,"field":"at"}],"optional":false,"name":"row"},"payload":{"id":300,"in":{"a":7,"b":"x"},"at":19782}}"#
        ]],
    );
    check(
        class,
        "target.type=unix\nformat=yyyy-MM-dd",
        "\"2024-02-30\"",
        expect!["error: transform 't': '2024-02-30' is no time of the form 'yyyy-MM-dd'"],
    );
}

#[test]
fn topics_and_schemas_get_other_names() {
    check("RegexRouter", "regex=(t)(.*)\nreplacement=$2.$1\\$", "1", expect!["to opic.t$: 1"]);
    check("RegexRouter", "regex=pic\nreplacement=x", "1", expect!["1"]);
    check("TimestampRouter", "", "1", expect!["to topic-20240229: 1"]);
    check(
        "SetSchemaMetadata$Value",
        "schema.name=n\nschema.version=2",
        r#"{"schema":{"type":"int32"},"payload":1}"#,
        expect![[
            r#"{"schema":{"type":"int32","optional":false,"name":"n","version":2},"payload":1}"#
        ]],
    );
}

#[test]
fn predicates_choose_records() {
    let text = "
        transforms=drop
        transforms.drop.type=org.apache.kafka.connect.transforms.Filter
        transforms.drop.predicate=p
        transforms.drop.negate=true
        predicates=p
        predicates.p.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches
        predicates.p.pattern=to.*";
    assert_eq!(through(&mut steps(text).unwrap(), record("1")), "1");
    let others = text.replace("to.*", "to");
    assert_eq!(through(&mut steps(&others).unwrap(), record("1")), "dropped");
    let tombstones = "
        transforms=drop\ntransforms.drop.type=Filter\ntransforms.drop.predicate=p
        predicates=p\npredicates.p.type=RecordIsTombstone";
    assert_eq!(through(&mut steps(tombstones).unwrap(), record("null")), "dropped");
    assert_eq!(through(&mut steps(tombstones).unwrap(), record("1")), "1");
    assert_eq!(Value::Null, record("null").value.value);
}

#[test]
fn every_mistake_is_told_at_once() {
    let problems = steps(
        "transforms=a,b,c,d,e,f,a
         transforms.a.type=InsertFeild$Value
         transforms.b.type=InsertField
         transforms.b.topic.field=t
         transforms.c.type=Cast$Value
         transforms.c.spec=a:int12
         transforms.d.type=RegexRouter
         transforms.d.regex=(a
         transforms.d.replacment=x
         transforms.e.type=RegexRouter
         transforms.e.regex=a
         transforms.e.replacement=$1
         transforms.e.predicate=tomb
         transforms.g.type=Filter
         predicates=tombs
         predicates.tombs.type=RecordIsTombstones",
    );
    let shown: String = problems
        .unwrap_err()
        .iter()
        .map(|one| format!("{}\n    {}\n", one.message, one.help.as_deref().unwrap_or("-")))
        .collect();
    expect![[r#"
        there is no predicate class 'RecordIsTombstones'
            did you mean `RecordIsTombstone`?
        `transforms` names 'a' twice
            give each use a name of its own
        there is no transform class 'InsertFeild$Value'
            did you mean `InsertField`?
        `transforms.b.type` does not say of which part of the record InsertField is
            write `InsertField$Key` or `InsertField$Value`
        `transforms.c.spec`: cannot cast to `int12`: there are `int8`, `int16`, `int32`, `int64`, `float32`, `float64`, `boolean`, `string`
            -
        `transforms.d.regex` is no pattern: unclosed group
            patterns are those of Java without look-around and back-references; a transform's `negate` says when something does not match
        `transforms.d.replacement` is missing: the topic's new name; `$1` or `${name}` is what a group has matched
            for example `transforms.d.replacement = $2`
        RegexRouter has no key `replacment`
            did you mean `transforms.d.replacement`?
        `transforms.e.predicate`: `predicates` does not name 'tomb'
            did you mean `tombs`?
        `transforms.f.type` is missing: it says what kind of transform this is
            for example `transforms.f.type = org.apache.kafka.connect.transforms.Cast`
        `transforms.g.type` is of 'g', which `transforms` does not name
            did you mean `transforms.a`?
    "#]].assert_eq(&shown);
}

#[test]
fn defaults_and_examples_can_be_parsed() {
    for key in transforms().iter().flat_map(|plugin| plugin.keys) {
        if let Presence::Default(text) = key.presence {
            key.parse(text).unwrap();
        }
        key.parse(key.example).unwrap();
        assert!(!key.doc.ends_with('.'), "{}", key.name);
    }
}

/// Names of Kafka 3 led nowhere: they look like none of today's.
#[test]
fn former_names_lead_to_todays() {
    for (former, now) in [("blacklist", "exclude"), ("whitelist", "include")] {
        let problems = steps(&format!(
            "transforms=t\ntransforms.t.type=ReplaceField$Value\ntransforms.t.{former}=a"
        ));
        let said = problems.unwrap_err().remove(0).in_words();
        assert!(said.contains(&format!("did you mean `transforms.t.{now}`?")), "{said}");
    }
}
