//! Tables that are one, such as shards, into one topic: Debezium's routers of both names.
//!
//! Schemas are named after the new topic, and the key gets a field that says which table its row
//! is of: keys of several may be the same.

use super::extract_new_record_state::{DEBEZIUM_PACKAGE, event, row};
use super::rewrite::Rewrite;
use super::side::{SchemaCache, Side, set_struct};
use super::{Mistake, Outcome, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings, key};
use crate::data::{ConnectRecord, DataError, Schema, SchemaAndValue, Struct, Text, Value};

const DOC: &str = "Makes another topic name where a pattern matches the whole name, with the \
                   schemas' names and a field of the key after it";

pub(super) const BY_TABLE: TransformPlugin = TransformPlugin {
    package: DEBEZIUM_PACKAGE,
    name: "ByLogicalTableRouter",
    has_sides: false,
    doc: DOC,
    keys: &keys("__dbz__physicalTableIdentifier", "logical.table.cache.size"),
    make,
};

pub(super) const TO_TOPIC: TransformPlugin = TransformPlugin {
    package: DEBEZIUM_PACKAGE,
    name: "ToLogicalTopicRouter",
    has_sides: false,
    doc: DOC,
    keys: &keys("__dbz__sourceIdentifier", "logical.destination.cache.size"),
    make,
};

const fn keys(field: &'static str, cache_size: &'static str) -> [ConfigKey; 8] {
    use KeyType::{AnyText, Boolean, Integer, OneOf, Regex, Text};
    use Presence::{Default, Optional, Required};
    [
        key(
            "topic.regex",
            Regex,
            Required,
            "The pattern that a topic's name has to match",
            r"(.*)shard\d+\.(.*)",
        ),
        key(
            "topic.replacement",
            AnyText,
            Required,
            "The topic's new name; `$1` or `${name}` is what a group has matched",
            "$1all.$2",
        ),
        key(
            "key.enforce.uniqueness",
            Boolean,
            Default("true"),
            "Whether keys say which table they are of",
            "false",
        ),
        key("key.field.name", Text, Default(field), "The key's field that says so", "shard"),
        key(
            "key.field.regex",
            Regex,
            Optional,
            "The pattern that makes what it says of the topic's old name, which it says as a whole \
             where nothing matches",
            r".*(shard\d+).*",
        ),
        key(
            "key.field.replacement",
            AnyText,
            Optional,
            "What it says where the pattern matches",
            "$1",
        ),
        key(
            "schema.name.adjustment.mode",
            OneOf(&["none", "avro"]),
            Default("none"),
            "Whether names of schemas have only letters that Avro has",
            "avro",
        ),
        key(
            cache_size,
            Integer { min: 1, max: 1_000_000 },
            Default("16"),
            "Without a meaning here",
            "16",
        ),
    ]
}

fn make(_: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let topic = Rewrite::new(settings.text("topic.regex"), settings.text("topic.replacement"));
    let replacement =
        settings.optional_text("key.field.replacement").filter(|text| !text.is_empty());
    let table = match (settings.optional_text("key.field.regex"), replacement) {
        (Some(pattern), Some(replacement)) => {
            let rewrite = Rewrite::new(pattern, replacement);
            Some(rewrite.map_err(|message| Mistake::new("key.field.replacement", message))?)
        }
        (Some(_), None) => {
            let message =
                "`key.field.regex` needs it: what the field says where the pattern matches";
            return Err(Mistake::new("key.field.replacement", message));
        }
        (None, _) => None,
    };
    Ok(Box::new(LogicalRouter {
        topic: topic.map_err(|message| Mistake::new("topic.replacement", message))?,
        table,
        field: settings
            .flag("key.enforce.uniqueness")
            .then(|| settings.text("key.field.name").into()),
        avro: settings.text("schema.name.adjustment.mode") == "avro",
        of_keys: SchemaCache::default(),
        of_events: SchemaCache::default(),
    }))
}

#[derive(Clone, Debug)]
struct LogicalRouter {
    topic: Rewrite,
    table: Option<Rewrite>,
    field: Option<Text>,
    avro: bool,
    of_keys: SchemaCache,
    of_events: SchemaCache,
}

impl LogicalRouter {
    fn name(&self, topic: &str, part: &str) -> String {
        let name = format!("{topic}.{part}");
        match self.avro {
            true => avro_name(&name),
            false => name,
        }
    }

    fn key(&mut self, key: &mut SchemaAndValue, old: &str, new: &str) -> Result<(), DataError> {
        let value = match &key.value {
            Value::Null => return Ok(()),
            Value::Struct(value) => value.clone(),
            other => {
                let found = other.kind();
                return Err(DataError(format!("cannot add to the key: it is {found}, no struct")));
            }
        };
        let mut cache = std::mem::take(&mut self.of_keys);
        let schema = cache.get(value.schema(), || {
            let builder = value.schema().to_builder().name(self.name(new, "Key"));
            Ok(match &self.field {
                Some(field) if value.schema().field(field).is_some() => {
                    return Err(DataError(format!(
                        "the key has a field '{field}' already: choose another `key.field.name`"
                    )));
                }
                Some(field) => builder.field(field.clone(), Schema::string()),
                None => builder,
            }
            .build())
        });
        self.of_keys = cache;
        let mut values = value.values().to_vec();
        if self.field.is_some() {
            let rewritten = self.table.as_ref().and_then(|table| table.apply(old));
            values.push(Value::string(rewritten.unwrap_or_else(|| old.to_owned())));
        }
        set_struct(key, schema?, values);
        Ok(())
    }

    fn event(&mut self, data: &mut SchemaAndValue, new: &str) -> Result<(), DataError> {
        let Some(event) = event(data).cloned() else { return Ok(()) };
        let of = event.schema();
        let mut cache = std::mem::take(&mut self.of_events);
        let schema = cache.get(of, || {
            let rows = of.field("before").or_else(|| of.field("after"));
            let rows =
                rows.map(|field| field.schema.to_builder().name(self.name(new, "Value")).build());
            let mut builder = of.to_builder().name(self.name(new, "Envelope"));
            for part in PARTS.into_iter().filter(|part| of.field(part).is_some()) {
                builder = builder.field(part, rows.clone().expect("one of them is there"));
            }
            Ok(builder.build())
        });
        self.of_events = cache;
        let schema = schema?;
        let mut values = event.values().to_vec();
        for part in PARTS {
            if let (Some(at), Some(row)) = (of.field_index(part), row(&event, part)) {
                let named = &schema.fields()[at].schema;
                let row = Struct::with_values(named, row.values().to_vec());
                values[at] = Value::structure(row);
            }
        }
        set_struct(data, schema, values);
        Ok(())
    }
}

const PARTS: [&str; 2] = ["before", "after"];

/// Other letters become underscores.
fn avro_name(name: &str) -> String {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = |(at, c): (usize, char)| match c {
        c if letter(c) || (at > 0 && (c == '.' || c.is_ascii_digit())) => c,
        _ => '_',
    };
    name.chars().enumerate().map(fits).collect()
}

impl Transform for LogicalRouter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let old = record.topic.clone();
        let Some(new) = self.topic.apply(&old).filter(|name| !name.is_empty()) else {
            return Ok(Outcome::Keep);
        };
        self.key(&mut record.key, &old, &new)?;
        self.event(&mut record.value, &new)?;
        record.topic = new.into();
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests;
