//! Adds fields that say where a record belongs, or say the same of all.

use std::sync::Arc;

use super::side::{Fields, SchemaCache, all_values, fields, set_struct};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError, Schema, SchemaBuilder, Text, Type, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "InsertField",
    has_sides: true,
    doc: "Adds a record's topic, partition, offset or time, or a fixed text, as fields",
    keys: KEYS,
    make,
};

const fn field(name: &'static str, doc: &'static str, example: &'static str) -> ConfigKey {
    ConfigKey { name, key_type: KeyType::Text, presence: Presence::Optional, doc, example }
}

const KEYS: &[ConfigKey] = &[
    field("topic.field", "The field for the topic; `!` behind it makes it required", "topic"),
    field("partition.field", "The field for the partition, if it is known", "partition"),
    field("offset.field", "The field for the offset; of sinks only", "offset!"),
    field("timestamp.field", "The field for the record's time, if it has one", "at"),
    field("static.field", "The field for `static.value`", "origin"),
    ConfigKey {
        name: "static.value",
        key_type: KeyType::AnyText,
        presence: Presence::Optional,
        doc: "The text in `static.field`",
        example: "crm",
    },
    REPLACE_NULL,
];

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Static(Text),
}

#[derive(Clone, Debug)]
struct Insertion {
    name: Text,
    schema: Schema,
    content: Content,
}

fn make(side: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let static_value = settings.optional_text("static.value").map(Text::from);
    if settings.get("static.field").is_some() && static_value.is_none() {
        return Err(Mistake::new("static.value", "`static.field` needs a `static.value`"));
    }
    let of = SchemaBuilder::of;
    let known = [
        ("topic.field", of(Type::String), Some(Content::Topic)),
        ("partition.field", of(Type::Int32), Some(Content::Partition)),
        ("offset.field", of(Type::Int64), Some(Content::Offset)),
        ("timestamp.field", SchemaBuilder::timestamp(), Some(Content::Timestamp)),
        ("static.field", of(Type::String), static_value.map(Content::Static)),
    ];
    let mut insertions = Vec::new();
    for (key, builder, content) in known {
        let (Some(text), Some(content)) = (settings.optional_text(key), content) else { continue };
        let (name, builder) = match text.strip_suffix('!') {
            Some(name) => (name, builder),
            None => (text.strip_suffix('?').unwrap_or(text), builder.optional()),
        };
        insertions.push(Insertion { name: name.into(), schema: builder.build(), content });
    }
    if insertions.is_empty() {
        let message = "no field to insert: name `topic.field`, `partition.field`, `offset.field`, \
                       `timestamp.field` or `static.field`";
        return Err(Mistake::new("topic.field", message));
    }
    let replace_null = settings.flag(REPLACE_NULL.name);
    Ok(Box::new(InsertField { side, insertions, replace_null, schemas: SchemaCache::default() }))
}

#[derive(Clone, Debug)]
struct InsertField {
    side: Side,
    insertions: Vec<Insertion>,
    replace_null: bool,
    schemas: SchemaCache,
}

impl InsertField {
    /// What to put where; `None`: the record does not know it.
    fn contents(&self, record: &ConnectRecord) -> Result<Vec<Option<Value>>, DataError> {
        let content = |insertion: &Insertion| {
            Ok(match &insertion.content {
                Content::Topic => Some(Value::String(record.topic.clone())),
                Content::Partition => record.partition.map(Value::Int32),
                Content::Offset => match record.kafka_offset {
                    Some(offset) => Some(Value::Int64(offset.0)),
                    None => {
                        let message = "cannot insert the offset: only records for a sink have one";
                        return Err(DataError::new(message));
                    }
                },
                Content::Timestamp => record.timestamp_ms.map(Value::Timestamp),
                Content::Static(text) => Some(Value::String(text.clone())),
            })
        };
        self.insertions.iter().map(content).collect()
    }
}

impl Transform for InsertField {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        if self.side.of(record).value.is_null() {
            return Ok(Outcome::Keep);
        }
        let contents = self.contents(record)?;
        let data = self.side.of(record);
        match fields(data, "insert fields")? {
            Fields::Map(map) => {
                let map = Arc::make_mut(map);
                for (insertion, content) in self.insertions.iter().zip(contents) {
                    let content = match content {
                        // Without a schema a time is a plain number.
                        Some(Value::Timestamp(ms)) => Value::Int64(ms),
                        Some(content) => content,
                        None => continue,
                    };
                    map.insert(Value::String(insertion.name.clone()), content);
                }
            }
            Fields::Struct(value) => {
                let of = value.schema();
                let insertions = &self.insertions;
                let schema = self.schemas.get(of, || {
                    let all = of.fields().iter().map(|field| (&field.name, &field.schema));
                    let inserted = insertions.iter().map(|one| (&one.name, &one.schema));
                    let builder = all.chain(inserted).fold(of.struct_basics(), |builder, field| {
                        builder.field(field.0.clone(), field.1.clone())
                    });
                    Ok(builder.build())
                })?;
                let mut values = all_values(value, self.replace_null);
                values.resize(schema.fields().len(), Value::Null);
                for (insertion, content) in insertions.iter().zip(contents) {
                    let at = schema.field_index(&insertion.name).expect("it was put there");
                    values[at] = content.unwrap_or_default();
                }
                set_struct(data, schema, values);
            }
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
