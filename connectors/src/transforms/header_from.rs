//! Makes headers of fields.

use std::sync::Arc;

use super::settings::unknown_field;
use super::side::{Fields, SchemaCache, fields, set_struct, value_at};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError, Schema, SchemaAndValue, Struct, Text, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "HeaderFrom",
    has_sides: true,
    doc: "Moves or copies fields of a key or a value into headers",
    keys: KEYS,
    make,
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "fields",
        key_type: KeyType::List,
        presence: Presence::Required,
        doc: "The fields to take",
        example: "trace,tenant",
    },
    ConfigKey {
        name: "headers",
        key_type: KeyType::List,
        presence: Presence::Required,
        doc: "The names of the headers, in the order of the fields",
        example: "trace-id,tenant",
    },
    ConfigKey {
        name: "operation",
        key_type: KeyType::OneOf(&["move", "copy"]),
        presence: Presence::Required,
        doc: "Whether the fields go away or stay where they are",
        example: "copy",
    },
    REPLACE_NULL,
];

fn make(side: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let (fields, headers) = (settings.list("fields"), settings.list("headers"));
    if fields.len() != headers.len() {
        let (fields, headers) = (fields.len(), headers.len());
        let message = format!("{headers} names for {fields} fields: each field needs one");
        return Err(Mistake::new("headers", message));
    }
    Ok(Box::new(HeaderFrom {
        side,
        fields: fields.to_vec(),
        headers: headers.iter().map(|name| name.as_str().into()).collect(),
        moves: settings.text("operation") == "move",
        replace_null: settings.flag(REPLACE_NULL.name),
        schemas: SchemaCache::default(),
    }))
}

#[derive(Clone, Debug)]
struct HeaderFrom {
    side: Side,
    fields: Vec<String>,
    headers: Vec<Text>,
    moves: bool,
    replace_null: bool,
    schemas: SchemaCache,
}

impl HeaderFrom {
    fn stays(&self, name: &str) -> bool {
        !self.fields.iter().any(|field| field == name)
    }

    fn of_struct(&self, value: &Struct) -> Result<Vec<SchemaAndValue>, DataError> {
        let schema = value.schema();
        let taken = self.fields.iter().map(|name| {
            let index = schema.field_index(name).ok_or_else(|| unknown_field(name, schema))?;
            let of = schema.fields()[index].schema.clone();
            let value = value_at(value, index, self.replace_null);
            Ok(SchemaAndValue { schema: Some(of), value })
        });
        taken.collect()
    }

    fn without_moved(&self, schema: &Schema) -> Schema {
        let stay = schema.fields().iter().filter(|field| self.stays(&field.name));
        let builder = stay.fold(schema.struct_basics(), |builder, field| {
            builder.field(field.name.clone(), field.schema.clone())
        });
        builder.build()
    }
}

impl Transform for HeaderFrom {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        let taken = match fields(data, "make headers of its fields")? {
            Fields::Map(map) => {
                let names: Vec<_> = self.fields.iter().map(|f| Value::string(f.as_str())).collect();
                let values = names.iter().map(|name| map.get(name).cloned().unwrap_or_default());
                let taken = values.map(SchemaAndValue::schemaless).collect();
                if self.moves {
                    Arc::make_mut(map).retain(|name, _| !names.contains(name));
                }
                taken
            }
            Fields::Struct(value) => {
                let taken = self.of_struct(value)?;
                if self.moves {
                    let mut schemas = std::mem::take(&mut self.schemas);
                    let made =
                        schemas.get(value.schema(), || Ok(self.without_moved(value.schema())));
                    self.schemas = schemas;
                    let schema = made?;
                    let fields = value.schema().fields().iter().enumerate();
                    let stay = fields.filter(|(_, field)| self.stays(&field.name));
                    let values =
                        stay.map(|(index, _)| value_at(value, index, self.replace_null)).collect();
                    set_struct(data, schema, values);
                }
                taken
            }
        };
        for (name, value) in self.headers.iter().zip(taken) {
            record.add_header(name.clone(), value);
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
