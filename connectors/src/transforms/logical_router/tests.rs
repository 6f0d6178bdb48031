use crate::transforms::extract_new_record_state::tests::{create, delete, of_class, through};

fn router(name: &str, settings: &str) -> Result<Vec<crate::transforms::Step>, String> {
    of_class(&format!("io.debezium.transforms.{name}"), settings)
}

/// The names of schemas of key, event and row.
fn names(record: &crate::data::ConnectRecord) -> String {
    let name = |schema: &crate::data::Schema| schema.name().unwrap().to_string();
    let event = record.value.schema.as_ref().unwrap();
    let rows = ["before", "after"].map(|part| name(&event.field(part).unwrap().schema));
    format!("{} {} {}", name(record.key.schema.as_ref().unwrap()), name(event), rows.join(" "))
}

#[test]
fn tables_that_are_one_come_into_one_topic() {
    let routed = "topic.regex=(.*)pic\ntopic.replacement=$1gether";
    let mut steps = router("ByLogicalTableRouter", routed).unwrap();
    for mut record in [create(), delete()] {
        let told = through(&mut steps, record.clone());
        assert!(told.starts_with(r#"together {"before":"#), "{told}");
        steps[0].apply(&mut record).unwrap();
        let value = format!("{:?}", record.key.value);
        assert!(value.contains("topic"), "{value}");
        let expected = "together.Key together.Envelope together.Value together.Value";
        assert_eq!(names(&record), expected);
        let key = record.key.schema.unwrap();
        assert_eq!(key.fields().last().unwrap().name.as_str(), "__dbz__physicalTableIdentifier");
        let crate::data::Value::Struct(event) = &record.value.value else { panic!("no struct") };
        event.check().unwrap();
    }
    let mut tombstone = delete();
    tombstone.value = crate::data::SchemaAndValue::NULL;
    assert_eq!(through(&mut steps, tombstone), "together nothing");
    let other = "topic.regex=other\ntopic.replacement=x";
    let mut steps = router("ToLogicalTopicRouter", other).unwrap();
    assert!(through(&mut steps, create()).starts_with("topic {"));
}

#[test]
fn keys_say_what_is_asked_for() {
    let fields = |more: &str| {
        let settings = format!("topic.regex=topic\ntopic.replacement=9-new\n{more}");
        let mut steps = router("ToLogicalTopicRouter", &settings).unwrap();
        let mut record = create();
        steps[0].apply(&mut record).unwrap();
        let crate::data::Value::Struct(key) = &record.key.value else { panic!("no struct") };
        let names = key.schema().fields().iter().map(|field| field.name.to_string());
        let names = names.collect::<Vec<_>>().join(" ");
        (names, key.values().last().unwrap().clone(), key.schema().name().unwrap().to_string())
    };
    let text = crate::data::Value::string;
    let (names, last, _) = fields("");
    assert_eq!((names.as_str(), last), ("id name __dbz__sourceIdentifier", text("topic")));
    let (names, last, schema) = fields(
        "key.field.name=shard\nkey.field.regex=(t.).*\nkey.field.replacement=$1!
        schema.name.adjustment.mode=avro",
    );
    assert_eq!((names.as_str(), last), ("id name shard", text("to!")));
    assert_eq!(schema, "__new.Key");
    let (_, last, _) = fields("key.field.regex=x\nkey.field.replacement=y");
    assert_eq!(last, text("topic"));
    assert_eq!(fields("key.enforce.uniqueness=false").0, "id name");
    let wrong = router("ByLogicalTableRouter", "topic.regex=a\ntopic.replacement=$1");
    assert!(wrong.unwrap_err().contains("has no group 1"));
    let wrong = "topic.regex=a\ntopic.replacement=b\nkey.field.regex=c";
    assert!(router("ByLogicalTableRouter", wrong).unwrap_err().contains("key.field.replacement"));
    let taken = "topic.regex=topic\ntopic.replacement=b\nkey.field.name=id";
    let told = through(&mut router("ByLogicalTableRouter", taken).unwrap(), create());
    assert!(told.contains("a field 'id' already"), "{told}");
}
