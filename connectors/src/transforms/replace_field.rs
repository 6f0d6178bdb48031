//! Chooses and renames fields.

use std::collections::{HashMap, HashSet};

use super::side::{Fields, SchemaCache, fields, set_struct, value_at};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError, Map, Schema, Text, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "ReplaceField",
    has_sides: true,
    doc: "Leaves fields out, or renames them",
    keys: KEYS,
    make,
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "exclude",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "Fields to leave out; this counts before `include`",
        example: "password",
    },
    ConfigKey {
        name: "include",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "The only fields to keep, if any are named",
        example: "id,name",
    },
    ConfigKey {
        name: "renames",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "Pairs of an old and a new name",
        example: "id:order_id,at:created_at",
    },
    REPLACE_NULL,
];

fn make(side: Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let set = |key| settings.list(key).iter().cloned().collect();
    let mut renames = HashMap::new();
    for pair in settings.list("renames") {
        let named = pair.split_once(':').map(|(old, new)| (old.trim(), new.trim()));
        match named {
            Some((old, new)) if !old.is_empty() && !new.is_empty() && !new.contains(':') => {
                renames.insert(old.to_owned(), Text::from(new));
            }
            _ => {
                let message = format!("`{pair}` is no pair of an old and a new name");
                return Err(Mistake::new("renames", message));
            }
        }
    }
    Ok(Box::new(ReplaceField {
        side,
        exclude: set("exclude"),
        include: set("include"),
        renames,
        replace_null: settings.flag(REPLACE_NULL.name),
        schemas: SchemaCache::default(),
    }))
}

#[derive(Clone, Debug)]
struct ReplaceField {
    side: Side,
    exclude: HashSet<String>,
    include: HashSet<String>,
    renames: HashMap<String, Text>,
    replace_null: bool,
    schemas: SchemaCache,
}

impl ReplaceField {
    fn keeps(&self, name: &str) -> bool {
        !self.exclude.contains(name) && (self.include.is_empty() || self.include.contains(name))
    }

    fn renamed(&self, name: &Text) -> Text {
        self.renames.get(name.as_str()).unwrap_or(name).clone()
    }

    fn schema_of(&self, schema: &Schema) -> Schema {
        let kept = schema.fields().iter().filter(|field| self.keeps(&field.name));
        let builder = kept.fold(schema.struct_basics(), |builder, field| {
            builder.field(self.renamed(&field.name), field.schema.clone())
        });
        builder.build()
    }
}

impl Transform for ReplaceField {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        if data.value.is_null() {
            return Ok(Outcome::Keep);
        }
        match fields(data, "choose its fields")? {
            Fields::Map(map) => {
                let mut kept = Map::new();
                for (key, value) in map.iter() {
                    let name = match key {
                        Value::String(name) if self.keeps(name) => self.renamed(name),
                        _ => continue,
                    };
                    kept.insert(Value::String(name), value.clone());
                }
                data.value = Value::map(kept);
            }
            Fields::Struct(value) => {
                let mut schemas = std::mem::take(&mut self.schemas);
                let schema = schemas.get(value.schema(), || Ok(self.schema_of(value.schema())));
                self.schemas = schemas;
                let schema = schema?;
                let mut values = vec![Value::Null; schema.fields().len()];
                for (index, field) in value.schema().fields().iter().enumerate() {
                    if self.keeps(&field.name)
                        && let Some(to) = schema.field_index(&self.renamed(&field.name))
                    {
                        values[to] = value_at(value, index, self.replace_null);
                    }
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
