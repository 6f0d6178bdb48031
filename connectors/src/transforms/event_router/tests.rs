use super::*;
use crate::transforms::Step;
use crate::transforms::extract_new_record_state::tests::{change, of_class, through};

fn router(settings: &str) -> Result<Vec<Step>, String> {
    of_class("io.debezium.transforms.outbox.EventRouter", settings)
}

fn outbox() -> Schema {
    let at = SchemaBuilder::of(crate::data::Type::Int64);
    SchemaBuilder::structure()
        .name("p.public.outbox.Value")
        .field("id", Schema::string())
        .field("aggregatetype", Schema::string())
        .field("aggregateid", Schema::string())
        .field("type", Schema::string())
        .field("payload", Schema::optional_string())
        .field("at", at.name("io.debezium.time.MicroTimestamp").build())
        .field("shard", Schema::int32())
        .optional()
        .build()
}

fn message(op: &str, payload: Option<&str>) -> ConnectRecord {
    let text = |text: &str| Value::string(text);
    let values = vec![
        text("e-1"),
        text("Order"),
        text("o-7"),
        text("OrderCreated"),
        payload.map_or(Value::Null, Value::string),
        Value::Int64(1_500_000),
        Value::Int32(2),
    ];
    let row = Value::structure(Struct::with_values(&outbox(), values));
    let (before, after) = match op {
        "d" => (row, Value::Null),
        _ => (Value::Null, row),
    };
    change(&outbox(), op, before, after)
}

fn routed(settings: &str, record: ConnectRecord) -> String {
    through(&mut router(settings).unwrap(), record)
}

#[test]
fn rows_become_messages_of_the_topic_that_they_name() {
    let created = || message("c", Some(r#"{"total": 5}"#));
    let told = routed("", created());
    assert_eq!(told, r#"outbox.event.Order "{\"total\": 5}" id: "e-1""#);
    let expanded = routed("table.expand.json.payload=true", created());
    assert_eq!(expanded, r#"outbox.event.Order {"total":5} id: "e-1""#);
    let plain = routed("table.expand.json.payload=true", message("c", Some("{no")));
    assert_eq!(plain, r#"outbox.event.Order "{no" id: "e-1""#);
    let named = "route.topic.replacement=${routedByValue}.events\nroute.by.field=type";
    assert!(routed(named, created()).starts_with("OrderCreated.events "));
    let placed = routed(
        "table.fields.additional.placement=type:header:eventType,shard:partition,type:envelope:kind",
        created(),
    );
    let expected = r#"outbox.event.Order {"payload":"{\"total\": 5}","kind":"OrderCreated"} id: "e-1" eventType: "OrderCreated""#;
    assert_eq!(placed, expected);
    let mut steps = router(
        "table.fields.additional.placement=shard:partition,type:envelope
        table.field.event.timestamp=at\ntable.field.event.schema.version=shard",
    )
    .unwrap();
    let mut record = created();
    steps[0].apply(&mut record).unwrap();
    assert_eq!((record.partition, record.timestamp_ms), (Some(2), Some(1_500)));
    assert_eq!(record.key, SchemaAndValue::new(&Schema::string(), Value::string("o-7")));
    let schema = record.value.schema.unwrap();
    assert_eq!(schema.name().unwrap().as_str(), "p.public.outbox.Order.Value");
    assert_eq!(schema.version(), Some(2));
}

#[test]
fn what_is_no_new_row_tells_nothing() {
    assert_eq!(routed("", message("d", Some("x"))), "dropped");
    assert_eq!(routed("", message("u", Some("x"))), "dropped");
    let fatal = routed("table.op.invalid.behavior=fatal", message("u", Some("x")));
    assert!(fatal.contains("an update of an outbox"), "{fatal}");
    let tombstone = ConnectRecord { value: SchemaAndValue::NULL, ..message("d", None) };
    assert_eq!(routed("", tombstone), "dropped");
    let text = SchemaAndValue::text("heartbeat");
    let other = ConnectRecord::new(&Text::from("topic"), SchemaAndValue::NULL, text);
    assert_eq!(routed("", other), r#"topic "heartbeat""#);
    let empty = "route.tombstone.on.empty.payload=true";
    assert_eq!(routed(empty, message("c", Some(" "))), r#"outbox.event.Order nothing id: "e-1""#);
    assert_eq!(routed(empty, message("c", None)), r#"outbox.event.Order nothing id: "e-1""#);
}

#[test]
fn columns_that_are_not_there_are_said() {
    let told = routed("table.field.event.key=aggregate_id", message("c", Some("x")));
    assert!(told.contains("did you mean 'aggregateid'?"), "{told}");
    let missing = "table.fields.additional.placement=none:header";
    assert!(routed(missing, message("c", Some("x"))).contains("no field 'none'"));
    let left_out = format!("{missing}\ntable.fields.additional.error.on.missing=false");
    assert_eq!(routed(&left_out, message("c", Some("x"))), r#"outbox.event.Order "x" id: "e-1""#);
    let wrong = |settings: &str| router(settings).unwrap_err();
    for placement in ["type", "type:somewhere", "a:b:c:d", ":header"] {
        let said = wrong(&format!("table.fields.additional.placement={placement}"));
        assert!(said.contains("a column is placed as"), "{said}");
    }
    let both = "table.fields.additional.placement=type:envelope\ntable.expand.json.payload=true";
    assert!(wrong(both).contains("place those as headers"));
}
