//! Replaces a key or a value by one of its fields.

use super::path::{FieldPath, SYNTAX_VERSION};
use super::settings::unknown_field;
use super::side::{Fields, fields};
use super::{Outcome, PACKAGE, REPLACE_NULL, Side, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "ExtractField",
    has_sides: true,
    doc: "Replaces a key or a value by one of its fields",
    keys: KEYS,
    make: |side, settings| {
        Ok(Box::new(ExtractField {
            side,
            name: settings.text("field").to_owned(),
            path: FieldPath::new("field", settings)?,
            replace_null: settings.flag(REPLACE_NULL.name),
        }))
    },
};

const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "field",
        key_type: KeyType::Text,
        presence: Presence::Required,
        doc: "The field to take",
        example: "after",
    },
    SYNTAX_VERSION,
    REPLACE_NULL,
];

#[derive(Clone, Debug)]
struct ExtractField {
    side: Side,
    name: String,
    path: FieldPath,
    replace_null: bool,
}

impl Transform for ExtractField {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let data = self.side.of(record);
        let schema = match &data.schema {
            None => None,
            Some(schema) => match self.path.field(schema) {
                Some(field) => Some(field.schema.clone()),
                None => return Err(unknown_field(&self.name, schema)),
            },
        };
        if !data.value.is_null() {
            data.value = match fields(data, &format!("take field '{}'", self.name))? {
                Fields::Map(map) => self.path.in_map(map)?,
                Fields::Struct(value) => self.path.in_struct(value, self.replace_null)?,
            };
        }
        data.schema = schema;
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}
