//! Gives a schema another name or version.

use std::sync::Arc;

use super::side::{SchemaCache, all_values};
use super::{Mistake, Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Value as Setting};
use crate::data::{ConnectRecord, DataError, Struct, Text, Value};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "SetSchemaMetadata",
    has_sides: true,
    doc: "Gives the schema of a key or a value another name or version",
    keys: KEYS,
    make: |side, settings| {
        let name = settings.optional_text("schema.name").map(Text::from);
        let version = match settings.get("schema.version") {
            Some(Setting::Integer(version)) => Some(*version as i32),
            _ => None,
        };
        if name.is_none() && version.is_none() {
            let message = "neither `schema.name` nor `schema.version` is given";
            return Err(Mistake::new("schema.name", message));
        }
        let replace_null = settings.flag(REPLACE_NULL.name);
        let schemas = SchemaCache::default();
        Ok(Box::new(SetSchemaMetadata { side, name, version, replace_null, schemas }))
    },
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "schema.name",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The schema's name",
        example: "order",
    },
    ConfigKey {
        name: "schema.version",
        key_type: KeyType::Integer { min: i32::MIN as i64, max: i32::MAX as i64 },
        presence: Presence::Optional,
        doc: "The schema's version",
        example: "2",
    },
    REPLACE_NULL,
];

#[derive(Clone, Debug)]
struct SetSchemaMetadata {
    side: Side,
    name: Option<Text>,
    version: Option<i32>,
    replace_null: bool,
    schemas: SchemaCache,
}

impl Transform for SetSchemaMetadata {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        let Some(schema) = &data.schema else {
            return match data.value.is_null() {
                true => Ok(Outcome::Keep),
                false => {
                    let found = data.value.kind();
                    let why = format!("cannot name a schema: {found} without a schema");
                    Err(DataError(why))
                }
            };
        };
        let updated = self.schemas.get(schema, || {
            let mut builder = schema.to_builder();
            if let Some(name) = &self.name {
                builder = builder.name(name.clone());
            }
            if let Some(version) = self.version {
                builder = builder.version(version);
            }
            Ok(builder.build())
        })?;
        if let Value::Struct(value) = &mut data.value {
            let values = all_values(value, self.replace_null);
            *value = Arc::new(Struct::with_values(&updated, values));
        }
        data.schema = Some(updated);
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
