//! Debezium's change events in JSON: a changelog.
//!
//! ```text
//! {"before": row or null, "after": row or null, "op": "c", …}
//! {"schema": {…}, "payload": the same}                          (schemas.enable)
//! ```
//!
//! | op | is | rows |
//! |---|---|---|
//! | c, r | inserted, read in a snapshot | `after` inserted |
//! | u | updated | `before` retracted, `after` inserted |
//! | d | deleted | `before` retracted |
//! | t, m | truncated, a message | t is refused, m left out |
//!
//! An update takes its `before` back at the event time of its `after`; a deletion at the event time
//! of its `before`, which is all that it says.
//!
//! A null value is the tombstone that follows a deletion for compaction's sake: the deletion has
//! been told, so it is no row. Where `before` is null (PostgreSQL leaves it out unless the table
//! has REPLICA IDENTITY FULL), a table keyed by its columns is still right: an update is the
//! `after` alone, and a deletion counts as a tombstone of the record's key. A stream has no way to
//! know what was retracted: such an event fails, with that advice.
//!
//! With the schema beside it, numbers are what Debezium and Connect say they are: Date, Time,
//! Timestamp in ms, µs or ns, decimals in base64. Without it, a number in a time column is a count
//! of that column's own unit.
//!
//! What an event says of itself (`source`, `ts_ms`) can be had as columns of its rows
//! ([`ChangeField`]). With `source.timestamp` as the event time, all that an event says is of the
//! time when the database committed it, deletions too.
//!
//! Rows are written as `{"before": …, "after": …, "op": …}`: an insertion as c, a retraction as d,
//! a retraction followed by an insertion of the same key as u.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, MapBuilder, MapFieldNames, StringArray, StringBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{Fields, TimeUnit};
use serde_json::Value;

use super::builders::Meaning;
use super::json::reader::{Kind, Reader, SyntaxError};
use super::json::{Indexed, JsonDecoder};
use super::{DecodeError, FormatError, excerpt};
use crate::pipeline::ChangeField;

pub struct DebeziumDecoder {
    rows: JsonDecoder,
    fields: Fields,
    /// What is wanted of events beside their rows.
    wanted: Vec<ChangeField>,
    /// A stream cannot do without `before`.
    needs_before: bool,
    /// The schema that stood beside the last event: it seldom changes.
    schema: String,
}

/// What the events of one call came to.
#[derive(Default)]
pub struct ChangeColumns {
    /// Those of rows, then what is wanted of events.
    pub columns: Vec<ArrayRef>,
    /// The place of each row's event.
    pub places: Vec<usize>,
    pub retracts: Vec<bool>,
    /// Deletions that do not say what was deleted.
    pub deletions: Vec<usize>,
    /// What is wanted of the events of these.
    pub of_deletions: Vec<ArrayRef>,
}

#[derive(Default)]
struct Event<'a> {
    schema: Option<&'a str>,
    before: Option<&'a str>,
    after: Option<&'a str>,
    op: Option<&'a str>,
    source: Option<&'a str>,
    ts_ms: Option<&'a str>,
    is_envelope: bool,
}

/// What an event says of itself.
#[derive(Clone, Debug, Default)]
struct About {
    ts_ms: Option<i64>,
    source: serde_json::Map<String, Value>,
}

impl DebeziumDecoder {
    pub fn new(
        fields: Fields,
        wanted: Vec<ChangeField>,
        needs_before: bool,
    ) -> Result<DebeziumDecoder, FormatError> {
        let rows = JsonDecoder::new(fields.clone())?;
        Ok(DebeziumDecoder { rows, fields, wanted, needs_before, schema: String::new() })
    }

    pub fn decode(
        &mut self,
        values: &[Indexed<'_>],
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> ChangeColumns {
        let mut changes = ChangeColumns::default();
        let (mut about, mut of_deletions): (Vec<About>, Vec<About>) = Default::default();
        for (index, value) in values {
            let row = self.rows.rows().len();
            match self.append(*index, value, &mut changes) {
                Ok(of) if !self.wanted.is_empty() => {
                    of_deletions.resize(changes.deletions.len(), of.clone());
                    about.resize(changes.places.len(), of);
                }
                Ok(_) => {}
                Err(error) => {
                    self.rows.rows().truncate(row);
                    changes.places.truncate(row);
                    changes.retracts.truncate(row);
                    failed.push((*index, error));
                }
            }
        }
        changes.columns = self.rows.finish();
        changes.columns.extend(self.wanted.iter().map(|wanted| column(*wanted, &about)));
        let of_deletions = self.wanted.iter().map(|wanted| column(*wanted, &of_deletions));
        changes.of_deletions = of_deletions.collect();
        changes
    }

    fn append(
        &mut self,
        index: usize,
        value: &[u8],
        changes: &mut ChangeColumns,
    ) -> Result<About, DecodeError> {
        let envelope = |reason: String| DecodeError::Envelope { reason, excerpt: excerpt(value) };
        let text = str::from_utf8(value)
            .map_err(|error| envelope(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
        let event = event(text).map_err(|SyntaxError { at, reason }| {
            let reason = match reason {
                "it ends in the middle" => reason.to_owned(),
                _ => format!("{reason} at byte {at}"),
            };
            DecodeError::JsonSyntax { reason, excerpt: excerpt(value) }
        })?;
        self.take_schema(event.schema.unwrap_or(""));
        if !event.is_envelope {
            // The payload of a tombstone that was given a schema.
            changes.deletions.push(index);
            return Ok(About::default());
        }
        let about = match self.wanted.is_empty() {
            true => About::default(),
            false => about(&event).map_err(|error| envelope(format!("its 'source': {error}")))?,
        };
        self.append_rows(index, &event, changes, &envelope)?;
        Ok(about)
    }

    fn append_rows(
        &mut self,
        index: usize,
        event: &Event<'_>,
        changes: &mut ChangeColumns,
        envelope: &impl Fn(String) -> DecodeError,
    ) -> Result<(), DecodeError> {
        let Some(op) = event.op else { return Err(envelope("it has no 'op'".to_owned())) };
        let missing = |what: &str| envelope(format!("op \"{op}\" without '{what}'"));
        let mut put = |row: Option<&str>, retracts: bool| {
            let Some(row) = row else { return Ok(false) };
            self.rows.append(row.as_bytes())?;
            changes.places.push(index);
            changes.retracts.push(retracts);
            Ok(true)
        };
        match op {
            "c" | "r" => match put(event.after, false)? {
                true => Ok(()),
                false => Err(missing("after")),
            },
            "u" | "d" => {
                let told = put(event.before, true)?;
                if !told && self.needs_before {
                    let reason = format!(
                        "op \"{op}\" without 'before', which a stream needs: in PostgreSQL, ALTER \
                         TABLE … REPLICA IDENTITY FULL; or declare a table with its key"
                    );
                    return Err(envelope(reason));
                }
                if op == "d" {
                    changes.deletions.extend((!told).then_some(index));
                    return Ok(());
                }
                if put(event.after, false)? { Ok(()) } else { Err(missing("after")) }
            }
            "m" => Ok(()),
            "t" => Err(envelope("the table was truncated, which tells of no row".to_owned())),
            other => Err(envelope(format!("op \"{other}\" is none of c, r, u, d, t and m"))),
        }
    }

    fn take_schema(&mut self, schema: &str) {
        if schema == self.schema {
            return;
        }
        self.schema.clear();
        self.schema.push_str(schema);
        let parsed = serde_json::from_str(schema).unwrap_or(Value::Null);
        let columns = self.rows.rows().as_struct().map(|of| of.columns.as_mut_slice());
        for (column, field) in columns.unwrap_or_default().iter_mut().zip(&self.fields) {
            column.meaning = meaning(&parsed, field.name());
        }
    }
}

/// The parts of an event, as they stand.
fn event(text: &str) -> Result<Event<'_>, SyntaxError> {
    let mut reader = Reader::new(text);
    let mut event = Event::default();
    if reader.kind()? != Kind::Object {
        return Err(reader.error("an object is expected"));
    }
    let mut payload = None;
    let mut more = reader.open(b'}');
    while more {
        let name = reader.name()?.text;
        match name {
            "payload" => payload = Some(reader.raw()?),
            "schema" => event.schema = Some(reader.raw()?),
            "before" => event.before = present(reader.raw()?),
            "after" => event.after = present(reader.raw()?),
            "op" => event.op = reader.raw()?.strip_prefix('"').and_then(|op| op.strip_suffix('"')),
            "source" => event.source = present(reader.raw()?),
            "ts_ms" => event.ts_ms = present(reader.raw()?),
            _ => reader.skip()?,
        }
        event.is_envelope |= matches!(name, "before" | "after" | "op");
        more = reader.next(b'}')?;
    }
    reader.skip_blanks();
    if !reader.is_at_end() {
        return Err(reader.error("something follows the value"));
    }
    let Some(payload) = payload.filter(|_| !event.is_envelope) else {
        event.is_envelope = true;
        return Ok(event);
    };
    match present(payload) {
        None => Ok(event),
        // A schema beside it keeps a payload from being unwrapped twice.
        Some(_) if event.schema.is_none() => Ok(Event { is_envelope: true, ..event }),
        Some(payload) => {
            let inner = self::event(payload)?;
            Ok(Event { schema: event.schema, ..inner })
        }
    }
}

fn present(raw: &str) -> Option<&str> {
    (raw != "null").then_some(raw)
}

fn about(event: &Event<'_>) -> Result<About, serde_json::Error> {
    let source = event.source.map(serde_json::from_str).transpose()?.unwrap_or_default();
    Ok(About { ts_ms: event.ts_ms.and_then(|ms| ms.parse().ok()), source })
}

/// What is wanted of the event of each row.
fn column(wanted: ChangeField, about: &[About]) -> ArrayRef {
    let text = |name: &'static str| -> ArrayRef {
        let of = |about: &About| Some(about.source.get(name)?.as_str()?.to_owned());
        Arc::new(about.iter().map(of).collect::<StringArray>())
    };
    match wanted {
        ChangeField::SourceTimestamp => {
            let ms = about.iter().map(|about| about.source.get("ts_ms")?.as_i64());
            Arc::new(ms.collect::<TimestampMillisecondArray>())
        }
        ChangeField::IngestionTimestamp => {
            let ms = about.iter().map(|about| about.ts_ms);
            Arc::new(ms.collect::<TimestampMillisecondArray>())
        }
        ChangeField::SourceDatabase => text("db"),
        ChangeField::SourceSchema => text("schema"),
        ChangeField::SourceTable => text("table"),
        ChangeField::SourceProperties => {
            let names = MapFieldNames::default();
            let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for About { source, .. } in about {
                for (name, value) in source {
                    maps.keys().append_value(name);
                    match value {
                        Value::Null => maps.values().append_null(),
                        Value::String(text) => maps.values().append_value(text),
                        other => maps.values().append_value(other.to_string()),
                    }
                }
                maps.append(true).expect("each key has its value");
            }
            Arc::new(maps.finish())
        }
    }
}

/// What the schema of an event says of a column.
fn meaning(schema: &Value, column: &str) -> Option<Meaning> {
    let named = |value: &Value, name: &str| -> Option<Value> {
        let fields = value.get("fields")?.as_array()?;
        fields.iter().find(|field| field.get("field").is_some_and(|of| of == name)).cloned()
    };
    let row = named(schema, "after").or_else(|| named(schema, "before"))?;
    let field = named(&row, column)?;
    Some(match field.get("name")?.as_str()? {
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Meaning::Days,
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            Meaning::Instant(TimeUnit::Millisecond)
        }
        "io.debezium.time.MicroTimestamp" => Meaning::Instant(TimeUnit::Microsecond),
        "io.debezium.time.NanoTimestamp" => Meaning::Instant(TimeUnit::Nanosecond),
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
            Meaning::TimeOfDay(TimeUnit::Millisecond)
        }
        "io.debezium.time.MicroTime" => Meaning::TimeOfDay(TimeUnit::Microsecond),
        "io.debezium.time.NanoTime" => Meaning::TimeOfDay(TimeUnit::Nanosecond),
        "org.apache.kafka.connect.data.Decimal" => {
            let scale = field.get("parameters")?.get("scale")?.as_str()?.parse().ok()?;
            Meaning::Decimal(scale)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
