//! Messages out of an outbox: Debezium's transform of that name.
//!
//! ```text
//! insert into outbox (id, aggregatetype, aggregateid, type, payload)
//!             │            │               │               └─► value
//!             │            │               └─► key
//!             │            └─► topic outbox.event.<aggregatetype>
//!             └─► header `id`
//! ```
//!
//! Deletions tell nothing, since rows may go as soon as they are in; updates are not meant to be.

use tracing::{error, warn};

use super::extract_new_record_state::{event, row};
use super::rewrite::Rewrite;
use super::settings::unknown_field;
use super::side::Side;
use super::{Mistake, Outcome, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings, key};
use crate::convert::json::{JsonConverter, JsonOptions};
use crate::data::{
    ConnectRecord, DataError, Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Value,
};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: "io.debezium.transforms.outbox",
    name: "EventRouter",
    has_sides: false,
    doc: "Makes messages of the rows of an outbox, each to the topic that it names",
    keys: KEYS,
    make,
};

const PLACEMENT: &str = "table.fields.additional.placement";
const MISSING: &str = "table.fields.additional.error.on.missing";

use KeyType::{AnyList, AnyText, Boolean, OneOf, Regex, Text as Name};
use Presence::{Default, Optional};

const KEYS: &[ConfigKey] = &[
    key(
        "table.field.event.id",
        Name,
        Default("id"),
        "The column with what tells events apart",
        "id",
    ),
    key(
        "table.field.event.key",
        Name,
        Default("aggregateid"),
        "The column with the key",
        "user_id",
    ),
    key("table.field.event.type", Name, Default("type"), "Without a meaning here", "type"),
    key(
        "table.field.event.payload",
        Name,
        Default("payload"),
        "The column with the value",
        "payload",
    ),
    key(
        "table.field.event.timestamp",
        Name,
        Optional,
        "The column with the time of the message; that of its event where none is named",
        "created_at",
    ),
    key(
        "table.field.event.schema.version",
        Name,
        Optional,
        "The column with the version of the value's schema, if that has fields in it",
        "version",
    ),
    key(
        PLACEMENT,
        AnyList,
        Default(""),
        "Other columns, each as column:header, column:envelope or column:partition, with another \
         name behind a third colon; with one in the envelope, the value is a struct",
        "type:header:eventType",
    ),
    key(MISSING, Boolean, Default("true"), "Whether such a column has to be there", "false"),
    key(
        "table.op.invalid.behavior",
        OneOf(&["warn", "error", "fatal"]),
        Default("warn"),
        "What an update does, which an outbox is not to have",
        "fatal",
    ),
    key(
        "table.expand.json.payload",
        Boolean,
        Default("false"),
        "Whether a value of JSON text becomes what it says, without a schema",
        "true",
    ),
    key(
        "route.by.field",
        Name,
        Default("aggregatetype"),
        "The column that the topic is named after",
        "aggregatetype",
    ),
    key(
        "route.topic.regex",
        Regex,
        Default("(?<routedByValue>.*)"),
        "The pattern that it has to match",
        "(?<routedByValue>.*)",
    ),
    key(
        "route.topic.replacement",
        AnyText,
        Default("outbox.event.${routedByValue}"),
        "The topic's name, with what the pattern's groups have matched",
        "${routedByValue}.events",
    ),
    key(
        "route.tombstone.on.empty.payload",
        Boolean,
        Default("false"),
        "Whether a row without a value makes a tombstone",
        "true",
    ),
];

/// Where a column goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    Envelope,
    Partition,
}

#[derive(Clone, Debug)]
struct Additional {
    field: Text,
    place: Place,
    name: Text,
}

fn make(_: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let topic =
        Rewrite::new(settings.text("route.topic.regex"), settings.text("route.topic.replacement"));
    let additional = settings.list(PLACEMENT).iter().map(|text| placed(text));
    let additional = additional.collect::<Result<Vec<_>, _>>()?;
    let in_envelope = additional.iter().any(|one| one.place == Place::Envelope);
    let expand = settings.flag("table.expand.json.payload");
    if expand && in_envelope {
        let message = "what JSON says has no schema, and cannot stand beside other columns in the \
                       envelope: place those as headers";
        return Err(Mistake::new(PLACEMENT, message));
    }
    let text = |key: &str| Text::from(settings.text(key));
    Ok(Box::new(EventRouter {
        id: text("table.field.event.id"),
        key: text("table.field.event.key"),
        payload: text("table.field.event.payload"),
        timestamp: settings.optional_text("table.field.event.timestamp").map(Text::from),
        version: settings.optional_text("table.field.event.schema.version").map(Text::from),
        route_by: text("route.by.field"),
        topic: topic.map_err(|message| Mistake::new("route.topic.replacement", message))?,
        additional,
        in_envelope,
        may_miss: !settings.flag(MISSING),
        updates: match settings.text("table.op.invalid.behavior") {
            "fatal" => Updates::Fatal,
            "error" => Updates::Error,
            _ => Updates::Warn,
        },
        expand,
        tombstones: settings.flag("route.tombstone.on.empty.payload"),
    }))
}

/// `column:header:name`
fn placed(text: &str) -> Result<Additional, Mistake> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let wrong = || {
        let form = "a column is placed as `column:header`, `column:envelope:name` and alike";
        Mistake::new(PLACEMENT, format!("{form}, not '{text}'"))
    };
    let (field, place, name) = match parts[..] {
        [field, place] => (field, place, field),
        [field, place, name] => (field, place, name),
        _ => return Err(wrong()),
    };
    let place = match place.to_ascii_lowercase().as_str() {
        "header" => Place::Header,
        "envelope" => Place::Envelope,
        "partition" => Place::Partition,
        _ => return Err(wrong()),
    };
    if field.is_empty() || name.is_empty() {
        return Err(wrong());
    }
    Ok(Additional { field: field.into(), place, name: name.into() })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Updates {
    Warn,
    Error,
    Fatal,
}

#[derive(Clone, Debug)]
struct EventRouter {
    id: Text,
    key: Text,
    payload: Text,
    timestamp: Option<Text>,
    version: Option<Text>,
    route_by: Text,
    topic: Rewrite,
    additional: Vec<Additional>,
    /// Whether the value is a struct of the payload and others.
    in_envelope: bool,
    may_miss: bool,
    updates: Updates,
    expand: bool,
    tombstones: bool,
}

/// A column with its schema.
fn column(row: &Struct, name: &str) -> Result<SchemaAndValue, DataError> {
    match row.schema().field_index(name) {
        Some(at) => Ok(SchemaAndValue::new(&row.schema().fields()[at].schema, row.at(at).clone())),
        None => Err(unknown_field(name, row.schema())),
    }
}

fn number(row: &Struct, name: &str) -> Result<Option<i32>, DataError> {
    match column(row, name)?.value {
        Value::Null => Ok(None),
        Value::Int16(number) => Ok(Some(i32::from(number))),
        Value::Int32(number) => Ok(Some(number)),
        other => {
            let found = other.kind();
            Err(DataError(format!("column '{name}' must be an integer, and is {found}")))
        }
    }
}

impl EventRouter {
    fn update(&self) -> Result<Outcome, DataError> {
        let said = "an update of an outbox, whose rows are only to be inserted and deleted";
        match self.updates {
            Updates::Warn => warn!("{said}: it is left out"),
            Updates::Error => error!("{said}: it is left out"),
            Updates::Fatal => return Err(DataError::new(said)),
        }
        Ok(Outcome::Drop)
    }

    fn time_ms(&self, event: &Struct, row: &Struct) -> Result<Option<i64>, DataError> {
        let of_event = || match event.get("ts_ms") {
            Some(Value::Int64(ms)) => Some(*ms),
            _ => None,
        };
        let Some(name) = &self.timestamp else { return Ok(of_event()) };
        let SchemaAndValue { schema, value } = column(row, name)?;
        let unit = schema.as_ref().and_then(Schema::name).map_or("", |name| name.as_str());
        match (value, unit) {
            (Value::Null, _) => Ok(of_event()),
            (Value::Timestamp(ms), _) | (Value::Int64(ms), "io.debezium.time.Timestamp") => {
                Ok(Some(ms))
            }
            (Value::Int64(us), "io.debezium.time.MicroTimestamp") => Ok(Some(us / 1_000)),
            (Value::Int64(ns), "io.debezium.time.NanoTimestamp") => Ok(Some(ns / 1_000_000)),
            _ => Err(DataError(format!("column '{name}' is no timestamp without a time zone"))),
        }
    }

    fn route(&self, row: &Struct) -> Result<Text, DataError> {
        match column(row, &self.route_by)?.value {
            Value::String(text) => Ok(text),
            other => Err(DataError(format!(
                "cannot route by column '{}': it is {}, and topics are named by strings",
                self.route_by,
                other.kind()
            ))),
        }
    }

    /// The value, with what is placed beside it.
    fn value(
        &self,
        row: &Struct,
        payload: SchemaAndValue,
        route: &str,
    ) -> Result<SchemaAndValue, DataError> {
        if !self.in_envelope {
            return Ok(self.expanded(payload));
        }
        let mut builder = SchemaBuilder::structure().name(schema_name(row.schema(), route));
        if let Some(version) = &self.version
            && let Some(version) = number(row, version)?
        {
            builder = builder.version(version);
        }
        let mut fields = vec![(Text::from_static("payload"), payload)];
        for one in self.additional.iter().filter(|one| one.place == Place::Envelope) {
            if let Some(found) = self.placed(row, one)? {
                fields.push((one.name.clone(), found));
            }
        }
        let mut values = Vec::new();
        for (name, SchemaAndValue { schema, value }) in fields {
            builder = builder.field(name, schema.expect("columns have schemas"));
            values.push(value);
        }
        let schema = builder.build();
        if schema.fields().len() != values.len() {
            return Err(DataError(format!("`{PLACEMENT}` has two columns of one name")));
        }
        let value = Value::structure(Struct::with_values(&schema, values));
        Ok(SchemaAndValue::new(&schema, value))
    }

    fn placed(&self, row: &Struct, one: &Additional) -> Result<Option<SchemaAndValue>, DataError> {
        match row.schema().field_index(&one.field) {
            None if self.may_miss => Ok(None),
            _ => column(row, &one.field).map(Some),
        }
    }

    /// What JSON says, if that is wanted; other text stays.
    fn expanded(&self, payload: SchemaAndValue) -> SchemaAndValue {
        let Value::String(text) = &payload.value else { return payload };
        if !self.expand || !text.trim_start().starts_with(['{', '[']) {
            return payload;
        }
        let options = JsonOptions { schemas: false, ..JsonOptions::default() };
        match JsonConverter::new(options).read(Some(&text.clone().into_bytes())) {
            Ok(said) => said,
            Err(error) => {
                warn!("the value of an outbox's row is no JSON, and stays text: {error}");
                payload
            }
        }
    }
}

/// `prefix.schema.table.Value` with the route before its last part.
fn schema_name(row: &Schema, route: &str) -> String {
    match row.name().map(|name| name.as_str()) {
        None => route.to_owned(),
        Some(name) => match name.rsplit_once('.') {
            Some((before, last)) => format!("{before}.{route}.{last}"),
            None => format!("{route}.{name}"),
        },
    }
}

fn is_empty(payload: &Value) -> bool {
    match payload {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

impl Transform for EventRouter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        if record.value.value.is_null() {
            return Ok(Outcome::Drop);
        }
        let Some(event) = event(&record.value).cloned() else { return Ok(Outcome::Keep) };
        if event.get("op").and_then(Value::as_str) == Some("u") {
            return self.update();
        }
        // A deletion, or all rows gone.
        let Some(row) = row(&event, "after") else { return Ok(Outcome::Drop) };
        let payload = column(row, &self.payload)?;
        let key = column(row, &self.key)?;
        let timestamp_ms = self.time_ms(&event, row)?;
        let route = self.route(row)?;
        record.add_header("id", column(row, &self.id)?);
        for one in self.additional.iter().filter(|one| one.place == Place::Header) {
            if let Some(found) = self.placed(row, one)? {
                record.add_header(one.name.clone(), found);
            }
        }
        record.partition = None;
        for one in self.additional.iter().filter(|one| one.place == Place::Partition) {
            if self.placed(row, one)?.is_some() {
                record.partition = number(row, &one.field)?;
            }
        }
        record.value = match self.tombstones && is_empty(&payload.value) {
            true => SchemaAndValue::NULL,
            false => self.value(row, payload, &route)?,
        };
        record.key = key;
        record.timestamp_ms = timestamp_ms.or(record.timestamp_ms);
        record.topic = match self.topic.apply(&route) {
            Some(topic) => topic.into(),
            None => route,
        };
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
